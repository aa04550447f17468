"""The SQL of questions about the past, as functions of a transaction. Sums are made in SQL; rows are one per answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, text

from mirror_stage.history import store, tiers
from mirror_stage.history.domain import RAW, ROLLUPS, Metric, Window, segments
from mirror_stage.history.summary import Summary, columns_of
from mirror_stage.storage.rows import given

SEEK_HOSTS = 20  # of so many each second is looked up, of more all samples of the time are read
TAIL_HOSTS = 1_000  # of more a group's answer leaves out the minute or two that no rollup has yet

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
    hosts = ", ".join(map(str, host_ids))
    statement = _per_host(tx, asked, f"host_id IN ({hosts})", metrics, is_few=len(host_ids) <= SEEK_HOSTS)
    return [tuple(row) for row in tx.execute(text(f"{statement} ORDER BY bucket"))]


def of_groups(tx: Connection, asked: Window, group_by_host: Mapping[int, int], metrics: Sequence[Metric]) -> list[Row]:
    """(n-th metric, group, bucket, min, max, sum, count, p95) across the hosts of each group, in one statement.

    p95 is the smallest of the hosts' averages in the bucket that 95 % of them do not exceed (nearest rank).
    """
    members, values = given(tx, "members", ("member", "grp"), list(group_by_host.items()))
    is_large = len(group_by_host) > TAIL_HOSTS
    per_host = _per_host(tx, asked, "host_id = member", metrics, is_large=is_large, also="grp")
    parts = " UNION ALL ".join(_ranked(n, metric) for n, metric in enumerate(metrics))
    statement = f"WITH {members}, summed AS MATERIALIZED ({per_host}) {parts}"
    return [tuple(row) for row in tx.execute(text(statement), values)]


def _ranked(number: int, metric: Metric) -> str:
    """The SELECT of one metric's groups from the hosts that are `summed`."""
    name = metric.column
    count = f"coalesce({name}_count, samples)"
    average = f"1.0 * {name}_sum / {count}"
    ranked = (
        f"SELECT grp, bucket, {name}_min AS least, {name}_max AS most, {name}_sum AS total, {count} AS number,"
        f" {average} AS average, row_number() OVER (PARTITION BY grp, bucket ORDER BY {average}) AS place,"
        " count(*) OVER (PARTITION BY grp, bucket) AS hosts"
        f" FROM summed WHERE {name}_sum IS NOT NULL"
    )
    return (
        f"SELECT {number}, grp, bucket, min(least), max(most), sum(total), sum(number),"
        f" min(CASE WHEN place >= 0.95 * hosts THEN average END) FROM ({ranked}) AS ranked{number} GROUP BY grp, bucket"
    )


def _per_host(
    tx: Connection,
    asked: Window,
    hosts: str,
    metrics: Sequence[Metric],
    *,
    is_few: bool = False,
    is_large: bool = False,
    also: str = "",
) -> str:
    """The SELECT of a row per host and bucket, from whichever tiers have it, one SELECT a tier.

    With `also` the hosts are those of `members`, whose column of that name comes last.
    """
    done = {name: tier.done_until for name, tier in tiers.tiers(tx).items()}
    dialect, step = tx.dialect.name, asked.step_seconds
    parts: list[str] = []
    are_whole = True
    for resolution, since, until in segments(asked, done):
        if is_large and resolution is RAW and parts:
            continue
        where, table = f"{hosts} AND at_second >= {since} AND at_second < {until}", store.table_of(tx, resolution)
        if also:  # the key of samples begins with the time, that of rollups with the host: begin with that too
            table = f"{table} CROSS JOIN members" if resolution is RAW else f"members CROSS JOIN {table}"
        elif resolution is RAW and is_few:
            table, where = _second_by_second(where, since, until, dialect)
        if resolution.seconds == step and resolution is not RAW:  # its rows are the buckets
            columns = [*columns_of(metrics)[2:], *([also] if also else [])]
            parts.append(f"SELECT host_id, at_second AS bucket, {', '.join(columns)} FROM {table} WHERE {where}")
        else:
            parts.append(Summary(resolution, step, where, metrics, table, also=also).sql(dialect))
        are_whole &= since % step == 0
    union = f"({' UNION ALL '.join(parts)}) AS parts"
    if are_whole:  # no bucket lies in two tiers
        return f"SELECT * FROM {union}"
    return Summary(ROLLUPS[0], step, "true", metrics, union, instant="bucket", also=also).sql(dialect)


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
