"""The SQL of questions about the past, as functions of a transaction. Sums are made in SQL; rows are one per answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, text

from mirror_stage.history import tiers
from mirror_stage.history.domain import RAW, ROLLUPS, Metric, Window, segments
from mirror_stage.history.summary import Summary

SEEK_HOSTS = 20  # of so many each second is looked up, of more all samples of the time are read

Row = tuple[Any, ...]


def ids_of(tx: Connection, hostnames: Sequence[str]) -> dict[str, int]:
    """The ids of these hosts, also of those that left the twin: their history stays until retention."""
    statement = text("SELECT hostname, id FROM host_metrics WHERE hostname IN :hostnames").bindparams(
        bindparam("hostnames", expanding=True)
    )
    return {row[0]: row[1] for row in tx.execute(statement, {"hostnames": list(hostnames)})}


def groups(tx: Connection, group_by: str) -> dict[int, str | None]:
    """The rack, room or tier of every host by its id, as it is now; for `all` one and the same."""
    found: dict[int, str | None] = {}
    for host_id, rack, tags in tx.execute(text("SELECT id, rack, tags FROM host_metrics WHERE place_x IS NOT NULL")):
        if group_by == "all":
            found[host_id] = "all"
        else:
            found[host_id] = rack if group_by == "rack" else (json.loads(tags) if tags else {}).get(group_by)
    return found


def of_hosts(tx: Connection, asked: Window, host_ids: Sequence[int], metrics: Sequence[Metric]) -> list[Row]:
    """(host id, bucket, samples, then min, max, sum and count of each metric), in order of time."""
    return [tuple(row) for row in tx.execute(text(f"{_per_host(tx, asked, host_ids, metrics)} ORDER BY bucket"))]


def of_groups(tx: Connection, asked: Window, group_by_host: Mapping[int, int], metric: Metric) -> list[Row]:
    """(group, bucket, hosts, min, max, sum, count, p95) of a metric across the hosts of each group, in order of time.

    p95 is the smallest of the hosts' averages in the bucket that 95 % of them do not exceed (nearest rank).
    """
    members = ", ".join(f"({host_id}, {group})" for host_id, group in group_by_host.items())
    name = metric.column
    count = f"coalesce({name}_count, samples)"
    place = f"PARTITION BY members.column2, bucket ORDER BY 1.0 * {name}_sum / {count}"
    ranked = (
        f"SELECT members.column2 AS grp, bucket, {name}_min AS least, {name}_max AS most, {name}_sum AS total,"
        f" {count} AS number, 1.0 * {name}_sum / {count} AS average, row_number() OVER ({place}) AS place,"
        " count(*) OVER (PARTITION BY members.column2, bucket) AS hosts"
        f" FROM ({_per_host(tx, asked, list(group_by_host), [metric])}) AS summed"
        f" JOIN (VALUES {members}) AS members ON members.column1 = summed.host_id WHERE {name}_sum IS NOT NULL"
    )
    statement = (
        "SELECT grp, bucket, max(hosts), min(least), max(most), sum(total), sum(number),"
        f" min(CASE WHEN place >= 0.95 * hosts THEN average END) FROM ({ranked}) AS ranked"
        " GROUP BY grp, bucket ORDER BY bucket"
    )
    return [tuple(row) for row in tx.execute(text(statement))]


def _per_host(tx: Connection, asked: Window, host_ids: Sequence[int], metrics: Sequence[Metric]) -> str:
    """The SELECT of a row per host and bucket, from whichever tiers have it."""
    done = {name: tier.done_until for name, tier in tiers.tiers(tx).items()}
    dialect = tx.dialect.name
    hosts = ", ".join(map(str, host_ids))
    parts = []
    for resolution, since, until in segments(asked, done):
        where = f"host_id IN ({hosts}) AND at_second >= {since} AND at_second < {until}"
        table = ""
        if resolution is RAW and len(host_ids) <= SEEK_HOSTS:
            table, where = _second_by_second(where, since, until, dialect)
        parts.append(Summary(resolution, asked.step_seconds, where, metrics, table).sql(dialect))
    union = f"({' UNION ALL '.join(parts)}) AS parts"
    return Summary(ROLLUPS[0], asked.step_seconds, "true", metrics, union, instant="bucket").sql(dialect)


def _second_by_second(where: str, since: int, until: int, dialect: str) -> tuple[str, str]:
    """(table, condition) that look every second up: the samples' key begins with it, not with the host."""
    if dialect == "sqlite":
        seconds = (
            f"WITH RECURSIVE second(s) AS (SELECT {since} UNION ALL SELECT s + 1 FROM second WHERE s + 1 < {until})"
        )
        return (
            f"({seconds} SELECT s FROM second) AS seconds CROSS JOIN host_metric_samples",
            f"at_second = s AND {where}",
        )
    instants = f"ARRAY(SELECT generate_series(CAST({since} AS bigint), CAST({until - 1} AS bigint)))"
    return "", f"at_second = ANY({instants}) AND {where}"
