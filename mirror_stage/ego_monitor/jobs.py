"""The monitor's row in the scheduler's table of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirror_stage.ego import Ego


def observe(ego: Ego) -> None:
    """Every MIRROR_STAGE_EGO_MONITOR_INTERVAL_MS, the first time at once: one sample of EGO's own machine."""
    ego.ego_monitor.observe()
