"""Whether a database belongs to another system. EGO then changes nothing in it, not even the journal mode of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection  # `revision.py` looks at a file without it

OURS = frozenset({"ego_state", "host_metric_samples"})  # every schema of EGO has these tables
ALEMBIC = "alembic_version"
COPYING = "ego_copying"  # the marks of a copy that is not finished: see copying.py


def trouble_of_file(path: Path, *, may_be_copying: bool = False) -> str | None:
    """Why EGO must not use this SQLite file, in one line. None if it is EGO's, empty, or does not exist.

    `may_be_copying`: a copy that is not finished is no trouble.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
        names = [name for (name,) in rows]
    return _trouble(names, str(path), "MIRROR_STAGE_SQLITE_PATH to another file", may_be_copying)


def trouble_of_server(tx: Connection, *, may_be_copying: bool = False) -> str | None:
    """The same for a PostgreSQL database, and why its encoding cannot hold EGO's texts. Tables of extensions are ignored."""
    where = f"the database {tx.engine.url.database}"
    encoding = tx.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        return (
            f"{where} is in {encoding}, and EGO needs UTF8; nothing was changed in it: create one with "
            "CREATE DATABASE mirror_stage ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 "
            "and name it in MIRROR_STAGE_DB_URL"
        )
    names = tx.exec_driver_sql(_TABLES).scalars().all()
    return _trouble(names, where, "MIRROR_STAGE_DB_URL to a database of EGO's own", may_be_copying)


_TABLES = (
    "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace"
    " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
)


def _trouble(names: Collection[str], where: str, remedy: str, may_be_copying: bool) -> str | None:
    if COPYING in names and not may_be_copying:
        return f"{where} holds a copy that is not finished: run mirror-stage db copy again, or set {remedy}"
    found = sorted(set(names) - {ALEMBIC})
    if not found or set(names) >= OURS:
        return None
    some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return f"{where} holds tables of another system ({some}); nothing was changed in it: set {remedy}"
