"""Uses TimescaleDB for the history, if the database has it. EGO asks the database; there is no setting.

With the Timescale licence the rollups are continuous aggregates, compressed and pruned by policies. With the Apache
licence, in a copy of another database, or if the schema was made before the extension was installed, EGO's own jobs do
what is missing. Queries see the same tables and columns in all cases. PostgreSQL 15 of Debian 12 needs TimescaleDB
2.28.x: 2.29 no longer supports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Connection, text

from mirror_stage.core.instants import DAY, HOUR, Instant

CHUNK_SECONDS = 3_600
COMPRESSED_AFTER: Instant = 7 * DAY


class Engine(StrEnum):
    """Who makes the rollups and prunes the history."""

    OWN = "own rollups"
    UNUSED = "own rollups: TimescaleDB was installed after this schema was made, and is not used"
    HYPERTABLE = "TimescaleDB: hypertable and drop_chunks, own rollups"
    CONTINUOUS = "TimescaleDB: hypertable, continuous aggregates, compression and retention policies"


def engine_of(tx: Connection) -> Engine:
    """The engine of this database."""
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
    """Set the policies of TimescaleDB (refresh, compress, drop) by the present settings.

    A refresh never covers a time whose samples may be pruned, because it would remove them from the aggregate. So a
    sample that comes later than the retention of the raw tier does not enter these rollups. `drop_samples` drops the
    samples, because it checks that they are aggregated; a policy would check their age only.
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
    """The second up to which the continuous aggregate of minutes has the samples."""
    return int(tx.execute(_WATERMARK).scalar() or 0)


_WATERMARK = text(
    "SELECT _timescaledb_functions.cagg_watermark(mat_hypertable_id) FROM _timescaledb_catalog.continuous_agg"
    " WHERE user_view_name = 'host_metrics_1m'"
)


def drop_aggregates(tx: Connection) -> tuple[str, ...]:
    """Drop the continuous aggregates. Returns their names: EGO's own tables have to take their place."""
    views = ("host_metrics_15m", "host_metrics_1m")  # the first is made of the second
    for view in views:
        tx.execute(text(f"DROP MATERIALIZED VIEW {view}"))
    return views


def lock_samples(tx: Connection) -> None:
    """Let no sample in until this transaction ends. Dropping a chunk deletes every sample in it."""
    tx.execute(text("LOCK TABLE host_metric_samples IN SHARE ROW EXCLUSIVE MODE"))


def drop_samples(tx: Connection, until: int) -> int:
    """Drop the chunks of samples before `until`. Returns how many."""
    return len(
        tx.execute(text("SELECT drop_chunks('host_metric_samples', older_than => :until)"), {"until": until}).all()
    )
