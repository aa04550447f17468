"""The SQL of the tiers, as functions of a transaction: late samples, rollups and pruning.

Three rules count every sample exactly once:

1. EGO closes a bucket before it rolls it up. A transaction that adds a sample to a closed bucket marks it as dirty.
2. A dirty bucket is computed again from all its rows, so that computing it twice changes nothing.
3. If its rows are already pruned, only late rows are left. EGO adds them to the rollup and deletes them, in one
   transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Table, TextClause, and_, delete, func, select, text, true, update

from mirror_stage.history.domain import RAW, RESOLUTIONS, ROLLUPS, Resolution
from mirror_stage.history.models import ROLLUP_TABLES, HistoryTier, HostMetricSample, RollupDirty
from mirror_stage.history.summary import SUMMARIES, Summary, columns_of
from mirror_stage.metrics.domain import Sample
from mirror_stage.storage import timescale
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows
from mirror_stage.storage.timescale import Engine

FOREVER = 2**40  # seconds
GRACE_SECONDS = 30  # a bucket is closed so long after its end; a sample that comes before that is not late
CLAIM_HOSTS, CLAIM_BUCKETS = 250, 60  # one step computes at most so many again
CHUNK_ROWS = 250  # one write of a rollup has at most so many: a few milliseconds
SLICE_BUCKETS = 60  # at most so many buckets are deleted for all hosts before the next ones begin

_TIERS: Table = HistoryTier.__table__  # type: ignore[assignment]
_DIRTY: Table = RollupDirty.__table__  # type: ignore[assignment]
_SAMPLES: Table = HostMetricSample.__table__  # type: ignore[assignment]
_TABLES: dict[str, Table] = {RAW.name: _SAMPLES, **ROLLUP_TABLES}
_DIRTY_COLUMNS = ("resolution", "at_second", "host_id", "is_claimed")
_SOURCES: dict[str, Resolution] = {upper.name: lower for lower, upper in pairwise(RESOLUTIONS)}
_UPPERS: dict[str, Resolution] = {lower.name: upper for lower, upper in pairwise(RESOLUTIONS)}


@dataclass(frozen=True, slots=True)
class Tier:
    """How far a tier is closed, rolled up and pruned. For the fields see `HistoryTier`."""

    closed_until: int = 0
    done_until: int = 0
    pruned_until: int = 0
    pruned_hosts: int = 0


_TIER_COLUMNS = ("resolution", *(field.name for field in fields(Tier)))


@dataclass(frozen=True, slots=True)
class Claim:
    """Dirty buckets of some hosts that are to be computed again: those from `since` to before `until`."""

    resolution: Resolution
    since: int
    until: int
    host_ids: tuple[int, ...]
    is_added: bool  # the rows below are pruned: only late rows are left, and they are added


# ------------------------------------------------------------------ progress of the tiers


def tiers(tx: Connection) -> dict[str, Tier]:
    """The progress of each tier, by its name."""
    rows = tx.execute(select(_TIERS)).mappings()
    known = {row["resolution"]: Tier(*(row[field.name] for field in fields(Tier))) for row in rows}
    return {resolution.name: known.get(resolution.name, Tier()) for resolution in RESOLUTIONS}


def begin(tx: Connection, now_second: int, engine: Engine) -> None:
    """Create the rows of tiers that have none yet. Their progress begins at the oldest sample, or now.

    If TimescaleDB aggregates, every tier counts as done for ever, and no bucket is ever closed.
    """
    known = set(tx.execute(select(_TIERS.c.resolution)).scalars())
    since = min(tx.execute(_OLDEST_SAMPLE_SINCE, {"since": 0}).scalar() or now_second, now_second)
    rows = [
        (tier.name, 0, FOREVER, 0, 0)
        if engine is Engine.CONTINUOUS
        else (tier.name, since - since % tier.seconds, since - since % tier.seconds, 0, 0)
        for tier in RESOLUTIONS
        if tier.name not in known
    ]
    insert_rows(tx, _TIERS, _TIER_COLUMNS, rows, KEEP_FIRST)


def advance(tx: Connection, resolution: Resolution, **marks: int) -> None:
    """Set fields of `Tier` of a tier."""
    tx.execute(update(_TIERS).where(_TIERS.c.resolution == resolution.name).values(**marks))


def take_back(tx: Connection, now_second: int) -> bool:
    """Set progress that lies in the future, because EGO's clock was ahead once, back to now. Returns whether any did.

    `closed_until` and `done_until` never go behind `pruned_until` of the tier below: EGO computes a bucket only if all
    its rows are there. Of the present bucket some rows may be pruned, unless there is nothing from before now: a new
    EGO has started before the time was synchronised.
    """
    known, coarsest = tiers(tx), RESOLUTIONS[-1].seconds
    if max(max(tier.closed_until, tier.done_until, tier.pruned_until) for tier in known.values()) <= now_second:
        return False
    whole_from = now_second - now_second % coarsest + (coarsest if _has_rows_until(tx, now_second) else 0)
    below = 0
    for resolution in RESOLUTIONS:
        tier, over = known[resolution.name], now_second - GRACE_SECONDS
        pruned, floor = min(tier.pruned_until, whole_from), max(over - over % resolution.seconds, below)
        closed, done = min(tier.closed_until, floor), min(tier.done_until, floor)
        advance(tx, resolution, closed_until=closed, done_until=done, pruned_until=pruned)
        below = pruned
    return True


def _has_rows_until(tx: Connection, second: int) -> bool:
    """Whether a tier has rows up to a second."""
    oldest = (tx.execute(_oldest_row(resolution), {"since": 0}).scalar() for resolution in RESOLUTIONS)
    return any(found is not None and found <= second for found in oldest)


# ------------------------------------------------------------------ late samples


def mark_late(tx: Connection, samples: Iterable[Sample], ids_by_hostname: Mapping[str, int], now_second: int) -> None:
    """Mark as dirty the closed minutes that these samples came into.

    Call it after the samples were appended: then, on PostgreSQL, the rollup of a closed minute waits for this
    transaction.
    """
    late_before = (now_second - GRACE_SECONDS) * 1000
    late = [sample for sample in samples if sample.at < late_before]
    if late:
        minute = ROLLUPS[0]
        marks = {
            (sample.at // 1000 // minute.seconds * minute.seconds, ids_by_hostname[sample.hostname]) for sample in late
        }
        _mark(tx, minute, marks)


def _mark(tx: Connection, resolution: Resolution, buckets: Collection[tuple[int, int]]) -> None:
    """Mark as dirty those (bucket, host id) that are closed. A new mark undoes a claim, whose computation has not seen the
    new rows."""
    closed = tx.execute(_CLOSED, {"resolution": resolution.name}).scalar() or 0
    rows = sorted((resolution.name, at_second, host_id, False) for at_second, host_id in buckets if at_second < closed)
    insert_rows(tx, _DIRTY, _DIRTY_COLUMNS, rows, REPLACE)


_CLOSED = text("SELECT closed_until FROM history_tiers WHERE resolution = :resolution")


def claim(tx: Connection, resolution: Resolution, cells: int) -> Claim | None:
    """Claim the oldest dirty buckets of a tier; None if none is dirty. A sample that comes later marks its bucket again.

    A claim covers at most `cells` buckets of all hosts together, and up to CLAIM_BUCKETS buckets in a row of each host:
    a backlog of an agent makes many minutes in a row dirty.
    """
    marked = _DIRTY.c.resolution == resolution.name
    since = tx.execute(select(func.min(_DIRTY.c.at_second)).where(marked)).scalar()
    if since is None:
        return None
    source = tiers(tx)[source_of(resolution).name]
    some: ColumnElement[bool] = true()
    limit, is_added = since + min(CLAIM_BUCKETS, cells) * resolution.seconds, False
    if since < source.pruned_until:
        limit, is_added = min(limit, source.pruned_until), True
    elif since == source.pruned_until and source.pruned_hosts:  # the rows of this bucket are pruned for some hosts only
        limit = since + resolution.seconds
        first = tx.execute(select(func.min(_DIRTY.c.host_id)).where(marked, _DIRTY.c.at_second == since)).scalar_one()
        is_added = first < source.pruned_hosts
        some = _DIRTY.c.host_id < source.pruned_hosts if is_added else true()
    last = tx.execute(select(func.max(_DIRTY.c.at_second)).where(marked, _DIRTY.c.at_second < limit)).scalar_one()
    until = last + resolution.seconds
    hosts = (
        select(_DIRTY.c.host_id)
        .where(marked, _DIRTY.c.at_second < until, some)
        .distinct()
        .order_by(_DIRTY.c.host_id)
        .limit(max(1, min(CLAIM_HOSTS, cells * resolution.seconds // (until - since))))
    )
    claimed = Claim(resolution, since, until, tuple(tx.execute(hosts).scalars()), is_added)
    tx.execute(update(_DIRTY).where(_marks_of(claimed)).values(is_claimed=True))
    return claimed


def end_claim(tx: Connection, claimed: Claim) -> None:
    """Delete the marks of a claim that were not renewed since, and mark the buckets of the tier above."""
    tx.execute(delete(_DIRTY).where(_marks_of(claimed), _DIRTY.c.is_claimed))
    _follow(tx, claimed)


def _follow(tx: Connection, claimed: Claim) -> None:
    """Mark as dirty the closed buckets of the tier above that contain these buckets."""
    upper = _UPPERS.get(claimed.resolution.name)
    if upper is not None:
        buckets = range(claimed.since - claimed.since % upper.seconds, claimed.until, upper.seconds)
        _mark(tx, upper, [(bucket, host_id) for bucket in buckets for host_id in claimed.host_ids])


def _marks_of(claimed: Claim) -> ColumnElement[bool]:
    return and_(
        _DIRTY.c.resolution == claimed.resolution.name,
        _DIRTY.c.at_second >= claimed.since,
        _DIRTY.c.at_second < claimed.until,
        _DIRTY.c.host_id.in_(claimed.host_ids),
    )


# ------------------------------------------------------------------ rolling up


def source_of(resolution: Resolution) -> Resolution:
    """The tier that a rollup is computed from."""
    return _SOURCES[resolution.name]


def next_bucket(tx: Connection, resolution: Resolution, since: int) -> int | None:
    """The first bucket at or after `since` that has rows to roll up, or None."""
    source = source_of(resolution)
    found = tx.execute(_oldest_row(source), {"since": since}).scalar()
    return None if found is None else found - found % resolution.seconds


def _oldest_row(resolution: Resolution) -> TextClause:
    """The SELECT of the oldest second of a tier's rows at or after `since`."""
    if resolution is RAW:
        return _OLDEST_SAMPLE_SINCE
    seek = f"SELECT min(at_second) FROM {resolution.table} WHERE host_id = id AND at_second >= :since"
    return text(f"SELECT min(found) FROM (SELECT ({seek}) AS found FROM host_metrics) AS founds")


