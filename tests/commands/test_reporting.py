"""Results: the first one wins, the same again is harmless, one late report may replace `lost`."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import Actor
from mirror_stage.commands.domain import OUTCOMES, Command
from mirror_stage.core.problems import Conflict, NotFound
from tests.commands.world import AGENT, OPERATOR, UNKNOWN, World, outcome


@pytest.mark.parametrize(("status", "reason"), sorted(OUTCOMES, key=str))
def test_every_outcome_ends_a_running_command(world: World, status: str, reason: str | None) -> None:
    command, is_first = world.report(world.running(), status, reason=reason, durationSeconds=1.5, exitCode=3)
    assert is_first
    assert (command.status, command.reason, command.late) == (status, reason, False)
    assert (command.exit_code, command.duration_seconds, command.lease_until) == (3, 1.5, None)
    assert command.completed_at == world.clock.now()
    assert world.updates(command)[-1]["status"] == status
    assert world.record(command)[-1] == (3, "reported")


def test_the_same_result_again_is_no_second_event(world: World) -> None:
    first, _ = world.report(world.running(), stdout="x" * 200_000)
    again, is_first = world.report(first, stdout="x" * 200_000)
    assert not is_first
    assert again == first
    assert len(world.updates(first)) == 3


@pytest.mark.parametrize(
    "other",
    [{"status": "failed"}, {"exitCode": 1}, {"stdout": "x" * 100_000 + "y" + "x" * 99_999}, {"stdoutBytes": 300_000}],
)
def test_a_different_result_is_refused_and_the_first_stays(world: World, other: dict[str, object]) -> None:
    first, _ = world.report(world.running(), stdout="x" * 200_000)
    with pytest.raises(Conflict, match="over, with another outcome"):
        world.report(first, **({"stdout": "x" * 200_000} | other))  # type: ignore[arg-type]
    assert world.get(first) == first


def test_a_command_that_was_never_handed_out_takes_no_result(world: World) -> None:
    waiting, cancelled, expired = world.create(), world.create(), world.create(expires_in_seconds=1)
    world.commands.cancel(cancelled.id, OPERATOR)
    world.pass_seconds(1)
    for command in (waiting, cancelled, expired):
        with pytest.raises(Conflict, match="never handed out"):
            world.report(command)


def test_an_unknown_command_takes_no_result(world: World) -> None:
    with pytest.raises(NotFound):
        world.commands.report(UNKNOWN, outcome(), AGENT)


def test_another_hosts_agent_finds_nothing(world: World) -> None:
    command = world.running()
    foreign = Actor("agent", "titan-02", "10.0.0.11", hostname="titan-02")
    for act in (
        lambda: world.commands.report(command.id, outcome(), foreign),
        lambda: world.commands.heartbeat(command.id, foreign),
        lambda: world.commands.cancel(command.id, foreign),
        lambda: world.commands.get(command.id, foreign),
    ):
        with pytest.raises(NotFound):
            act()
    assert world.get(command) == command
    own = Actor("agent", "titan-01", "10.0.0.10", hostname="titan-01")
    assert world.commands.report(command.id, outcome(), own)[1]


@pytest.fixture
def lost(world: World) -> Command:
    return world.lost()


def test_a_lost_command_takes_one_late_report(world: World, lost: Command) -> None:
    late, is_first = world.report(lost, "failed", stdout="late\n")
    assert (is_first, late.status, late.reason, late.late, late.stdout) == (True, "failed", None, True, "late\n")
    assert world.record(lost)[-2:] == [(3, "lost"), (4, "reported-late")]
    assert world.report(lost, "failed", stdout="late\n") == (late, False)
    with pytest.raises(Conflict):
        world.report(lost, "succeeded")


def test_a_late_report_may_itself_be_a_timeout(world: World, lost: Command) -> None:
    late, _ = world.report(lost, "timeout")
    assert (late.status, late.reason, late.late) == ("timeout", "exec_timeout", True)
    with pytest.raises(Conflict):
        world.report(lost, "succeeded")


def test_a_closed_command_takes_no_report(world: World, lost: Command) -> None:
    world.commands.cancel(lost.id, OPERATOR)
    with pytest.raises(Conflict):
        world.report(lost)


def test_a_result_is_taken_until_the_lease_was_found_to_be_over(world: World) -> None:
    command = world.running()
    world.clock.advance(3_000)
    assert not world.report(command)[0].late
