"""All that the collector reads from a machine: files, psutil, routes, programs. Other modules do not access them directly.

The root folder is an argument, so that tests can use recorded machines: `tests/reflector/machines/`.
"""

from __future__ import annotations

import _socket  # unpatched: native threads cannot use gevent's `socket`
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

TEXT_BYTES_MAX = 256 * 1024  # longer files are cut; only /proc/cpuinfo of about 1,024 CPUs is longer


class Machine:
    """This machine, or a recorded one whose files are under another root. `reader` is psutil or a stand-in for it."""

    def __init__(self, root: Path = Path("/"), reader: Any = psutil) -> None:
        self.psutil = reader
        self._root = str(root).rstrip("/")

    def text(self, path: str) -> str:
        """The text of a system file; empty if it is missing, not readable for us, or fails (EIO, ENODEV, ENOTCONN)."""
        text = b""
        try:
            with open(self._root + path, "rb", buffering=0) as file:
                while part := file.read(TEXT_BYTES_MAX - len(text)):  # one read of a file in /proc gives 4 KiB at most
                    text += part
        except OSError:
            return ""
        return text.decode(errors="replace")

    def number(self, path: str) -> int | None:
        """The whole number in a system file; None where there is none."""
        try:
            return int(self.text(path))
        except ValueError:
            return None

    def names(self, folder: str) -> list[str]:
        """The sorted names in a folder; empty if there is no such folder."""
        try:
            return sorted(os.listdir(self._root + folder))
        except OSError:
            return []

    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.exists(self._root + path)

    def link(self, path: str) -> str:
        """The last part of a symbolic link's target; for a plain file (in a recorded machine) its text."""
        try:
            return os.path.basename(os.readlink(self._root + path))
        except OSError:
            return self.text(path).strip()

    def is_folder(self, mountpoint: str) -> bool:
        """Whether a mount point is a folder, not a file. May hang if the mount is dead."""
        return os.path.isdir(self._root + mountpoint)

    def hostname(self) -> str:
        """The machine's own name, as it is now."""
        return socket.gethostname()

    def wall(self) -> float:
        """Seconds since 1970 by the wall clock, which may be wrong and may be set."""
        return time.time()

    def now(self) -> float:
        """Seconds by the monotonic clock, which nobody can set."""
        return time.monotonic()

    def since_boot(self) -> float:
        """Seconds since boot, time asleep included. With CLOCK_BOOTTIME, setting the wall clock does not change it."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return time.clock_gettime(clock) if clock is not None else time.time() - self.psutil.boot_time()

    def local_address(self, remote: tuple[Any, ...]) -> str | None:
        """The address from which this machine would send to `remote`. Sends nothing: it only connects a UDP socket."""
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
