"""Whether this EGO is ready to answer requests."""

from __future__ import annotations


class Readiness:
    """EGO is not ready until the twin is restored; until then `why_not` gives the reason."""

    def __init__(self) -> None:
        self.is_restored = False
        self.why_not = "EGO is starting"

    def tell(self, share: float) -> None:
        """Say how much of the past is back, 0 to 1."""
        self.why_not = f"restoring, {share:.0%}"
