"""All SQL of silences, maintenance and mute times."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, func, insert, or_, select, update

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import Actor
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Conflict
from mirror_stage.quiet.domain import Version, body_of, what_from
from mirror_stage.quiet.models import QuietVersion

_TABLE: Table = QuietVersion.__table__  # type: ignore[assignment]
_C = _TABLE.c
_IS_NEWEST = _C.replaced_at.is_(None)

Key = tuple[str, str, int]  # kind, id, number


def keys(tx: Connection, since: Instant) -> set[Key]:
    """The newest version of each that has not ended before `since`."""
    rows = tx.execute(select(_C.kind, _C.id, _C.number).where(_IS_NEWEST, _open_at(since)))
    return {(row.kind, row.id, row.number) for row in rows}


def newest(tx: Connection, since: Instant) -> list[Version]:
    """The newest version of each that has not ended before `since`, newest first."""
    return _versions(tx, and_(_IS_NEWEST, _open_at(since)))


def newest_of(tx: Connection, kind: str, id: str) -> Version | None:
    """The newest version of one, also if it has ended; None if there is none."""
    return next(iter(_versions(tx, and_(_C.kind == kind, _C.id == id, _IS_NEWEST))), None)


def as_of(tx: Connection, at: Instant, since: Instant) -> list[Version]:
    """The versions that were the newest at an instant and had not ended before `since`, newest first."""
    return _versions(tx, and_(_C.at <= at, or_(_IS_NEWEST, _C.replaced_at > at), _open_at(since)))


def last_change(tx: Connection) -> tuple[Instant, int] | None:
    """The instant of the newest version, and how many there are of that instant: another answer after each change."""
    row = tx.execute(select(_C.at, func.count()).group_by(_C.at).order_by(_C.at.desc()).limit(1)).first()
    return None if row is None else (row[0], row[1])


def count_open(tx: Connection, kind: str, now: Instant) -> int:
    """How many of a kind have not ended."""
    return tx.execute(select(func.count()).where(_C.kind == kind, _IS_NEWEST, _open_at(now))).scalar_one()


def append(tx: Connection, version: Version, actor: Actor) -> None:
    """Store a version in the place of the one before it, and a row of the audit. Raises Conflict if another came first."""
    is_before = (_C.kind == version.kind, _C.id == version.id, _IS_NEWEST)
    replaced = tx.execute(
        update(_TABLE).where(*is_before, _C.number == version.number - 1).values(replaced_at=version.at)
    )
    if version.number > 1 and replaced.rowcount == 0:
        raise Conflict("somebody else has just changed it; look again, then change it")
    body = json.dumps(body_of(version.what), ensure_ascii=False)
    tx.execute(
        insert(_TABLE).values(
            kind=version.kind, id=version.id, number=version.number, at=version.at, by=version.by,
            change=version.change, body=body, ends_at=version.ends_at, replaced_at=None, source=version.source,
        )
    )  # fmt: skip
    access.record(tx, actor, Event(f"{version.kind}-{version.change}", version.id, body[:1000]), version.at)


def prune(tx: Connection, before: Instant, most: int) -> int:
    """Remove at most `most` versions that were replaced, or ended, before an instant. Returns how many."""
    key = (_C.kind, _C.id, _C.number)
    is_old = or_(_C.replaced_at < before, and_(_IS_NEWEST, _C.ends_at < before))
    old = tx.execute(select(*key).where(is_old).limit(most)).all()
    for kind, id, number in old:
        tx.execute(delete(_TABLE).where(_C.kind == kind, _C.id == id, _C.number == number))
    return len(old)


def _open_at(since: Instant) -> Any:
    return or_(_C.ends_at.is_(None), _C.ends_at > since)


def _versions(tx: Connection, which: Any) -> list[Version]:
    rows: Iterable[Any] = tx.execute(select(_TABLE).where(which).order_by(_C.at.desc(), _C.id))
    return [
        Version(
            row.kind, row.id, row.number, row.at, row.by, row.change,
            what_from(row.kind, json.loads(row.body)), row.replaced_at, row.source,
        )
        for row in rows
    ]  # fmt: skip
