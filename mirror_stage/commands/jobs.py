"""What the command queue does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirror_stage.ego import Ego


def watch_over(ego: Ego) -> None:
    """Every second: what was not fetched in time expires, and what is past its lease is lost."""
    ego.commands.watch_over(ego.clock.now())


def look_for_pending(ego: Ego) -> None:
    """Every 2 s: agents that wait although there is something for them are woken."""
    ego.commands.look_for_pending()


def prune(ego: Ego) -> None:
    """Every hour: commands that have been over for 30 days leave."""
    ego.commands.prune(ego.clock.now())