Hosts = tuple[int, ...] | range  # host ids: these, or all in a range


def summaries(tx: Connection, resolution: Resolution, since: int, until: int, hosts: Hosts) -> list[str]:
    """The rollup rows of some buckets, as JSON texts for `put`. Row by row, sqlite3 would release the interpreter lock each time."""
    statement = _chunks_of(resolution, isinstance(hosts, range))
    return list(tx.execute(statement, _bound(tx, since, until, hosts)).scalars())


@cache
def _chunks_of(resolution: Resolution, in_range: bool) -> TextClause:
    columns = ", ".join(("host_id", "bucket", *columns_of()[2:]))
    summary = _summary(resolution, in_range, "sqlite")
    numbered = f"SELECT *, (row_number() OVER () - 1) / {CHUNK_ROWS} AS chunk FROM ({summary})"
    return text(f"SELECT json_group_array(json_array({columns})) FROM ({numbered}) GROUP BY chunk")


def put(tx: Connection, resolution: Resolution, chunk: str) -> None:
    """Write the rows of one JSON text of `summaries`."""
    insert_rows(tx, ROLLUP_TABLES[resolution.name], columns_of(), orjson.loads(chunk), REPLACE)


def fill(tx: Connection, resolution: Resolution, since: int, until: int, hosts: Hosts) -> None:
    """Compute some buckets and write them in one statement. For PostgreSQL, where other writers do not wait for it."""
    statement = _insert_of(resolution, isinstance(hosts, range), False, tx.dialect.name)
    tx.execute(statement, _bound(tx, since, until, hosts))


