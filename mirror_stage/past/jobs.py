"""What the past does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirror_stage.ego import Ego


def prune(ego: Ego) -> None:
    """Every hour: what hosts were before the oldest tier is forgotten."""
    ego.past.prune()
