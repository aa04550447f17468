"""One command as a process: which output is kept, how the command ends, and what happens to its child processes."""

from __future__ import annotations

import codecs
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror_stage.commands.domain import outcome_of
from mirror_stage.core.outputs import HEAD_BYTES, KEPT_BYTES, TAIL_BYTES
from mirror_stage.reflector import adopted, family, leftovers
from mirror_stage.reflector import execution as module
from mirror_stage.reflector.execution import Ending, Execution, Kept
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
def test_the_exit_code_and_the_output_are_reported(
    script: str, status: str, exit_code: int, stdout: str, stderr: str
) -> None:
    ending = run("/bin/sh", "-c", script)
    assert (ending.status, ending.reason, ending.exit_code) == (status, None, exit_code)
    assert (ending.stdout.text(), ending.stderr.text()) == (stdout, stderr)
    assert outcome_of(ending.to_result()).status == status


@pytest.mark.parametrize(
    ("program", "exit_code", "said"),
    [("no-such-program", 127, "there is no such program"), ("/etc/passwd", 126, "Permission denied")],
)
def test_a_command_that_cannot_be_started_fails_and_stderr_says_why(program: str, exit_code: int, said: str) -> None:
    ending = run(program)
    assert (ending.status, ending.reason, ending.exit_code) == ("failed", None, exit_code)
    assert said in ending.stderr.text()


def test_a_quick_command_is_reported_as_soon_as_it_ends() -> None:
    took = []
    for _ in range(10):
        began = time.monotonic()
        assert run("true").status == "succeeded"
        took.append(time.monotonic() - began)
    assert min(took) < 0.09, "the agent must not wait for its tick of 0.1 s"


def test_output_is_passed_on_while_the_command_runs() -> None:
    heard: list[tuple[str, bytes]] = []
    execution = Execution("live", ["/bin/sh", "-c", "echo one; sleep 60"], 60, lambda *part: heard.append(part))
    thread = threading.Thread(target=execution.run)
    thread.start()
    wait_until(lambda: heard == [("stdout", b"one\n")])
    execution.stop("cancelled")
    thread.join(5)
    assert not thread.is_alive()


def test_a_timeout_ends_a_command_and_keeps_its_output() -> None:
    ending = run("/bin/sh", "-c", "echo begun; sleep 60", timeout_seconds=0.3)
    assert (ending.status, ending.reason, ending.exit_code) == ("timeout", "exec_timeout", -15)
    assert ending.stdout.text() == "begun\n"
    assert ending.duration_seconds == pytest.approx(0.4, abs=0.3)


def test_a_process_that_ignores_term_is_killed_after_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert time.monotonic() - began < 10  # not 20
    child = psutil.Process(int(ending.stdout.text()))
    assert child.is_running()
    child.kill()


def test_a_command_that_ended_before_the_cancel_keeps_its_own_result() -> None:
    execution = Execution("early", ["/bin/sh", "-c", "echo done"], 60, lambda *_: None)
    ending = execution.run()
    execution.stop("cancelled")
    assert (ending.status, ending.reason) == ("succeeded", None)


def test_processes_with_the_mark_of_a_command_are_ended_and_others_are_not() -> None:
    left = subprocess.Popen(["sleep", "63"], env=family.environment_for("orphan"), start_new_session=True)
    other = subprocess.Popen(["sleep", "63"], env=family.environment_for("another"), start_new_session=True)
    try:
        family.end(["orphan"], grace_seconds=2)
        assert left.wait(5) == -15
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_all_bytes_of_a_large_output_are_counted_and_a_part_is_kept() -> None:
    ending = run("/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end")
    assert ending.stdout.size_bytes == 3_000_004
    note = f"\n[{3_000_004 - HEAD_BYTES - TAIL_BYTES} bytes are left out here]\n"
    assert ending.stdout.text()[HEAD_BYTES:-TAIL_BYTES] == note
    assert ending.stdout.text().endswith("xend\n")
    outcome = outcome_of(ending.to_result())
    assert (outcome.stdout.size_bytes, outcome.stdout.truncated) == (3_000_004, True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=30_000), max_size=8))
