"""Handing commands out: once, in order, at most five, and again only to an agent that keeps a journal."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.core.instants import HOUR, SECOND
from tests.commands.world import INSTANCE, OPERATOR, OTHER_INSTANCE, World


def test_commands_are_handed_out_once_in_order_of_creation(world: World) -> None:
    ids = [world.create(command=f"echo {n}").id for n in range(7)]
    claimed = world.claim()
    assert [command.id for command in claimed] == ids[:5]
    assert {command.status for command in claimed} == {"running"}
    assert [command.id for command in world.claim()] == ids[5:]
    assert world.claim() == []


def test_each_host_gets_its_own(world: World) -> None:
    world.create(host="titan-01")
    assert world.claim("titan-02") == []


def test_a_claim_is_published_and_recorded(world: World) -> None:
    command = world.running()
    assert [update["status"] for update in world.updates(command)] == ["pending", "running"]
    assert world.record(command) == [(1, "created"), (2, "claimed")]
    assert world.polls["titan-01"] == world.clock.now()


def test_a_lease_covers_the_timeouts_of_all_unfinished_claims_up_to_it(world: World) -> None:
    for seconds in (10, 0.5, 600):
        world.create(timeout_seconds=seconds)
    leases = [command.lease_until for command in world.claim()]
    now = world.clock.now()
    assert leases == [now + 70 * SECOND, now + 70_500, now + 670_500]
    world.create(timeout_seconds=5)
    assert world.claim()[0].lease_until == now + 675_500


def test_finished_claims_and_waiting_commands_do_not_lengthen_a_lease(world: World) -> None:
    world.report(world.running(timeout_seconds=100))
    world.create(timeout_seconds=5)
    world.create(timeout_seconds=7)
    assert world.claim(limit=1)[0].lease_until == world.clock.now() + 65 * SECOND


def test_what_has_expired_is_never_handed_out_even_before_it_is_reaped(world: World) -> None:
    world.create(expires_in_seconds=10)
    world.clock.advance(10)
    assert world.claim() == []


def test_what_expires_while_a_slow_database_is_waited_for_is_not_handed_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create(expires_in_seconds=1)
    write = world.storage.write

    def slow(work: Any) -> Any:
        world.clock.advance(2)
        return write(work)

    monkeypatch.setattr(world.storage, "write", slow)
    assert world.claim() == []


def test_what_was_cancelled_is_never_handed_out(world: World) -> None:
    world.commands.cancel(world.create().id, OPERATOR)
    assert world.claim() == []


def test_the_same_instance_is_handed_the_same_again_until_it_starts(world: World) -> None:
    first, second = world.create(), world.create()
    assert len(world.claim(instance=INSTANCE)) == 2
    again = world.claim(instance=INSTANCE)
    assert [command.id for command in again] == [first.id, second.id]
    world.commands.heartbeat(first.id, OPERATOR)
    assert [command.id for command in world.claim(instance=INSTANCE)] == [second.id]
    assert len(world.updates(second)) == 2  # a re-served claim is no transition


@pytest.mark.parametrize("other", [None, OTHER_INSTANCE])
def test_nobody_else_is_handed_a_claimed_command(world: World, other: str | None) -> None:
    world.create()
    world.claim(instance=INSTANCE)
    assert world.claim(instance=other) == []


def test_an_agent_without_a_journal_is_never_handed_a_command_twice(world: World) -> None:
    world.create()
    world.claim()
    assert world.claim() == []
    assert world.claim(instance=INSTANCE) == []


def test_what_is_handed_out_again_counts_for_the_limit(world: World) -> None:
    ids = [world.create().id for _ in range(8)]
    world.claim(instance=INSTANCE, limit=3)
    assert [command.id for command in world.claim(instance=INSTANCE)] == ids[:5]
    assert [command.id for command in world.claim(instance=INSTANCE)] == ids[:5]


def test_a_claim_that_somebody_cancelled_or_that_has_expired_is_not_handed_out_again(world: World) -> None:
    cancelled = world.create()
    world.create(expires_in_seconds=30)
    world.claim(instance=INSTANCE)
    world.commands.cancel(cancelled.id, OPERATOR)
    world.clock.advance(31)
    assert world.claim(instance=INSTANCE) == []


def test_a_restart_changes_nothing(world: World) -> None:
    ids = [world.create().id for _ in range(3)]
    world.claim(instance=INSTANCE, limit=1)
    world.restart()
    assert [command.id for command in world.claim(instance=INSTANCE)] == ids


def test_a_command_waits_at_most_an_hour(world: World) -> None:
    command = world.create()
    world.clock.advance(HOUR / SECOND - 0.001)
    assert [claimed.id for claimed in world.claim()] == [command.id]
