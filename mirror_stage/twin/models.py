"""The twin's tables: one small row a host, saved at most once a second; its details, saved rarely; what it once was."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class HostMetrics(Base):
    """A host: its identity, its newest sample and what the next one is compared with. Instants in ms since 1970 UTC."""

    __tablename__ = "host_metrics"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)  # the place index, and the slot on the wire
    hostname: Mapped[str] = mapped_column(Text, unique=True)
    first_seen_at: Mapped[int | None] = mapped_column(BigInteger)
    removed_at: Mapped[int | None] = mapped_column(BigInteger)
    last_seen_at: Mapped[int | None] = mapped_column(BigInteger)
    last_poll_at: Mapped[int | None] = mapped_column(BigInteger)
    reported_at: Mapped[int | None] = mapped_column(BigInteger)
    received_at: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[int | None] = mapped_column(BigInteger)
    agent_version: Mapped[str | None] = mapped_column(Text)
    platform: Mapped[str | None] = mapped_column(Text)
    command_policy: Mapped[str | None] = mapped_column(Text)
    agent_instance: Mapped[str | None] = mapped_column(Text)
    primary_interface: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[str | None] = mapped_column(Text)
    rack: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[str | None] = mapped_column(Text)  # JSON
    place_x: Mapped[float | None] = mapped_column(Double)
    place_y: Mapped[float | None] = mapped_column(Double)
    place_z: Mapped[float | None] = mapped_column(Double)
    position_x: Mapped[float | None] = mapped_column(Double)
    position_y: Mapped[float | None] = mapped_column(Double)
    position_z: Mapped[float | None] = mapped_column(Double)
    cpu_load: Mapped[float | None] = mapped_column(Double)
    memory_used_percent: Mapped[float | None] = mapped_column(Double)
    swap_used_percent: Mapped[float | None] = mapped_column(Double)
    load_average: Mapped[float | None] = mapped_column(Double)
    uptime_seconds: Mapped[float | None] = mapped_column(Double)
    cpu_temperature: Mapped[float | None] = mapped_column(Double)
    gpu_temperature: Mapped[float | None] = mapped_column(Double)
    memory_total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_available_bytes: Mapped[int | None] = mapped_column(BigInteger)
    net_bytes_tx: Mapped[int | None] = mapped_column(BigInteger)
    net_bytes_rx: Mapped[int | None] = mapped_column(BigInteger)
    tx_gbps: Mapped[float | None] = mapped_column(Double)
    rx_gbps: Mapped[float | None] = mapped_column(Double)
    net_capacity_gbps: Mapped[float | None] = mapped_column(Double)
    fullest_disk_percent: Mapped[float | None] = mapped_column(Double)
    interval_ms: Mapped[int | None] = mapped_column(BigInteger)


class HostDetails(Base):
    """A host's newest sample as it was reported: hardware and diagnostics, JSON."""

    __tablename__ = "host_details"

    host_id: Mapped[int] = mapped_column(ForeignKey("host_metrics.id"), primary_key=True, autoincrement=False)
    saved_at: Mapped[int] = mapped_column(BigInteger)
    sample: Mapped[str] = mapped_column(Text)


class HostIdentity(Base):
    """What a host was from an instant on, beside its numbers: a row whenever that changed, came or went.

    See `Identity` in domain.py. Kept as long as the oldest tier; the row that is in force at its edge stays.
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
