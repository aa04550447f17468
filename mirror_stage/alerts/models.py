"""The alerts' tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class AlertRow(Base):
    """One alert, active or resolved. `metric` is the name of its rule, `subject` is empty where that has none.

    Instants in ms since 1970 UTC.
    """

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    hostname: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    measure: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    threshold: Mapped[float] = mapped_column(Double)
    current_value: Mapped[float] = mapped_column(Double)
    status: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    resolved_at: Mapped[int | None] = mapped_column(BigInteger)
    resolved_reason: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    peak_value: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (
        Index(
            "alerts_one_active",
            "hostname", "metric", "subject",
            unique=True,
            sqlite_where=text("status = 'active'"),
            postgresql_where=text("status = 'active'"),
        ),
        Index("alerts_newest_first", "created_at", "id"),
        Index("alerts_of_host", "hostname", "created_at"),
        Index("alerts_by_end", "resolved_at"),
        Index("alerts_of_rule", "hostname", "metric", "subject", "created_at"),
    )  # fmt: skip


class AlertEvent(Base):
    """One transition of an alert: `fired`, `severity` or `resolved`, committed with the alert before clients are told.

    `value` is the alert's value at that time, None where it was not recorded.
    """

    __tablename__ = "alert_events"

    alert_id: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    transition: Mapped[str] = mapped_column(Text)
    at: Mapped[int] = mapped_column(BigInteger)
    severity: Mapped[str] = mapped_column(Text)
    value: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = ({"sqlite_with_rowid": False},)
