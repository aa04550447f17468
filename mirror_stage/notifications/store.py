"""All SQL of the notifications, as functions of a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.core.instants import Instant
from mirror_stage.notifications import domain
from mirror_stage.notifications.channels import Channel
from mirror_stage.notifications.domain import (
    ACCEPTED,
    DEAD,
    DIGEST,
    DRY,
    ENDS,
    GREW,
    LEASED,
    MERGED,
    OPENED,
    OVER,
    QUEUED,
    REPEAT,
    RETRY,
    WAITING,
    WAS,
    WORSE,
    Delivery,
    Group,
    Intent,
    Member,
    Outcome,
    Route,
)
from mirror_stage.notifications.models import ChannelRow, DeliveryRow, GroupRow, MemberRow, RoutesRow
from mirror_stage.notifications.words import Manner
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows

_GROUPS: Table = GroupRow.__table__  # type: ignore[assignment]
_MEMBERS: Table = MemberRow.__table__  # type: ignore[assignment]
_SENT: Table = DeliveryRow.__table__  # type: ignore[assignment]
_CHANNELS: Table = ChannelRow.__table__  # type: ignore[assignment]
_ROUTES: Table = RoutesRow.__table__  # type: ignore[assignment]
_GROUP = tuple(column.name for column in _GROUPS.columns)
_MEMBER = tuple(column.name for column in _MEMBERS.columns)
_DELIVERY = tuple(column.name for column in _SENT.columns)
_IDS_AT_ONCE = 500

_WAITS = text("deliveries.state IN ('queued', 'retry', 'leased')")  # as the index says it


# ------------------------------------------------------------------ groups


def load(tx: Connection, closed_since: Instant) -> list[Group]:
    """The open groups, and those that were closed since then, with their problems."""
    wanted = or_(_GROUPS.c.closed_at.is_(None), _GROUPS.c.closed_at >= closed_since)
    return _with_members(tx, [_group(row) for row in tx.execute(select(_GROUPS).where(wanted)).mappings()])


def save(tx: Connection, groups: Iterable[Group], members: Iterable[tuple[str, Member]]) -> None:
    """Write groups, and problems with the ids of their groups."""
    insert_rows(tx, _GROUPS, _GROUP, [_group_row(one) for one in groups], REPLACE)
    insert_rows(tx, _MEMBERS, _MEMBER, [_member_row(group, one) for group, one in members], REPLACE)


def note_told(tx: Connection, group_id: str, now: Instant) -> None:
    """Note that people are told of a group, as `grouping.told` does: of thousands of problems one by one it would take long."""
    c = _MEMBERS.c
    tellable = and_(c.group_id == group_id, c.quiet == "[]", ~c.is_unknown, or_(c.ended_at.is_(None), c.ended_at > now))
    tx.execute(update(_MEMBERS).where(tellable).values(told_severity=c.severity, was_quiet=False))


def forget(tx: Connection, members: Iterable[tuple[str, Member]]) -> None:
    """Take problems out of groups, given by the ids of these."""
    for group, one in members:
        of_member = and_(
            _MEMBERS.c.group_id == group,
            _MEMBERS.c.hostname == one.hostname,
            _MEMBERS.c.rule == one.rule,
            _MEMBERS.c.subject == (one.subject or ""),
        )
        tx.execute(delete(_MEMBERS).where(of_member))


def groups_page(tx: Connection, *, is_open: bool | None, offset: int, limit: int) -> tuple[list[Group], int]:
    """One page of groups, newest first, and how many there are."""
    wanted = select(_GROUPS)
    if is_open is not None:
        wanted = wanted.where(_GROUPS.c.closed_at.is_(None) if is_open else _GROUPS.c.closed_at.is_not(None))
    total: int = tx.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
    newest = wanted.order_by(_GROUPS.c.opened_at.desc(), _GROUPS.c.id).offset(offset).limit(limit)
    return _with_members(tx, [_group(row) for row in tx.execute(newest).mappings()]), total


def group(tx: Connection, id: str) -> Group | None:
    """A group with its problems; None if there is none of this id."""
    row = tx.execute(select(_GROUPS).where(_GROUPS.c.id == id)).mappings().first()
    return None if row is None else _with_members(tx, [_group(row)])[0]


def _with_members(tx: Connection, groups: list[Group]) -> list[Group]:
    by_id = {one.id: one for one in groups}
    ids = list(by_id)
    for first in range(0, len(ids), _IDS_AT_ONCE):
        some = select(_MEMBERS).where(_MEMBERS.c.group_id.in_(ids[first : first + _IDS_AT_ONCE]))
        for row in tx.execute(some).mappings():
            member = _member(row)
            by_id[row["group_id"]].members[member.key] = member
    return groups


def _group_row(one: Group) -> tuple[Any, ...]:
    return tuple(_json(one.told_to) if name == "told_to" else getattr(one, name) for name in _GROUP)


def _group(row: RowMapping) -> Group:
    return Group(**{name: row[name] for name in _GROUP} | {"told_to": tuple(orjson.loads(row["told_to"]))})


def _member_row(group: str, one: Member) -> tuple[Any, ...]:
    said: dict[str, Any] = {
        "group_id": group,
        "subject": one.subject or "",
        "fires": _json(one.fires),
        "quiet": _json(one.quiet),
    }
    return tuple(said[name] if name in said else getattr(one, name) for name in _MEMBER)


def _member(row: RowMapping) -> Member:
    values = {name: row[name] for name in _MEMBER if name != "group_id"}
    lists = {name: tuple(orjson.loads(row[name])) for name in ("fires", "quiet")}
    return Member(**values | lists | {"subject": row["subject"] or None})


# ------------------------------------------------------------------ deliveries


def put(tx: Connection, intent: Intent, now: Instant, *, is_dry: bool = False, is_fallback: bool = False) -> str | None:
    """Store an intent, and return its kind; None if the channel need not hear of it.

    An older message of the group that still waits for this channel is not sent any more: the newer one says more. If none of them
    was sent, the end of a problem becomes `was`, and a message about more problems `opened`. A fallback has to hear of an end, too:
    whoever got the problem elsewhere did not get it.
    """
    of_channel = and_(_SENT.c.group_id == intent.group_id, _SENT.c.channel == intent.channel)
    waited: list[Any] = []
    kind, state = intent.kind, QUEUED
    if is_dry:
        state = DRY
    else:
        waited = list(
            tx.execute(
                update(_SENT)
                .where(of_channel, _SENT.c.state.in_(WAITING), _SENT.c.id != intent.id)
                .values(state=MERGED, merged_into=intent.id, ended_at=now)
                .returning(_SENT.c.attempts, _SENT.c.due_since, _SENT.c.next_at)
            )
        )
        told = _is_told(tx, of_channel)
        if kind in ENDS and not told and not waited and not is_fallback:
            return None
        kind = _kind(kind, is_told=told)
    row = {
        "id": intent.id,
        "group_id": intent.group_id,
        "channel": intent.channel,
        "sequence": intent.sequence,
        "kind": kind,
        "severity": intent.severity,
        "state": state,
        "attempts": max((one.attempts for one in waited), default=0),
        "created_at": now,
        "due_since": min((one.due_since for one in waited), default=now),
        "next_at": max((one.next_at for one in waited), default=now),
        "ended_at": now if is_dry else None,
        "facts": _json(intent.facts),
    }
    insert_rows(tx, _SENT, _DELIVERY, [tuple(row.get(name) for name in _DELIVERY)], KEEP_FIRST)
    return kind


def channels_of(tx: Connection, group_id: str) -> list[str]:
    """The channels that there is a message of a group for, also as a fallback."""
    return list(tx.execute(select(_SENT.c.channel).where(_SENT.c.group_id == group_id).distinct()).scalars())


def fall_back(tx: Connection, failed: Delivery, channel: str, now: Instant) -> int:
    """Give another channel what did not arrive: this message, or each one of a digest. Returns how many it did not have."""
    wanted = _SENT.c.merged_into == failed.id if failed.kind == DIGEST else _SENT.c.id == failed.id
    count = 0
    for row in tx.execute(select(_SENT).where(wanted).order_by(_SENT.c.due_since, _SENT.c.sequence)).mappings().all():
        one = _delivery(row)
        same = and_(_SENT.c.group_id == one.group_id, _SENT.c.channel == channel, _SENT.c.sequence >= one.sequence)
        if one.group_id is None or tx.execute(select(_SENT.c.id).where(same).limit(1)).first() is not None:
            continue
        id = domain.delivery_id(one.group_id, one.sequence, channel)
        kind = OVER if one.kind == WAS else one.kind
        put(tx, Intent(id, one.group_id, channel, one.sequence, kind, one.severity, one.facts), now, is_fallback=True)
        count += 1
    return count


def _is_told(tx: Connection, of_channel: ColumnElement[bool]) -> bool:
    """Whether a channel has a message of a group, or may have it, also within a digest."""
    digest = _SENT.alias("digest")
    in_digest = exists().where(digest.c.id == _SENT.c.merged_into, digest.c.kind == DIGEST, digest.c.state != DEAD)
    told = or_(_SENT.c.state.in_((ACCEPTED, LEASED)), and_(_SENT.c.state == MERGED, in_digest))
    return tx.execute(select(_SENT.c.id).where(of_channel, told).limit(1)).first() is not None


def _kind(kind: str, *, is_told: bool) -> str:
    if is_told:
        return kind
    return WAS if kind in ENDS else OPENED if kind in {GREW, WORSE, REPEAT} else kind


def due_channels(tx: Connection, now: Instant) -> list[str]:
    """The channels that have something to send now."""
    return list(tx.execute(select(_SENT.c.channel).where(_WAITS, _is_due(now)).distinct()).scalars())


def _is_due(now: Instant) -> ColumnElement[bool]:
    lost = and_(_SENT.c.state == LEASED, _SENT.c.leased_until <= now)  # its sender died
    return or_(and_(_SENT.c.state.in_(WAITING), _SENT.c.next_at <= now), lost)


def count_due(tx: Connection, channel: str, now: Instant) -> int:
    """How many messages of a channel are due."""
    wanted = select(func.count()).select_from(_SENT).where(_SENT.c.channel == channel, _WAITS, _is_due(now))
    return int(tx.execute(wanted).scalar_one())


def count_accepted(tx: Connection, channel: str, since: Instant) -> int:
    """How many messages a channel has accepted since then."""
    accepted = (_SENT.c.channel == channel, _SENT.c.ended_at > since, _SENT.c.state == ACCEPTED)
    return int(tx.execute(select(func.count()).select_from(_SENT).where(*accepted)).scalar_one())


def claim(tx: Connection, channel: str, now: Instant) -> Delivery | None:
    """Lease the oldest message that is due; None if there is none. Nobody else sends it until the lease is over."""
    oldest = select(_SENT).where(_SENT.c.channel == channel, _WAITS, _is_due(now))
    row = tx.execute(oldest.order_by(_SENT.c.due_since, _SENT.c.sequence).limit(1)).mappings().first()
    if row is None:
        return None
    found = _delivery(row)
    leased = replace(found, state=LEASED, attempts=found.attempts + 1, leased_until=now + domain.LEASE)
    done = tx.execute(
        update(_SENT)
        .where(_SENT.c.id == found.id, _is_due(now))
        .values(state=LEASED, attempts=leased.attempts, leased_until=leased.leased_until)
    )
    return leased if done.rowcount == 1 else None


def finish(tx: Connection, sent: Delivery, outcome: Outcome, now: Instant) -> Delivery | None:
    """Note what became of a leased message, and return it as it is now; None if its lease was over and somebody else has it."""
    next_at = None if outcome.is_accepted else domain.next_try(sent.attempts, sent.due_since, now, outcome)
    state = ACCEPTED if outcome.is_accepted else DEAD if next_at is None else RETRY
    newer = None if state == ACCEPTED or sent.group_id is None else _newer(tx, sent)
    if newer is not None:
        state = MERGED
    after = replace(
        sent,
        state=state,
        next_at=next_at or sent.next_at,
        ended_at=None if state == RETRY else now,
        status=outcome.status,
        detail=outcome.detail,
        leased_until=None,
        merged_into=newer,
    )
    values = {
        name: getattr(after, name)
        for name in ("state", "next_at", "ended_at", "status", "detail", "leased_until", "merged_into")
    }
    is_ours = and_(_SENT.c.id == sent.id, _SENT.c.state == LEASED, _SENT.c.leased_until == sent.leased_until)
    if tx.execute(update(_SENT).where(is_ours).values(**values)).rowcount != 1:
        return None
    if newer is not None:
        _rename(tx, newer, sent)
    return after


def _newer(tx: Connection, sent: Delivery) -> str | None:
    """The message that says more than this one, and waits for the same channel."""
    newer = and_(_SENT.c.group_id == sent.group_id, _SENT.c.channel == sent.channel, _SENT.c.sequence > sent.sequence)
    wanted = select(_SENT.c.id).where(newer, _SENT.c.state.in_(WAITING)).order_by(_SENT.c.sequence.desc()).limit(1)
    return tx.execute(wanted).scalar()


def _rename(tx: Connection, id: str, failed: Delivery) -> None:
    """Give a message its kind anew: the one before it did not arrive."""
    kind = tx.execute(select(_SENT.c.kind).where(_SENT.c.id == id)).scalar_one()
    told = _is_told(tx, and_(_SENT.c.group_id == failed.group_id, _SENT.c.channel == failed.channel))
    tx.execute(update(_SENT).where(_SENT.c.id == id).values(kind=_kind(kind, is_told=told), due_since=failed.due_since))


def gather(tx: Connection, channel: str, now: Instant) -> bool:
    """Make one digest of all messages of a channel that are due and were not tried; whether there were several."""
    wanted = select(_SENT).where(_SENT.c.channel == channel, _WAITS, _SENT.c.state == QUEUED, _SENT.c.next_at <= now)
    ordered = wanted.where(_SENT.c.attempts == 0).order_by(_SENT.c.due_since, _SENT.c.sequence)
    waiting = [_delivery(row) for row in tx.execute(ordered).mappings()]
    if len(waiting) < 2:
        return False
    worst = max((one.severity for one in waiting), key=SEVERITIES.index)
    facts = {"messages": [{"kind": one.kind, "severity": one.severity, **one.facts} for one in waiting]}
    intent_id = domain.digest_id(channel, [one.id for one in waiting])
    row = {
        "id": intent_id, "channel": channel, "sequence": 0, "kind": DIGEST, "severity": worst, "state": QUEUED, "attempts": 0,
        "created_at": now, "due_since": min(one.due_since for one in waiting), "next_at": now, "facts": _json(facts),
    }  # fmt: skip
    insert_rows(tx, _SENT, _DELIVERY, [tuple(row.get(name) for name in _DELIVERY)], KEEP_FIRST)
    ids = [one.id for one in waiting]
    for first in range(0, len(ids), _IDS_AT_ONCE):
        these = _SENT.c.id.in_(ids[first : first + _IDS_AT_ONCE])
        tx.execute(update(_SENT).where(these).values(state=MERGED, merged_into=intent_id, ended_at=now))
    return True


def give_up(tx: Connection, channel: str, why: str, now: Instant) -> int:
    """End what waits for a channel that is no more. Returns how many messages."""
    waits = and_(_SENT.c.channel == channel, _SENT.c.state.in_(WAITING))
    return tx.execute(update(_SENT).where(waits).values(state=DEAD, detail=why, ended_at=now)).rowcount


def try_again(tx: Connection, id: str, now: Instant) -> Delivery | None:
    """Send a dead message again, or one that waits at once; None if there is none of this id. One that is sent stays as it is."""
    can = and_(_SENT.c.id == id, _SENT.c.state.in_((DEAD, RETRY)))
    tx.execute(update(_SENT).where(can).values(state=RETRY, attempts=0, next_at=now, due_since=now, ended_at=None))
    row = tx.execute(select(_SENT).where(_SENT.c.id == id)).mappings().first()
    return None if row is None else _delivery(row)


def page(tx: Connection, filters: Mapping[str, str], offset: int, limit: int) -> tuple[list[Delivery], int]:
    """One page of messages, newest first, and how many there are. `filters`: channel, state, group_id."""
    wanted = select(_SENT).where(*(_SENT.c[name] == value for name, value in filters.items()))
    total: int = tx.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
    newest = wanted.order_by(_SENT.c.created_at.desc(), _SENT.c.id.desc()).offset(offset).limit(limit)
    return [_delivery(row) for row in tx.execute(newest).mappings()], total


def troubles(tx: Connection, dead_since: Instant) -> tuple[dict[str, int], dict[str, Instant]]:
    """By channel: how many messages died since then; and since when a message has been tried in vain."""
    dead = select(_SENT.c.channel, func.count()).where(
        _SENT.c.state == DEAD, _SENT.c.created_at >= dead_since - domain.DEAD_AFTER
    )
    dead = dead.where(_SENT.c.ended_at >= dead_since).group_by(_SENT.c.channel)
    failing = select(_SENT.c.channel, func.min(_SENT.c.due_since)).where(_WAITS, _SENT.c.state == RETRY)
    counted = {str(row[0]): int(row[1]) for row in tx.execute(dead)}
    return counted, {str(row[0]): int(row[1]) for row in tx.execute(failing.group_by(_SENT.c.channel))}


def waiting(tx: Connection) -> dict[str, tuple[int, Instant]]:
    """By channel: how many messages wait or are sent now, and since when the oldest of them is due."""
    wanted = select(_SENT.c.channel, func.count(), func.min(_SENT.c.due_since)).where(_WAITS).group_by(_SENT.c.channel)
    return {str(row[0]): (int(row[1]), int(row[2])) for row in tx.execute(wanted)}


def prune(tx: Connection, before: Instant, most: int) -> int:
    """Remove groups that were closed before then, and messages that were made before then; at most `most` of each, and how many."""
    ids = list(tx.execute(select(_GROUPS.c.id).where(_GROUPS.c.closed_at < before).limit(most)).scalars())
    tx.execute(delete(_MEMBERS).where(_MEMBERS.c.group_id.in_(ids)))
    tx.execute(delete(_GROUPS).where(_GROUPS.c.id.in_(ids)))
    old = (
        select(_SENT.c.id)
        .where(_SENT.c.created_at < before, _SENT.c.ended_at.is_not(None))
        .order_by(_SENT.c.created_at)
    )
    sent = list(tx.execute(old.limit(most)).scalars())
    tx.execute(delete(_SENT).where(_SENT.c.id.in_(sent)))
    return max(len(ids), len(sent))


# ------------------------------------------------------------------ channels and routes


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes in their order, and where they are kept: `hud`, or `file`."""

    routes: tuple[Route, ...] = ()
    source: str = "hud"
    version: int = 0


