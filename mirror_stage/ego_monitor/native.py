"""Native threads for the parts of a machine, where gevent has turned `threading` into greenlets."""

from __future__ import annotations

from typing import Any

from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from mirror_stage.reflector.parts import PARTS_MAX, InThread, Part, Running, Start


def native_start() -> Start:
    """The way to start a part in a native thread of this process, patched or not."""
    return InThreadPool() if monkey.is_module_patched("threading") else InThread


class InThreadPool:
    """Starts parts in gevent's pool of native threads: a blocking call in one does not stop the event loop.

    There is a thread for every part that may run at a time, so that one which hangs for ever holds up no other.
    """

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None

    def __call__(self, name: str, part: Part) -> Running:
        if self._pool is None:  # now, because it belongs to the event loop of this process
            self._pool = ThreadPool(PARTS_MAX)
        return _Pooled(self._pool.spawn(_outcome, part))


class _Pooled:
    """A part running in the pool."""

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
    """What a part returned and what it raised; gevent would print an error that leaves a thread of its pool."""
    try:
        return part(), None
    except Exception as error:
        return None, error
