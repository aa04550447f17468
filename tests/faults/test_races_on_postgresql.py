"""Races that only PostgreSQL has, because its transactions run at the same time: exactly one of two wins."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine

from mirror_stage.commands.domain import Command, NewCommand
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Conflict, Problem
from mirror_stage.storage.db import engine_options
from tests.commands.bench import AGENT, INSTANCE, OPERATOR, OTHER_INSTANCE, CommandBench, outcome
from tests.servers import PostgresqlServer

ROUNDS = 25


@pytest.fixture(scope="module")
def bench(postgresql: PostgresqlServer) -> Iterator[CommandBench]:
    config = Config(db_url=postgresql.new_database(), testing=True)
    bench = CommandBench(create_engine(config.database_url, **engine_options(config)), config)
    yield bench
    bench.storage.close()


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each function returns, or the Problem that it raised. All begin together, each in its own thread."""
    barrier, answers = threading.Barrier(len(works)), [None] * len(works)

    def run(place: int, work: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            answers[place] = work()
        except Problem as problem:
            answers[place] = problem

    threads = [threading.Thread(target=run, args=row) for row in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def versions(bench: CommandBench, command: Command) -> list[int]:
    return [event.version for event in bench.commands.events_of(command.id, OPERATOR)]


def test_of_two_results_one_wins(bench: CommandBench) -> None:
    for n in range(ROUNDS):
        command = bench.running(host=f"results-{n}")
        one, two = at_once(
            lambda command=command: bench.commands.report(command.id, outcome("succeeded"), AGENT),
            lambda command=command: bench.commands.report(command.id, outcome("failed"), AGENT),
        )
        assert isinstance(one, Conflict) != isinstance(two, Conflict)
        assert versions(bench, command) == [1, 2, 3]


def test_of_two_equal_results_one_is_the_first(bench: CommandBench) -> None:
    for n in range(ROUNDS):
        command = bench.running(host=f"same-{n}")
        answers = at_once(*[lambda command=command: bench.commands.report(command.id, outcome(), AGENT)] * 4)
        assert Counter(is_first for _, is_first in answers) == {True: 1, False: 3}
        assert versions(bench, command) == [1, 2, 3]


def test_commands_that_several_agents_claim_at_once_go_to_one_in_order(bench: CommandBench) -> None:
    for n in range(ROUNDS):
        host = f"claims-{n}"
        created = [bench.create(host=host, timeout_seconds=10).id for _ in range(12)]
        instances = (None, INSTANCE, OTHER_INSTANCE, None)
        polls = [lambda i=instance, host=host: bench.claim(host, instance=i, limit=4) for instance in instances]
        answers = at_once(*polls)
        claimed = [command.id for batch in answers for command in batch]
        assert sorted(claimed) == sorted(created)
        assert all(
            [created.index(c.id) for c in batch] == sorted(created.index(c.id) for c in batch) for batch in answers
        )
        leases = {command.id: command.lease_until for batch in answers for command in batch}
        now = bench.clock.now()
        assert [leases[id] for id in created] == [now + 60_000 + 10_000 * (place + 1) for place in range(12)]


def test_a_claim_a_cancel_and_the_reaper_agree(bench: CommandBench) -> None:
    for n in range(ROUNDS):
        host = f"mixed-{n}"
        command = bench.create(host=host, expires_in_seconds=10)
        bench.clock.instant = command.expires_at - (n % 2)
        claimed, cancelled, _ = at_once(
            lambda host=host: bench.claim(host),
            lambda command=command: bench.commands.cancel(command.id, OPERATOR),
            lambda: bench.commands.watch_over(bench.clock.now()),
        )
        now = bench.get(command)
        assert versions(bench, command) == list(range(1, now.version + 1))
        if claimed:
            assert now.status == "running"
            assert now.cancel_requested
            assert now.version == 3
        else:
            assert (now.reason, now.version) in {("cancelled", 2), ("expired", 2)}
            assert isinstance(cancelled, Conflict) == (now.reason == "expired")


def test_a_late_result_and_the_end_of_the_lease_agree(bench: CommandBench) -> None:
    bench.commands.watch_over(bench.clock.now())
    for n in range(ROUNDS):
        command = bench.running(host=f"late-{n}")
        assert command.lease_until is not None
        bench.clock.instant = command.lease_until
        bench.sql("UPDATE ego_state SET value = :now WHERE name = 'stamped_at' RETURNING 1", now=str(bench.clock.now()))
        at_once(
            lambda command=command: bench.commands.report(command.id, outcome(), AGENT),
            lambda: bench.commands.watch_over(bench.clock.now()),
        )
        now = bench.get(command)
        assert now.status == "succeeded"
        assert now.late == (now.version == 4)
        assert versions(bench, command) == list(range(1, now.version + 1))


def test_the_same_key_sent_twice_at_once_makes_one_command(bench: CommandBench) -> None:
    for n in range(ROUNDS):
        new = NewCommand(f"keys-{n}", "uptime")
        answers = at_once(*[lambda new=new, n=n: bench.commands.create(new, OPERATOR, f"key-{n}")] * 4)
        assert len({command.id for command, _ in answers}) == 1
        assert Counter(is_new for _, is_new in answers) == {True: 1, False: 3}


def test_no_more_than_100_commands_wait_for_a_host_however_many_are_sent(bench: CommandBench) -> None:
    for _ in range(98):
        bench.create(host="full")
    answers = at_once(*[lambda: bench.create(host="full")] * 6)
    assert sum(isinstance(answer, Command) for answer in answers) == 2


def test_a_search_is_literal_on_postgresql_too(bench: CommandBench) -> None:
    bench.create(host="searched", command="echo 100% Été")
    for search, total in (("100%", 1), ("1%0", 0), ("éTÉ", 1), ("\\", 0)):
        assert bench.commands.page({"hostname": "searched", "search": search}, 1, 20, OPERATOR)[1] == total


def test_every_transition_was_published_once_and_in_order(bench: CommandBench) -> None:
    by_id: dict[str, list[int]] = {}
    for update in bench.updates():
        by_id.setdefault(update["id"], []).append(update["version"])
    assert len(by_id) > ROUNDS
    assert all(published == list(range(1, len(published) + 1)) for published in by_id.values())


def test_commands_that_are_made_at_the_same_time_are_handed_out_in_the_order_of_their_signed_numbers(
    bench: CommandBench,
) -> None:
    for round in range(5):
        host = f"signed-{round}"
        made = at_once(
            *(lambda host=host: bench.commands.create(NewCommand(host, "uptime"), OPERATOR)[0] for _ in range(10))
        )
        assert all(isinstance(command, Command) for command in made)
        handed = [*bench.claim(host, limit=5), *bench.claim(host, limit=5)]
        numbers = [number(command) for command in handed]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 10


def number(command: Command) -> int:
    """The number that EGO has signed."""
    statement = json.loads(base64.b64decode(json.loads(str(command.signed))["payload"]))
    return int(statement["seq"])
