"""Leases and expiry: by EGO's clock, never early, and a pause of EGO's costs nobody anything."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import job
from mirror_stage.commands.domain import Chunk
from mirror_stage.commands.schemas import event_on_wire
from mirror_stage.core.instants import MINUTE, SECOND
from mirror_stage.core.problems import Conflict
from tests.commands.world import OPERATOR, World


def test_a_command_past_its_lease_is_lost(world: World) -> None:
    world.commands.watch_over(world.clock.now())
    command = world.running(timeout_seconds=30)
    world.pass_seconds(89)
    assert world.get(command).status == "running"
    world.pass_seconds(1)
    lost = world.get(command)
    assert (lost.status, lost.reason, lost.lease_until) == ("timeout", "lost", None)
    event = world.commands.events_of(command.id, OPERATOR)[-1]
    assert (event.name, event.actor) == ("lost", "ego")
    assert world.updates(command)[-1]["reason"] == "lost"


def test_a_job_is_recorded_by_its_name_and_shown_as_ego(world: World) -> None:
    command = world.create(expires_in_seconds=1)
    world.clock.advance(2)
    world.commands.watch_over(world.clock.now(), job("watch_over_commands"))
    event = world.commands.events_of(command.id, OPERATOR)[-1]
    assert (event.name, event.actor) == ("expired", "job:watch_over_commands")
    assert event_on_wire(event)["actor"] == "ego"


def test_a_heartbeat_extends_the_lease_and_never_shortens_it(world: World) -> None:
    for _ in range(2):
        world.create(timeout_seconds=100)
    first, second = world.claim()
    world.clock.advance(10)
    assert world.commands.heartbeat(second.id, OPERATOR).lease_until == world.clock.now() + 260 * SECOND
    world.report(first)
    assert world.commands.heartbeat(second.id, OPERATOR).lease_until == world.clock.now() + 260 * SECOND
    world.clock.advance(200)
    assert world.commands.heartbeat(second.id, OPERATOR).lease_until == world.clock.now() + 160 * SECOND
    assert world.get(second).version == 2  # no transition


def test_only_what_runs_takes_a_heartbeat(world: World) -> None:
    waiting, lost = world.create(host="titan-02"), world.lost()
    done = world.running()
    world.report(done)
    for command, why in ((waiting, "never handed out"), (lost, "lease is over"), (done, "it is over")):
        with pytest.raises(Conflict, match=why):
            world.commands.heartbeat(command.id, OPERATOR)


def test_what_nobody_fetched_in_time_expires(world: World) -> None:
    world.commands.watch_over(world.clock.now())
    command = world.create(expires_in_seconds=3)
    world.pass_seconds(2)
    assert world.get(command).status == "pending"
    world.pass_seconds(1)
    expired = world.get(command)
    assert (expired.status, expired.reason) == ("timeout", "expired")
    assert world.updates(command)[-1]["reason"] == "expired"


def test_a_pause_of_egos_moves_leases_but_not_expiry(world: World) -> None:
    world.commands.watch_over(world.clock.now())
    running, waiting = world.running(), world.create(expires_in_seconds=60)
    before = running.lease_until
    world.clock.advance(600)
    world.restart()
    world.commands.watch_over(world.clock.now())
    assert before is not None
    assert world.get(running).lease_until == before + 10 * MINUTE
    assert world.get(waiting).reason == "expired"


def test_a_pause_of_5_seconds_moves_nothing(world: World) -> None:
    world.commands.watch_over(world.clock.now())
    command = world.running()
    world.commands.watch_over(world.clock.advance(5))
    assert world.get(command).lease_until == command.lease_until


def test_a_clock_that_was_set_back_across_a_restart_takes_leases_along(world: World) -> None:
    world.commands.watch_over(world.clock.now())
    command = world.running()
    world.commands.watch_over(world.clock.advance(-3_600))
    lease_until = world.get(command).lease_until
    assert lease_until == world.clock.now() + 90 * SECOND
    done, _ = world.report(command)
    assert done.completed_at is not None
    assert done.completed_at >= (done.started_at or 0) >= done.requested_at


def test_more_than_one_portion_is_reaped_at_once(world: World) -> None:
    for host in range(12):
        for _ in range(100):
            world.create(host=f"titan-{host}", expires_in_seconds=1)
    world.commands.watch_over(world.clock.advance(1))
    assert {update["reason"] for update in world.updates()[1200:]} == {"expired"}
    assert len(world.updates()) == 2400


def test_what_has_been_over_for_30_days_is_removed(world: World) -> None:
    done, waiting = world.running(), world.create(expires_in_seconds=30 * 86_400)
    world.commands.append_output(done.id, Chunk(0, "stdout", "x"), OPERATOR)
    world.report(done)
    lost = world.lost(host="titan-02")
    world.commands.append_output(world.running(host="titan-03").id, Chunk(0, "stdout", "x"), OPERATOR)
    world.clock.advance(30 * 86_400 - 100)
    world.commands.prune(world.clock.now())
    assert world.commands.page({}, 1, 20, OPERATOR)[1] == 4
    world.clock.advance(99)
    world.commands.prune(world.clock.now())
    left, total = world.commands.page({}, 1, 20, OPERATOR)
    assert total == 3
    assert {command.id for command in left} >= {waiting.id, lost.id}
    world.clock.advance(100)
    world.commands.prune(world.clock.now())
    left, total = world.commands.page({}, 1, 20, OPERATOR)
    assert {command.status for command in left} == {"pending", "running"}
    assert world.sql("SELECT count(*) FROM command_events") == [(3,)]
    assert world.sql("SELECT count(*) FROM command_outputs") == [(1,)]
