"""The file that stops all commands on this host, whatever EGO says: `mirror-stage reflector stop` writes it.

Root writes it into a folder of the agent's account. So it is opened relative to the folder's descriptor, and no link is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "stopped"
REASON_MAX = 200  # characters


class StopFile:
    """The stop file in the state folder of an agent. The host is stopped as long as anything has this name, readable or not."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir

    def reason(self) -> str | None:
        """Why the host is stopped; None if it is not."""
        if not os.path.lexists(self._folder / NAME):
            return None
        try:
            with self._opened() as folder:
                file = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
                try:
                    text = os.read(file, 4 * REASON_MAX).decode(errors="replace")
                finally:
                    os.close(file)
        except FileNotFoundError:
            return None
        except OSError:
            text = ""
        return fit(text) or "no reason is given"

    def write(self, reason: str) -> bool:
        """Stop the host. Returns False if it was stopped already; the first reason stays. Raises OSError."""
        with self._opened() as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                file = os.open(NAME, flags, 0o644, dir_fd=folder)
            except FileExistsError:
                return False
            try:
                os.fchmod(file, 0o644)  # the agent may run as another account; its folder is private
                os.write(file, fit(reason).encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            os.fsync(folder)
        return True

    def remove(self) -> bool:
        """Let commands run again. Returns False if the host was not stopped. Raises OSError."""
        with self._opened() as folder:
            try:
                os.unlink(NAME, dir_fd=folder)
            except FileNotFoundError:
                return False
        return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)


def fit(reason: str) -> str:
    """The reason as one short line of printable characters."""
    text = " ".join(reason.split())
    return "".join(char for char in text if char.isprintable())[:REASON_MAX]
