"""The table of disks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class DiskLevel(Base):
    """How full a disk was in an hour, which begins at `at_second`: at last, and at most; and how much it can hold."""

    __tablename__ = "disk_levels"

    host_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    mount: Mapped[str] = mapped_column(Text, primary_key=True)
    at_second: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    used_bytes: Mapped[int] = mapped_column(BigInteger)
    most_used_bytes: Mapped[int] = mapped_column(BigInteger)
    total_bytes: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("disk_levels_by_hour", "at_second"), {"sqlite_with_rowid": False})