def add(tx: Connection, claimed: Claim) -> None:
    """Add the late rows of buckets whose other rows are pruned to the rollup, and delete them: they are counted now."""
    resolution, since, until, host_ids = claimed.resolution, claimed.since, claimed.until, claimed.host_ids
    tx.execute(delete(_DIRTY).where(_marks_of(claimed)))
    tx.execute(_insert_of(resolution, False, True, tx.dialect.name), _bound(tx, since, until, host_ids))
    _remove(tx, source_of(resolution), since, until, host_ids)
    _follow(tx, claimed)


@cache
def _insert_of(resolution: Resolution, in_range: bool, is_added: bool, dialect: str) -> TextClause:
    """The INSERT of summaries. It replaces the rows that exist, or adds to them if `is_added`."""
    sets = _sums(resolution.table) if is_added else {name: f"excluded.{name}" for name in columns_of()[2:]}
    assignments = ", ".join(f"{name} = {value}" for name, value in sets.items())
    return text(
        f"INSERT INTO {resolution.table} ({', '.join(columns_of())}) {_summary(resolution, in_range, dialect)}"
        f" ON CONFLICT (host_id, at_second) DO UPDATE SET {assignments}"
    )


def _bound(tx: Connection, since: int, until: int, hosts: Hosts) -> dict[str, Any]:
    values: dict[str, Any] = {"since": since, "until": until}
    if isinstance(hosts, range):
        return values | {"first_host": hosts.start, "last_host": hosts.stop - 1}
    return values | {"hosts": list(hosts) if tx.dialect.name == "postgresql" else json.dumps(hosts)}


