"""Cancelling: at once while it waits, by asking its agent while it runs, for good when it is lost."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import EGO, Actor
from mirror_stage.commands import store
from mirror_stage.core.problems import Conflict, NotFound
from tests.commands.world import OPERATOR, UNKNOWN, World


def test_what_waits_is_cancelled_at_once(world: World) -> None:
    command = world.commands.cancel(world.create().id, Actor("user", "somebody", "10.0.0.3"))
    assert (command.status, command.reason) == ("failed", "cancelled")
    assert command.completed_at == world.clock.now()
    event = world.commands.events_of(command.id, OPERATOR)[-1]
    assert (event.name, event.actor, event.peer) == ("cancelled", "somebody", "10.0.0.3")


def test_what_runs_is_asked_to_stop(world: World) -> None:
    command = world.running()
    asked = world.commands.cancel(command.id, OPERATOR)
    assert (asked.status, asked.cancel_requested, asked.version) == ("running", True, 3)
    assert world.updates(command)[-1]["cancelRequested"]
    assert world.commands.heartbeat(command.id, OPERATOR).cancel_requested
    assert world.report(command, "failed", reason="cancelled")[0].reason == "cancelled"


def test_asking_twice_is_one_transition(world: World) -> None:
    command = world.running()
    first = world.commands.cancel(command.id, OPERATOR)
    assert world.commands.cancel(command.id, OPERATOR) == first
    assert world.record(command)[-1] == (3, "cancel-requested")


def test_a_result_that_comes_after_all_wins(world: World) -> None:
    command = world.running()
    world.commands.cancel(command.id, OPERATOR)
    assert world.report(command)[0].status == "succeeded"


def test_a_lost_command_is_closed_and_its_outcome_stays(world: World) -> None:
    lost = world.lost()
    world.clock.advance(60)
    closed = world.commands.cancel(lost.id, OPERATOR)
    assert (closed.status, closed.reason, closed.completed_at) == ("timeout", "lost", lost.completed_at)
    assert closed.version == lost.version + 1
    with pytest.raises(Conflict):
        world.commands.cancel(lost.id, OPERATOR)


def test_what_is_over_cannot_be_cancelled(world: World) -> None:
    done = world.running()
    world.commands.cancel(done.id, OPERATOR)
    world.report(done)
    for command in (done, world.commands.cancel(world.create().id, OPERATOR)):
        with pytest.raises(Conflict, match="it is over"):
            world.commands.cancel(command.id, OPERATOR)
    with pytest.raises(NotFound):
        world.commands.cancel(UNKNOWN, OPERATOR)


def test_a_host_that_leaves_takes_its_waiting_commands_along(world: World) -> None:
    running = world.running()
    waiting = [world.create(), world.create()]
    elsewhere = world.create(host="titan-02")
    now = world.clock.now()
    cancelled = world.storage.write(lambda tx: store.cancel_pending_of(tx, "titan-01", "host removed", EGO, now))
    world.commands.publish_all(cancelled)
    assert [command.id for command in cancelled] == [command.id for command in waiting]
    assert [world.updates(command)[-1]["reason"] for command in waiting] == ["cancelled", "cancelled"]
    assert world.commands.events_of(waiting[0].id, OPERATOR)[-1].note == "host removed"
    assert world.get(running).status == "running"
    assert world.get(elsewhere).status == "pending"
