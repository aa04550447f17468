"""The SQL of history queries, as functions of a transaction. SQL does the sums: a row is one bucket of a host or group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Text, bindparam, text

from mirror_stage.history import store, tiers
from mirror_stage.history.domain import EVER, RAW, ROLLUPS, Metric, Resolution, Window, segments
from mirror_stage.history.summary import Summary, columns_of
from mirror_stage.storage.rows import given
from mirror_stage.storage.timescale import Engine, engine_of

SEEK_HOSTS = 20  # up to so many hosts: look up each second; for more hosts: read all samples of the range
TAIL_HOSTS = 1_000  # with more hosts a group's answer leaves out the last minute or two, which no rollup has yet

Row = tuple[Any, ...]


def ids_of(tx: Connection, hostnames: Sequence[str]) -> dict[str, int]:
    """The ids of these hosts by name. Hosts that left the twin are included: their history stays for its retention."""
    statement = text("SELECT hostname, id FROM host_metrics WHERE hostname IN :hostnames").bindparams(
        bindparam("hostnames", type_=Text(), expanding=True)
    )
    return {row[0]: row[1] for row in tx.execute(statement, {"hostnames": list(hostnames)})}


def groups(tx: Connection, group_by: str) -> dict[int, str | None]:
    """The rack, room or tier of every host by its id, as it is now; for `all` the group "all" for every host.

    A hub that nobody has ever reported is no host here: it has no value.
    """
    found: dict[int, str | None] = {}
    reported = "SELECT id, rack, tags FROM host_metrics WHERE place_x IS NOT NULL AND first_seen_at IS NOT NULL"
    for host_id, rack, tags in tx.execute(text(reported)):
        if group_by == "all":
            found[host_id] = "all"
        else:
            found[host_id] = rack if group_by == "rack" else (json.loads(tags) if tags else {}).get(group_by)
    return found


def extent(tx: Connection, host_ids: Sequence[int]) -> tuple[int, int]:
    """(first second, second after the last) of all that the history has of these hosts; (0, 0) if it has nothing.

    One look-up at each end for each host and tier. Of samples, whose key begins with the time, the ends are those of all
    hosts. A continuous aggregate is not asked: each look-up would open all its chunks. There the extent is unlimited.
    """
    if engine_of(tx) is Engine.CONTINUOUS:
        return EVER
    members, values = given(tx, "members", ("member",), [(host_id,) for host_id in host_ids])
    ends = [_ENDS_OF_SAMPLES, *(_ends_of_rollup(resolution) for resolution in ROLLUPS)]
    rows = tx.execute(text(f"WITH {members} {' UNION ALL '.join(ends)}"), values).all()
    known = [row for row in rows if row[0] is not None]
    return (min(row[0] for row in known), max(row[1] for row in known)) if known else (0, 0)


_ENDS_OF_SAMPLES = f"SELECT (SELECT min(at_second) FROM {RAW.table}), (SELECT max(at_second) + 1 FROM {RAW.table})"


def _ends_of_rollup(resolution: Resolution) -> str:
    first, last = (
        f"(SELECT {end}(at_second) FROM {resolution.table} WHERE host_id = member) AS {end}_second"
        for end in ("min", "max")
    )
    ends = f"(SELECT {first}, {last} FROM members) AS ends_of_{resolution.table}"
    return f"SELECT min(min_second), max(max_second) + {resolution.seconds} FROM {ends}"


def of_hosts(tx: Connection, asked: Window, host_ids: Sequence[int], metrics: Sequence[Metric]) -> list[Row]:
    """(host id, bucket, samples, then min, max, sum and count of each metric), in order of time."""
    hosts = ", ".join(map(str, host_ids))
    statement = _per_host(tx, asked, f"host_id IN ({hosts})", metrics, is_few=len(host_ids) <= SEEK_HOSTS)
    return [tuple(row) for row in tx.execute(text(f"{statement} ORDER BY bucket"))]


def of_groups(tx: Connection, asked: Window, group_by_host: Mapping[int, int], metrics: Sequence[Metric]) -> list[Row]:
    """(index of the metric, group, bucket, min, max, sum, count, p95, hosts) across the hosts of each group, in one
    statement.

    p95 is taken over the averages of the hosts in the bucket, by nearest rank. `hosts` have a value in the bucket.
    """
    members, values = given(tx, "members", ("member", "grp"), list(group_by_host.items()))
    is_large = len(group_by_host) > TAIL_HOSTS
    per_host = _per_host(tx, asked, "host_id = member", metrics, is_large=is_large, also="grp")
    parts = " UNION ALL ".join(_ranked(n, metric) for n, metric in enumerate(metrics))
    statement = f"WITH {members}, summed AS MATERIALIZED ({per_host}) {parts}"
    return [tuple(row) for row in tx.execute(text(statement), values)]


def _ranked(number: int, metric: Metric) -> str:
    """The SELECT of one metric per group and bucket, from the rows of `summed`."""
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
        " min(CASE WHEN place >= 0.95 * hosts THEN average END), count(*)"
        f" FROM ({ranked}) AS ranked{number} GROUP BY grp, bucket"
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
    """The SELECT of one row per host and bucket: the union of one SELECT for each tier that the window needs.

    With `also` the hosts are those of the table `members`, and its column of that name is the last column.
    """
    done = {name: tier.done_until for name, tier in tiers.tiers(tx).items()}
    dialect, step = tx.dialect.name, asked.step_seconds
    parts: list[str] = []
    are_whole = True
    for resolution, since, until in segments(asked, done):
        are_whole &= since % step == 0
        if is_large and resolution is RAW and parts:
            continue
        where, table = f"{hosts} AND at_second >= {since} AND at_second < {until}", store.table_of(tx, resolution)
        if also:  # join in the order of the key: samples begin with the time, rollups with the host
            table = f"{table} CROSS JOIN members" if resolution is RAW else f"members CROSS JOIN {table}"
        elif resolution is RAW and is_few:
            first, end = tx.execute(text(_ENDS_OF_SAMPLES)).one()
            begin = max(since, first or 0)
            table, where = _second_by_second(where, begin, max(begin + 1, min(until, end or 0)), dialect)
        if resolution.seconds == step and resolution is not RAW:  # each row of the rollup is one bucket
            columns = [*columns_of(metrics)[2:], *([also] if also else [])]
            parts.append(f"SELECT host_id, at_second AS bucket, {', '.join(columns)} FROM {table} WHERE {where}")
        else:
            parts.append(Summary(resolution, step, where, metrics, table, also=also).sql(dialect))
    union = f"({' UNION ALL '.join(parts)}) AS parts"
    if are_whole:  # no bucket lies in two tiers
        return f"SELECT * FROM {union}"
    return Summary(ROLLUPS[0], step, "true", metrics, union, instant="bucket", also=also).sql(dialect)


def _second_by_second(where: str, since: int, until: int, dialect: str) -> tuple[str, str]:
    """(table, condition) that look up each second by itself, because the key of samples begins with the second.

    Each second costs a look-up, so the range should lie within that of the samples.
    """
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
