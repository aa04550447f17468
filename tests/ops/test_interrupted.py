"""Ctrl-C at many moments of the start of `mirror-stage`: it ends with one line, and with the status that shells expect."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT, EgoServer

END_SECONDS = 30.0  # for a busy machine
SIMULATE = "simulate --hosts 5 --ego {ego}"
IGNORES = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")  # as a script does for what it starts with &


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield listener


def start(words: str, silent: socket.socket, folder: Path, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`mirror-stage` with these words. It writes a line to stderr for each module that it has imported."""
    ego = f"http://127.0.0.1:{silent.getsockname()[1]}"
    command = [sys.executable, "-m", "mirror_stage.runtime.entry"]
    return subprocess.Popen(
        [*prefix, *command, *words.format(ego=ego, folder=folder).split()],
        cwd=ROOT,
        env=EgoServer(folder).environment | {"PYTHONPROFILEIMPORTTIME": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process: subprocess.Popen[str]) -> list[str]:
    """Send Ctrl-C. Returns what the process says, without the lines about imports."""
    process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=END_SECONDS)
    finally:
        process.kill()
    return [line for line in stderr.splitlines() if not line.startswith("import time:")]


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (SIMULATE, "argparse"),
        (SIMULATE, "mirror_stage.runtime.completion"),
        (SIMULATE, "greenlet"),
        (SIMULATE, "gevent.monkey"),
        (SIMULATE, "mirror_stage.simulator.fleet"),
        (SIMULATE, "mirror_stage.simulator.engine"),
        ("serve", "mirror_stage.runtime.serving"),
        ("serve", "gunicorn.config"),
        ("db stats", "sqlalchemy"),
        ("doctor", "mirror_stage.runtime.doctor"),
        ("reflector run --ego {ego} --state-dir {folder}", "psutil"),
    ],
)
def test_ctrl_c_while_a_module_is_imported_ends_it_with_one_line(
    words: str, module: str, silent: socket.socket, tmp_path: Path
) -> None:
    process = start(words, silent, tmp_path, IGNORES)
    assert process.stderr is not None
    assert any(line.split()[-1] == module for line in process.stderr), f"{module} was not imported"
    said = interrupt(process)
    assert said == ["mirror-stage: interrupted"]
    assert process.returncode == 130


@pytest.mark.parametrize("prefix", [(), IGNORES], ids=["in the foreground", "in the background"])
def test_ctrl_c_while_a_simulation_waits_for_ego_ends_it_with_one_line(
    prefix: tuple[str, ...], silent: socket.socket, tmp_path: Path
) -> None:
    process = start(SIMULATE, silent, tmp_path, prefix)
    connection, _ = silent.accept()
    with connection:
        assert interrupt(process) == ["mirror-stage: interrupted"]
    assert process.returncode == 130
