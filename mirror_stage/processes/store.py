"""All SQL of the processes, as functions of a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, delete, select, text, tuple_

from mirror_stage.processes.models import ProcessMinute
from mirror_stage.storage.rows import KEEP_FIRST, insert_rows

_MINUTES: Table = ProcessMinute.__table__  # type: ignore[assignment]
_KEY = ("host_id", "at_second")


def put(tx: Connection, rows: Sequence[tuple[int, int, str]]) -> int:
    """Note (host id, first second of the minute, processes as JSON). A minute is noted once. Returns how many are new."""
    return insert_rows(tx, _MINUTES, (*_KEY, "processes"), rows, KEEP_FIRST)


def of_host(tx: Connection, host_id: int, since: int, until: int) -> str:
    """A JSON list of [second, processes] of the minutes from `since` to `until`. As rows they would hold up others."""
    joined = "group_concat" if tx.dialect.name == "sqlite" else "string_agg"
    statement = (
        f"SELECT {joined}('[' || at_second || ',' || processes || ']', ',') FROM process_minutes"
        " WHERE host_id = :host_id AND at_second BETWEEN :since AND :until"
    )
    return f"[{tx.execute(text(statement), {'host_id': host_id, 'since': since, 'until': until}).scalar() or ''}]"


def id_of(tx: Connection, hostname: str) -> int | None:
    """The id of a host; None if there has never been one of this name."""
    return tx.execute(text("SELECT id FROM host_metrics WHERE hostname = :name"), {"name": hostname}).scalar()


def prune(tx: Connection, kept_since: int, most: int) -> int:
    """Remove up to `most` rows of minutes before `kept_since`. Returns how many."""
    key = [_MINUTES.c[name] for name in _KEY]
    oldest = select(*key).where(_MINUTES.c.at_second < kept_since).order_by(_MINUTES.c.at_second).limit(most)
    return tx.execute(delete(_MINUTES).where(tuple_(*key).in_(oldest.subquery().select()))).rowcount
