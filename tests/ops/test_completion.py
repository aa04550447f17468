"""What bash completes after `mirror-stage`."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from mirror_stage.runtime import cli, completion
from tests.servers import ROOT


def completed(*words: str, shell: str = "bash") -> list[str]:
    """What may stand in the place of the last word."""
    quoted = " ".join(f"'{word}'" for word in ("mirror-stage", *words))
    ask = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _mirror_stage; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    said = subprocess.run(
        [shell, "-c", f"{completion.script(cli._parser(), shell)}\n{ask}"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["d"], ["demo", "db", "doctor"]),
        (["db", "b"], ["backup"]),
        (["tokens", "c"], ["create"]),
        (["admin", "link", "--r"], ["--role"]),
        (["--", "db", "backup", "FILE", "--f"], ["--force"]),
        (["reflector", "install", "--command-p"], ["--command-policy"]),
        (["completion", ""], ["bash", "zsh"]),
        (["db", "backup", ""], []),  # nothing: the shell completes names of files
        (["serve", "nothing"], []),
    ],
)
def test_bash_completes_commands_and_options(words: list[str], expected: list[str]) -> None:
    assert sorted(completed(*words)) == sorted(expected)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script() -> None:
    subprocess.run(["zsh", "-fc", completion.script(cli._parser(), "zsh")], check=True)


def test_the_command_prints_the_script() -> None:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "completion", "bash"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == completion.script(cli._parser(), "bash")