def channels(tx: Connection) -> dict[str, Channel]:
    """Every channel by its name, in the order of the names."""
    return {row["name"]: _channel(row) for row in tx.execute(select(_CHANNELS).order_by(_CHANNELS.c.name)).mappings()}


def put_channel(tx: Connection, channel: Channel, by: str | None, version: int) -> Channel:
    """Write a channel, with a version above all that it had."""
    manner = {"language": channel.manner.language, "title": channel.manner.title, "body": channel.manner.body}
    settings = {"of_kind": channel.settings, "manner": manner, "rate_per_minute": channel.rate_per_minute,
                "fallback": channel.fallback}  # fmt: skip
    before = tx.execute(select(_CHANNELS.c.version).where(_CHANNELS.c.name == channel.name)).scalar()
    after = replace(channel, version=max(version, (before or 0) + 1))
    row = (after.name, after.kind, _json(settings), after.sealed, after.source, after.version, by)
    names = ("name", "kind", "settings", "sealed", "source", "version", "updated_by")
    insert_rows(tx, _CHANNELS, names, [row], REPLACE)
    return after


def delete_channel(tx: Connection, name: str) -> None:
    tx.execute(delete(_CHANNELS).where(_CHANNELS.c.name == name))


def _channel(row: RowMapping) -> Channel:
    said = orjson.loads(row["settings"])
    return Channel(
        row["name"], row["kind"], said["of_kind"], row["sealed"], Manner(**said["manner"]), said["rate_per_minute"], said.get("fallback"), row["source"],
        row["version"],
    )  # fmt: skip


