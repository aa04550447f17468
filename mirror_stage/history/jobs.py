"""What the history does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirror_stage.ego import Ego


def keep(ego: Ego) -> None:
    """Every 5 s: what is over is rolled up, what came late is mended, what is old is pruned."""
    if ego.pipeline.is_ready:
        ego.history_keeper.keep()
