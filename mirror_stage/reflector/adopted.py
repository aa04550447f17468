"""Orphans that became children of this process, as they do where it is the first one of a container: they are reaped.

Nobody else's: who started a process itself wants to know how it ended.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable

EVERY_SECONDS = 1.0

_births = threading.Lock()  # a child that is not noted yet must not be taken for an orphan
_own: set[int] = set()


def born(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The process that `start` makes, in a session of its own; whoever asked waits for it himself."""
    with _births:
        process = start()
        _own.add(process.pid)
        return process


def gone(process: subprocess.Popen[bytes]) -> None:
    """Nobody waits for this process any more."""
    with _births:
        _own.discard(process.pid)


def reap() -> int:
    """Reap the orphans that have ended; how many there were.

    What shares this process's session was started by it in another way, and is left alone.
    """
    count = 0
    with _births:
        while (pid := _ended_child()) is not None and pid not in _own and os.getsid(pid) != os.getsid(0):
            os.waitpid(pid, os.WNOHANG)
            count += 1
    return count


def _ended_child() -> int | None:
    """A child that has ended and was not waited for; it stays so."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
