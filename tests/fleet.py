"""A simulated fleet in a process of its own, as users run it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.servers import ROOT, EgoServer

END_SECONDS = 15


@dataclass
class SimulatedFleet:
    """A running `mirror-stage simulate`. After `end` or `wait` it has its output and its result."""

    process: subprocess.Popen[str]
    stdout: str = ""
    stderr: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    def end(self) -> SimulatedFleet:
        """Stop the fleet, unless it has ended, and read its output."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(END_SECONDS)

    def wait(self, seconds: float) -> SimulatedFleet:
        """Wait until it ends by itself, and read its output."""
        stdout, stderr = self.process.communicate(timeout=seconds)
        self.stdout, self.stderr = self.stdout + stdout, self.stderr + stderr
        lines = self.stdout.splitlines()
        self.result = json.loads(lines[-1]) if lines else {}
        return self


def start_fleet(url: str, *options: str) -> SimulatedFleet:
    """Start a fleet that reports to `url`. The caller has to end it."""
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "simulate", "--ego", url, "--json", *options]
    return SimulatedFleet(
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )


@contextlib.contextmanager
def simulated_fleet(ego: EgoServer, *, hosts: int, seed: int = 7, **options: object) -> Iterator[SimulatedFleet]:
    """A fleet that reports to an EGO. It is ended afterwards, also after an error.

    `options` are those of `mirror-stage simulate`: `interval=5, scenario="flapping"`, and `commands=False`.
    """
    given = {"hosts": hosts, "seed": seed} | options
    flags = ["--no-commands"] if given.pop("commands", True) is False else []
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    fleet = start_fleet(ego.url, *words, *flags)
    try:
        yield fleet
    finally:
        if fleet.process.poll() is None:
            try:
                fleet.end()
            except subprocess.TimeoutExpired:
                fleet.process.kill()
                fleet.process.communicate()
