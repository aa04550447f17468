"""The table of processes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class ProcessMinute(Base):
    """The busiest processes of a host in the minute that begins at `at_second`, as JSON: `domain.Row` each.

    One row a host and minute, because nobody asks for less: eight rows would be five times as large.
    """

    __tablename__ = "process_minutes"

    host_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at_second: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    processes: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("process_minutes_by_minute", "at_second"), {"sqlite_with_rowid": False})
