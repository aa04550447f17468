"""Bugs that were reported for other command runners, tried on the agent. Each test names the report."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from mirror_stage.reflector import family
from mirror_stage.reflector.execution import Ending, Execution
from tests.builders import unique_hostname
from tests.reflector.processes import running_agent
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo
from tests.servers import wait_until


def run(*argv: str, timeout_seconds: float = 20) -> Ending:
    return Execution(unique_hostname("id"), argv, timeout_seconds, lambda *_: None).run()


def test_a_command_that_reads_stdin_gets_end_of_file_at_once() -> None:
    """Ylianst/MeshCentral 6076, rundeck/rundeck 1638: a command that reads stdin blocks the agent for ever."""
    began = time.monotonic()
    assert run("/bin/sh", "-c", "read answer || exit 5").exit_code == 5
    assert run(sys.executable, "-c", "input('Do you accept? [Y/n]')").exit_code == 1
    assert time.monotonic() - began < 5


def test_a_line_of_many_megabytes_does_not_block_a_command() -> None:
    """buildkite/agent 775: a line is too long for the scanner, and the job never ends."""
    ending = run("/bin/sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end")
    assert (ending.status, ending.stdout.size_bytes) == ("succeeded", 20_000_005)
    assert ending.stdout.text().endswith("x\nend\n")


def test_a_daemon_that_keeps_the_output_open_delays_nothing(tmp_path: Path) -> None:
    """buildkite/agent 2202, saltstack/salt 13861, aws/aws-codedeploy-agent 118: the job lasts as long as the daemon."""
    began = time.monotonic()
    ending = run("/bin/sh", "-c", f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 30' & echo started")
    assert (ending.status, ending.stdout.text()) == ("succeeded", "started\n")
    assert time.monotonic() - began < 3
    os.kill(int(wait_until((tmp_path / "pid").read_text)), 9)


def test_a_timeout_holds_although_a_child_has_the_output() -> None:
    """aws/aws-codedeploy-agent 118: neither the script's timeout nor the default one has an effect."""
    began = time.monotonic()
    ending = run("/bin/sh", "-c", "(trap '' TERM; while :; do sleep 1; done) & wait", timeout_seconds=0.5)
    assert ending.status == "timeout"
    assert time.monotonic() - began < 14, "the grace period is ten seconds"


def test_processes_with_unreadable_names_and_environments_do_not_hinder_a_cancel() -> None:
    """saltstack/salt 50829: after a process whose command line is not ASCII, no process can be ended."""
    odd = subprocess.Popen(
        [b"/bin/sh", b"-c", b"sleep 30; : \xff\xfe \xed\xa0\x80 \xec\x8b\x9c\xec\x8a\xa4\xed\x85\x9c"],
        env={b"\xff": b"\xfe", b"A": b"\xed\xa0\x80\n=", b"PATH": os.environb[b"PATH"]},
        start_new_session=True,
    )
    try:
        execution = Execution("odd", ["/bin/sh", "-c", "sleep 60"], 60, lambda *_: None)
        thread = threading.Thread(target=execution.run)
        thread.start()
        wait_until(lambda: family.living(["odd"]))
        execution.stop("cancelled")
        thread.join(5)
        assert not thread.is_alive()
        assert odd.poll() is None
    finally:
        os.killpg(odd.pid, 9)
        odd.wait()


def test_output_in_any_encoding_is_shown() -> None:
    """saltstack/salt 44536: with Latin-1 in the output, no output is shown at all."""
    assert run("printf", r"caf\351 \355\240\200 한글").stdout.text() == "caf\ufffd \ufffd\ufffd\ufffd 한글"


def test_output_does_not_end_silently_after_sixty_four_kilobytes() -> None:
    """gitlabhq/gitlab-ci 145, Ylianst/MeshCentral 4422: the output ends after 65,535 bytes, or in the middle."""
    whole = "".join(f"{number}\n" for number in range(1, 20_001))
    shown = run("seq", "20000").stdout.text()
    head, note, tail = shown.partition("[")[0], shown.partition("[")[2].partition("]\n")[0], shown.partition("]\n")[2]
    assert note == f"{len(whole) - len(head) - len(tail)} bytes are left out here"
    assert whole.startswith(head)
    assert whole.endswith(tail)


def test_a_pipe_inside_a_command_breaks_as_it_does_in_a_shell() -> None:
    """apple/cups 3399, netdata/netdata 23751: the agent ignores SIGPIPE, and so do all its commands."""
    ending = run("/bin/bash", "-c", "yes | head -n 1; echo ${PIPESTATUS[0]}")
    assert ending.stdout.text() == "y\n141\n"
    assert ending.stderr.text() == "", "no message about a broken pipe"


LIBC_SIGNALS = 0b11 << 31  # 32 and 33 belong to the C library: no program can set them, some shells leave them ignored

INHERITED = (
    "import os, signal, sys\n"
    "for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


def test_a_command_does_not_inherit_ignored_or_blocked_signals_and_its_failure_is_seen(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    """ralphlange/procServ 48, znc/znc 1590: a program inherits ignored signals, and then nobody can end it.

    An ignored SIGCHLD is worse: the agent cannot read exit codes, and failed commands look successful.
    """
    waiting = [
        {"id": "signals", "command": "grep -E '^Sig(Blk|Ign)' /proc/self/status", "timeoutSeconds": 30},
        {"id": "failed", "command": "sh -c 'exit 3'", "timeoutSeconds": 30},
    ]

    def decide(asked: Asked) -> Reply | None:
        if "/pending/" not in asked.path:
            return Reply(200, {}) if "/commands/" in asked.path else None
        handed, waiting[:] = list(waiting), []
        return Reply(200, handed)

    scripted.decide = decide
    prefix = (sys.executable, "-c", INHERITED)
    with running_agent(tmp_path, scripted.url, "--allow-commands", prefix=prefix) as agent:
        (signals,) = scripted.wait_for("/signals/result")
        (failed,) = scripted.wait_for("/failed/result")
        assert (failed.content["status"], failed.content["exitCode"]) == ("failed", 3)
        masks = [int(line.split()[1], 16) & ~LIBC_SIGNALS for line in signals.content["stdout"].splitlines()]
        assert masks == [0, 0], "no signal is blocked or ignored"
        assert agent.stop() < 2


def test_the_next_agent_ends_the_processes_that_a_killed_agent_has_left(scripted: ScriptedEgo, tmp_path: Path) -> None:
    """hashicorp/nomad 24219 and 5593: the supervisor dies, and its processes run on without anybody who knows them."""
    waiting = [
        {"id": "left", "command": f"sh -c 'setsid sleep 60 & echo $! >{tmp_path}/pid; wait'", "timeoutSeconds": 90}
    ]

    def decide(asked: Asked) -> Reply | None:
        if "/pending/" not in asked.path:
            return Reply(200, {}) if "/commands/" in asked.path else None
        handed, waiting[:] = list(waiting), []
        return Reply(200, handed)

    scripted.decide = decide
    with running_agent(tmp_path, scripted.url, "--allow-commands") as agent:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        left = psutil.Process(int((tmp_path / "pid").read_text()))
        agent.kill()
        assert left.is_running()
        agent.start()
        (reported,) = scripted.wait_for("/left/result")
        assert reported.content["reason"] == "agent_restarted"
        wait_until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)
        agent.stop()
