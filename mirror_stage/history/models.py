"""The history's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, SmallInteger, Table, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.history.domain import METRICS, ROLLUPS, Resolution
from mirror_stage.metrics.measures import MEASURES
from mirror_stage.storage.db import Base


class HostMetricSample(Base):
    """One host at one instant, numbers only.

    Time comes first in the key: 1,000 hosts that report in turn then append instead of touching 1,000 places
    (2.6 against 18 microseconds and 125 against 6,411 bytes of WAL a sample).
    """

    __table__ = Table(
        "host_metric_samples",
        Base.metadata,
        Column("at_second", BigInteger, primary_key=True, autoincrement=False),
        Column("host_id", Integer, primary_key=True, autoincrement=False),
        Column("at_ms", SmallInteger, primary_key=True, autoincrement=False),
        Column(
            "reported_after_ms", BigInteger, nullable=False
        ),  # reported_at - at: 0 unless the clock was not believed
        Column("received_after_ms", BigInteger, nullable=False),  # received_at - at
        *(Column(one.name, BigInteger if one.is_whole else Double) for one in MEASURES if one.is_stored),
        sqlite_with_rowid=False,
    )


def _rollup(resolution: Resolution) -> Table:
    """One row per host and bucket, at the bucket's first second. The host comes first: its months are read in one piece.

    `<metric>_count` is NULL where all `samples` have the metric, which is nearly always.
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
    """A bucket of a host that was closed when something late came in: it is computed anew, whole."""

    __tablename__ = "rollup_dirty"

    resolution: Mapped[str] = mapped_column(Text, primary_key=True)
    at_second: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    host_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    is_claimed: Mapped[bool] = mapped_column(Boolean)  # by a computation that has begun; what comes later unsets it

    __table_args__ = ({"sqlite_with_rowid": False},)


class HistoryTier(Base):
    """How far a tier has come, in seconds since 1970 UTC. Every bucket before each of the three is

    closed: what comes into it from now on is late; done: in the rollup, save for what is dirty; pruned: gone. Of the
    minute that is being pruned the hosts with smaller ids than `pruned_hosts` are gone.
    """

    __tablename__ = "history_tiers"

    resolution: Mapped[str] = mapped_column(Text, primary_key=True)
    closed_until: Mapped[int] = mapped_column(BigInteger)
    done_until: Mapped[int] = mapped_column(BigInteger)
    pruned_until: Mapped[int] = mapped_column(BigInteger)
    pruned_hosts: Mapped[int] = mapped_column(Integer, server_default="0")
