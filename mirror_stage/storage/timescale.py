"""What TimescaleDB does for the history, where it is: found out from the database itself, not from a setting.

With the Timescale licence the rollups are continuous aggregates, compressed and pruned by policies. With the Apache
licence, or where the schema was made before the extension came, EGO's own jobs do what is missing. Whoever reads or
asks sees the same tables and columns. Debian 12's PostgreSQL 15 needs TimescaleDB 2.28.x: 2.29 has left it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Connection, text

from mirror_stage.core.instants import DAY, HOUR, Instant

CHUNK_SECONDS = 3_600
COMPRESSED_AFTER: Instant = 7 * DAY


class Engine(StrEnum):
    """Who rolls the history up and prunes it."""

    OWN = "own rollups"
    UNUSED = "own rollups: TimescaleDB came after this schema was made, and is not used"
    HYPERTABLE = "TimescaleDB (Apache licence): hypertable and drop_chunks, own rollups"
    CONTINUOUS = "TimescaleDB: hypertable, continuous aggregates, compression and retention policies"


def engine_of(tx: Connection) -> Engine:
    """What this database's history is made of."""
    if tx.dialect.name != "postgresql" or not tx.execute(_HAS_EXTENSION).scalar():
        return Engine.OWN
    if tx.execute(_AGGREGATES).scalar():
        return Engine.CONTINUOUS
    return Engine.HYPERTABLE if tx.execute(_HYPERTABLES).scalar() else Engine.UNUSED


_HAS_EXTENSION = text("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
_AGGREGATES = text(
    "SELECT count(*) FROM timescaledb_information.continuous_aggregates WHERE view_name = 'host_metrics_1m'"
)
_HYPERTABLES = text(
    "SELECT count(*) FROM timescaledb_information.hypertables WHERE hypertable_name = 'host_metric_samples'"
)


def set_policies(tx: Connection, kept_by_resolution: Mapping[str, Instant], grace_seconds: int) -> None:
    """Tell TimescaleDB when to refresh, compress and drop, as the settings have it now.

    A refresh never reaches back to where samples may be gone: it would take them out of the aggregate. So what comes
    later than the raw tier is kept does not enter the rollups here. The samples themselves are dropped by `drop_samples`,
    which looks at how far they are aggregated; a policy looks at nothing but their age.
    """
    raw, aggregated = kept_by_resolution["raw"] // 1000, (("host_metrics_1m", 60), ("host_metrics_15m", 900))
    compressed_after = max(COMPRESSED_AFTER, kept_by_resolution["raw"] + 2 * HOUR) // 1000
    _set(tx, "compression", "host_metric_samples", f"compress_after => {compressed_after}::bigint")
    for (view, seconds), kept in zip(aggregated, list(kept_by_resolution.values())[1:], strict=True):
        start, end = max(raw, 3 * seconds), seconds + grace_seconds
        refresh = (
            f"start_offset => {start}::bigint, end_offset => {end}::bigint, schedule_interval => interval '1 minute'"
        )
        _set(tx, "continuous_aggregate", view, refresh)
        _set(tx, "compression", view, f"compress_after => {compressed_after}::bigint")
        _set(tx, "retention", view, f"drop_after => {kept // 1000}::bigint")


def _set(tx: Connection, kind: str, table: str, settings: str) -> None:
    tx.execute(text(f"SELECT remove_{kind}_policy('{table}', if_exists => true)"))
    tx.execute(text(f"SELECT add_{kind}_policy('{table}', {settings})"))


def aggregated_until(tx: Connection) -> int:
    """Up to which second the samples are in the continuous aggregate of minutes."""
    return int(tx.execute(_WATERMARK).scalar() or 0)


_WATERMARK = text(
    "SELECT _timescaledb_functions.cagg_watermark(mat_hypertable_id) FROM _timescaledb_catalog.continuous_agg"
    " WHERE user_view_name = 'host_metrics_1m'"
)


def lock_samples(tx: Connection) -> None:
    """Let no sample in until this transaction ends: a chunk takes everything in it along."""
    tx.execute(text("LOCK TABLE host_metric_samples IN SHARE ROW EXCLUSIVE MODE"))


def drop_samples(tx: Connection, until: int) -> int:
    """How many chunks of samples before `until` were dropped."""
    return len(
        tx.execute(text("SELECT drop_chunks('host_metric_samples', older_than => :until)"), {"until": until}).all()
    )
