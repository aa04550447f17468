"""What a collector may ask of a machine: its files, psutil, the routes, its programs. The only place that touches them.

The root of the files is an argument, so that a recorded machine is a folder: `tests/reflector/machines/`.
"""

from __future__ import annotations

import _socket  # the system's own: where gevent has replaced `socket`, a native thread of parts cannot use that
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

TEXT_BYTES_MAX = 256 * 1024  # no file that is read here is longer; /proc/cpuinfo of 1,024 CPUs is cut


class Machine:
    """This machine, or one whose files stand under another root; `reader` is psutil or what answers like it."""

    def __init__(self, root: Path = Path("/"), reader: Any = psutil) -> None:
        self.psutil = reader
        self._root = str(root).rstrip("/")

    def text(self, path: str) -> str:
        """The text of a system file; empty where it is not there, not for us to read, or fails (EIO, ENODEV, ENOTCONN)."""
        try:
            with open(self._root + path, "rb", buffering=0) as file:
                return (file.read(TEXT_BYTES_MAX) or b"").decode(errors="replace")
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        """The whole number in a system file; None where there is none."""
        try:
            return int(self.text(path))
        except ValueError:
            return None

    def names(self, folder: str) -> list[str]:
        """What stands in a folder; empty where it is not there."""
        try:
            return sorted(os.listdir(self._root + folder))
        except OSError:
            return []

    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.exists(self._root + path)

    def link(self, path: str) -> str:
        """The last part of what a symbolic link points to; of a plain file its text (a recorded machine)."""
        try:
            return os.path.basename(os.readlink(self._root + path))
        except OSError:
            return self.text(path).strip()

    def is_folder(self, mountpoint: str) -> bool:
        """Whether something is mounted on a folder, not on a file. May hang where the mount is dead."""
        return os.path.isdir(self._root + mountpoint)

    def hostname(self) -> str:
        """The machine's own name, as it is now."""
        return socket.gethostname()

    def wall(self) -> float:
        """Seconds since 1970 by the clock on the wall, which may be wrong, and may be set."""
        return time.time()

    def now(self) -> float:
        """Seconds by a clock that nobody sets."""
        return time.monotonic()

    def since_boot(self) -> float:
        """Seconds since the system's boot, time asleep included; where the system counts it, no step of a clock moves it."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return time.clock_gettime(clock) if clock is not None else time.time() - self.psutil.boot_time()

    def local_address(self, remote: tuple[Any, ...]) -> str | None:
        """The address that this machine would send from to another one. Sends nothing: a UDP socket is only connected."""
        family = _socket.AF_INET6 if ":" in str(remote[0]) else _socket.AF_INET
        try:
            probe = _socket.socket(family, _socket.SOCK_DGRAM)
        except OSError:
            return None
        try:
            probe.connect(remote)
            return str(probe.getsockname()[0])
        except OSError:
            return None
        finally:
            probe.close()

    def program(self, name: str) -> str | None:
        """The path of a program; None where there is none."""
        return shutil.which(name)

    def output_of(self, words: Sequence[str], within_seconds: float) -> str:
        """What a program prints. Raises OSError or subprocess.SubprocessError if it fails or takes too long."""
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(
            words, capture_output=True, timeout=within_seconds, check=True, env=environment, stdin=subprocess.DEVNULL
        )
        return done.stdout.decode(errors="replace")
