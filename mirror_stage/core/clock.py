"""EGO's clock, the only place that asks for the time."""

from __future__ import annotations

import time

from mirror_stage.core.instants import Instant


def elapsed_seconds() -> float:
    """Seconds that no step of the wall clock touches; where the system offers it, time asleep counts too."""
    return time.clock_gettime(_ELAPSED) if _ELAPSED is not None else time.monotonic()


_ELAPSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock:
    """Wall time at start plus elapsed time: stepping the machine's clock moves no lease, no status and no alert."""

    def __init__(self) -> None:
        self._started = time.time() - elapsed_seconds()

    def now(self) -> Instant:
        """This instant."""
        return int((self._started + elapsed_seconds()) * 1000)

    def wall_offset_seconds(self) -> float:
        """How far the machine's wall clock has been stepped away from EGO's since the start."""
        return time.time() - elapsed_seconds() - self._started
