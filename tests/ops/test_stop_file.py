"""`mirror-stage reflector stop`: nothing runs on the host, whatever EGO says, until `resume`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from mirror_stage.reflector.commands import Commands
from mirror_stage.reflector.journal import Journal
from mirror_stage.reflector.policy import Allowed
from mirror_stage.reflector.stop_file import NAME, StopFile
from mirror_stage.reflector.uplink import Uplink
from tests.command_line import forked
from tests.reflector.processes import running_agent
from tests.reflector.scripted_ego import ScriptedEgo
from tests.reflector.test_commands import Queue, result
from tests.servers import ROOT, wait_until


def run(words: list[str], status: int = 0) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    ended = forked(["reflector", *words], cwd=Path("/"), env=environment, umask=0o077)
    assert ended.returncode == status, ended.stderr
    return ended.stdout + ended.stderr


def test_the_file_says_why_until_it_is_removed(tmp_path: Path) -> None:
    file = StopFile(tmp_path)
    assert file.reason() is None
    assert file.write("a  drill\nof \x1b[31mours")
    assert not file.write("another")
    assert file.reason() == "a drill of [31mours"
    assert file.remove()
    assert not file.remove()
    assert file.reason() is None


@pytest.mark.parametrize(
    "make", [Path.mkdir, lambda path: path.symlink_to("/etc/shadow"), lambda path: path.touch(0o000)]
)
def test_anything_with_that_name_stops_the_host_and_is_not_followed(make: Any, tmp_path: Path) -> None:
    make(tmp_path / NAME)
    assert StopFile(tmp_path).reason() == "no reason is given"
    assert not StopFile(tmp_path).write("why")


def test_another_account_can_read_the_file_and_the_command_changes_nothing_else(tmp_path: Path) -> None:
    said = run(["stop", "--state-dir", str(tmp_path), "--reason", "drill"])
    assert "commands are stopped on this host" in said
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o644
    assert "were stopped on this host already: drill" in run(["stop", "--state-dir", str(tmp_path)])
    assert "run on this host again" in run(["resume", "--state-dir", str(tmp_path)])
    assert "were not stopped" in run(["resume", "--state-dir", str(tmp_path)])
    assert "no agent has run with it" in run(["stop", "--state-dir", str(tmp_path / "none")], 1)


def test_a_stop_ends_what_runs_lets_nothing_follow_and_tells_ego(scripted: ScriptedEgo, tmp_path: Path) -> None:
    queue = Queue(scripted)
    with running_agent(tmp_path, scripted.url, "--allow-commands", "--interval-seconds", "1") as agent:
        running = queue.add("sleep 60", timeout_seconds=90)
        scripted.wait_for(f"{running}/heartbeat")
        began = monotonic()
        run(["stop", "--state-dir", str(agent.state), "--reason", "drill"])
        assert result(scripted, running)["reason"] == "cancelled"
        took = monotonic() - began
        queue.wait_for_polls_to_end()
        late = queue.add(f"touch {tmp_path}/marker")
        wait_until(lambda: _newest(scripted).get("command_policy") == "off", what="EGO hears of it")
        assert _newest(scripted)["tags"]["commands_stopped"] == "drill"
        agent.stop()
        agent.start()
        wait_until(lambda: "commands are stopped on this host: drill" in agent.log.rpartition("ended;")[2])
        polls = len(scripted.of("/pending/"))
        count = len(scripted.batches())
        wait_until(lambda: len(scripted.batches()) >= count + 3, what="samples go on")
        assert len(scripted.of("/pending/")) == polls, "it asks for no command"
        assert not (tmp_path / "marker").exists()
        run(["resume", "--state-dir", str(agent.state)])
        assert result(scripted, late)["status"] == "succeeded"
        wait_until(lambda: _newest(scripted).get("command_policy") == "all")
        assert "commands_stopped" not in (_newest(scripted).get("tags") or {})
        agent.stop()
    assert took < 12, "the command itself ends within its grace period"


def test_what_an_open_poll_brings_to_a_stopped_host_is_refused_with_the_reason(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    queue = Queue(scripted)
    commands = Commands(
        "titan-01", Uplink(scripted.url), Journal(tmp_path / "journal"), lambda _: Allowed(("true",)), concurrency=1
    )
    commands.start()
    try:
        wait_until(lambda: queue.polls)
        commands.obey("drill")
        refused = result(scripted, queue.add("true"))
        assert (refused["reason"], "stopped on this host (drill)" in refused["stderr"]) == ("rejected", True)
        commands.obey(None)
        assert result(scripted, queue.add("true"))["status"] == "succeeded"
    finally:
        commands.stop(2.0)


def _newest(scripted: ScriptedEgo) -> dict[str, Any]:
    batches = scripted.batches()
    return dict(batches[-1][-1]) if batches else {}
