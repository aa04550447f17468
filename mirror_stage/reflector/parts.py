"""Reads the parts of a machine side by side, each in a native thread of its own with a deadline.

A dead mount or a hanging sensor costs its own value and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

DEADLINE_SECONDS = 1.0
PARTS_MAX = 80  # running at one time, the hanging ones included: 64 disks and the rest of a machine

Part = Callable[[], Any]

logger = logging.getLogger(__name__)


class Running(Protocol):
    """A part that was started: it returns, raises, or hangs, perhaps for ever."""

    def has_ended(self, within_seconds: float) -> bool:
        """Whether the part has returned or raised, waiting for it at most so long."""

    def outcome(self) -> Any:
        """What the part returned; raises what it raised. Only once it has ended."""


Start = Callable[[str, Part], Running]


class InThread:
    """A part running in a native daemon thread of its name."""

    def __init__(self, name: str, part: Part) -> None:
        self._part = part
        self._ended = threading.Event()
        self._value: Any = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, name=f"part {name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._value = self._part()
        except Exception as error:
            self._error = error
        finally:
            self._ended.set()

    def has_ended(self, within_seconds: float) -> bool:
        return self._ended.wait(within_seconds)

    def outcome(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class Parts:
    """Runs parts by name; the same name never runs twice at a time. For one caller at a time.

    `start` runs a part in a native thread; where gevent has patched threads, InThread would not.
    """

    def __init__(self, start: Start = InThread, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._start = start
        self._deadline_seconds = deadline_seconds
        self._hanging: dict[str, Running] = {}
        self._told: set[tuple[str, str]] = set()

    def read(self, parts_by_name: Mapping[str, Part]) -> dict[str, Any]:
        """The values of the parts that returned before the deadline, in the given order.

        A part that raised is left out; so is one that hangs, until it has returned: then the next call runs it again.
        """
        until = time.monotonic() + self._deadline_seconds
        self._hanging = {name: running for name, running in self._hanging.items() if not running.has_ended(0)}
        started: dict[str, Running] = {}
        values: dict[str, Any] = {}
        for name, part in parts_by_name.items():
            if name not in self._hanging and len(self._hanging) + len(started) < PARTS_MAX:
                try:
                    started[name] = self._start(name, part)
                except Exception as error:  # no thread to be had
                    self._tell(name, error)
        for name, running in started.items():
            if not running.has_ended(max(0.0, until - time.monotonic())):
                self._hanging[name] = running
                self._tell(name, TimeoutError(f"no answer within {self._deadline_seconds:g} s"))
                continue
            try:
                values[name] = running.outcome()
            except Exception as error:
                self._tell(name, error)
        return values

    def _tell(self, name: str, error: Exception) -> None:
        """Log what a part suffers from, each kind of failure once."""
        kind = (name, type(error).__name__)
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("cannot read %s: %s: %s", name, type(error).__name__, " ".join(str(error).split()))
