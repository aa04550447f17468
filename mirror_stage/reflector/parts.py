"""Reads the parts of a sample in parallel, each in a native thread of its own, with a common deadline.

So a dead mount or a hanging sensor loses only its own value.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

DEADLINE_SECONDS = 1.0
PARTS_MAX = 80  # parts running at once, hanging ones included: 64 disks and all others

Part = Callable[[], Any]

logger = logging.getLogger(__name__)


class Running(Protocol):
    """A part that was started. It may return, raise, or hang for ever."""

    def has_ended(self, within_seconds: float) -> bool:
        """Whether the part has returned or raised. Waits for it at most so long."""

    def outcome(self) -> Any:
        """What the part returned; raises what it raised. May be called only once the part has ended."""


Start = Callable[[str, Part], Running]


class InThread:
    """A part that runs in a native daemon thread with the part's name."""

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


class Kept:
    """A part that remembers what it returned last: on some machines it always takes longer than the deadline."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._at = -math.inf
        self.value: Any = None

    @property
    def age_seconds(self) -> float:
        """How long ago the part returned; infinite if it never did."""
        return time.monotonic() - self._at

    def read(self) -> Any:
        value = self._part()
        self.value, self._at = value, time.monotonic()
        return value


class Parts:
    """Runs parts by name. A part that still runs is not started again. Not thread-safe.

    `start` must run a part in a native thread; InThread does not do so where gevent has patched threads.
    """

    def __init__(self, start: Start = InThread, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._start = start
        self._deadline_seconds = deadline_seconds
        self._hanging: dict[str, Running] = {}
        self._logged: set[tuple[str, str]] = set()

    def read(self, parts_by_name: Mapping[str, Part]) -> dict[str, Any]:
        """The values of the parts that returned before the deadline, in the given order.

        A part that raises is left out. So is a part that hangs; once it has returned, the next call runs it again.
        """
        until = time.monotonic() + self._deadline_seconds
        self._hanging = {name: running for name, running in self._hanging.items() if not running.has_ended(0)}
        started: dict[str, Running] = {}
        values: dict[str, Any] = {}
        for name, part in parts_by_name.items():
            if name not in self._hanging and len(self._hanging) + len(started) < PARTS_MAX:
                try:
                    started[name] = self._start(name, part)
                except Exception as error:  # the system has no thread left
                    self._log_once(name, error)
        for name, running in started.items():
            if not running.has_ended(max(0.0, until - time.monotonic())):
                self._hanging[name] = running
                self._log_once(name, TimeoutError(f"no answer within {self._deadline_seconds:g} s"))
                continue
            try:
                values[name] = running.outcome()
            except Exception as error:
                self._log_once(name, error)
        return values

    def _log_once(self, name: str, error: Exception) -> None:
        """Log the error of a part; each kind of error is logged once per part."""
        kind = (name, type(error).__name__)
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning("cannot read %s: %s: %s", name, type(error).__name__, " ".join(str(error).split()))
