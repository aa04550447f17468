"""How often something may happen: a number at once, then so many a second. Time is an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Budget:
    """At most `burst` at once and `per_second` in the long run; it begins full."""

    per_second: float
    burst: float
    left: float = -1.0
    counted_at: float = 0.0

    def take(self, now: float, count: float = 1.0) -> bool:
        """Whether `count` more may happen at `now`, in seconds; if so they are counted."""
        if self.left < 0:
            self.left = self.burst
        else:
            self.left = min(self.burst, self.left + max(0.0, now - self.counted_at) * self.per_second)
        self.counted_at = now
        if self.left < count:
            return False
        self.left -= count
        return True
