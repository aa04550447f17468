"""Reads and discards the output of processes that a command has left running, because a closed pipe would kill them.

This has limits, and the sender of the command is told about them.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Sequence
from typing import IO

HOURS_MAX = 24.0
COMMANDS_MAX = 32  # commands with such processes; each costs a thread
PAUSE_SECONDS = 0.05  # between two reads, so that a process that prints without end does not use much CPU
_PART = 64 * 1024

ADVICE = "start it with >/dev/null 2>&1 to let it go on without that limit"

_places = threading.BoundedSemaphore(COMMANDS_MAX)


def read_on(pipes: Sequence[IO[bytes]]) -> str:
    """Read from these pipes until their writers have ended. Returns a message for the sender of the command."""
    places = _places
    if not places.acquire(blocking=False):
        _close(pipes)
        why = f"its output is closed, because {COMMANDS_MAX} commands have left such processes already"
        return f"a process was left behind; {why}: {ADVICE}"
    try:
        threading.Thread(target=_throw_away, args=(pipes, places), name="leftover", daemon=True).start()
    except RuntimeError as error:  # this machine has no thread left
        _close(pipes)
        places.release()
        return f"a process was left behind; its output is closed ({error}): {ADVICE}"
    limit = f"for at most {HOURS_MAX:g} hours, and no longer than this agent runs"
    return f"a process was left behind; what it prints from now on is thrown away {limit}: {ADVICE}"


def _throw_away(pipes: Sequence[IO[bytes]], places: threading.Semaphore) -> None:
    until = time.monotonic() + HOURS_MAX * 3600
    try:
        with selectors.DefaultSelector() as open_pipes:
            for pipe in pipes:
                open_pipes.register(pipe, selectors.EVENT_READ)
            while open_pipes.get_map() and (left := until - time.monotonic()) > 0:
                for key, _ in open_pipes.select(left):
                    if not os.read(key.fd, _PART):
                        open_pipes.unregister(key.fileobj)
                time.sleep(PAUSE_SECONDS)
    finally:
        _close(pipes)
        places.release()


def _close(pipes: Sequence[IO[bytes]]) -> None:
    for pipe in pipes:
        pipe.close()