def test_short_output_is_kept_whole_and_no_kept_text_is_too_long(parts: list[bytes]) -> None:
    kept, whole = Kept(), b"".join(parts)
    for part in parts:
        kept.add(part)
    assert kept.size_bytes == len(whole)
    text = kept.text()
    assert len(text.encode()) <= KEPT_BYTES, "EGO must not cut the text again"
    decoded = whole.decode(errors="replace")
    if len(whole) <= HEAD_BYTES + TAIL_BYTES and len(decoded.encode()) <= KEPT_BYTES:
        assert text == decoded


@settings(max_examples=40, deadline=None)
@given(st.text("a한😀", min_size=10, max_size=40), st.integers(100, 5000))
def test_a_cut_never_makes_a_broken_character(text: str, size: int) -> None:
    kept, whole = Kept(), (text * 1500).encode()
    for start in range(0, len(whole), size):
        kept.add(whole[start : start + size])
    shown = kept.text()
    assert "\ufffd" not in shown
    if len(whole) > HEAD_BYTES + TAIL_BYTES:
        head, note, tail = re.split("\n(.*)\n", shown)
        assert HEAD_BYTES + TAIL_BYTES - 6 <= len((head + tail).encode()) <= HEAD_BYTES + TAIL_BYTES
        assert note == f"[{len(whole) - len((head + tail).encode())} bytes are left out here]"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1000, 40_000))
def test_a_cut_lies_between_whole_lines_and_says_how_much_is_missing(width: int, count: int) -> None:
    lines = [f"{number} {'한' * (number % width)}\n" for number in range(count)]
    kept, whole = Kept(), "".join(lines).encode()
    kept.add(whole)
    shown = kept.text().splitlines(keepends=True)
    if len(whole) <= HEAD_BYTES + TAIL_BYTES:
        assert shown == lines
        return
    (place,) = [place for place, line in enumerate(shown) if line.startswith("[")]
    head, tail = shown[:place], shown[place + 1 :]
    assert head == lines[: len(head)]
    assert tail == lines[-len(tail) :]
    missing = len("".join(lines[len(head) : -len(tail)]).encode())
    assert shown[place] == f"[{missing} bytes are left out here]\n"
    assert (
        outcome_of({"status": "succeeded", "stdout": kept.text(), "stdoutBytes": len(whole)}).stdout.text == kept.text()
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=20_000), max_size=6))
@example([b"one line\n" * 1000, b"x" * 10_000])
@example([b"x" * 10_000, b"one line\n" * 1000])
def test_a_live_chunk_is_never_too_large_and_keeps_the_end_of_the_output(parts: list[bytes]) -> None:
    unsent = Unsent()
    for part in parts:
        unsent.add(part)
    text = unsent.take()
    assert len(text.encode()) <= CHUNK_BYTES_MAX
    assert not unsent
    whole = codecs.getincrementaldecoder("utf-8")("replace").decode(
        b"".join(parts)
    )  # without half a character at the end
    if len(whole.encode()) <= CHUNK_BYTES_MAX:
        assert text == whole
        return
    _, note, end = text.rpartition(" bytes are left out here]\n")
    assert note
    assert whole.endswith(end)
    assert len(end.encode()) > CHUNK_BYTES_MAX // 2 - 200


