"""Cancelling: a pending command ends at once, the agent of a running one is asked, a lost one is closed."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import EGO, Actor
from mirror_stage.commands import store
from mirror_stage.core.problems import Conflict, NotFound
from tests.commands.bench import OPERATOR, UNKNOWN, CommandBench


def test_a_pending_command_is_cancelled_at_once(bench: CommandBench) -> None:
    command = bench.commands.cancel(bench.create().id, Actor("user", "somebody", "10.0.0.3"))
    assert (command.status, command.reason) == ("failed", "cancelled")
    assert command.completed_at == bench.clock.now()
    event = bench.commands.events_of(command.id, OPERATOR)[-1]
    assert (event.name, event.actor, event.peer) == ("cancelled", "somebody", "10.0.0.3")


def test_a_running_command_is_asked_to_stop(bench: CommandBench) -> None:
    command = bench.running()
    asked = bench.commands.cancel(command.id, OPERATOR)
    assert (asked.status, asked.cancel_requested, asked.version) == ("running", True, 3)
    assert bench.updates(command)[-1]["cancelRequested"]
    assert bench.commands.heartbeat(command.id, OPERATOR).cancel_requested
    assert bench.report(command, "failed", reason="cancelled")[0].reason == "cancelled"


def test_asking_twice_is_one_transition(bench: CommandBench) -> None:
    command = bench.running()
    first = bench.commands.cancel(command.id, OPERATOR)
    assert bench.commands.cancel(command.id, OPERATOR) == first
    assert bench.record(command)[-1] == (3, "cancel-requested")


def test_a_result_after_a_cancel_wins(bench: CommandBench) -> None:
    command = bench.running()
    bench.commands.cancel(command.id, OPERATOR)
    assert bench.report(command)[0].status == "succeeded"


def test_a_lost_command_is_closed_and_its_outcome_stays(bench: CommandBench) -> None:
    lost = bench.lost()
    bench.clock.advance(60)
    closed = bench.commands.cancel(lost.id, OPERATOR)
    assert (closed.status, closed.reason, closed.completed_at) == ("timeout", "lost", lost.completed_at)
    assert closed.version == lost.version + 1
    with pytest.raises(Conflict):
        bench.commands.cancel(lost.id, OPERATOR)


def test_a_command_that_has_ended_cannot_be_cancelled(bench: CommandBench) -> None:
    done = bench.running()
    bench.commands.cancel(done.id, OPERATOR)
    bench.report(done)
    for command in (done, bench.commands.cancel(bench.create().id, OPERATOR)):
        with pytest.raises(Conflict, match="it is over"):
            bench.commands.cancel(command.id, OPERATOR)
    with pytest.raises(NotFound):
        bench.commands.cancel(UNKNOWN, OPERATOR)


def test_removing_a_host_cancels_its_pending_commands(bench: CommandBench) -> None:
    running = bench.running()
    waiting = [bench.create(), bench.create()]
    elsewhere = bench.create(host="titan-02")
    now = bench.clock.now()
    cancelled = bench.storage.write(lambda tx: store.cancel_pending_of(tx, "titan-01", "host removed", EGO, now))
    bench.commands.publish_all(cancelled)
    assert [command.id for command in cancelled] == [command.id for command in waiting]
    assert [bench.updates(command)[-1]["reason"] for command in waiting] == ["cancelled", "cancelled"]
    assert bench.commands.events_of(waiting[0].id, OPERATOR)[-1].note == "host removed"
    assert bench.get(running).status == "running"
    assert bench.get(elsewhere).status == "pending"