def _where(in_range: bool, dialect: str) -> str:
    """The condition on `host_id`."""
    if in_range:
        return "host_id >= :first_host AND host_id <= :last_host"
    return "host_id = ANY(:hosts)" if dialect == "postgresql" else "host_id IN (SELECT value FROM json_each(:hosts))"


def _seconds(dialect: str) -> str:
    """The SQL of all seconds from `since` to before `until`, to look up each: the key of samples begins with the second."""
    if dialect == "postgresql":
        return "ANY(ARRAY(SELECT generate_series(CAST(:since AS bigint), CAST(:until AS bigint) - 1)))"
    return (
        "(WITH RECURSIVE second(s) AS (SELECT :since UNION ALL SELECT s + 1 FROM second WHERE s + 1 < :until)"
        " SELECT s FROM second)"
    )


def _remove(tx: Connection, resolution: Resolution, since: int, until: int, hosts: Hosts) -> None:
    """Delete the rows of some hosts from `since` to before `until`."""
    dialect, where = tx.dialect.name, "at_second >= :since AND at_second < :until"
    if resolution is RAW:
        where += f" AND at_second {'=' if dialect == 'postgresql' else 'IN'} {_seconds(dialect)}"
    where += f" AND {_where(isinstance(hosts, range), dialect)}"
    tx.execute(text(f"DELETE FROM {resolution.table} WHERE {where}"), _bound(tx, since, until, hosts))


