"""What EGO notes of itself between two starts, a name and a text each."""

from __future__ import annotations

from sqlalchemy import Connection, Table, Text, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base
from mirror_stage.storage.rows import REPLACE, insert_rows

TWIN_ID = "twin_id"
SAVED_AT = "saved_at"  # what arrived before it is in the saved twin: an Instant
SAVED_WHOLE = "saved_whole"  # EGO stopped after everything was folded and saved: nothing is to be replayed
LIVED_UNTIL = "lived_until"  # how late EGO knew it to be, as far as its clock was believed: an Instant
CLOCK_APART = "clock_apart"  # when the machine's clock was elsewhere than EGO's: JSON
STAMPED_AT = "stamped_at"  # when the command queue was alive last: an Instant


class EgoState(Base):
    """One note."""

    __tablename__ = "ego_state"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


_TABLE: Table = EgoState.__table__  # type: ignore[assignment]


def write(tx: Connection, name: str, value: str) -> None:
    """Note it; what was noted under this name is forgotten."""
    insert_rows(tx, _TABLE, ("name", "value"), [(name, value)], REPLACE)


def forget(tx: Connection, name: str) -> None:
    """Note it no more."""
    tx.execute(delete(_TABLE).where(_TABLE.c.name == name))


def read(tx: Connection, name: str) -> str | None:
    """What is noted under a name."""
    return tx.execute(select(_TABLE.c.value).where(_TABLE.c.name == name)).scalar_one_or_none()
