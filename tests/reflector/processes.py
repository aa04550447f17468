"""Real agents: `mirror-stage reflector run` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders import unique_hostname
from tests.servers import ROOT


@dataclass
class AgentProcess:
    """One agent. `flags` follow `reflector run`. Its state is in its folder and is kept when the agent ends."""

    folder: Path
    ego: str
    flags: tuple[str, ...] = ()
    hostname: str = field(default_factory=lambda: unique_hostname("agent"))
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # a command that starts the agent, such as unshare
    process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.folder / f"{self.hostname}-state"

    @property
    def log(self) -> str:
        return (self.folder / f"{self.hostname}.log").read_text(errors="replace")

    def start(self) -> AgentProcess:
        """Start the agent, or start it again with the same state."""
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "mirror_stage.runtime.cli",
            "reflector",
            "run",
            "--ego",
            self.ego,
        ]
        command += ["--hostname", self.hostname, "--state-dir", str(self.state), *self.flags]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REFLECTOR_")}
        with (self.folder / f"{self.hostname}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**kept, "PYTHONPATH": str(ROOT), **self.environment},
                stdout=log,
                stderr=log,
            )
        return self

    def stop(self) -> float:
        """Stop the agent with SIGTERM. Returns how many seconds that took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(timeout=10) == 0, self.log[-3000:]
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill the agent at once, as a power failure would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)


@contextmanager
def running_agent(folder: Path, ego: str, *flags: str, **options: object) -> Iterator[AgentProcess]:
    """A running agent; it is killed afterwards if it still runs, also after an error."""
    agent = AgentProcess(folder, ego, flags, **options)  # type: ignore[arg-type]
    try:
        yield agent.start()
    finally:
        if agent.process is not None and agent.process.poll() is None:
            agent.kill()
