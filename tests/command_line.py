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


def forked(
    words: list[str], *, cwd: Path, env: Mapping[str, str], umask: int = -1, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """How `mirror-stage` ends with these words in this folder and environment, within 90 seconds. `typed` is its stdin."""
    with (
        tempfile.TemporaryFile("w+") as stdin,
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
    ):
        stdin.write(typed)
        stdin.seek(0)
        fork: Any = multiprocessing.get_context("fork")
        process = fork.Process(target=_run, args=(words, cwd, dict(env), umask, (stdin, stdout, stderr)))
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


def _run(words: list[str], cwd: Path, env: dict[str, str], umask: int, streams: tuple[IO[str], ...]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = streams
    os.chdir(cwd)
    if umask >= 0:
        os.umask(umask)
    os.environ.clear()
    os.environ.update(env)
    sys.exit(cli.main(words))
