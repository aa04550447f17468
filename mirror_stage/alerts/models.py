"""The alerts' tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class AlertRow(Base):
    """One alert, active or resolved. `metric` is the name of its rule, `subject` is empty where that has none.

    `cause` is JSON. `group_id` is written with the group that tells the alert. Instants in ms since 1970 UTC.
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
    unknown_since: Mapped[int | None] = mapped_column(BigInteger)
    ack_by: Mapped[str | None] = mapped_column(Text)
    ack_note: Mapped[str | None] = mapped_column(Text)
    ack_at: Mapped[int | None] = mapped_column(BigInteger)
    ack_until: Mapped[int | None] = mapped_column(BigInteger)
    cause: Mapped[str | None] = mapped_column(Text)
    group_id: Mapped[str | None] = mapped_column(Text)

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
    """One change of an alert (see `Transition.event`), committed with the alert before clients are told.

    `value` is the alert's value at that time, None where it was not recorded. Who acknowledges it is the `actor`; `note` and
    `until` are theirs. Version 0 says since when an alert was pending that fired later.
    `cause` is what the alert has from then on. `is_taken`: the notifications have taken it up, into the group `group_id` if it
    brought the alert there.
    """

    __tablename__ = "alert_events"

    alert_id: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    transition: Mapped[str] = mapped_column(Text)
    at: Mapped[int] = mapped_column(BigInteger)
    severity: Mapped[str] = mapped_column(Text)
    value: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    until: Mapped[int | None] = mapped_column(BigInteger)
    is_taken: Mapped[bool] = mapped_column(Boolean, server_default=false())
    cause: Mapped[str | None] = mapped_column(Text)
    group_id: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(
            "alert_events_to_take",
            "at", "alert_id", "version",
            sqlite_where=text("NOT is_taken"),
            postgresql_where=text("NOT is_taken"),
        ),
        {"sqlite_with_rowid": False},
    )  # fmt: skip


class AlertWait(Base):
    """What of a host waits: to fire, to become more or less severe, to resolve, or for its value. It is saved with the host.

    `since` is a JSON list with an instant for each step of the rule, 0 where nothing waits.
    """

    __tablename__ = "alert_waits"

    hostname: Mapped[str] = mapped_column(Text, primary_key=True)
    metric: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    measure: Mapped[str] = mapped_column(Text)
    since: Mapped[str] = mapped_column(Text)
    judged_at: Mapped[int] = mapped_column(BigInteger)
    missing: Mapped[int] = mapped_column(Integer)
    missing_since: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = ({"sqlite_with_rowid": False},)


class AlertAck(Base):
    """That somebody acknowledges an alert. Any worker writes it; the owner of the twin takes it up, and removes it at its end."""

    __tablename__ = "alert_acks"

    alert_id: Mapped[str] = mapped_column(Text, primary_key=True)
    by: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    at: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[int] = mapped_column(BigInteger)
    withdrawn_at: Mapped[int | None] = mapped_column(BigInteger)
    withdrawn_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = ({"sqlite_with_rowid": False},)


class AlertRule(Base):
    """A rule that somebody has made over REST, or a built-in one that somebody has changed. `document` is JSON.

    `source`: `hud`, or `file`: a file that somebody has applied.
    """

    __tablename__ = "alert_rules"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    updated_by: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text, server_default="hud")
