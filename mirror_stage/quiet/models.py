"""The table of silences, maintenance and mute times. Instants in ms since 1970 UTC by EGO's clock."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class QuietVersion(Base):
    """What somebody has written down at `at`: it counted until `replaced_at`, or counts still. No row is changed otherwise.

    So what was in force at any time can be read. `ends_at` is the end that is written down, for the retention. `source` is where it is
    kept: `hud`, or `file`: a file that somebody has applied.
    """

    __tablename__ = "quiet_versions"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    by: Mapped[str] = mapped_column(Text)
    change: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)  # JSON
    ends_at: Mapped[int | None] = mapped_column(BigInteger)
    replaced_at: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(Text, server_default="hud")

    __table_args__ = (
        Index(
            "quiet_versions_newest",
            "ends_at",
            sqlite_where=text("replaced_at IS NULL"),
            postgresql_where=text("replaced_at IS NULL"),
        ),
        Index("quiet_versions_replaced", "replaced_at"),
    )
