"""EGO's clock. Two other modules read the wall clock: see `tests/shape/test_imports.py`."""

from __future__ import annotations

import time
from pathlib import Path

from mirror_stage.core.instants import Instant


def elapsed_seconds() -> float:
    """Seconds since a fixed moment. Setting the wall clock does not change them; where the system offers it, they include time asleep."""
    return time.clock_gettime(_ELAPSED) if _ELAPSED is not None else time.monotonic()


def machine_seconds() -> float:
    """The machine's wall clock, seconds since 1970: for what other machines compare with theirs, such as certificates."""
    return time.time()


def is_plausible(seconds: float) -> bool:
    """Whether the machine's clock may be right: not before this version was installed, and before the year 2100."""
    return Path(__file__).stat().st_mtime - 86_400 < seconds and time.gmtime(seconds).tm_year < 2100


_ELAPSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock:
    """Wall time at the start plus elapsed time, so that setting the machine's clock changes no lease, status or alert."""

    def __init__(self) -> None:
        self._started = time.time() - elapsed_seconds()

    def now(self) -> Instant:
        """This instant."""
        return int((self._started + elapsed_seconds()) * 1000)

    def wall_offset_seconds(self) -> float:
        """How many seconds the machine's wall clock is ahead of EGO's clock because somebody has set it since the start."""
        return time.time() - elapsed_seconds() - self._started
