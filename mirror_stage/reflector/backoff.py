"""Backoff with jitter: how long to wait after a failed request, longer after each failure, different for each agent."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
RETRY_AFTER_MAX_SECONDS = 300.0  # an agent that obeyed a Retry-After of a day would look dead


def backoff_seconds(failures: int, jitter: float, retry_after_seconds: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: 1, 2, 4 … at most 30, each times 0.5 to 1 by `jitter` (0 to 1).

    If the server sent a Retry-After (of which at most 300 s count), the wait is at least that, times 1 to 1.25.
    """
    most = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    own = most * (0.5 + jitter / 2)
    if retry_after_seconds is None:
        return own
    asked = min(max(0.0, retry_after_seconds), RETRY_AFTER_MAX_SECONDS)
    return max(own, asked * (1 + jitter / 4))


class Backoff:
    """Counts the failures in a row of one kind of request."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures = 0

    def failed(self, retry_after_seconds: float | None = None) -> float:
        """Count one more failure. Returns the seconds to wait."""
        self.failures += 1
        return backoff_seconds(self.failures, self._jitter(), retry_after_seconds)

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
