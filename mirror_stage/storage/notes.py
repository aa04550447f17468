"""Short texts by name that EGO keeps from one start to the next (table `ego_state`)."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, Table, Text, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows

TWIN_ID = "twin_id"
SAVED_AT = "saved_at"  # samples that arrived before it are in the saved twin: an Instant
SAVED_POSITION = "saved_position"  # the entry of the cluster's stream up to which the saved twin has all
SAVED_WHOLE = "saved_whole"  # EGO stopped after it had saved everything: no replay is needed
LIVED_UNTIL = "lived_until"  # the last time at which EGO's clock was believed: an Instant
CLOCK_APART = "clock_apart"  # when the machine's clock differed from EGO's: JSON
STAMPED_AT = "stamped_at"  # when the command queue was last running: an Instant
DISPATCH = "dispatch"  # that no command is handed out, why, since when, by whom: JSON
ALERT_RULES = "alert_rules"  # changes whenever an alert rule was changed over REST
AUDIT_PRUNED = "audit_pruned"  # number and hash of the newest row of the audit that was pruned: JSON


class EgoState(Base):
    """One note."""

    __tablename__ = "ego_state"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


_TABLE: Table = EgoState.__table__  # type: ignore[assignment]


def write(tx: Connection, name: str, value: str) -> None:
    """Store a note. It replaces an older one of this name."""
    insert_rows(tx, _TABLE, ("name", "value"), [(name, value)], REPLACE)


def forget(tx: Connection, name: str) -> None:
    """Delete a note."""
    tx.execute(delete(_TABLE).where(_TABLE.c.name == name))


def read(tx: Connection, name: str) -> str | None:
    """The note of a name, None if there is none."""
    return tx.execute(select(_TABLE.c.value).where(_TABLE.c.name == name)).scalar_one_or_none()


def twin_id(tx: Connection) -> str:
    """The id of this twin. It is made at the first call and stored."""
    known = read(tx, TWIN_ID)
    if known is None:  # two workers may come here at once: the first id counts
        insert_rows(tx, _TABLE, ("name", "value"), [(TWIN_ID, f"project5-{secrets.token_hex(5)}")], KEEP_FIRST)
        known = read(tx, TWIN_ID)
    return known or ""
