"""`mirror-stage demo`: starts an EGO with a temporary database, a simulated fleet, and an agent for this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from urllib import request

from mirror_stage.core import config
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.runtime import doctor

LOOK_EVERY_SECONDS = 0.2
END_SECONDS = 10.0  # how long a child may take to end before it is killed


def run(hosts: int, scenario: str) -> int:
    """Run the demo until Ctrl-C. Returns the exit status: 0 if a signal ended it, 1 if one of its processes ended by itself."""
    settings = _on_a_free_port(replace(config.from_environment(), bind="127.0.0.1"))
    ego = f"http://127.0.0.1:{settings.port}"
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    with tempfile.TemporaryDirectory(prefix="mirror-stage-demo-") as folder, contextlib.ExitStack() as parts:
        own = {
            "PORT": str(settings.port),
            "MIRROR_STAGE_BIND": settings.bind,
            "MIRROR_STAGE_TLS": "off",
            "MIRROR_STAGE_FIELD_BIND": "",
            "MIRROR_STAGE_SQLITE_PATH": os.path.join(folder, "ego.db"),
            "MIRROR_STAGE_DB_URL": "",
            "MIRROR_STAGE_REDIS_URL": "",
            "MIRROR_STAGE_LOG_LEVEL": "warning",
        }
        running = {"EGO": parts.enter_context(_Part("serve", environment=own))}
        while not stopping.wait(LOOK_EVERY_SECONDS) and not _has_ended(running):
            if len(running) > 1 or not _is_ready(ego):
                continue
            print(
                f"{hosts} simulated hosts and this machine report to EGO; Ctrl-C ends the demo and deletes its data",
                flush=True,
            )
            fleet = _Part("simulate", "--ego", ego, "--hosts", str(hosts), "--scenario", scenario)
            running["the fleet"] = parts.enter_context(fleet)
            if find_spec("mirror_stage.reflector.command_line") is not None:
                words = ("run", "--ego", ego, "--state-dir", os.path.join(folder, "reflector"))
                reflector = _Part("reflector", *words, environment={"REFLECTOR_LOG_LEVEL": "warning"})
                running["the reflector"] = parts.enter_context(reflector)
        ended = _has_ended(running)
    if ended and not stopping.is_set():
        print(f"mirror-stage: the demo is over: {ended} has ended", file=sys.stderr)
        return 1
    return 0


def _on_a_free_port(wanted: config.Config) -> config.Config:
    """The settings with a free port. Another EGO may use the wanted port, and must not get samples of simulated hosts."""
    reason = doctor.taken(wanted)
    if reason is None:
        return wanted
    others = (replace(wanted, port=port) for port in range(wanted.port + 1, min(wanted.port + 100, 65_536)))
    free = next((other for other in others if doctor.taken(other) is None), None)
    if free is None:
        raise BadSetting(
            f"PORT: {wanted.port}: {reason}; the ports after it are not free either, so choose another PORT"
        )
    print(f"port {wanted.port}: {reason}; the demo takes port {free.port}", flush=True)
    return free


class _Part:
    """A `mirror-stage` process. Leaving the `with` block ends it: with SIGTERM, and after END_SECONDS with SIGKILL.

    It has its own session, so that Ctrl-C reaches only the demo. The demo then ends its processes one after the other.
    """

    def __init__(self, *words: str, environment: Mapping[str, str] | None = None):
        self._command = [sys.executable, "-P", "-m", "mirror_stage.runtime.cli", *words]
        self._environment = {**os.environ, **(environment or {})}

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _has_ended(running: Mapping[str, subprocess.Popen[bytes]]) -> str | None:
    """The name of a process that is not running any more, or None."""
    return next((name for name, process in running.items() if process.poll() is not None), None)


def _is_ready(ego: str) -> bool:
    try:
        with request.urlopen(f"{ego}/api/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
