"""What can be done with saved views."""

from __future__ import annotations

from typing import Any

from mirror_stage.access.domain import Actor
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import to_text
from mirror_stage.storage.db import Storage
from mirror_stage.views import store


class Views:
    """The saved views: few, read when somebody opens the list of them."""

    def __init__(self, storage: Storage, clock: Clock):
        self._storage, self._clock = storage, clock

    def all(self) -> list[dict[str, Any]]:
        """All views as the wire has them, by name."""
        return [
            {"name": name, "address": address, "by": by, "at": to_text(at)}
            for name, address, by, at in self._storage.read(store.listed)
        ]

    def save(self, name: str, address: str, new_name: str | None, actor: Actor) -> tuple[dict[str, Any], bool]:
        """(the view as it is now, whether it is new). Raises Conflict, NotFound."""
        now = self._clock.now()
        named = new_name or name
        is_new = self._storage.write(lambda tx: store.put(tx, name, address, named, actor, now))
        return {"name": named, "address": address, "by": actor.name, "at": to_text(now)}, is_new

    def remove(self, name: str, actor: Actor) -> None:
        """Delete a view. Raises NotFound."""
        self._storage.write(lambda tx: store.remove(tx, name, actor, self._clock.now()))