_ROUTE = (
    "name", "channels", "where", "rules", "min_severity", "continues", "escalate_after", "escalate_to", "mute_times", "passes",
)  # fmt: skip


def routes(tx: Connection) -> Routes:
    """All routes."""
    row = tx.execute(select(_ROUTES)).mappings().first()
    if row is None:
        return Routes()
    return Routes(tuple(_route(one) for one in orjson.loads(row["routes"])), row["source"], row["version"])


def _route(said: Mapping[str, Any]) -> Route:
    return Route(
        said["name"],
        tuple(said["channels"]),
        said["where"],
        tuple(said["rules"]),
        said["min_severity"],
        said["continues"],
        said["escalate_after"],
        tuple(said["escalate_to"]),
        tuple(said.get("mute_times", ())),
        said.get("passes", "critical"),
    )


def put_routes(tx: Connection, wanted: Sequence[Route], source: str, by: str | None, version: int) -> Routes:
    """Write all routes, with a version above all that they had."""
    after = Routes(tuple(wanted), source, max(version, routes(tx).version + 1))
    told = _json([{name: getattr(one, name) for name in _ROUTE} for one in wanted])
    insert_rows(
        tx,
        _ROUTES,
        ("id", "routes", "source", "version", "updated_by"),
        [(1, told, source, after.version, by)],
        REPLACE,
    )
    return after


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(**{name: row[name] for name in _DELIVERY} | {"facts": orjson.loads(row["facts"])})


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