def _sums(table: str) -> dict[str, str]:
    """The SQL that adds the columns of another summary of the same bucket to those of a row, by column."""
    sets = {"samples": f"{table}.samples + excluded.samples"}
    for name in {name.rpartition("_")[0] for name in columns_of()[3:]}:
        least, most, total, count = (f"{name}_{what}" for what in SUMMARIES)
        for column, comparison in ((least, "<"), (most, ">")):
            mine, theirs = f"{table}.{column}", f"excluded.{column}"
            sets[column] = f"CASE WHEN {mine} IS NULL OR {theirs} {comparison} {mine} THEN {theirs} ELSE {mine} END"
        mine, theirs = f"{table}.{total}", f"excluded.{total}"
        sets[total] = f"coalesce({mine} + {theirs}, {mine}, {theirs})"
        counts = f"coalesce({table}.{count}, {table}.samples) + coalesce(excluded.{count}, excluded.samples)"
        sets[count] = f"nullif({counts}, {table}.samples + excluded.samples)"
    return sets


def _summary(resolution: Resolution, in_range: bool, dialect: str) -> str:
    """The SELECT of a tier's buckets from `since` to before `until`, for a range of host ids or for some hosts."""
    source, table, hosts = source_of(resolution), "", _where(in_range, dialect)
    where = f"at_second >= :since AND at_second < :until AND {hosts}"
    if source is RAW and dialect == "postgresql":
        where += f" AND at_second = {_seconds(dialect)}"
    elif source is RAW:
        table, where = f"{_seconds(dialect)} AS seconds CROSS JOIN {RAW.table}", f"at_second = s AND {hosts}"
    elif in_range:  # the key of a rollup begins with the host: look up one host after the other
        chosen = "SELECT id FROM host_metrics WHERE id >= :first_host AND id <= :last_host"
        where = f"at_second >= :since AND at_second < :until AND host_id IN ({chosen})"
    return Summary(source, resolution.seconds, where, table=table).sql(dialect)


# ------------------------------------------------------------------ on PostgreSQL, where writers do not take turns


def moment(tx: Connection) -> Any:
    """The present time of PostgreSQL's clock."""
    return tx.execute(text("SELECT clock_timestamp()")).scalar()


def is_settled(tx: Connection, since: Any) -> bool:
    """Whether every writing transaction of EGO that began at or before `since` has ended."""
    return not tx.execute(_WRITING, {"since": since}).scalar()


_WRITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
    " AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND xact_start <= :since"
)


# ------------------------------------------------------------------ pruning


def prunable_until(tx: Connection, resolution: Resolution, kept_since: int) -> int:
    """The second up to which a tier may be pruned.

    Rows must be past their retention and rolled up, with no dirty bucket left to compute from them. The tier below must
    be pruned first: else its rows would be added a second time.
    """
    limits, grain = [kept_since], resolution.seconds
    known, upper, source = tiers(tx), _UPPERS.get(resolution.name), _SOURCES.get(resolution.name)
    if source is not None:
        limits.append(known[source.name].pruned_until)
    if upper is not None:
        waiting = tx.execute(select(func.min(_DIRTY.c.at_second)).where(_DIRTY.c.resolution == upper.name)).scalar()
        limits += [known[upper.name].done_until, *([] if waiting is None else [waiting])]
        grain = upper.seconds
    until = min(limits)
    return until - until % grain


