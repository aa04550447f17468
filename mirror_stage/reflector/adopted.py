"""Reaps orphaned processes that became children of the agent, as happens when it is process 1 of a container.

It never reaps a process that the agent started itself: the code that started it waits for its exit status.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable

EVERY_SECONDS = 1.0

_lock = threading.Lock()  # a child that is not in `_own` yet must not look like an orphan
_own: set[int] = set()


def start_child(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The process that `start` starts, which must be in a session of its own. The caller waits for its end."""
    with _lock:
        process = start()
        _own.add(process.pid)
        return process


def forget_child(process: subprocess.Popen[bytes]) -> None:
    """The caller of `start_child` no longer waits for this process."""
    with _lock:
        _own.discard(process.pid)


def reap() -> int:
    """Reap the orphans that have ended. Returns how many there were.

    A child in the agent's own session is no orphan: other code of the agent started it and waits for it.
    """
    count = 0
    with _lock:
        while (pid := _ended_child()) is not None and pid not in _own and os.getsid(pid) != os.getsid(0):
            os.waitpid(pid, os.WNOHANG)
            count += 1
    return count


def _ended_child() -> int | None:
    """The pid of a child that has ended, without reaping it; None if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
