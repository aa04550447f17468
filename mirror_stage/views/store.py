"""All SQL of saved views."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import Actor
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Conflict, NotFound
from mirror_stage.views.models import SavedView

VIEWS_MAX = 200

_TABLE: Table = SavedView.__table__  # type: ignore[assignment]
_C = _TABLE.c

Row = tuple[str, str, str | None, Instant]  # name, address, who saved it, when


def listed(tx: Connection) -> list[Row]:
    """All views, by name."""
    return [(row.name, row.address, row.saved_by, row.saved_at) for row in tx.execute(select(_TABLE).order_by(_C.name))]


def put(tx: Connection, name: str, address: str, new_name: str, actor: Actor, now: Instant) -> bool:
    """Save an address under a name, or change the one that has it; `new_name` is its name from now on. Returns whether it is new.

    Raises Conflict if another view has the new name, or if there are too many.
    """
    values: dict[str, Any] = {"name": new_name, "address": address, "saved_by": actor.name, "saved_at": now}
    if new_name != name and _is_there(tx, new_name):
        raise Conflict(f"there is a view {new_name} already; choose another name, or delete that one first")
    changed = tx.execute(update(_TABLE).where(_C.name == name).values(**values)).rowcount
    if not changed:
        if new_name != name:
            raise NotFound(f"there is no view {name}; GET /api/views lists those that there are")
        if tx.execute(select(func.count()).select_from(_TABLE)).scalar_one() >= VIEWS_MAX:
            raise Conflict(f"there are {VIEWS_MAX} saved views, and there may not be more; delete one first")
        tx.execute(insert(_TABLE).values(**values))
    renamed = "" if new_name == name else f"was {name}: "
    access.record(tx, actor, Event("view-changed" if changed else "view-saved", new_name, renamed + address), now)
    return not changed


def remove(tx: Connection, name: str, actor: Actor, now: Instant) -> None:
    """Delete a view. Raises NotFound."""
    if tx.execute(delete(_TABLE).where(_C.name == name)).rowcount == 0:
        raise NotFound(f"there is no view {name}; GET /api/views lists those that there are")
    access.record(tx, actor, Event("view-deleted", name), now)


def _is_there(tx: Connection, name: str) -> bool:
    return tx.execute(select(_C.name).where(_C.name == name)).first() is not None
