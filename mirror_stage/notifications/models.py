"""The tables of the notifications. Instants in ms since 1970 UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class GroupRow(Base):
    """A group of alerts, open or closed. `told_to` is a list of channels, as JSON."""

    __tablename__ = "alert_groups"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    route: Mapped[str | None] = mapped_column(Text)
    cause: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[str | None] = mapped_column(Text)
    rack: Mapped[str | None] = mapped_column(Text)
    opened_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(Integer)
    first_told_at: Mapped[int | None] = mapped_column(BigInteger)
    told_at: Mapped[int | None] = mapped_column(BigInteger)
    told_severity: Mapped[str | None] = mapped_column(Text)
    told_to: Mapped[str] = mapped_column(Text)
    is_flapping: Mapped[bool] = mapped_column(Boolean)
    is_escalated: Mapped[bool] = mapped_column(Boolean)
    closed_at: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(Integer)

    __table_args__ = (Index("alert_groups_by_end", "closed_at"),)


class MemberRow(Base):
    """A problem of a group. `subject` is empty where the rule has none; `fires` and `quiet` are JSON."""

    __tablename__ = "alert_group_members"

    group_id: Mapped[str] = mapped_column(Text, primary_key=True)
    hostname: Mapped[str] = mapped_column(Text, primary_key=True)
    rule: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    alert_id: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    measure: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    value: Mapped[float] = mapped_column(Double)
    threshold: Mapped[float] = mapped_column(Double)
    fired_at: Mapped[int] = mapped_column(BigInteger)
    fires: Mapped[str] = mapped_column(Text)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(Text)
    is_unknown: Mapped[bool] = mapped_column(Boolean)
    told_severity: Mapped[str | None] = mapped_column(Text)
    quiet: Mapped[str] = mapped_column(Text)
    was_quiet: Mapped[bool] = mapped_column(Boolean)

    __table_args__ = ({"sqlite_with_rowid": False},)


class DeliveryRow(Base):
    """A message to one channel, from the intent to the receiver's answer. `facts` is JSON, without any secret."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    group_id: Mapped[str | None] = mapped_column(Text)
    channel: Mapped[str] = mapped_column(Text)
    sequence: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(BigInteger)
    due_since: Mapped[int] = mapped_column(BigInteger)
    next_at: Mapped[int] = mapped_column(BigInteger)
    leased_until: Mapped[int | None] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[int | None] = mapped_column(Integer)
    detail: Mapped[str | None] = mapped_column(Text)
    merged_into: Mapped[str | None] = mapped_column(Text)
    facts: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index(
            "deliveries_waiting",
            "channel", "due_since", "sequence",
            sqlite_where=text("state IN ('queued', 'retry', 'leased')"),
            postgresql_where=text("state IN ('queued', 'retry', 'leased')"),
        ),
        Index("deliveries_of_group", "group_id", "channel"),
        Index("deliveries_newest_first", "created_at", "id"),
        Index("deliveries_of_channel", "channel", "ended_at"),
    )  # fmt: skip


class ChannelRow(Base):
    """Where messages go. `settings` is JSON without secrets; `sealed` has the secrets, encrypted."""

    __tablename__ = "channels"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    settings: Mapped[str] = mapped_column(Text)
    sealed: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    updated_by: Mapped[str | None] = mapped_column(Text)


class RoutesRow(Base):
    """The routes in their order, as JSON. One row."""

    __tablename__ = "alert_routes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # always 1
    routes: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    updated_by: Mapped[str | None] = mapped_column(Text)
