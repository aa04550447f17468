"""`mirror-stage run`: a command on a host from the shell, and how commands of EGO's own machine ask a locked EGO."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.security.credentials import bearer, run, token_of
from tests.servers import ROOT, EgoServer, running_ego, wait_until

HOST = "titan-02"


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """It speaks https with its own certificate, and asks everybody for a credential."""
    with running_ego(
        tmp_path_factory.mktemp("ego"), {"MIRROR_STAGE_SECURITY": "strict", "MIRROR_STAGE_TLS": "on"}
    ) as server:
        yield server


@pytest.fixture(scope="module")
def agent(ego: EgoServer) -> dict[str, str]:
    """The headers of the host's agent."""
    return bearer(token_of(ego, f"--agent {HOST}")[1])


def claimed(ego: EgoServer, agent: dict[str, str]) -> dict[str, Any]:
    """The next command of the host."""

    def pending() -> Any:
        return ego.get(f"/api/commands/pending/{HOST}", headers=agent, params={"wait": 10}).json()

    return dict(wait_until(pending, 60, what="the command is queued")[0])


def end(ego: EgoServer, agent: dict[str, str], id: str, **result: Any) -> None:
    assert ego.post(f"/api/commands/{id}/result", headers=agent, json=result).status_code == 201


def started(ego: EgoServer, *words: str) -> subprocess.Popen[str]:
    listening = ["env", "--default-signal=INT"]  # a shell's background job ignores Ctrl-C
    command = [*listening, sys.executable, "-m", "mirror_stage.runtime.cli", "run", *words]
    environment = ego.environment | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ego.folder, env=environment, stdout=-1, stderr=-1, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit status, stdout and stderr."""
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def test_the_output_and_the_end_of_a_command_come_back(ego: EgoServer, agent: dict[str, str]) -> None:
    process = started(ego, "--timeout", "7", HOST, "grep", "-r", "a b", "/srv")
    command = claimed(ego, agent)
    assert (command["command"], command["timeoutSeconds"]) == ("grep -r 'a b' /srv", 7)
    end(ego, agent, command["id"], status="succeeded", exitCode=0, stdout="one\ntwo\n")
    assert ended(process) == (0, "one\ntwo\n", "")

    process = started(ego, HOST, "--", "sh -c 'exit 3'")
    command = claimed(ego, agent)
    assert command["command"] == "sh -c 'exit 3'"
    end(ego, agent, command["id"], status="failed", exitCode=3, stderr="no\n")
    assert ended(process) == (1, "", f"no\nmirror-stage: {HOST}: failed (exit code 3)\n")

    process = started(ego, "--json", HOST, "uptime")
    end(ego, agent, claimed(ego, agent)["id"], status="failed", reason="rejected")
    status, told, _ = ended(process)
    assert (status, json.loads(told)["reason"]) == (1, "rejected")


def test_ctrl_c_cancels_the_command(ego: EgoServer, agent: dict[str, str]) -> None:
    headers = bearer(token_of(ego, "--role operator")[1])

    def queued() -> list[dict[str, Any]]:
        return list(ego.get("/api/commands", headers=headers, params={"search": "sleep 500"}).json()["items"])

    process = started(ego, HOST, "sleep", "500")
    wait_until(queued, 30, what="the command is queued")
    process.send_signal(signal.SIGINT)
    assert ended(process) == (1, "", "mirror-stage: the command is cancelled\n")
    assert [(each["status"], each["reason"]) for each in queued()] == [("failed", "cancelled")]


def test_no_token_is_left_behind(ego: EgoServer) -> None:
    def tokens() -> list[str]:
        return [each["id"] for each in json.loads(run(ego, "tokens list --json")) if each["revokedAt"] is None]

    before = tokens()
    assert "alerts export" in run(ego, "alerts export")
    assert "no host matches" in run(ego, "hosts forget --where nobody --yes", 1)
    assert tokens() == before


def test_what_cannot_be_run_is_said(ego: EgoServer) -> None:
    assert "say what to run" in run(ego, f"run {HOST}", 2)
    assert "enrolled" in run(ego, "run --wait 5 stranger uptime", 1)
    assert "600" in run(ego, f"run --timeout 601 {HOST} uptime", 1)
    assert "does not answer" in run(ego, f"run --ego http://127.0.0.1:9 {HOST} uptime", 1)


def test_a_restart_of_ego_loses_no_result(ego: EgoServer, agent: dict[str, str]) -> None:
    process = started(ego, HOST, "uptime")
    command = claimed(ego, agent)
    ego.stop()
    ego.start()
    end(ego, agent, command["id"], status="succeeded", exitCode=0, stdout="up\n")
    assert ended(process) == (0, "up\n", "")
