"""Handing commands out: once, in order, at most five, and again only to an agent that keeps a journal."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.core.instants import HOUR, SECOND
from tests.commands.bench import INSTANCE, OPERATOR, OTHER_INSTANCE, CommandBench


def test_commands_are_handed_out_once_in_order_of_creation(bench: CommandBench) -> None:
    ids = [bench.create(command=f"echo {n}").id for n in range(7)]
    claimed = bench.claim()
    assert [command.id for command in claimed] == ids[:5]
    assert {command.status for command in claimed} == {"running"}
    assert [command.id for command in bench.claim()] == ids[5:]
    assert bench.claim() == []


def test_each_host_gets_its_own(bench: CommandBench) -> None:
    bench.create(host="titan-01")
    assert bench.claim("titan-02") == []


def test_a_claim_is_published_and_recorded(bench: CommandBench) -> None:
    command = bench.running()
    assert [update["status"] for update in bench.updates(command)] == ["pending", "running"]
    assert bench.record(command) == [(1, "created"), (2, "claimed")]
    assert bench.polls["titan-01"] == bench.clock.now()


def test_a_lease_covers_the_timeouts_of_all_unfinished_claims_up_to_it(bench: CommandBench) -> None:
    for seconds in (10, 0.5, 600):
        bench.create(timeout_seconds=seconds)
    leases = [command.lease_until for command in bench.claim()]
    now = bench.clock.now()
    assert leases == [now + 70 * SECOND, now + 70_500, now + 670_500]
    bench.create(timeout_seconds=5)
    assert bench.claim()[0].lease_until == now + 675_500


def test_finished_claims_and_waiting_commands_do_not_lengthen_a_lease(bench: CommandBench) -> None:
    bench.report(bench.running(timeout_seconds=100))
    bench.create(timeout_seconds=5)
    bench.create(timeout_seconds=7)
    assert bench.claim(limit=1)[0].lease_until == bench.clock.now() + 65 * SECOND


def test_an_expired_command_is_never_handed_out_even_before_it_is_reaped(bench: CommandBench) -> None:
    bench.create(expires_in_seconds=10)
    bench.clock.advance(10)
    assert bench.claim() == []


def test_a_command_that_expires_while_the_database_is_slow_is_not_handed_out(
    bench: CommandBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create(expires_in_seconds=1)
    write = bench.storage.write

    def slow(work: Any) -> Any:
        bench.clock.advance(2)
        return write(work)

    monkeypatch.setattr(bench.storage, "write", slow)
    assert bench.claim() == []


def test_a_cancelled_command_is_never_handed_out(bench: CommandBench) -> None:
    bench.commands.cancel(bench.create().id, OPERATOR)
    assert bench.claim() == []


def test_the_same_instance_gets_a_command_again_until_it_starts_it(bench: CommandBench) -> None:
    first, second = bench.create(), bench.create()
    assert len(bench.claim(instance=INSTANCE)) == 2
    again = bench.claim(instance=INSTANCE)
    assert [command.id for command in again] == [first.id, second.id]
    bench.commands.heartbeat(first.id, OPERATOR)
    assert [command.id for command in bench.claim(instance=INSTANCE)] == [second.id]
    assert len(bench.updates(second)) == 2  # a re-served claim is no transition


@pytest.mark.parametrize("other", [None, OTHER_INSTANCE])
def test_no_other_instance_gets_a_claimed_command(bench: CommandBench, other: str | None) -> None:
    bench.create()
    bench.claim(instance=INSTANCE)
    assert bench.claim(instance=other) == []


def test_an_agent_without_a_journal_is_never_handed_a_command_twice(bench: CommandBench) -> None:
    bench.create()
    bench.claim()
    assert bench.claim() == []
    assert bench.claim(instance=INSTANCE) == []


def test_commands_that_are_handed_out_again_count_for_the_limit(bench: CommandBench) -> None:
    ids = [bench.create().id for _ in range(8)]
    bench.claim(instance=INSTANCE, limit=3)
    assert [command.id for command in bench.claim(instance=INSTANCE)] == ids[:5]
    assert [command.id for command in bench.claim(instance=INSTANCE)] == ids[:5]


def test_a_claim_that_somebody_cancelled_or_that_has_expired_is_not_handed_out_again(bench: CommandBench) -> None:
    cancelled = bench.create()
    bench.create(expires_in_seconds=30)
    bench.claim(instance=INSTANCE)
    bench.commands.cancel(cancelled.id, OPERATOR)
    bench.clock.advance(31)
    assert bench.claim(instance=INSTANCE) == []


def test_a_restart_of_ego_changes_nothing_about_claims(bench: CommandBench) -> None:
    ids = [bench.create().id for _ in range(3)]
    bench.claim(instance=INSTANCE, limit=1)
    bench.restart()
    assert [command.id for command in bench.claim(instance=INSTANCE)] == ids


def test_a_command_waits_at_most_an_hour(bench: CommandBench) -> None:
    command = bench.create()
    bench.clock.advance(HOUR / SECOND - 0.001)
    assert [claimed.id for claimed in bench.claim()] == [command.id]
