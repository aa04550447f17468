"""Results: the first one wins, a repeat is harmless, one late report may replace `lost`."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import Actor
from mirror_stage.commands.domain import OUTCOMES, Command
from mirror_stage.core.problems import Conflict, NotFound
from tests.commands.bench import AGENT, OPERATOR, UNKNOWN, CommandBench, outcome


@pytest.mark.parametrize(("status", "reason"), sorted(OUTCOMES, key=str))
def test_every_outcome_ends_a_running_command(bench: CommandBench, status: str, reason: str | None) -> None:
    command, is_first = bench.report(bench.running(), status, reason=reason, durationSeconds=1.5, exitCode=3)
    assert is_first
    assert (command.status, command.reason, command.late) == (status, reason, False)
    assert (command.exit_code, command.duration_seconds, command.lease_until) == (3, 1.5, None)
    assert command.completed_at == bench.clock.now()
    assert bench.updates(command)[-1]["status"] == status
    assert bench.record(command)[-1] == (3, "reported")


def test_the_same_result_again_is_no_second_event(bench: CommandBench) -> None:
    first, _ = bench.report(bench.running(), stdout="x" * 200_000)
    again, is_first = bench.report(first, stdout="x" * 200_000)
    assert not is_first
    assert again == first
    assert len(bench.updates(first)) == 3


@pytest.mark.parametrize(
    "other",
    [{"status": "failed"}, {"exitCode": 1}, {"stdout": "x" * 100_000 + "y" + "x" * 99_999}, {"stdoutBytes": 300_000}],
)
def test_a_different_result_is_refused_and_the_first_stays(bench: CommandBench, other: dict[str, object]) -> None:
    first, _ = bench.report(bench.running(), stdout="x" * 200_000)
    with pytest.raises(Conflict, match="over, with another outcome"):
        bench.report(first, **({"stdout": "x" * 200_000} | other))  # type: ignore[arg-type]
    assert bench.get(first) == first


def test_a_command_that_was_never_handed_out_takes_no_result(bench: CommandBench) -> None:
    waiting, cancelled, expired = bench.create(), bench.create(), bench.create(expires_in_seconds=1)
    bench.commands.cancel(cancelled.id, OPERATOR)
    bench.pass_seconds(1)
    for command in (waiting, cancelled, expired):
        with pytest.raises(Conflict, match="never handed out"):
            bench.report(command)


def test_an_unknown_command_takes_no_result(bench: CommandBench) -> None:
    with pytest.raises(NotFound):
        bench.commands.report(UNKNOWN, outcome(), AGENT)


def test_an_agent_of_another_host_does_not_find_the_command(bench: CommandBench) -> None:
    command = bench.running()
    foreign = Actor("agent", "titan-02", "10.0.0.11", hostname="titan-02")
    for act in (
        lambda: bench.commands.report(command.id, outcome(), foreign),
        lambda: bench.commands.heartbeat(command.id, foreign),
        lambda: bench.commands.cancel(command.id, foreign),
        lambda: bench.commands.get(command.id, foreign),
    ):
        with pytest.raises(NotFound):
            act()
    assert bench.get(command) == command
    own = Actor("agent", "titan-01", "10.0.0.10", hostname="titan-01")
    assert bench.commands.report(command.id, outcome(), own)[1]


@pytest.fixture
def lost(bench: CommandBench) -> Command:
    return bench.lost()


def test_a_lost_command_takes_one_late_report(bench: CommandBench, lost: Command) -> None:
    late, is_first = bench.report(lost, "failed", stdout="late\n")
    assert (is_first, late.status, late.reason, late.late, late.stdout) == (True, "failed", None, True, "late\n")
    assert bench.record(lost)[-2:] == [(3, "lost"), (4, "reported-late")]
    assert bench.report(lost, "failed", stdout="late\n") == (late, False)
    with pytest.raises(Conflict):
        bench.report(lost, "succeeded")


def test_a_late_report_may_itself_be_a_timeout(bench: CommandBench, lost: Command) -> None:
    late, _ = bench.report(lost, "timeout")
    assert (late.status, late.reason, late.late) == ("timeout", "exec_timeout", True)
    with pytest.raises(Conflict):
        bench.report(lost, "succeeded")


def test_a_closed_command_takes_no_report(bench: CommandBench, lost: Command) -> None:
    bench.commands.cancel(lost.id, OPERATOR)
    with pytest.raises(Conflict):
        bench.report(lost)


def test_a_result_is_taken_until_the_lease_was_found_to_be_over(bench: CommandBench) -> None:
    command = bench.running()
    bench.clock.advance(3_000)
    assert not bench.report(command)[0].late
