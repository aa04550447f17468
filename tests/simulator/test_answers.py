"""Simulated command output looks like that of the real programs and has the figures of the sample."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.simulator.answers import LONGEST_SECONDS, PROGRAMS, Line, Script, answer
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.responder import CHUNK_CHARACTERS, Play
from mirror_stage.simulator.signals import Moment
from tests.simulator.fleets import BEGAN_AT, fleet_of

TITAN = next(machine for machine in fleet_of(60, 7).machines if machine.role == "titan")
SWITCH = next(machine for machine in fleet_of(60, 7).machines if machine.is_switch)
VITALS = Behaviour(TITAN).vitals(Moment(BEGAN_AT))


def run(command: str) -> Script:
    return answer(TITAN, VITALS, command)


def printed(script: Script, stream: str = "stdout") -> str:
    return "".join(line.text for line in script.lines if line.stream == stream)


@pytest.mark.parametrize(
    ("command", "exit_code", "seconds", "stdout", "stderr"),
    [
        ("true", 0, 0, "", ""),
        ("false", 1, 0, "", ""),
        ("hostname", 0, 0, "titan-01\n", ""),
        ("/usr/bin/whoami", 0, 0, "mirror-stage\n", ""),
        ("echo 'a  b' c", 0, 0, "a  b c\n", ""),
        ("sleep 2.5", 0, 2.5, "", ""),
        ("sleep 1m 1", 0, 61, "", ""),
        ("sleep soon", 1, 0, "", "sleep: invalid time interval 'soon'\n"),
        ("sleep 999999999d", 0, LONGEST_SECONDS, "", ""),
        ("sleep 1; echo a && echo b", 0, 1, "a\nb\n", ""),
        ("false && echo a; echo b", 0, 0, "b\n", ""),
        ("ls /nowhere", 2, 0, "", "ls: cannot access '/nowhere': No such file or directory\n"),
        ("cat /etc/shadow", 1, 0, "", "cat: /etc/shadow: No such file or directory\n"),
        ("systemctl is-active ray", 0, 0, "active\n", ""),
        ("systemctl is-active nginx", 3, 0, "inactive\n", ""),
        ("systemctl status nginx", 4, 0, "", "Unit nginx.service could not be found.\n"),
        ("frobnicate --now", 127, 0, "", "bash: line 1: frobnicate: command not found\n"),
        ("", 0, 0, "", ""),
    ],
)
def test_a_simulated_command_has_the_expected_exit_code_duration_and_output(
    command: str, exit_code: int, seconds: float, stdout: str, stderr: str
) -> None:
    script = run(command)
    assert (script.exit_code, script.seconds) == (exit_code, seconds)
    assert (printed(script), printed(script, "stderr")) == (stdout, stderr)


def test_the_figures_of_an_answer_are_those_of_the_sample() -> None:
    assert f"load average: {VITALS.load_average:.2f}," in printed(run("uptime"))
    total, used, *_ = map(int, printed(run("free -b")).splitlines()[1].split()[1:])
    assert used / total == pytest.approx(VITALS.memory, abs=0.001)
    root = next(line for line in printed(run("df")).splitlines() if line.endswith(" /"))
    assert root.split()[4] == f"{round(100 * (TITAN.disks[0].fill + VITALS.disk_shift))}%"
    assert printed(run("nproc")) == f"{2 * TITAN.hardware.cores}\n"
    assert f"{VITALS.gpu_celsius:.0f}C" in printed(run("nvidia-smi"))
    assert answer(SWITCH, VITALS, "nvidia-smi").exit_code == 127


def test_a_slow_command_prints_while_it_runs() -> None:
    pings = run("ping -c 4 web-01")
    assert [line.after for line in pings.lines] == [0, 1, 2, 3]
    assert "4 packets transmitted, 4 received" in pings.lines[-1].text


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from([*PROGRAMS, "-c", "-l", "/", "&&", ";", "x", '"']))))
def test_every_command_line_has_an_answer(command: str | list[str]) -> None:
    script = run(command if isinstance(command, str) else " ".join(command))
    assert 0 <= script.exit_code <= 127
    assert [line.after for line in script.lines] == sorted(line.after for line in script.lines)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.integers(1, 3 * CHUNK_CHARACTERS)), max_size=6))
def test_the_chunks_of_a_command_are_its_output(pieces: list[tuple[str, int]]) -> None:
    play = Play(Script(tuple(Line(0.0, "x" * length, stream) for stream, length in pieces)), 10.0)
    play.go_on(0.0)
    told = {"stdout": "", "stderr": ""}
    numbers = []
    while (chunk := play.next_chunk()) is not None:
        assert len(chunk["data"]) <= CHUNK_CHARACTERS
        told[chunk["stream"]] += chunk["data"]
        numbers.append(chunk["seq"])
    assert numbers == list(range(1, len(numbers) + 1))
    assert told.items() <= play.ended(0.0).items()
