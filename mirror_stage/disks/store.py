"""All SQL of the levels of disks, as functions of a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, delete, select, text, tuple_

from mirror_stage.disks.models import DiskLevel
from mirror_stage.storage.rows import REPLACE, given, insert_rows

_LEVELS: Table = DiskLevel.__table__  # type: ignore[assignment]
_KEY = ("host_id", "mount", "at_second")
_COLUMNS = (*_KEY, "used_bytes", "most_used_bytes", "total_bytes")


def put(tx: Connection, rows: Sequence[tuple[int, str, int, int, int]]) -> None:
    """Note (host id, mountpoint, first second of the hour, used bytes, size) of disks. The most of an hour only grows."""
    told = [(host_id, mount, at_second, used, used, total) for host_id, mount, at_second, used, total in rows]
    insert_rows(tx, _LEVELS, _COLUMNS, told, REPLACE, highest=("most_used_bytes",))


def of_hosts(tx: Connection, host_ids: Sequence[int], since: int) -> str:
    """A JSON list of [host id, mountpoint, second, used bytes, size] since then. As rows they would hold up others."""
    members, values = given(tx, "members", ("member",), [(host_id,) for host_id in host_ids])
    row = "host_id, mount, at_second, used_bytes, total_bytes"
    listed = (
        f"json_group_array(json_array({row}))"
        if tx.dialect.name == "sqlite"
        else f"CAST(json_agg(json_build_array({row})) AS text)"
    )
    statement = f"WITH {members} SELECT {listed} FROM members CROSS JOIN disk_levels WHERE host_id = member AND at_second >= :since"
    return str(tx.execute(text(statement), values | {"since": since}).scalar() or "[]")


def id_of(tx: Connection, hostname: str) -> int | None:
    """The id of a host; None if there has never been one of this name."""
    return tx.execute(text("SELECT id FROM host_metrics WHERE hostname = :name"), {"name": hostname}).scalar()


def prune(tx: Connection, kept_since: int, most: int) -> int:
    """Remove up to `most` levels of hours before `kept_since`. Returns how many."""
    key = [_LEVELS.c[name] for name in _KEY]
    oldest = select(*key).where(_LEVELS.c.at_second < kept_since).order_by(_LEVELS.c.at_second).limit(most)
    return tx.execute(delete(_LEVELS).where(tuple_(*key).in_(oldest.subquery().select()))).rowcount
