"""From the code to the first sample, with a real EGO that speaks https and trusts nobody: script, enrolment, agent, rotation."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mirror_stage.app  # noqa: F401  # each command is a fork, and need not import it again
from mirror_stage.reflector.credential import ROTATE_AFTER_SECONDS, load, save
from tests.command_line import forked
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the script is for root")


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    settings = {"MIRROR_STAGE_SECURITY": "strict", "MIRROR_STAGE_TLS": "on"}
    with running_ego(tmp_path_factory.mktemp("ego"), settings) as server:
        yield server


def run(ego: EgoServer, words: str) -> str:
    """What a command prints, at EGO's own machine."""
    ended = forked(words.split(), cwd=ego.folder, env=ego.environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def pins(ego: EgoServer) -> dict[str, str]:
    """The pins that `tls show` prints."""
    shown: dict[str, str] = json.loads(run(ego, "tls show --json"))["certificate"]
    return shown


def agent_of(ego: EgoServer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(ego, "agents list --json"))[0]
    return found


def pasted(line: str, folder: Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """What the line does that EGO prints, with the folders of this test instead of those of the machine."""
    words = f"--hostname titan-01 --state-dir {folder}/state --config {folder}/etc/reflector.toml"
    (folder / "opt").mkdir(exist_ok=True)
    moved = (
        f"sed -e 's#^home=.*#home={folder}/opt/mirror-stage#' -e 's#reflector enroll#& {words}#'"
        f" -e 's#/run/systemd/system#/nowhere#' -e 's#PATH=#&{Path(sys.executable).resolve().parent}:#'"
    )
    return subprocess.run(
        [*prefix, "sh", "-c", line.replace("| sudo sh", f"| {moved} | sh")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_pasted_line_enrols_a_host_whose_agent_reports_and_rotates_its_token(ego: EgoServer, tmp_path: Path) -> None:
    line = json.loads(run(ego, "enroll code --json"))["line"]
    done = pasted(line, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "enrolled as titan-01" in done.stdout
    assert pins(ego)["rootPin"] in done.stdout
    program, settings = tmp_path / "opt/mirror-stage/bin/mirror-stage", str(tmp_path / "etc/reflector.toml")
    state = tmp_path / "state"
    own = ["--config", settings, "--state-dir", str(state)]
    checked = subprocess.run([program, "reflector", "check", *own], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert "enrolled as titan-01 since" in checked.stdout
    kept = load(state)
    assert kept is not None
    save(state, replace(kept, since=time.time() - ROTATE_AFTER_SECONDS - 60))
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen([program, "reflector", "run", *own], stdout=log, stderr=log)
    try:
        wait_until(lambda: agent_of(ego)["generation"] == 2, 20, 0.5, "the token is rotated")
        wait_until(lambda: (load(state) or kept).former is None, 20, 0.5, "the new token is used")
    finally:
        agent.terminate()
        agent.wait(10)
    assert agent_of(ego)["state"] == "enrolled"
    assert "samples wait on disk: " not in (tmp_path / "log").read_text()
    again = pasted(line, tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert "enrolled already as titan-01" in again.stdout


def test_whoever_has_another_key_gets_nothing_run(ego: EgoServer, tmp_path: Path) -> None:
    line = json.loads(run(ego, "enroll code --json"))["line"]
    done = pasted(line.replace(pins(ego)["pin"], "sha256//" + "A" * 43 + "="), tmp_path)
    assert "public key does not match pinned public key" in done.stderr
    assert not [*(tmp_path / "opt").iterdir()]


def test_the_script_is_the_same_for_everybody_and_needs_no_credential(ego: EgoServer) -> None:
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(f"https://127.0.0.1:{ego.port}/enroll.sh", context=context) as answer:
        text = answer.read().decode()
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert pins(ego)["pin"] in text
