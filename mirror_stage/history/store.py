"""The SQL of samples: append them, read those that the saved twin has not seen, find the newest before a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Table, text

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import BadRow
from mirror_stage.history.domain import METRICS, RAW, Metric, Reading, Resolution
from mirror_stage.history.models import HostMetricSample
from mirror_stage.history.summary import Summary, with_later_metrics
from mirror_stage.metrics.domain import Receipt, Sample
from mirror_stage.metrics.measures import COUNTERS, OF_SAMPLE, names_of
from mirror_stage.storage.rows import KEEP_FIRST, given, insert_rows
from mirror_stage.storage.timescale import Engine, engine_of

_TABLE: Table = HostMetricSample.__table__  # type: ignore[assignment]
GAUGES = names_of(one for one in OF_SAMPLE if one.is_stored)
_NUMBERS = (*GAUGES, "tx_gbps", "rx_gbps")
_COLUMNS = ("at_second", "host_id", "at_ms", "reported_after_ms", "received_after_ms", *_NUMBERS)
_numbers = attrgetter(*_NUMBERS)

_COUNTED = ("uptime_seconds", *COUNTERS)  # what a rate is computed from
RATE_GAP_SECONDS = 300  # the rate of a late sample is measured over at most this gap
# Looks up one second after the other, because the key begins with the second.
_BEFORE = {
    "sqlite": text(
        "WITH RECURSIVE back(second) AS (SELECT :second UNION ALL SELECT second - 1 FROM back WHERE second > :oldest)"
        f" SELECT at_second, at_ms, received_after_ms, {', '.join(_COUNTED)}"
        " FROM back CROSS JOIN host_metric_samples ON at_second = second AND host_id = :host_id"
        " WHERE at_second * 1000 + at_ms < :at ORDER BY second DESC, at_ms DESC LIMIT 1"
    ),
    "postgresql": text(
        f"SELECT at_second, at_ms, received_after_ms, {', '.join(_COUNTED)} FROM host_metric_samples"
        " WHERE at_second = ANY(ARRAY(SELECT generate_series(CAST(:oldest AS bigint), CAST(:second AS bigint))))"
        " AND at_second >= :oldest AND at_second <= :second AND host_id = :host_id AND at_second * 1000 + at_ms < :at"
        " ORDER BY at_second DESC, at_ms DESC LIMIT 1"
    ),
}


class Repeated(BadRow):
    """A sample of the group was already stored, so the batches must be stored and counted one by one."""


def append_together(
    tx: Connection, batches: Sequence[Sequence[Sample]], ids_by_hostname: dict[str, int]
) -> list[Receipt]:
    """Store all batches with one statement. Returns a receipt per batch; raises Repeated if a sample was already stored."""
    rows = [_row(sample, ids_by_hostname) for samples in batches for sample in samples]
    if insert_rows(tx, _TABLE, _COLUMNS, rows, KEEP_FIRST) != len(rows):
        raise Repeated("a sample was stored before")
    return [Receipt(len(samples), 0) for samples in batches]


def mark_repeated(tx: Connection, samples: Sequence[Sample], ids_by_hostname: dict[str, int]) -> None:
    """Set `is_repeated` on the samples of a batch that are already stored or came earlier in the batch."""
    keys = [(sample.at // 1000, ids_by_hostname[sample.hostname], sample.at % 1000) for sample in samples]
    columns = ("at_second", "host_id", "at_ms")
    table, values = given(tx, "wanted", columns, keys)
    statement = (
        f"WITH {table} SELECT {', '.join(f's.{name}' for name in columns)} FROM wanted w CROSS JOIN {RAW.table} s"
    )
    statement += " WHERE " + " AND ".join(f"s.{name} = w.{name}" for name in columns)
    stored = {tuple(row) for row in tx.execute(text(statement), values)}
    for sample, key in zip(samples, keys, strict=True):
        sample.is_repeated = key in stored
        stored.add(key)


def append(tx: Connection, samples: Sequence[Sample], ids_by_hostname: dict[str, int]) -> Receipt:
    """Store one batch and return its receipt. Of two samples of one host and instant the first is kept."""
    rows = [_row(sample, ids_by_hostname) for sample in samples]
    stored = insert_rows(tx, _TABLE, _COLUMNS, rows, KEEP_FIRST)
    return Receipt(len(samples), len(samples) - stored)


def _row(sample: Sample, ids_by_hostname: dict[str, int]) -> tuple[Any, ...]:
    at = sample.at
    key = (at // 1000, ids_by_hostname[sample.hostname], at % 1000)
    return (*key, sample.reported_at - at, sample.received_at - at, *_numbers(sample))


def before(tx: Connection, host_id: int, sample: Sample) -> Sample | None:
    """The newest stored sample of a host before this one, at most RATE_GAP_SECONDS back.

    Its instants, uptime and counters are its own. The rest is copied from `sample`, because the history does not keep it:
    so its agent and its primary interface count as the same.
    """
    second = sample.at // 1000
    values = {"second": second, "oldest": second - RATE_GAP_SECONDS, "host_id": host_id, "at": sample.at}
    row = tx.execute(_BEFORE[tx.dialect.name], values).mappings().first()
    if row is None:
        return None
    at = row["at_second"] * 1000 + row["at_ms"]
    counted = {name: row[name] for name in _COUNTED}
    return replace(sample, at=at, received_at=at + row["received_after_ms"], **counted)


def table_of(tx: Connection, resolution: Resolution) -> str:
    """The SQL of the table of a tier, with the columns of every metric."""
    if resolution is RAW or engine_of(tx) is not Engine.CONTINUOUS:
        return resolution.table
    return f"{with_later_metrics(resolution)} AS {resolution.table}"


def newest_second(tx: Connection, until: Instant) -> int | None:
    """The second of the newest stored sample up to `until`, or None."""
    return tx.execute(_NEWEST_SECOND, {"until": until // SECOND}).scalar()


_NEWEST_SECOND = text(f"SELECT max(at_second) FROM {RAW.table} WHERE at_second <= :until")


def received_since(
    tx: Connection, since: Instant, first: int, last: int, host_ids: Sequence[int] | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """(host id, fields of a Sample) of the samples that arrived at `since` or later, in order of arrival.

    Only samples of the seconds `first` to `last` are read, because the key begins with the second. With `host_ids` each
    second is looked up for these hosts alone, so that other hosts cost nothing.
    """
    values: dict[str, Any] = {"since": since, "first": first, "last": last}
    table, where = f"{RAW.table} s", "s.at_second BETWEEN :first AND :last"
    given_tables = ""
    if host_ids is not None:
        wanted, more = given(tx, "wanted", ("host_id",), [(host_id,) for host_id in host_ids])
        given_tables = f"WITH RECURSIVE tick(n) AS (SELECT CAST(:first AS bigint) UNION ALL {_NEXT_TICK}), {wanted}"
        table, where = f"tick CROSS JOIN wanted w CROSS JOIN {RAW.table} s", "s.at_second = n AND s.host_id = w.host_id"
        values |= more
    columns = ", ".join(f"s.{name}" for name in _COLUMNS)
    statement = f"{given_tables} SELECT {columns} FROM {table} WHERE {where} AND {_ARRIVED} >= :since"
    found = []
    rows = tx.execute(text(f"{statement} ORDER BY {_ARRIVED}, s.at_second, s.at_ms"), values)
    for second, host_id, ms, reported_after, received_after, *numbers in rows:
        at = second * 1000 + ms
        fields = dict(zip(_NUMBERS, numbers, strict=True))
        fields |= {"at": at, "reported_at": at + reported_after, "received_at": at + received_after}
        found.append((host_id, fields))
    return found


def sums_of_minute(tx: Connection, second: int, metric: Metric) -> list[tuple[int, int | None, int]]:
    """(host id, sum in units, count) of the samples of the minute that begins at `second`, as its rollup will have them."""
    summary = Summary(RAW, 60, "at_second >= :first AND at_second < :end", (metric,)).sql(tx.dialect.name)
    rows = tx.execute(text(summary), {"first": second, "end": second + 60})
    return [(host_id, total, samples if count is None else count) for host_id, _, samples, _, _, total, count in rows]


def sums_until(
    tx: Connection, wanted: Sequence[tuple[int, int, Instant]], metrics: Sequence[Metric]
) -> list[tuple[int, list[int | None], list[int]]]:
    """(host id, sums in units, counts) for each (host id, first second of a minute, instant): of its samples up to that instant."""
    table, values = given(tx, "wanted", ("member", "second", "newest"), wanted)
    where = f"s.at_second = second + n AND s.host_id = member AND {_AT} <= newest"
    source = f"wanted CROSS JOIN tick CROSS JOIN {RAW.table} s"
    summary = Summary(RAW, 60, where, metrics, source).sql(tx.dialect.name)
    found = []
    for host_id, _, samples, *numbers in tx.execute(text(f"WITH RECURSIVE {_TICK}, {table} {summary}"), values):
        counts = [samples if count is None else count for count in numbers[3::4]]
        found.append((host_id, numbers[2::4], counts))
    return found


_NEXT_TICK = "SELECT n + 1 FROM tick WHERE n < :last"


def stretches(
    tx: Connection, host_id: int, resolution: Resolution, first: int, last: int, longest_gap: int
) -> list[tuple[int, int]]:
    """(first second, second after the last) of each stretch of a rollup in which a host has values, from `first` to before `last`.

    Buckets that begin up to `longest_gap` seconds apart are one stretch.
    """
    statement = f"""
        WITH steps AS (
            SELECT at_second, at_second - lag(at_second) OVER (ORDER BY at_second) AS step FROM {resolution.table}
            WHERE host_id = :host_id AND at_second >= :first AND at_second < :last
        ), numbered AS (
            SELECT at_second, sum(CASE WHEN step <= :gap THEN 0 ELSE 1 END) OVER (ORDER BY at_second) AS number FROM steps
        )
        SELECT min(at_second), max(at_second) FROM numbered GROUP BY number ORDER BY 1
    """
    values = {"host_id": host_id, "first": first, "last": last, "gap": longest_gap}
    return [(begin, end + resolution.seconds) for begin, end in tx.execute(text(statement), values)]


def seconds_of(tx: Connection, host_id: int, first: int, last: int) -> list[int]:
    """The seconds from `first` to `last` in which a host has samples. Each second is looked up, so the range must be short."""
    statement = f"""
        WITH RECURSIVE tick(n) AS (SELECT CAST(:first AS bigint) UNION ALL {_NEXT_TICK})
        SELECT n FROM tick WHERE EXISTS (SELECT 1 FROM {RAW.table} s WHERE s.at_second = n AND s.host_id = :host_id) ORDER BY n
    """
    return list(tx.execute(text(statement), {"host_id": host_id, "first": first, "last": last}).scalars())


# ------------------------------------------------------------------ one moment

_AT = "(s.at_second * 1000 + s.at_ms)"
_ARRIVED = f"({_AT} + s.received_after_ms)"
_EARLY = "(CASE WHEN s.received_after_ms < 0 THEN -s.received_after_ms ELSE 0 END)"  # ms by which a sample is ahead of its arrival
_EARLY_BITS = 20  # enough for 300,000 ms: EGO uses a host's clock if it is not further ahead
# A sample's order and its key in one number: the order is min(at, arrival), then at, as in `Sample.order`.
_ORDER = f"(({_AT} - {_EARLY}) * {2**_EARLY_BITS} + {_EARLY})"
_IN_A_MINUTE = f"wanted w CROSS JOIN tick CROSS JOIN {RAW.table} s"
_TICK = "tick(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM tick WHERE n < 59)"
_MOMENT = ("at_second", "at_ms", "reported_after_ms", "received_after_ms", *GAUGES, "tx_gbps", "rx_gbps")


def newest_between(
    tx: Connection, host_ids: Sequence[int], first: int, last: int, *, arrived_from: Instant, at: Instant
) -> list[Reading]:
    """The newest sample of each of these hosts in the seconds `first` to `last`, as the twin had it at `at`.

    Reads every sample of these seconds, so the range should be a few minutes at most. Samples that arrived after `at` or
    before `arrived_from` are ignored.
    """
    table, values = given(tx, "wanted", ("host_id",), [(host_id,) for host_id in host_ids])
    # IN, not a join: SQLite looks up a host in a set, but would scan the `wanted` table for each row
    where = "s.at_second BETWEEN :first AND :last AND s.host_id IN (SELECT host_id FROM wanted)"
    where += f" AND {_ARRIVED} >= :arrived_from"
    values |= {"first": first, "last": last, "arrived_from": arrived_from, "at": at}
    return _newest(tx, f"WITH {table}", f"{RAW.table} s", where, values)


def newest_in_minutes(tx: Connection, wanted: Sequence[tuple[int, Instant, int]], *, at: Instant) -> list[Reading]:
    """Like `newest_between`, for each (host id, arrived from, first second of a minute): 60 look-ups per host."""
    table, values = given(tx, "wanted", ("host_id", "arrived_from", "second"), wanted)
    where = f"s.at_second = w.second + tick.n AND s.host_id = w.host_id AND {_ARRIVED} >= w.arrived_from"
    return _newest(tx, f"WITH RECURSIVE {_TICK}, {table}", _IN_A_MINUTE, where, values | {"at": at})


def _newest(tx: Connection, given_tables: str, source: str, where: str, values: dict[str, Any]) -> list[Reading]:
    columns = ", ".join(f"s.{name}" for name in _MOMENT)
    statement = f"""
        {given_tables}, newest AS MATERIALIZED (
            SELECT s.host_id, max({_ORDER}) AS place, max({_ARRIVED}) AS seen_at FROM {source}
            WHERE {where} AND {_ARRIVED} <= :at GROUP BY s.host_id
        ), key AS MATERIALIZED (
            SELECT host_id, seen_at, place / {2**_EARLY_BITS} + place % {2**_EARLY_BITS} AS at FROM newest
        )
        SELECT k.host_id, k.seen_at, {columns} FROM key k CROSS JOIN {RAW.table} s
        WHERE s.at_second = k.at / 1000 AND s.host_id = k.host_id AND s.at_ms = k.at % 1000
    """
    return [_reading(row) for row in tx.execute(text(statement), values).all()]


def _reading(row: Any) -> Reading:
    host_id, seen_at, at_second, at_ms, reported_after_ms, received_after_ms, *gauges, tx, rx = row
    at = at_second * 1000 + at_ms
    values = dict(zip(GAUGES, gauges, strict=True))
    values |= {"at": at, "reported_at": at + reported_after_ms, "received_at": at + received_after_ms}
    return Reading(host_id, at, values, None if tx is None or rx is None else (tx, rx), last_seen_at=seen_at)


_MEANS = ", ".join(f"r.{m.column}_sum, coalesce(r.{m.column}_count, r.samples)" for m in METRICS)
_BUCKETS_BACK = (2, 60, 1_500, 45_000)  # how many buckets back an aggregate is searched, step by step


def newest_buckets(tx: Connection, resolution: Resolution, wanted: Sequence[tuple[int, int]]) -> list[Reading]:
    """For each (host id, second): the means of the newest bucket that begins at that second or before."""
    find = _newest_in_aggregate if engine_of(tx) is Engine.CONTINUOUS else _newest_in_table
    return [_bucket_reading(row, resolution) for row in find(tx, resolution, wanted)]


def _newest_in_table(tx: Connection, resolution: Resolution, wanted: Sequence[tuple[int, int]]) -> Sequence[Any]:
    """The newest buckets in a table of ours: one look-up per host."""
    table, values = given(tx, "wanted", ("host_id", "second"), wanted)
    statement = f"""
        WITH {table}, newest AS MATERIALIZED (
            SELECT w.host_id, (
                SELECT max(at_second) FROM {resolution.table} r WHERE r.host_id = w.host_id AND r.at_second <= w.second
            ) AS at_second FROM wanted w
        )
        SELECT r.host_id, r.at_second, {_MEANS}
        FROM newest n CROSS JOIN {resolution.table} r WHERE r.host_id = n.host_id AND r.at_second = n.at_second
    """
    return tx.execute(text(statement), values).all()


def _newest_in_aggregate(tx: Connection, resolution: Resolution, wanted: Sequence[tuple[int, int]]) -> Sequence[Any]:
    """The newest buckets in a continuous aggregate, read by time: a few buckets first, then further back for the rest.

    The aggregate is a view over chunks, and a look-up per host would open all chunks each time.
    """
    found: list[Any] = []
    missing = dict(wanted)
    for back in _BUCKETS_BACK:
        if not missing:
            break
        table, values = given(tx, "wanted", ("host_id", "second"), list(missing.items()))
        last = max(missing.values())
        statement = f"""
            WITH {table} SELECT DISTINCT ON (r.host_id) r.host_id, r.at_second, {_MEANS}
            FROM {with_later_metrics(resolution)} r JOIN wanted w ON w.host_id = r.host_id AND r.at_second <= w.second
            WHERE r.at_second > :first AND r.at_second <= :last ORDER BY r.host_id, r.at_second DESC
        """
        values |= {"first": last - back * resolution.seconds, "last": last}
        rows = tx.execute(text(statement), values).all()
        found += rows
        for row in rows:
            del missing[row[0]]
    return found


def _bucket_reading(row: Any, resolution: Resolution) -> Reading:
    host_id, at_second, *summaries = row
    means = {
        metric.column: total / count / metric.scale if total is not None and count else None
        for metric, total, count in zip(METRICS, summaries[::2], summaries[1::2], strict=True)
    }
    utilization, tx, rx = (means.pop(name) for name in ("utilization_ratio", "tx_gbps", "rx_gbps"))
    rates = None if tx is None or rx is None else (tx, rx)
    return Reading(host_id, (at_second + resolution.seconds) * SECOND, means, rates, utilization=utilization)
