"""`mirror-stage ...` in a fork of the test's own process, which has imported everything: a start takes a CPU second."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from mirror_stage.runtime import cli


def forked(words: list[str], *, cwd: Path, env: Mapping[str, str], umask: int = -1) -> subprocess.CompletedProcess[str]:
    """How `mirror-stage` ends with these words in this folder and environment, within 90 seconds."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        fork: Any = multiprocessing.get_context("fork")
        process = fork.Process(target=_run, args=(words, cwd, dict(env), umask, stdout, stderr))
        process.start()
        try:
            process.join(90)
            assert process.exitcode is not None, f"mirror-stage {words} has not ended"
        finally:
            process.kill()
            process.join()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(words, process.exitcode, stdout.read(), stderr.read())


def _run(words: list[str], cwd: Path, env: dict[str, str], umask: int, stdout: IO[str], stderr: IO[str]) -> None:
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    sys.stdout, sys.stderr = stdout, stderr
    os.chdir(cwd)
    if umask >= 0:
        os.umask(umask)
    os.environ.clear()
    os.environ.update(env)
    sys.exit(cli.main(words))
