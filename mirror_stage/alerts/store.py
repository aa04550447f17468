"""All SQL of the alerts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
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
    tuple_,
    update,
)

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import Actor
from mirror_stage.alerts.cause import Cause
from mirror_stage.alerts.domain import ACTIVE, FLAGS, HUD, PENDING, Ack, Alert, Change, Transition, as_of
from mirror_stage.alerts.measures import SILENCE
from mirror_stage.alerts.models import AlertAck, AlertEvent, AlertRow, AlertRule, AlertWait
from mirror_stage.core.instants import Instant
from mirror_stage.storage import notes
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows

_TABLE: Table = AlertRow.__table__  # type: ignore[assignment]
_EVENTS: Table = AlertEvent.__table__  # type: ignore[assignment]
_COLUMNS = tuple(column.name for column in _TABLE.columns)
_WRITTEN = tuple(name for name in _COLUMNS if name != "group_id")  # that is written by `group`
_WAITS: Table = AlertWait.__table__  # type: ignore[assignment]
_ACKS: Table = AlertAck.__table__  # type: ignore[assignment]
_EVENT = (
    "alert_id", "version", "transition", "at", "severity", "value", "reason", "actor", "note", "until", "cause",
)  # fmt: skip
_RULES_OF_PEOPLE: Table = AlertRule.__table__  # type: ignore[assignment]
_R = _RULES_OF_PEOPLE.c
_WAIT = tuple(column.name for column in _WAITS.columns)
_ACK = ("alert_id", "by", "note", "at", "until", "withdrawn_at", "withdrawn_by")
CREATED, CHANGED, REMOVED = "rule-created", "rule-changed", "rule-removed"  # in the audit
ASKED_AT_ONCE = 500  # ids in one question
TAKEN_AT_ONCE = 200


def record(tx: Connection, transitions: Sequence[Transition]) -> None:
    """Write alerts as they are after these transitions, and each transition that is an event.

    Resolved alerts are written first, so that one key never has two active alerts. An event that is stored already
    stays as it is. The wish to acknowledge leaves with the end of what was acknowledged.
    """
    newest = {transition.alert.id: transition.alert for transition in transitions}
    in_order = sorted(newest.values(), key=lambda alert: alert.status == "active")
    insert_rows(tx, _TABLE, _WRITTEN, [_row(alert) for alert in in_order], REPLACE)
    insert_rows(tx, _EVENTS, _EVENT, [row for each in transitions for row in _events(each)], KEEP_FIRST)
    for each in transitions:
        if each.ack_at is not None:  # a newer wish stays
            tx.execute(delete(_ACKS).where(_ACKS.c.alert_id == each.alert.id, _ACKS.c.at <= each.ack_at))
    resolved = [each.alert.id for each in transitions if each.event == "resolved"]
    for first in range(0, len(resolved), ASKED_AT_ONCE):
        tx.execute(delete(_ACKS).where(_ACKS.c.alert_id.in_(resolved[first : first + ASKED_AT_ONCE])))


def _events(each: Transition) -> Iterator[tuple[Any, ...]]:
    alert, event = each.alert, each.event
    if each.since is not None:
        yield alert.id, 0, PENDING, each.since, alert.severity, None, None, None, None, None, None
    if event is not None:
        reason, actor = each.reason or alert.resolved_reason, each.actor
        of_ack = (alert.ack_by, alert.ack_note, alert.ack_until) if event == "acknowledged" else (actor, None, None)
        of_then = alert.id, alert.version, event, alert.updated_at, alert.severity, alert.current_value, reason
        yield *of_then, *of_ack, _cause_in_row(alert.cause) if event in {"fired", "cause"} else None


def _row(alert: Alert) -> tuple[Any, ...]:
    """The row of an alert. No subject is an empty text, because NULL is equal to nothing in a unique index."""
    said = {"subject": alert.subject or "", "cause": _cause_in_row(alert.cause)}
    return tuple(said[name] if name in said else getattr(alert, name) for name in _WRITTEN)


def _cause_in_row(cause: Cause | None) -> str | None:
    return None if cause is None else orjson.dumps([cause.kind, cause.name, cause.since]).decode()


def _cause(row: str | None) -> Cause | None:
    return None if row is None else Cause(*orjson.loads(row))


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event, with its alert as it is now. `severity`, `value`, `reason` and `cause` are those of the event."""

    version: int
    transition: str
    at: Instant
    severity: str
    value: float | None
    reason: str | None
    alert: Alert
    cause: Cause | None = None


