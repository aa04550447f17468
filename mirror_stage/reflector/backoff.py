"""How long to leave a server alone that does not answer well: longer each time, and never all agents at once."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
RETRY_AFTER_MAX_SECONDS = 300.0  # a server that asks for a day's silence would look like a dead agent


def backoff_seconds(failures: int, jitter: float, retry_after_seconds: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, at most 30, and at least what was asked for.

    `jitter`, 0 to 1, spreads the agents that failed together over half of the time (over a quarter more, where a
    server has named it: never less than it asked for).
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
        """Count one more; the seconds to wait."""
        self.failures += 1
        return backoff_seconds(self.failures, self._jitter(), retry_after_seconds)

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
