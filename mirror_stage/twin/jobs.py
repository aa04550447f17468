"""What the twin does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirror_stage.ego import Ego


def tick(ego: Ego) -> None:
    """Every 250 ms: one frame for everybody."""
    ego.pipeline.tick()


def sweep(ego: Ego) -> None:
    """Every second: silent hosts turn stale, then offline."""
    ego.pipeline.sweep()


def save(ego: Ego) -> None:
    """Every second: hosts and alerts that changed are written."""
    ego.pipeline.save()
