"""All SQL of the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    RowMapping,
    Select,
    Table,
    Text,
    and_,
    cast,
    column,
    delete,
    func,
    or_,
    select,
    text,
)

from mirror_stage.alerts.domain import Alert, Transition
from mirror_stage.alerts.measures import SILENCE
from mirror_stage.alerts.models import AlertEvent, AlertRow
from mirror_stage.core.instants import Instant
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows

_TABLE: Table = AlertRow.__table__  # type: ignore[assignment]
_EVENTS: Table = AlertEvent.__table__  # type: ignore[assignment]
_COLUMNS = tuple(column.name for column in _TABLE.columns)
_EVENT = tuple(column.name for column in _EVENTS.columns)


def record(tx: Connection, transitions: Sequence[Transition]) -> None:
    """Write alerts as they are after these transitions, and each transition that is an event.

    Resolved alerts are written first, so that one key never has two active alerts. An event that is stored already
    stays as it is.
    """
    newest = {transition.alert.id: transition.alert for transition in transitions}
    in_order = sorted(newest.values(), key=lambda alert: alert.status == "active")
    insert_rows(tx, _TABLE, _COLUMNS, [_row(alert) for alert in in_order], REPLACE)
    events = [_event(each.event, each.alert) for each in transitions if each.event is not None]
    insert_rows(tx, _EVENTS, _EVENT, events, KEEP_FIRST)


def _event(event: str, alert: Alert) -> tuple[Any, ...]:
    return (
        alert.id, alert.version, event, alert.updated_at, alert.severity, alert.current_value, alert.resolved_reason,
    )  # fmt: skip


def _row(alert: Alert) -> tuple[Any, ...]:
    """The row of an alert. No subject is an empty text, because NULL is equal to nothing in a unique index."""
    return tuple(alert.subject or "" if name == "subject" else getattr(alert, name) for name in _COLUMNS)


def load_active(tx: Connection) -> list[Alert]:
    """Every active alert."""
    return [_alert(row) for row in tx.execute(select(_TABLE).where(_TABLE.c.status == "active")).mappings()]


def changed_since(tx: Connection, since: Instant) -> list[Transition]:
    """The alerts that fired or resolved since then, oldest first, as transitions."""
    changed = or_(_TABLE.c.created_at >= since, _TABLE.c.resolved_at >= since)
    rows = tx.execute(select(_TABLE).where(changed).order_by(_TABLE.c.updated_at, _TABLE.c.id)).mappings()
    alerts = [_alert(row) for row in rows]
    return [Transition("fired" if alert.status == "active" else "resolved", alert) for alert in alerts]


def prune(tx: Connection, ended_before: Instant, most_kept: int, most: int) -> int:
    """Remove the oldest resolved alerts, at most `most`, and return how many. Active alerts stay.

    Removed are those that ended before `ended_before`, and those that are not among the `most_kept` that ended last.
    """
    ended = _TABLE.c.resolved_at
    newest_first = select(ended).where(ended.is_not(None)).order_by(ended.desc())
    overfull = tx.execute(newest_first.offset(most_kept).limit(1)).scalar()
    if overfull is not None:
        ended_before = max(ended_before, overfull + 1)
    oldest = select(_TABLE.c.id).where(ended < ended_before).order_by(ended).limit(most)
    ids = list(tx.execute(oldest).scalars())
    tx.execute(delete(_EVENTS).where(_EVENTS.c.alert_id.in_(ids)))
    tx.execute(delete(_TABLE).where(_TABLE.c.id.in_(ids)))
    return len(ids)


def active_at(tx: Connection, at: Instant) -> list[Alert]:
    """Every alert that was active at an instant, newest first, with the severity that it had then."""
    of_then = select(_EVENTS.c.severity).where(_EVENTS.c.alert_id == _TABLE.c.id, _EVENTS.c.at <= at)
    newest = of_then.order_by(_EVENTS.c.version.desc()).limit(1).scalar_subquery()
    severity = func.coalesce(newest, _TABLE.c.severity)
    others = (one for one in _TABLE.c if one.name != "severity")
    wanted = _was_active(select(*others, severity.label("severity")), at)
    newest_first = wanted.order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc())
    return [_alert(row) for row in tx.execute(newest_first).mappings()]


def _was_active(wanted: Select[Any], at: Instant) -> Select[Any]:
    """The query `wanted`, limited to the alerts that were active at an instant.

    Only one alert of a host, rule and subject is active at a time: the newest that had begun by then. So the query
    looks up one alert for each host, rule and subject, however many there have been.
    """
    rules = _RULES.columns(*(column(name, Text) for name in _KEY)).cte("rules")
    began = _TABLE.alias("began")
    newest = (
        select(func.max(began.c.created_at))
        .where(
            began.c.hostname == rules.c.hostname,
            began.c.metric == rules.c.metric,
            began.c.subject == rules.c.subject,
            began.c.created_at <= at,
        )
        .correlate(rules)
        .scalar_subquery()
    )
    is_it = and_(
        _TABLE.c.hostname == rules.c.hostname,
        _TABLE.c.metric == rules.c.metric,
        _TABLE.c.subject == rules.c.subject,
        _TABLE.c.created_at == newest,
    )
    return wanted.join_from(rules, _TABLE, is_it).where(or_(_TABLE.c.resolved_at.is_(None), _TABLE.c.resolved_at > at))


_KEY = ("hostname", "metric", "subject")
_FOLLOWING = ", ".join(
    f"(SELECT a.{name} FROM alerts a WHERE (a.hostname, a.metric, a.subject) > (r.hostname, r.metric, r.subject)"
    " ORDER BY a.hostname, a.metric, a.subject LIMIT 1)"
    for name in _KEY
)
_RULES = text(  # each host, rule and subject that ever had an alert: one index lookup for each
    "WITH RECURSIVE r(hostname, metric, subject) AS (SELECT * FROM (SELECT hostname, metric, subject FROM alerts"
    f" ORDER BY hostname, metric, subject LIMIT 1) AS first UNION ALL SELECT {_FOLLOWING} FROM r"
    " WHERE r.hostname IS NOT NULL) SELECT hostname, metric, subject FROM r WHERE hostname IS NOT NULL"
)

Counts = list[tuple[bool, str, int, int, int]]


def counts_between(tx: Connection, start: Instant, end: Instant, buckets: int) -> dict[str, Counts]:
    """How many alerts were `open` at `start`, and how many `fired` and `resolved` from then until `end`.

    Each row is (whether the alerts are of silence, severity, bucket, count, sum of their ms since `start`).
    """
    is_offline = (_TABLE.c.measure == SILENCE).label("is_offline")
    found: dict[str, Counts] = {}
    for name, instant in (("fired", _TABLE.c.created_at), ("resolved", _TABLE.c.resolved_at)):
        since = instant - start
        bucket = (since * buckets // (end - start)).label("bucket")
        wanted = select(is_offline, _TABLE.c.severity, bucket, func.count(), cast(func.sum(since), BigInteger))
        wanted = wanted.where(instant >= start, instant < end).group_by(is_offline, _TABLE.c.severity, bucket)
        found[name] = [tuple(row) for row in tx.execute(wanted)]  # type: ignore[misc]
    was_open = _was_active(select(is_offline, _TABLE.c.severity, func.count()), start - 1)
    rows = tx.execute(was_open.group_by(is_offline, _TABLE.c.severity))
    found["open"] = [(offline, severity, 0, count, 0) for offline, severity, count in rows]
    return found


def page(
    tx: Connection, filters: dict[str, str], offset: int, limit: int, ended_by: Instant | None = None
) -> tuple[list[Alert], int]:
    """One page of alerts, newest first, and how many there are. `filters`: hostname, metric, status.

    `ended_by`: only those that had ended by then.
    """
    wanted = select(_TABLE).where(*(_TABLE.c[name] == value for name, value in filters.items()))
    if ended_by is not None:
        wanted = wanted.where(_TABLE.c.resolved_at <= ended_by)
    newest_first = wanted.order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc()).offset(offset).limit(limit)
    total: int = tx.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
    return [_alert(row) for row in tx.execute(newest_first).mappings()], total


def _alert(row: RowMapping) -> Alert:
    values = {name: row[name] for name in _COLUMNS} | {"subject": row["subject"] or None}
    return Alert(**values, told_value=round(row["current_value"], 1), told_at=row["updated_at"])