def test_a_command_gets_the_path_and_the_language_of_the_agent_but_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["REFLECTOR_EGO", "MIRROR_STAGE_DB_URL", "PYTHONPATH", "http_proxy"]
    units = ["NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "MAINPID", "WATCHDOG_USEC"]
    credentials = ["CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD"]
    secrets = [*settings, *units, *credentials]
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.delenv("HOME", raising=False)
    shown = dict(line.split("=", 1) for line in run("env").stdout.text().splitlines())
    assert {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "ko_KR.UTF-8", "LC_TIME": "C"}.items() <= shown.items()
    assert shown[family.MARK].startswith("id")
    assert not set(secrets) & set(shown)


def test_a_command_gets_the_umask_that_the_agent_was_started_with() -> None:
    execution = Execution("umask", ["/bin/sh", "-c", "umask"], 20, lambda *_: None, umask=0o027)
    assert execution.run().stdout.text().strip() == "0027"


@pytest.mark.parametrize(
    ("script", "exit_code", "name"),
    [
        ("kill -9 $$", -9, "SIGKILL"),
        ("kill -15 $$", -15, "SIGTERM"),
        ("kill -36 $$", -36, "SIGRTMIN+2"),
        ("exit 137", 137, None),
        ("true", 0, None),
    ],
)
def test_the_signal_that_killed_a_command_is_named(script: str, exit_code: int, name: str | None) -> None:
    result = run("/bin/sh", "-c", script).to_result()
    assert (result["exitCode"], result["signal"]) == (exit_code, name)


# ---------------------------------------------------------------- processes left behind


def test_a_process_left_behind_is_not_killed_when_it_prints(tmp_path: Path) -> None:
    loop = f"for i in $(seq 80); do echo $i; echo $i >&2; sleep 0.02; done; echo done >{tmp_path}/end"
    ending = run("/bin/sh", "-c", f"({loop}) & echo started")
    assert (ending.status, ending.stdout.text().splitlines()[0]) == ("succeeded", "started")
    assert "a process was left behind" in ending.stderr.text()
    assert "for at most 24 hours" in ending.stderr.text()
    wait_until((tmp_path / "end").exists, what="the process left behind has finished")
    wait_until(lambda: not any(thread.name == "leftover" for thread in threading.enumerate()), what="its reader ends")


def test_a_process_left_behind_without_our_pipes_gets_no_message() -> None:
    ending = run("/bin/sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo started")
    assert (ending.status, ending.stderr.text()) == ("succeeded", "")


def test_the_time_limit_for_a_process_left_behind_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leftovers, "HOURS_MAX", 0.5 / 3600)
    script = f"trap 'echo told >{tmp_path}/end; exit' PIPE; while :; do echo x || exit; sleep 0.05; done"
    run("/bin/sh", "-c", f"({script}) & echo started")
    wait_until((tmp_path / "end").exists, what="the agent has closed its output")


def test_the_number_of_leftovers_that_are_read_from_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_places", threading.BoundedSemaphore(1))
    first = run("/bin/sh", "-c", "sleep 20 & echo $!")
    second = run("/bin/sh", "-c", "sleep 20 & echo $!")
    for ending in (first, second):
        os.kill(int(ending.stdout.text()), 9)
    assert "is thrown away" in first.stderr.text()
    assert "its output is closed" in second.stderr.text()


# ---------------------------------------------------------------- orphans

ORPHANS = """
import sys, time
from ctypes import CDLL
from mirror_stage.reflector import adopted
from mirror_stage.reflector.execution import Execution
import subprocess, psutil
CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: this process adopts orphans, as process 1 of a container does
own = subprocess.Popen(["sh", "-c", "exit 5"])  # the collector also starts processes
for n in range(8):
    script = "(sleep 0.1 >/dev/null 2>&1 &) ; (setsid sleep 0.1 >/dev/null 2>&1 &) ; exit 3"
    ending = Execution(str(n), ["sh", "-c", script], 5, lambda *_: None).run()
    assert ending.exit_code == 3, ending
until = time.monotonic() + 5
zombies = lambda: [p for p in psutil.Process().children() if p.status() == "zombie" and p.pid != own.pid]
while len(zombies()) < 16 and time.monotonic() < until:
    time.sleep(0.05)
before = len(zombies())
assert own.wait() == 5  # this child ended first and must still be there
print(before, adopted.reap(), len(zombies()))
"""


def test_orphans_are_reaped_and_the_agents_own_children_are_not() -> None:
    ran = subprocess.run([sys.executable, "-c", ORPHANS], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.split() == ["16", "16", "0"], ran.stderr


def test_reaping_orphans_loses_no_exit_status() -> None:
    is_over = threading.Event()

    def reap() -> None:
        while not is_over.is_set():
            adopted.reap()

    reaper = threading.Thread(target=reap)
    reaper.start()
    try:
        assert [run("/bin/sh", "-c", "exit 7").exit_code for _ in range(50)] == [7] * 50
    finally:
        is_over.set()
        reaper.join()
