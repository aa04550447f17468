"""One command as a process: what is kept of its output, how it ends, and that none of its children outlives its end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.commands.domain import outcome_of
from mirror_stage.reflector import execution as module
from mirror_stage.reflector import family
from mirror_stage.reflector.execution import HEAD_BYTES, TAIL_BYTES, Ending, Execution, Kept
from mirror_stage.reflector.live import CHUNK_BYTES_MAX, Unsent
from tests.builders import unique_hostname
from tests.servers import wait_until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


def run(*argv: str, timeout_seconds: float = 20, hear: Callable[[str, bytes], None] = lambda *_: None) -> Ending:
    return Execution(unique_hostname("id"), argv, timeout_seconds, hear).run()


@pytest.mark.parametrize(
    ("script", "status", "exit_code", "stdout", "stderr"),
    [
        ("echo out; echo err >&2", "succeeded", 0, "out\n", "err\n"),
        ("exit 7", "failed", 7, "", ""),
        ("kill -9 $$", "failed", -9, "", ""),
        ("cat", "succeeded", 0, "", ""),
        (r"printf 'a\377b\0c'", "succeeded", 0, "a\ufffdb\0c", ""),
        ("exec >&- 2>&-; sleep 0.3; exit 4", "failed", 4, "", ""),
        ("printf 한글", "succeeded", 0, "한글", ""),
    ],
)
def test_an_end_is_reported_as_it_was(script: str, status: str, exit_code: int, stdout: str, stderr: str) -> None:
    ending = run("/bin/sh", "-c", script)
    assert (ending.status, ending.reason, ending.exit_code) == (status, None, exit_code)
    assert (ending.stdout.text(), ending.stderr.text()) == (stdout, stderr)
    assert outcome_of(ending.to_result()).status == status


@pytest.mark.parametrize(
    ("program", "exit_code", "said"),
    [("no-such-program", 127, "there is no such program"), ("/etc/passwd", 126, "Permission denied")],
)
def test_what_cannot_be_run_failed_and_says_why(program: str, exit_code: int, said: str) -> None:
    ending = run(program)
    assert (ending.status, ending.reason, ending.exit_code) == ("failed", None, exit_code)
    assert said in ending.stderr.text()


def test_a_quick_command_is_not_waited_for_longer_than_it_takes() -> None:
    began = time.monotonic()
    for _ in range(10):
        assert run("true").status == "succeeded"
    assert time.monotonic() - began < 0.6, "a tick is 0.1 s"


def test_output_is_heard_while_it_runs() -> None:
    heard: list[tuple[str, bytes]] = []
    execution = Execution("live", ["/bin/sh", "-c", "echo one; sleep 60"], 60, lambda *part: heard.append(part))
    thread = threading.Thread(target=execution.run)
    thread.start()
    wait_until(lambda: heard == [("stdout", b"one\n")])
    execution.stop("cancelled")
    thread.join(5)
    assert not thread.is_alive()


def test_a_timeout_ends_it_with_what_it_has_printed() -> None:
    ending = run("/bin/sh", "-c", "echo begun; sleep 60", timeout_seconds=0.3)
    assert (ending.status, ending.reason, ending.exit_code) == ("timeout", "exec_timeout", -15)
    assert ending.stdout.text() == "begun\n"
    assert ending.duration_seconds == pytest.approx(0.4, abs=0.3)


def test_who_does_not_listen_to_term_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.5)
    execution = Execution("deaf", [sys.executable, "-c", STUBBORN], 60, lambda *_: execution.stop("cancelled", 0.5))
    began = time.monotonic()
    ending = execution.run()
    assert (ending.status, ending.reason, ending.exit_code) == ("failed", "cancelled", -9)
    assert 0.5 <= time.monotonic() - began < 3


@pytest.mark.parametrize(
    "script",
    [
        "sleep 61 & echo $! >pid; wait",
        "setsid sleep 61 & echo $! >pid; wait",
        "(setsid sh -c 'sleep 61 & echo $! >pid; wait' &) ; sleep 60",
        "sh -c \"trap '' TERM; echo \\$\\$ >pid; while :; do sleep 0.1; done\" & wait",
        "env -i sh -c 'sleep 61 & echo $! >pid; wait'",
    ],
    ids=["a child", "one in a session of its own", "a daemon", "one that ignores TERM", "one without environment"],
)
def test_no_child_outlives_a_cancel(script: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = script.replace(">pid", f">{pid_file}")
    execution = Execution(unique_hostname("family"), ["/bin/sh", "-c", script], 60, lambda *_: None)
    thread = threading.Thread(target=execution.run)
    thread.start()
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    child = psutil.Process(int(pid_file.read_text()))
    execution.stop("cancelled", 1.0)
    thread.join(6)
    assert not thread.is_alive()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_child_that_is_left_behind_on_purpose_neither_delays_the_end_nor_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    ending = run("/bin/sh", "-c", "sleep 20 & echo $!")
    assert ending.status == "succeeded"
    assert time.monotonic() - began < 2
    child = psutil.Process(int(ending.stdout.text()))
    assert child.is_running()
    child.kill()


def test_an_end_that_came_before_the_cancel_is_the_commands_own() -> None:
    execution = Execution("early", ["/bin/sh", "-c", "echo done"], 60, lambda *_: None)
    ending = execution.run()
    execution.stop("cancelled")
    assert (ending.status, ending.reason) == ("succeeded", None)


def test_what_a_dead_agent_has_left_is_found_by_its_mark() -> None:
    left = subprocess.Popen(["sleep", "63"], env=family.marked("orphan"), start_new_session=True)
    other = subprocess.Popen(["sleep", "63"], env=family.marked("another"), start_new_session=True)
    try:
        family.end(["orphan"], grace_seconds=2)
        assert left.wait(5) == -15
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_flood_is_counted_whole_and_kept_in_part() -> None:
    ending = run("/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end")
    assert ending.stdout.size_bytes == 3_000_004
    assert len(ending.stdout.text()) == HEAD_BYTES + TAIL_BYTES
    assert ending.stdout.text().endswith("xend\n")
    outcome = outcome_of(ending.to_result())
    assert (outcome.stdout.size_bytes, outcome.stdout.truncated) == (3_000_004, True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=30_000), max_size=8))
def test_of_any_output_both_ends_are_kept(parts: list[bytes]) -> None:
    kept, whole = Kept(), b"".join(parts)
    for part in parts:
        kept.add(part)
    assert kept.size_bytes == len(whole)
    if len(whole) <= HEAD_BYTES + TAIL_BYTES:
        assert kept.text() == whole.decode(errors="replace")


@settings(max_examples=40, deadline=None)
@given(st.text("a한😀", min_size=10, max_size=40), st.integers(100, 5000))
def test_a_cut_never_makes_a_broken_character(text: str, size: int) -> None:
    kept, whole = Kept(), (text * 1500).encode()
    for start in range(0, len(whole), size):
        kept.add(whole[start : start + size])
    shown = kept.text()
    assert "\ufffd" not in shown
    if len(whole) > HEAD_BYTES + TAIL_BYTES:
        assert HEAD_BYTES + TAIL_BYTES - 6 <= len(shown.encode()) <= HEAD_BYTES + TAIL_BYTES


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=20_000), max_size=6))
def test_a_live_chunk_is_never_too_large_and_ends_as_the_output_does(parts: list[bytes]) -> None:
    unsent = Unsent()
    for part in parts:
        unsent.add(part)
    text = unsent.take()
    assert len(text.encode()) <= CHUNK_BYTES_MAX
    assert not unsent
    whole = b"".join(parts).decode(errors="replace")
    assert whole.rstrip("\ufffd")[-50:].endswith(text.rstrip("\ufffd")[-50:]) or "not shown live" in text


def test_the_environment_of_the_agent_is_the_commands() -> None:
    assert run("/bin/sh", "-c", "echo $PATH").stdout.text().strip() == os.environ["PATH"]
