"""The SQL of the back-test. A row is all that a question finds of a host, as one JSON text: many rows would hold up others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Text, bindparam, text

from mirror_stage.backtest.domain import QUARTER_SECONDS
from mirror_stage.core.instants import Instant
from mirror_stage.core.selector import Labels
from mirror_stage.history import store as history
from mirror_stage.history import tiers
from mirror_stage.history.domain import ROLLUPS, Metric, Resolution
from mirror_stage.storage.rows import given
from mirror_stage.twin.domain import Role

MINUTES, QUARTERS = ROLLUPS
HOT = 1  # of a quarter: it has a value at which the rule fires
KEPT = 2  # of a quarter: each of its samples has a value, and none would end an alert


@dataclass(frozen=True, slots=True)
class Limits:
    """The values at which a rule fires and resolves, in units of the metric, loosely: a value at the limit counts for both."""

    fire: float
    resolve: float
    is_above: bool


def extent(tx: Connection) -> tuple[int, int, int]:
    """(first second, second after the last, up to where there are quarters) of the minutes that the history has."""
    known = tiers.tiers(tx)
    minutes = known[MINUTES.name]
    return minutes.pruned_until, minutes.done_until, known[QUARTERS.name].done_until


def host_ids(tx: Connection) -> list[int]:
    """The ids of all hosts that have ever reported, in order; also of those that have left."""
    wanted = text("SELECT id FROM host_metrics WHERE first_seen_at IS NOT NULL AND at IS NOT NULL ORDER BY id")
    return list(tx.execute(wanted).scalars())


@dataclass(frozen=True, slots=True)
class Identity:
    """What a host was from an instant on. `labels` None: it was not there."""

    since: Instant
    labels: Labels | None
    interval: Instant | None


def identities(
    tx: Connection, host_ids: Sequence[int], until: Instant, hub: str, ego: str
) -> dict[int, tuple[str, list[Identity], bool]]:
    """(name, what it was until then, whether that is stored) of each host. If it is not stored, what it is now counts."""
    members, values = given(tx, "members", ("member",), [(host_id,) for host_id in host_ids])
    now = f"WITH {members} SELECT id, hostname, ip, rack, platform, tags FROM members JOIN host_metrics ON id = member"
    then = (
        f"WITH {members} SELECT host_id, since, is_present, ip, rack, platform, tags, interval_ms"
        " FROM members JOIN host_identities ON host_id = member WHERE since < :until ORDER BY host_id, since"
    )
    stored: dict[int, list[Any]] = defaultdict(list)
    for host_id, *row in tx.execute(text(then), values | {"until": until}):
        stored[host_id].append(row)
    found = {}
    for host_id, name, *of_now in tx.execute(text(now), values):
        role = str(Role.of(name, hub, ego))
        its = [
            Identity(since, _labels(name, role, *of_then) if is_present else None, interval)
            for since, is_present, *of_then, interval in stored.get(host_id, ())
        ]
        found[host_id] = name, its or [Identity(0, _labels(name, role, *of_now), None)], bool(its)
    return found


def _labels(name: str, role: str, ip: str | None, rack: str | None, platform: str | None, tags: str | None) -> Labels:
    told = orjson.loads(tags) if tags else {}
    return Labels(name, ip, rack, told.get("room"), role, told.get("tier"), platform, told)


def offline(tx: Connection, names: Sequence[str], since: Instant, until: Instant) -> dict[str, list[Instant]]:
    """When each of these hosts was taken for offline."""
    wanted = text(
        "SELECT hostname, created_at FROM alerts WHERE hostname IN :names AND metric = 'host_offline' AND subject = ''"
        " AND created_at >= :since AND created_at < :until"
    ).bindparams(bindparam("names", type_=Text(), expanding=True))
    found: dict[str, list[Instant]] = defaultdict(list)
    for name, at in tx.execute(wanted, {"names": list(names), "since": since, "until": until}):
        found[name].append(at)
    return found


def quarters(
    tx: Connection, metric: Metric, limits: Limits, host_ids: Sequence[int], since: int, until: int, done: int
) -> dict[int, str]:
    """The quarters from `since` to before `until` that are HOT or KEPT, of the hosts that have a hot one.

    For each host a JSON list of `second + flags`. From `done` on there are no quarters yet: the minutes are asked.
    """
    found: dict[int, list[str]] = defaultdict(list)
    for resolution, first, end in ((QUARTERS, since, min(until, done)), (MINUTES, max(since, done), until)):
        if first < end:
            for host_id, told in _flagged(tx, resolution, metric, limits, host_ids, first, end):
                found[host_id].append(told)
    return {host_id: ",".join(told) for host_id, told in found.items()}


def _flagged(
    tx: Connection,
    resolution: Resolution,
    metric: Metric,
    limits: Limits,
    host_ids: Sequence[int],
    since: int,
    until: int,
) -> Sequence[Any]:
    r = resolution.table
    least, most, count = (f"{r}.{metric.column}_{what}" for what in ("min", "max", "count"))
    hot = f"{most} >= :fire" if limits.is_above else f"{least} <= :fire"
    kept = f"{least} > :resolve" if limits.is_above else f"{most} < :resolve"
    if resolution is MINUTES:
        kept = "1 = 0"
    members, values = given(tx, "members", ("member",), [(host_id,) for host_id in host_ids])
    flags = (
        f"{r}.at_second - {r}.at_second % {QUARTER_SECONDS} + CASE WHEN {hot} THEN {HOT} ELSE 0 END"
        f" + CASE WHEN ({kept}) AND {count} IS NULL THEN {KEPT} ELSE 0 END"
    )
    joined = "group_concat({0})" if tx.dialect.name == "sqlite" else "string_agg(CAST({0} AS text), ',')"
    statement = (
        f"WITH {members} SELECT {r}.host_id, {joined.format(flags)} FROM members CROSS JOIN {history.table_of(tx, resolution)}"
        f" WHERE {r}.host_id = member AND {r}.at_second >= :since AND {r}.at_second < :until AND (({hot}) OR ({kept}))"
        f" GROUP BY {r}.host_id HAVING max(CASE WHEN {hot} THEN 1 ELSE 0 END) = 1"
    )
    values |= {"since": since, "until": until, "fire": limits.fire}
    if resolution is not MINUTES:
        values["resolve"] = limits.resolve
    return tx.execute(text(statement), values).all()


def minutes(tx: Connection, metric: Metric, wanted: Sequence[tuple[int, int]], until: int) -> str:
    """A JSON list of [host id, second, samples, values, min, max, sum] of the minutes of these (host id, quarter)."""
    given_tables, values = given(tx, "wanted", ("member", "quarter"), wanted)
    r = MINUTES.table
    columns = [f"{r}.{metric.column}_{what}" for what in ("min", "max", "sum")]
    count = f"CASE WHEN {columns[2]} IS NULL THEN 0 ELSE coalesce({r}.{metric.column}_count, {r}.samples) END"
    row = ", ".join((f"{r}.host_id", f"{r}.at_second", f"{r}.samples", count, *columns))
    listed = (
        f"json_group_array(json_array({row}))"
        if tx.dialect.name == "sqlite"
        else f"CAST(json_agg(json_build_array({row})) AS text)"
    )
    statement = (
        f"WITH {given_tables} SELECT {listed} FROM wanted CROSS JOIN {history.table_of(tx, MINUTES)}"
        f" WHERE {r}.host_id = member AND {r}.at_second >= quarter AND {r}.at_second < quarter + {QUARTER_SECONDS}"
        f" AND {r}.at_second < :until"
    )
    return str(tx.execute(text(statement), values | {"until": until}).scalar() or "[]")


def names(tx: Connection, host_ids: Sequence[int]) -> Mapping[int, str]:
    """The names of these hosts."""
    members, values = given(tx, "members", ("member",), [(host_id,) for host_id in host_ids])
    rows = tx.execute(text(f"WITH {members} SELECT id, hostname FROM members JOIN host_metrics ON id = member"), values)
    return {row.id: row.hostname for row in rows}
