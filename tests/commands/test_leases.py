"""Leases and expiry: by EGO's clock, never early, and no lease ends because EGO was down."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import job
from mirror_stage.commands.domain import Chunk
from mirror_stage.commands.schemas import event_on_wire
from mirror_stage.commands.service import REAP_AT_ONCE
from mirror_stage.core.instants import MINUTE, SECOND
from mirror_stage.core.problems import Conflict
from tests.commands.bench import OPERATOR, CommandBench


def test_a_command_past_its_lease_is_lost(bench: CommandBench) -> None:
    bench.commands.watch_over(bench.clock.now())
    command = bench.running(timeout_seconds=30)
    bench.pass_seconds(89)
    assert bench.get(command).status == "running"
    bench.pass_seconds(1)
    lost = bench.get(command)
    assert (lost.status, lost.reason, lost.lease_until) == ("timeout", "lost", None)
    event = bench.commands.events_of(command.id, OPERATOR)[-1]
    assert (event.name, event.actor) == ("lost", "ego")
    assert bench.updates(command)[-1]["reason"] == "lost"


def test_a_job_is_recorded_by_its_name_and_shown_as_ego(bench: CommandBench) -> None:
    command = bench.create(expires_in_seconds=1)
    bench.clock.advance(2)
    bench.commands.watch_over(bench.clock.now(), job("watch_over_commands"))
    event = bench.commands.events_of(command.id, OPERATOR)[-1]
    assert (event.name, event.actor) == ("expired", "job:watch_over_commands")
    assert event_on_wire(event)["actor"] == "ego"


def test_a_heartbeat_extends_the_lease_and_never_shortens_it(bench: CommandBench) -> None:
    for _ in range(2):
        bench.create(timeout_seconds=100)
    first, second = bench.claim()
    bench.clock.advance(10)
    assert bench.commands.heartbeat(second.id, OPERATOR).lease_until == bench.clock.now() + 260 * SECOND
    bench.report(first)
    assert bench.commands.heartbeat(second.id, OPERATOR).lease_until == bench.clock.now() + 260 * SECOND
    bench.clock.advance(200)
    assert bench.commands.heartbeat(second.id, OPERATOR).lease_until == bench.clock.now() + 160 * SECOND
    assert bench.get(second).version == 2  # no transition


def test_only_a_running_command_takes_a_heartbeat(bench: CommandBench) -> None:
    waiting, lost = bench.create(host="titan-02"), bench.lost()
    done = bench.running()
    bench.report(done)
    for command, why in ((waiting, "never handed out"), (lost, "lease is over"), (done, "it is over")):
        with pytest.raises(Conflict, match=why):
            bench.commands.heartbeat(command.id, OPERATOR)


def test_a_command_that_nobody_fetched_in_time_expires(bench: CommandBench) -> None:
    bench.commands.watch_over(bench.clock.now())
    command = bench.create(expires_in_seconds=3)
    bench.pass_seconds(2)
    assert bench.get(command).status == "pending"
    bench.pass_seconds(1)
    expired = bench.get(command)
    assert (expired.status, expired.reason) == ("timeout", "expired")
    assert bench.updates(command)[-1]["reason"] == "expired"


def test_a_pause_of_ego_moves_leases_but_not_expiry(bench: CommandBench) -> None:
    bench.commands.watch_over(bench.clock.now())
    running, waiting = bench.running(), bench.create(expires_in_seconds=60)
    before = running.lease_until
    bench.clock.advance(600)
    bench.restart()
    bench.commands.watch_over(bench.clock.now())
    assert before is not None
    assert bench.get(running).lease_until == before + 10 * MINUTE
    assert bench.get(waiting).reason == "expired"


def test_a_pause_of_5_seconds_moves_nothing(bench: CommandBench) -> None:
    bench.commands.watch_over(bench.clock.now())
    command = bench.running()
    bench.commands.watch_over(bench.clock.advance(5))
    assert bench.get(command).lease_until == command.lease_until


def test_a_clock_that_was_set_back_across_a_restart_moves_leases_back(bench: CommandBench) -> None:
    bench.commands.watch_over(bench.clock.now())
    command = bench.running()
    bench.commands.watch_over(bench.clock.advance(-3_600))
    lease_until = bench.get(command).lease_until
    assert lease_until == bench.clock.now() + 90 * SECOND
    done, _ = bench.report(command)
    assert done.completed_at is not None
    assert done.completed_at >= (done.started_at or 0) >= done.requested_at


def test_all_expired_commands_are_reaped_even_if_they_are_more_than_one_portion(bench: CommandBench) -> None:
    count = 2 * REAP_AT_ONCE + 1
    for _ in range(count):
        bench.create(expires_in_seconds=1)
    bench.commands.watch_over(bench.clock.advance(1))
    assert {update["reason"] for update in bench.updates()[count:]} == {"expired"}
    assert len(bench.updates()) == 2 * count


def test_a_command_that_ended_30_days_ago_is_removed(bench: CommandBench) -> None:
    done, waiting = bench.running(), bench.create(expires_in_seconds=30 * 86_400)
    bench.commands.append_output(done.id, Chunk(0, "stdout", "x"), OPERATOR)
    bench.report(done)
    lost = bench.lost(host="titan-02")
    bench.commands.append_output(bench.running(host="titan-03").id, Chunk(0, "stdout", "x"), OPERATOR)
    bench.clock.advance(30 * 86_400 - 100)
    bench.commands.prune(bench.clock.now())
    assert bench.commands.page({}, 1, 20, OPERATOR)[1] == 4
    bench.clock.advance(99)
    bench.commands.prune(bench.clock.now())
    left, total = bench.commands.page({}, 1, 20, OPERATOR)
    assert total == 3
    assert {command.id for command in left} >= {waiting.id, lost.id}
    bench.clock.advance(100)
    bench.commands.prune(bench.clock.now())
    left, total = bench.commands.page({}, 1, 20, OPERATOR)
    assert {command.status for command in left} == {"pending", "running"}
    assert bench.sql("SELECT count(*) FROM command_events") == [(3,)]
    assert bench.sql("SELECT count(*) FROM command_outputs") == [(1,)]