def to_take(tx: Connection, most: int) -> list[Recorded]:
    """The events that nobody has taken up, oldest first, at most `most`."""
    events = (_EVENTS.c.transition, _EVENTS.c.at, _EVENTS.c.value, _EVENTS.c.reason, _EVENTS.c.cause)
    of_event = [column.label(f"event_{column.name}") for column in (*events, _EVENTS.c.version, _EVENTS.c.severity)]
    wanted = select(*of_event, _TABLE).join_from(_EVENTS, _TABLE, _TABLE.c.id == _EVENTS.c.alert_id)
    oldest = wanted.where(text("NOT alert_events.is_taken")).order_by(
        _EVENTS.c.at, _EVENTS.c.alert_id, _EVENTS.c.version
    )
    return [
        Recorded(
            row["event_version"], row["event_transition"], row["event_at"], row["event_severity"], row["event_value"],
            row["event_reason"], _alert(row), _cause(row["event_cause"]),
        )
        for row in tx.execute(oldest.limit(most)).mappings()
    ]  # fmt: skip


def take(tx: Connection, events: Sequence[tuple[str, int]]) -> None:
    """Note that events, given as (alert, version), are taken up."""
    key = tuple_(_EVENTS.c.alert_id, _EVENTS.c.version)
    for first in range(0, len(events), TAKEN_AT_ONCE):
        tx.execute(update(_EVENTS).where(key.in_(events[first : first + TAKEN_AT_ONCE])).values(is_taken=True))


def group(tx: Connection, found: Mapping[tuple[str, int], str]) -> None:
    """Note with alerts, and with the events that say so, in which groups they are told: by (alert, version)."""
    by_group: dict[str, list[tuple[str, int]]] = {}
    for event, group_id in found.items():
        by_group.setdefault(group_id, []).append(event)
    newest = {alert_id: group_id for (alert_id, _), group_id in found.items()}
    key = tuple_(_EVENTS.c.alert_id, _EVENTS.c.version)
    for group_id, events in by_group.items():
        for first in range(0, len(events), TAKEN_AT_ONCE):
            some = events[first : first + TAKEN_AT_ONCE]
            ids = [alert_id for alert_id, _ in some if newest[alert_id] == group_id]
            tx.execute(update(_TABLE).where(_TABLE.c.id.in_(ids)).values(group_id=group_id))
            tx.execute(update(_EVENTS).where(key.in_(some)).values(group_id=group_id))


def load_active(tx: Connection) -> list[Alert]:
    """Every active alert."""
    return [_alert(row) for row in tx.execute(select(_TABLE).where(_TABLE.c.status == "active")).mappings()]


def changed_since(tx: Connection, since: Instant) -> list[Transition]:
    """The alerts that changed since then, oldest first, as transitions."""
    is_updated = and_(_TABLE.c.status == ACTIVE, _TABLE.c.updated_at >= since)
    changed = or_(_TABLE.c.created_at >= since, _TABLE.c.resolved_at >= since, is_updated)
    rows = tx.execute(select(_TABLE).where(changed).order_by(_TABLE.c.updated_at, _TABLE.c.id)).mappings()
    alerts = [_alert(row) for row in rows]
    return [Transition(_kind_of(alert, since), alert) for alert in alerts]


def _kind_of(alert: Alert, since: Instant) -> str:
    if alert.status != ACTIVE:
        return "resolved"
    return "fired" if alert.created_at >= since else "updated"


