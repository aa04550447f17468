"""What EGO notes of itself between two starts, a name and a text each."""

from __future__ import annotations

from sqlalchemy import Connection, Table, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base
from mirror_stage.storage.rows import REPLACE, insert_rows

TWIN_ID = "twin_id"
SAVED_AT = "saved_at"  # when the twin was saved last: an Instant
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


def read(tx: Connection, name: str) -> str | None:
    """What is noted under a name."""
    return tx.execute(select(_TABLE.c.value).where(_TABLE.c.name == name)).scalar_one_or_none()
