"""The history's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, SmallInteger, Table, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.history.domain import METRICS, ROLLUPS, Resolution
from mirror_stage.metrics.measures import MEASURES
from mirror_stage.storage.db import Base


class HostMetricSample(Base):
    """One host at one instant, numbers only.

    Time comes first in the key, so that 1,000 hosts that report in turn append to one place of the table instead of
    1,000 (measured per sample: 2.6 instead of 18 microseconds, 125 instead of 6,411 bytes of WAL).
    """

    __table__ = Table(
        "host_metric_samples",
        Base.metadata,
        Column("at_second", BigInteger, primary_key=True, autoincrement=False),
        Column("host_id", Integer, primary_key=True, autoincrement=False),
        Column("at_ms", SmallInteger, primary_key=True, autoincrement=False),
        # reported_at - at: 0 unless the host's clock was too far from EGO's
        Column("reported_after_ms", BigInteger, nullable=False),
        Column("received_after_ms", BigInteger, nullable=False),  # received_at - at
        *(Column(one.name, BigInteger if one.is_whole else Double) for one in MEASURES if one.is_stored),
        sqlite_with_rowid=False,
    )


def _rollup(resolution: Resolution) -> Table:
    """A table with one row per host and bucket; `at_second` is the bucket's first second.

    The host comes first in the key, so that months of one host are read in one piece. `<metric>_count` is NULL if all
    `samples` have the metric, which is nearly always so.
    """
    summaries = [
        Column(f"{metric.column}_{what}", BigInteger if what == "sum" else Integer)
        for metric in METRICS
        for what in ("min", "max", "sum", "count")
    ]
    return Table(
        resolution.table,
        Base.metadata,
        Column("host_id", Integer, primary_key=True, autoincrement=False),
        Column("at_second", BigInteger, primary_key=True, autoincrement=False),
        Column("samples", Integer, nullable=False),
        *summaries,
        sqlite_with_rowid=False,
    )


ROLLUP_TABLES: dict[str, Table] = {resolution.name: _rollup(resolution) for resolution in ROLLUPS}


class RollupDirty(Base):
    """A closed bucket of a host that a late sample came into. The rollup job computes it again from all its rows."""

    __tablename__ = "rollup_dirty"

    resolution: Mapped[str] = mapped_column(Text, primary_key=True)
    at_second: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    host_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    is_claimed: Mapped[bool] = mapped_column(Boolean)  # a computation has begun; a sample that comes later unsets it

    __table_args__ = ({"sqlite_with_rowid": False},)


class HistoryTier(Base):
    """How far a tier is rolled up and pruned, in seconds since 1970 UTC.

    Before `closed_until` each new sample is late. Before `done_until` the buckets are in the rollup, except for those
    that are dirty. Before `pruned_until` the rows are deleted. In the minute that begins at `pruned_until` the rows of
    hosts with smaller ids than `pruned_hosts` are deleted too.
    """

    __tablename__ = "history_tiers"

    resolution: Mapped[str] = mapped_column(Text, primary_key=True)
    closed_until: Mapped[int] = mapped_column(BigInteger)
    done_until: Mapped[int] = mapped_column(BigInteger)
    pruned_until: Mapped[int] = mapped_column(BigInteger)
    pruned_hosts: Mapped[int] = mapped_column(Integer, server_default="0")