def save_waits(tx: Connection, waiting: Mapping[str, Sequence[Alert]]) -> None:
    """Write what waits of some hosts, given by their names, instead of what was stored of them."""
    names = list(waiting)
    for first in range(0, len(names), ASKED_AT_ONCE):
        tx.execute(delete(_WAITS).where(_WAITS.c.hostname.in_(names[first : first + ASKED_AT_ONCE])))
    rows = [
        (
            one.hostname, one.metric, one.subject or "", one.measure, orjson.dumps(one.waits).decode(), one.judged_at,
            one.missing, one.missing_since,
        )
        for alerts in waiting.values() for one in alerts
    ]  # fmt: skip
    insert_rows(tx, _WAITS, _WAIT, rows, REPLACE)


def load_waits(tx: Connection) -> list[Alert]:
    """What waits, as pending alerts: only their keys, their measures and what waits are meant."""
    return [
        Alert(
            id="", hostname=row["hostname"], metric=row["metric"], measure=row["measure"], severity="info", threshold=0.0,
            current_value=0.0, created_at=row["judged_at"], updated_at=row["judged_at"], subject=row["subject"] or None,
            status=PENDING, waits=tuple(orjson.loads(row["since"])), judged_at=row["judged_at"], missing=row["missing"],
            missing_since=row["missing_since"],
        )
        for row in tx.execute(select(_WAITS)).mappings()
    ]  # fmt: skip


def put_acks(tx: Connection, acks: Sequence[Ack]) -> None:
    """Store them. Each replaces an older one of its alert."""
    insert_rows(tx, _ACKS, _ACK, [tuple(getattr(one, name) for name in _ACK) for one in acks], REPLACE)


def withdraw_ack(tx: Connection, alert_id: str, at: Instant, by: str | None) -> None:
    """Note that the alert is no longer acknowledged."""
    wanted = update(_ACKS).where(_ACKS.c.alert_id == alert_id, _ACKS.c.withdrawn_at.is_(None))
    tx.execute(wanted.values(withdrawn_at=at, withdrawn_by=by))


def acks(tx: Connection) -> dict[str, Ack]:
    """What is asked for, by the id of the alert: at most one for each alert that is open."""
    return {row["alert_id"]: Ack(**row) for row in tx.execute(select(*(_ACKS.c[name] for name in _ACK))).mappings()}


def find(tx: Connection, alert_id: str) -> Alert | None:
    """One alert; None if there is none of this id."""
    row = tx.execute(select(_TABLE).where(_TABLE.c.id == alert_id)).mappings().first()
    return _alert(row) if row is not None else None


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
    tx.execute(delete(_ACKS).where(_ACKS.c.until < ended_before))  # of an alert that ended as it was acknowledged
    tx.execute(delete(_WAITS).where(_WAITS.c.judged_at < ended_before))  # of hosts that nobody hears of any more
    tx.execute(delete(_TABLE).where(_TABLE.c.id.in_(ids)))
    return len(ids)


def active_at(tx: Connection, at: Instant) -> list[Alert]:
    """Every alert that was active at an instant, newest first, with the severity and the flags that it had then."""
    of_then = select(_EVENTS.c.severity).where(_EVENTS.c.alert_id == _TABLE.c.id, _EVENTS.c.at <= at)
    newest = of_then.order_by(_EVENTS.c.version.desc()).limit(1).scalar_subquery()
    severity = func.coalesce(newest, _TABLE.c.severity)
    others = (one for one in _TABLE.c if one.name != "severity")
    wanted = _was_active(select(*others, severity.label("severity")), at)
    newest_first = wanted.order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc())
    alerts = [_alert(row) for row in tx.execute(newest_first).mappings()]
    changes = _flags_until(tx, [alert.id for alert in alerts], at)
    return [as_of(alert, changes.get(alert.id, ())) for alert in alerts]


