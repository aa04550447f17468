"""Whether this EGO is ready to answer requests."""

from __future__ import annotations

from mirror_stage.core.foreign_servers import ADVICE


class Readiness:
    """EGO is not ready until the twin is restored; until then `why_not` gives the reason."""

    def __init__(self) -> None:
        self.is_restored = False
        self.why_not = f"this server does not start EGO: {ADVICE}"

    def begin(self) -> None:
        """EGO starts now."""
        self.why_not = "EGO is starting"

    def tell(self, share: float) -> None:
        """Say how much of the past is back, 0 to 1."""
        self.why_not = f"restoring, {share:.0%}"
