"""The twin's tables: the hosts (saved every few seconds), their details (saved rarely) and their identities."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.metrics.measures import OF_SAMPLE
from mirror_stage.storage.db import Base


class HostMetrics(Base):
    """A host with its newest sample. Instants are in ms since 1970 UTC."""

    __table__ = Table(
        "host_metrics",
        Base.metadata,
        Column("id", Integer, primary_key=True),  # the place index, and the slot on the wire
        Column("hostname", Text, nullable=False, unique=True),
        Column("first_seen_at", BigInteger),
        Column("removed_at", BigInteger),
        Column("last_seen_at", BigInteger),
        Column("last_poll_at", BigInteger),
        Column("reported_at", BigInteger),
        Column("received_at", BigInteger),
        Column("at", BigInteger),
        Column("agent_version", Text),
        Column("platform", Text),
        Column("command_policy", Text),
        Column("agent_instance", Text),
        Column("primary_interface", Text),
        Column("ip", Text),
        Column("rack", Text),
        Column("tags", Text),  # JSON
        *(Column(f"{what}_{axis}", Double) for what in ("place", "position") for axis in "xyz"),
        *(Column(one.name, BigInteger if one.is_whole else Double) for one in OF_SAMPLE),
        Column("tx_gbps", Double),
        Column("rx_gbps", Double),
        Column("interval_ms", BigInteger),
    )


class HostDetails(Base):
    """The hardware and diagnostics of a host's newest sample, as JSON."""

    __tablename__ = "host_details"

    host_id: Mapped[int] = mapped_column(ForeignKey("host_metrics.id"), primary_key=True, autoincrement=False)
    saved_at: Mapped[int] = mapped_column(BigInteger)
    sample: Mapped[str] = mapped_column(Text)


class HostIdentity(Base):
    """The description of a host from an instant on: a new row when it changes, and when the host comes or goes.

    See `Identity` in domain.py. Rows are kept for the longest retention; the row that was valid at its beginning stays.
    """

    __tablename__ = "host_identities"

    host_id: Mapped[int] = mapped_column(ForeignKey("host_metrics.id"), primary_key=True, autoincrement=False)
    since: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    is_present: Mapped[bool] = mapped_column(Boolean)
    counts_from: Mapped[int] = mapped_column(BigInteger)
    clock_offset_ms: Mapped[int] = mapped_column(BigInteger)
    ip: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[str | None] = mapped_column(Text)  # JSON
    rack: Mapped[str | None] = mapped_column(Text)
    position_x: Mapped[float | None] = mapped_column(Double)
    position_y: Mapped[float | None] = mapped_column(Double)
    position_z: Mapped[float | None] = mapped_column(Double)
    agent_version: Mapped[str | None] = mapped_column(Text)
    platform: Mapped[str | None] = mapped_column(Text)
    memory_total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    net_capacity_gbps: Mapped[float | None] = mapped_column(Double)
    interval_ms: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (Index("host_identities_by_time", "since"), {"sqlite_with_rowid": False})