def prune_samples(tx: Connection, kept_since: int, hosts: int) -> bool:
    """Delete the oldest minute of samples, of at most `hosts` hosts. Returns whether there may be more to delete.

    The same transaction deletes the samples and stores the new `pruned_until` and `pruned_hosts`. It deletes whole
    buckets of a host, never a part. So a late sample meets a bucket that is either complete (it is computed again) or
    gone (the sample is added).
    """
    if tx.dialect.name == "postgresql":  # samples that come late from now on are neither seen nor deleted
        tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    tier, minute = tiers(tx)[RAW.name], ROLLUPS[0].seconds
    limit, since = prunable_until(tx, RAW, kept_since), tier.pruned_until
    if limit <= since:
        return False
    if tier.pruned_hosts == 0:
        oldest = tx.execute(_OLDEST_SAMPLE_SINCE, {"since": since}).scalar()
        if oldest is None or oldest >= limit:
            advance(tx, RAW, pruned_until=limit)
            return False
        since = oldest - oldest % minute
    following = tx.execute(_HOST_AFTER, {"first": tier.pruned_hosts, "count": hosts}).scalar()
    _remove(tx, RAW, since, since + minute, range(tier.pruned_hosts, following if following is not None else FOREVER))
    if following is None:
        advance(tx, RAW, pruned_until=since + minute, pruned_hosts=0)
    else:
        advance(tx, RAW, pruned_until=since, pruned_hosts=following)
    return True


_HOST_AFTER = text("SELECT id FROM host_metrics WHERE id >= :first ORDER BY id LIMIT 1 OFFSET :count")
_OLDEST_SAMPLE_SINCE = text("SELECT min(at_second) FROM host_metric_samples WHERE at_second >= :since")


def drop_samples(tx: Connection, kept_since: int, engine: Engine) -> bool:
    """Drop the chunks of the hypertable that are old and rolled up. Returns whether any was dropped.

    The table is locked, so that no sample comes in meanwhile.
    """
    timescale.lock_samples(tx)
    limit = prunable_until(tx, RAW, kept_since)
    if engine is Engine.CONTINUOUS:
        limit = min(limit, timescale.aggregated_until(tx))
    until = limit - limit % timescale.CHUNK_SECONDS
    if until <= tiers(tx)[RAW.name].pruned_until:
        return False
    advance(tx, RAW, pruned_until=until)
    return timescale.drop_samples(tx, until) > 0


def plan_pruning(tx: Connection, resolution: Resolution, kept_since: int) -> int | None:
    """The second up to which the rollups of all hosts are to be deleted now; None if there is nothing to delete.

    It is at most SLICE_BUCKETS further than the last time. The plan is stored before anything is deleted: if EGO ends
    before the last host is done, `prune_rollups` finishes it at the next start.
    """
    pruned, limit = tiers(tx)[resolution.name].pruned_until, prunable_until(tx, resolution, kept_since)
    if limit <= pruned:
        return None
    oldest = tx.execute(_oldest_row(resolution), {"since": 0}).scalar()
    until = limit if oldest is None else min(limit, max(pruned, oldest) + SLICE_BUCKETS * resolution.seconds)
    until = max(prunable_until(tx, resolution, until), pruned)
    if until == pruned:
        return None
    advance(tx, resolution, pruned_until=until)
    return until


def prune_rollups(tx: Connection, resolution: Resolution, host_ids: Collection[int], until: int) -> None:
    """Delete the rows of these hosts before `until`, except late ones that wait to be added to the tier above."""
    upper = _UPPERS.get(resolution.name)
    waits = ""
    if upper is not None:
        waits = (
            f" AND NOT EXISTS (SELECT 1 FROM rollup_dirty AS dirty WHERE dirty.resolution = '{upper.name}'"
            f" AND dirty.at_second = rollup.at_second - rollup.at_second % {upper.seconds}"
            " AND dirty.host_id = rollup.host_id)"
        )
    hosts = _where(False, tx.dialect.name)
    gone = text(f"DELETE FROM {resolution.table} AS rollup WHERE {hosts} AND at_second < :until{waits}")
    tx.execute(gone, _bound(tx, 0, until, tuple(host_ids)))


def host_ids(tx: Connection, since: int = 0) -> list[int]:
    """The ids of all hosts that EGO has ever known, from the id `since` on, in order."""
    return list(
        tx.execute(text("SELECT id FROM host_metrics WHERE id >= :since ORDER BY id"), {"since": since}).scalars()
    )
