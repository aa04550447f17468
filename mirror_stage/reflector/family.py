"""Finds all processes of one command: its process group, and those with its id in their environment.

It cannot find a process that has left the group and cleared its environment, nor one of another user (sudo).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import psutil

MARK = "MIRROR_STAGE_COMMAND_ID"
LOOK_EVERY_SECONDS = 0.1
PASSED_ON = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR"}
USUAL = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8"}


def environment_for(
    id: str, environment: Mapping[str, str] = os.environ, own: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """The environment of a command: the agent's variables of PASSED_ON and LC_*, and the id, which its children inherit.

    `own` is what the command's account has instead. A command must not see the agent's other variables: its settings, credentials and those of systemd.
    """
    kept = {
        name: value for name, value in environment.items() if value and (name in PASSED_ON or name.startswith("LC_"))
    }
    return {**USUAL, **kept, **own, MARK: id}


def living(ids: Iterable[str], group: int | None = None) -> list[psutil.Process]:
    """The running processes of these commands, also those that have left their process group."""
    wanted = set(ids)
    return [process for process in psutil.process_iter() if _belongs(process, wanted, group)]


def signal_all(ids: Iterable[str], number: signal.Signals, group: int | None = None) -> list[psutil.Process]:
    """Send a signal to all processes of these commands. Returns these processes."""
    found = living(ids, group)
    for process in found:
        with contextlib.suppress(psutil.Error):  # it has ended in the meantime
            process.send_signal(number)
    return found


def end(ids: Iterable[str], grace_seconds: float) -> None:
    """End the processes of commands whose agent died: SIGTERM first, SIGKILL after the grace period."""
    wanted = list(ids)
    until = time.monotonic() + grace_seconds
    signal_all(wanted, signal.SIGTERM)
    while living(wanted):
        if time.monotonic() >= until:
            signal_all(wanted, signal.SIGKILL)
            return
        time.sleep(LOOK_EVERY_SECONDS)


def _belongs(process: psutil.Process, ids: set[str], group: int | None) -> bool:
    try:
        if group is not None and os.getpgid(process.pid) == group:
            return bool(process.status() != psutil.STATUS_ZOMBIE)
        return process.environ().get(MARK) in ids
    except (psutil.Error, OSError):
        return False
