"""Runs the parts of a sample in native threads, and programs from these threads, although gevent has patched both."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from mirror_stage.reflector.machine import Machine
from mirror_stage.reflector.parts import PARTS_MAX, InThread, Part, Running, Start

POLL_SECONDS = 0.05

# gevent's versions wait for child processes in the main thread only, so this module uses the originals
_spawn, _wait = monkey.get_original("os", ["posix_spawn", "waitpid"])
_sleep = monkey.get_original("time", "sleep")


class NativeMachine(Machine):
    """This machine; its methods may be called from native threads."""

    def output_of(self, words: Sequence[str], within_seconds: float) -> str:
        until = time.monotonic() + within_seconds
        with tempfile.TemporaryFile() as output:
            files = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            ]
            child = _spawn(words[0], words, {**os.environ, "LC_ALL": "C"}, file_actions=files)
            status = _ended(child)
            while status is None:
                if time.monotonic() >= until:
                    os.kill(child, signal.SIGKILL)
                    _wait(child, 0)
                    raise subprocess.TimeoutExpired(list(words), within_seconds)
                _sleep(POLL_SECONDS)
                status = _ended(child)
            if status:
                raise subprocess.CalledProcessError(status, list(words))
            output.seek(0)
            return output.read().decode(errors="replace")


def _ended(child: int) -> int | None:
    """The exit status of a child process; None while it runs, 0 if another thread has already reaped it."""
    try:
        ended, status = _wait(child, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if ended else None


def native_start() -> Start:
    """How to start a part in a native thread of this process, whether gevent has patched it or not."""
    return InThreadPool() if monkey.is_module_patched("threading") else InThread


class InThreadPool:
    """Starts parts in gevent's pool of native threads, where a blocking call does not stop the event loop.

    The pool has a thread for each part that may run at the same time, so that a part that hangs delays no other.
    """

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None

    def __call__(self, name: str, part: Part) -> Running:
        if self._pool is None:  # created at first use, because the pool belongs to the event loop of this process
            self._pool = ThreadPool(PARTS_MAX)
        return _Pooled(self._pool.spawn(_outcome, part))


class _Pooled:
    """A part that runs in the pool."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result

    def has_ended(self, within_seconds: float) -> bool:
        self._result.wait(within_seconds)
        return bool(self._result.ready())

    def outcome(self) -> Any:
        value, error = self._result.get()
        if error is not None:
            raise error
        return value


def _outcome(part: Part) -> tuple[Any, Exception | None]:
    """(value, None) or (None, error) of a part. The error is returned, because gevent prints what a pool thread raises."""
    try:
        return part(), None
    except Exception as error:
        return None, error
