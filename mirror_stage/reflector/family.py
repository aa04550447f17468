"""All processes of one command: its process group, and those that have left it, known by a mark in their environment.

Out of reach is who has left the group and forgotten the mark, and who runs as another user (sudo).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping

import psutil

MARK = "MIRROR_STAGE_COMMAND_ID"
LOOK_EVERY_SECONDS = 0.1
PASSED_ON = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR"}
USUAL = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8"}


def environment_for(id: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a command: who and where it is, as the agent has it, and the mark that its children inherit.

    Nothing else: the agent's settings, its credentials and what systemd tells it are no business of a command's.
    """
    kept = {
        name: value for name, value in environment.items() if value and (name in PASSED_ON or name.startswith("LC_"))
    }
    return {**USUAL, **kept, MARK: id}


def living(ids: Iterable[str], group: int | None = None) -> list[psutil.Process]:
    """The processes of these commands that live, wherever they have moved to. Those of other users are not seen."""
    wanted = set(ids)
    return [process for process in psutil.process_iter() if _belongs(process, wanted, group)]


def tell(ids: Iterable[str], number: signal.Signals, group: int | None = None) -> list[psutil.Process]:
    """Send a signal to all processes of these commands; those that there were."""
    found = living(ids, group)
    for process in found:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            process.send_signal(number)
    return found


def end(ids: Iterable[str], grace_seconds: float) -> None:
    """End what is left of commands whose agent died: TERM, and KILL for what is still there after the grace."""
    wanted = list(ids)
    until = time.monotonic() + grace_seconds
    tell(wanted, signal.SIGTERM)
    while living(wanted):
        if time.monotonic() >= until:
            tell(wanted, signal.SIGKILL)
            return
        time.sleep(LOOK_EVERY_SECONDS)


def _belongs(process: psutil.Process, ids: set[str], group: int | None) -> bool:
    try:
        if group is not None and os.getpgid(process.pid) == group:
            return bool(process.status() != psutil.STATUS_ZOMBIE)
        return process.environ().get(MARK) in ids
    except (psutil.Error, OSError):
        return False
