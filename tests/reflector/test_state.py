"""Only the agent's user can read the folder with the journal and the spool."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector.state import StateFolder
from tests.reflector.processes import running_agent
from tests.reflector.scripted_ego import ScriptedEgo, problem
from tests.servers import ROOT, wait_until

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


def run_with(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "reflector", "run", "--ego", "http://127.0.0.1:9"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "--state-dir", str(folder)], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_only_the_agents_user_can_read_its_files_even_with_umask_0(scripted: ScriptedEgo, tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        with running_agent(tmp_path, scripted.url, "--interval-seconds", "1") as agent:
            scripted.wait_for("/batch")
            scripted.decide = lambda asked: None if "/pending/" in asked.path else problem(503)
            wait_until(lambda: list((agent.state / "spool").iterdir()), what="a sample waits in the spool")
            agent.stop()
            places = [agent.state, *agent.state.rglob("*")]
    finally:
        os.umask(former)
    assert {place.name for place in places} >= {"journal", "lock", "spool"}
    assert len(places) > 4
    assert [place for place in places if stat.S_IMODE(place.stat().st_mode) & 0o077] == []


def test_a_folder_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    StateFolder(tmp_path).release()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@only_root
def test_a_folder_of_somebody_else_is_refused_in_one_line(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    ran = run_with(tmp_path)
    assert ran.returncode != 0
    assert ran.stderr.strip().splitlines() == [
        f"mirror-stage: state_dir: {tmp_path} belongs to user 65534, and the agent runs as 0; "
        "choose another --state-dir, or give it to the agent with chown"
    ]
    assert list(tmp_path.iterdir()) == []


@only_root
def test_a_symbolic_link_is_refused_in_one_line_unless_root_has_made_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder")
    StateFolder(link).release()  # as systemd does for a unit with DynamicUser=
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(BadSetting, match="is a symbolic link; name the folder that it leads to"):
        StateFolder(link)