def _flags_until(tx: Connection, ids: Sequence[str], at: Instant) -> dict[str, list[Change]]:
    """The changes of flags of these alerts until an instant, oldest first."""
    found: dict[str, list[Change]] = {}
    columns = (_EVENTS.c[name] for name in ("transition", "at", "actor", "note", "until", "cause", "group_id"))
    counts = or_(_EVENTS.c.transition.in_(FLAGS), _EVENTS.c.cause.is_not(None), _EVENTS.c.group_id.is_not(None))
    wanted = select(_EVENTS.c.alert_id, *columns).where(counts, _EVENTS.c.at <= at)
    for first in range(0, len(ids), ASKED_AT_ONCE):
        some = wanted.where(_EVENTS.c.alert_id.in_(ids[first : first + ASKED_AT_ONCE])).order_by(_EVENTS.c.version)
        for alert_id, event, then, actor, note, until, cause, group_id in tx.execute(some):
            change = Change(event, then, actor, note, until, _cause(cause), group_id)
            found.setdefault(alert_id, []).append(change)
    return found


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


def offline_since(tx: Connection, hostname: str, since: Instant) -> list[Alert]:
    """The alerts of a host's silence that are open or ended after `since`, oldest first."""
    is_late = or_(_TABLE.c.resolved_at.is_(None), _TABLE.c.resolved_at > since)
    wanted = select(_TABLE).where(_TABLE.c.hostname == hostname, _TABLE.c.measure == SILENCE, is_late)
    return [_alert(row) for row in tx.execute(wanted.order_by(_TABLE.c.created_at)).mappings()]


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
    values = {name: row[name] for name in _COLUMNS}
    values |= {"subject": row["subject"] or None, "cause": _cause(row["cause"])}
    return Alert(**values, told_value=round(row["current_value"], 1), told_at=row["updated_at"])


# ------------------------------------------------------------------ rules


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule as it is stored; `document` is what `alerts.rules` makes a rule of."""

    name: str
    document: Mapping[str, Any]
    version: int
    updated_at: Instant
    updated_by: str | None
    source: str = HUD


def rules_revision(tx: Connection) -> str | None:
    """What changes with every change of a rule."""
    return notes.read(tx, notes.ALERT_RULES)


def rules(tx: Connection) -> list[StoredRule]:
    """Every stored rule, by name."""
    rows = tx.execute(select(_RULES_OF_PEOPLE).order_by(_R.name)).mappings()
    return [StoredRule(**{**row, "document": orjson.loads(row["document"])}) for row in rows]


def put_rule(tx: Connection, rule: StoredRule, actor: Actor, what: str) -> bool:
    """Store a rule after the version before it. False: that is not the stored one any more."""
    values = {
        "document": orjson.dumps(rule.document).decode(), "version": rule.version, "updated_at": rule.updated_at,
        "updated_by": rule.updated_by, "source": rule.source,
    }  # fmt: skip
    if rule.version == 1:
        columns = ("name", *values)
        stored = insert_rows(tx, _RULES_OF_PEOPLE, columns, [(rule.name, *values.values())], KEEP_FIRST)
    else:
        is_it = and_(_R.name == rule.name, _R.version == rule.version - 1)
        stored = tx.execute(update(_RULES_OF_PEOPLE).where(is_it).values(values)).rowcount
    if stored:
        _note_change(tx, rule.name, actor, what, rule.updated_at)
    return bool(stored)


def remove_rule(tx: Connection, rule: StoredRule, actor: Actor, now: Instant) -> bool:
    """Remove a rule of this version. False: that is not the stored one any more."""
    is_it = and_(_R.name == rule.name, _R.version == rule.version)
    removed = tx.execute(delete(_RULES_OF_PEOPLE).where(is_it)).rowcount
    if removed:
        _note_change(tx, rule.name, actor, REMOVED, now)
    return bool(removed)


def _note_change(tx: Connection, name: str, actor: Actor, what: str, now: Instant) -> None:
    notes.write(tx, notes.ALERT_RULES, f"{now}-{secrets.token_hex(4)}")  # two workers may write at the same instant
    access.record(tx, actor, Event(what, name), now)
