"""What bash and zsh complete after `mirror-stage`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mirror_stage.runtime import cli, completion
from tests.servers import ROOT, wait_until


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
        (["d"], ["demo", "db", "dispatch", "doctor"]),
        (["db", "b"], ["backup"]),
        (["tokens", "c"], ["create"]),
        (["admin", "link", "--r"], ["--role"]),
        (["--", "db", "backup", "FILE", "--f"], ["--force"]),
        (["reflector", "install", "--command-p"], ["--command-policy"]),
        (["completion", ""], ["bash", "zsh"]),
        (["db", "backup", ""], []),  # nothing: the shell completes names of files
        (["serve", "nothing"], []),
        (["demo", "--scenario", "ra"], ["rack-overheats"]),
    ],
)
def test_bash_completes_commands_and_options(words: list[str], expected: list[str]) -> None:
    assert sorted(completed(*words)) == sorted(expected)


@pytest.mark.parametrize("shell", completion.SHELLS)
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("mirror-stage comp", "completion "),
        ("mirror-stage db b", "backup "),
        ("mirror-stage reflector install --command-p", "--command-policy "),
        ("mirror-stage demo --scenario rack-o", "rack-overheats "),
        ("mirror-stage db restore /etc/host.c", "/etc/host.conf "),
    ],
)
def test_the_tab_key_completes_in_a_real_shell(shell: str, line: str, completed: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / f".{shell}rc").write_text(f"{completion.script(cli._parser(), shell)}\nPS1='READY> '\n")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "dumb"}
    person, terminal = os.openpty()
    os.set_blocking(person, False)
    process = subprocess.Popen(
        [shell, "-i"], stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    os.close(terminal)
    seen = ""

    def shows(text: str) -> bool:
        nonlocal seen
        with contextlib.suppress(BlockingIOError):
            seen += os.read(person, 4096).decode(errors="replace")
        return text in seen

    try:
        wait_until(lambda: shows("READY> "), what=f"{shell} asks for a command")
        os.write(person, f"{line}\t".encode())
        wait_until(lambda: shows(f"{line[: line.rindex(' ')]} {completed}"), what=f"{completed}in: {line}")
    finally:
        process.kill()
        process.wait()
        os.close(person)


def test_the_command_prints_the_script() -> None:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "completion", "bash"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == completion.script(cli._parser(), "bash")
