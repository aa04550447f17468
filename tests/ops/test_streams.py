"""What a command does where its output goes nowhere, into a full disk, into `| head`, or into an encoding of another language."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, EgoServer

COMMAND = f"{sys.executable} -m mirror_stage.runtime.cli"


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """How a line of shell ends in a folder."""
    environment = {**EgoServer(folder).environment, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        timeout=90,
        text=True,
        errors="replace",
    )


@pytest.mark.parametrize("command", ["completion bash", "doctor", "doctor --json", "reflector run --once"])
def test_a_full_disk_is_one_line_and_no_success(command: str, tmp_path: Path) -> None:
    ended = shell(
        f"{COMMAND} {command} --state-dir st > /dev/full" if "once" in command else f"{COMMAND} {command} > /dev/full",
        tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (
        1,
        "mirror-stage: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_hinders_no_command(closed: str, tmp_path: Path) -> None:
    ended = shell(f"{COMMAND} doctor --json {closed}", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    ended = shell(f"{COMMAND} completion bash | head -c 1", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "euc-kr", "latin-1", "utf-8"])
def test_a_character_that_an_encoding_lacks_is_escaped_as_in_json(encoding: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('EGO_RACK="한글 🚀 ·"\nEGO_HOSTNAME="a/🚀"\n')
    text = shell(f"{COMMAND} doctor", tmp_path, PYTHONIOENCODING=encoding, LC_ALL="C")
    assert (text.returncode, text.stderr) == (1, "")
    shown = shell(
        f"{COMMAND} doctor --json | {sys.executable} -c 'import json, sys; print(json.dumps(json.load(sys.stdin)))'",
        tmp_path,
    )
    assert json.loads(shown.stdout)["ok"] is False
