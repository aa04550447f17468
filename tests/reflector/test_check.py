"""`mirror-stage reflector check` reports each problem in plain words and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from mirror_stage.reflector import check
from mirror_stage.reflector.settings import Settings
from mirror_stage.reflector.state import StateFolder
from mirror_stage.reflector.uplink import Uplink
from tests.reflector.scripted_ego import Reply, ScriptedEgo, problem
from tests.servers import ROOT, free_port

INFO = {"twinId": "t", "version": "0.1.0"}


def run_check(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "reflector", "check", *flags]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REFLECTOR_")}
    return subprocess.run(
        command,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_with_an_ego_that_answers_all_findings_are_ok(scripted: ScriptedEgo, tmp_path: Path) -> None:
    known = {"status": "online", "lastSeen": "2026-11-24T15:00:00.000Z"}
    scripted.decide = lambda asked: Reply(200, INFO if asked.path == "/api/info" else known)
    ran = run_check("--ego", scripted.url, "--state-dir", str(tmp_path / "state"), "--hostname", "titan-01", "--json")
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["ok"]) == (0, True)
    assert [(row["check"], row["level"]) for row in report["checks"]] == [
        ("ego", "ok"), ("clock", "ok"), ("host", "ok"), ("commands", "ok"), ("state", "ok"),
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


REFUSED = problem(403)


@pytest.mark.parametrize(
    ("me", "level", "seen"),
    [
        ({"role": "agent", "name": "agent:titan-01"}, "ok", "takes what this agent reports"),
        ({"role": "agent", "name": None}, "ok", "takes what this agent reports"),  # by its account, on EGO's machine
        (
            {"role": "agent", "name": "agent:titan-02"},
            "problem",
            "takes the token for agent:titan-02, not for titan-01",
        ),
        ({"role": "nobody", "name": None}, "problem", "refuses this agent"),
    ],
)
def test_an_agent_that_may_only_report_is_told_whether_ego_takes_it(
    me: dict[str, str | None], level: str, seen: str, scripted: ScriptedEgo, tmp_path: Path
) -> None:
    scripted.decide = lambda asked: Reply(200, me) if asked.path == "/api/me" else REFUSED
    settings = Settings(hostname="titan-01", state_dir=tmp_path)
    (found,) = [each for each in check.examine(settings, scripted.url) if each.check == "ego"]
    assert found.level == level
    assert seen in found.seen


def test_an_ego_that_does_not_answer_is_a_problem_with_advice(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ran = run_check("--ego", url, "--state-dir", str(tmp_path), "--allow-commands")
    assert ran.returncode == 1
    assert f"{url} does not answer: Connection refused" in ran.stdout
    assert "→ is EGO running" in ran.stdout
    assert "EGO may have everything run here" in ran.stdout


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"hello": 1}),
        Reply(200, b"<html>", kind="text/html"),
        Reply(404, b"", kind="text/html"),
        problem(421),
    ],
)
def test_another_server_at_that_address_is_a_problem(reply: Reply, scripted: ScriptedEgo) -> None:
    scripted.decide = lambda _asked: reply
    found = check.reachable(scripted.url, Uplink(scripted.url).get("/api/info"))
    assert (found.level, "port and path" in found.advice) == ("problem", True)


@pytest.mark.parametrize(
    ("seconds", "level", "said"),
    [
        (0, "ok", "agrees"),
        (1.4, "ok", "agrees"),
        (-20, "warning", "20 s behind EGO's"),
        (90, "warning", "90 s ahead of EGO's"),
        (4000, "problem", "4,000 s ahead of EGO's"),
    ],
)
def test_a_wrong_clock_is_reported_as_behind_or_ahead(seconds: float, level: str, said: str) -> None:
    there = datetime(2026, 11, 24, 15, tzinfo=UTC)
    here = (there + timedelta(seconds=0.5 + seconds)).timestamp()
    found = check.clock(format_datetime(there, usegmt=True), here)
    assert found.level == level
    assert said in found.seen


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_time_is_no_problem(date: str | None) -> None:
    assert check.clock(date, 0.0).level == "warning"


def test_a_new_host_is_fine(scripted: ScriptedEgo) -> None:
    scripted.decide = lambda _asked: problem(404)
    assert check.known("new", Uplink(scripted.url).get("/api/hosts/new")).level == "ok"


def test_the_command_policy_is_shown_and_a_shell_for_all_commands_is_a_warning() -> None:
    assert check.commands(Settings()).seen.startswith("off")
    assert "2 patterns" in check.commands(Settings(command_policy="allow_list", command_allow=("a", "b"))).seen
    assert check.commands(Settings(command_policy="all", command_shell=True)).level == "warning"


def test_a_running_agent_and_its_backlog_are_seen(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "000000000001.samples").write_bytes(b"x" * 5000)
    assert "no agent runs" in check.state(Settings(state_dir=tmp_path)).seen
    held = StateFolder(tmp_path)
    assert (
        check.state(Settings(state_dir=tmp_path)).seen == f"an agent runs with {tmp_path}; 5 kB of samples wait in it"
    )
    held.release()


def test_a_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert check.state(Settings(state_dir=tmp_path / "file" / "state")).level == "problem"


def test_patterns_that_allow_more_than_they_seem_to_are_a_warning() -> None:
    allow = ("uptime", "sudo *", "cat /var/log/*", "bash -c *")
    found = check.risky(Settings(command_policy="allow_list", command_allow=allow))
    assert [(row.level, row.seen.split("'")[1]) for row in found] == [("warning", "sudo *"), ("warning", "bash -c *")]
    assert check.risky(Settings(command_policy="allow_list", command_allow=allow, command_shell=True)) == []
    assert check.risky(Settings(command_policy="all", command_allow=allow)) == []
