"""Whether a database belongs to another system, or to a newer EGO. EGO then changes nothing in it, not even the journal mode of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mirror_stage.core.shipped import path_of

if TYPE_CHECKING:
    from sqlalchemy import Connection  # `revision.py` looks at a file without it

OURS = frozenset({"ego_state", "host_metric_samples"})  # every schema of EGO has these tables
ALEMBIC = "alembic_version"
REVISION = f"SELECT version_num FROM {ALEMBIC}"
COPYING = "ego_copying"  # the marks of a copy that is not finished: see copying.py
ANOTHER_FILE = "set MIRROR_STAGE_SQLITE_PATH to another file"


def revisions() -> list[str]:
    """The revisions of the schema that this version knows, the newest last: the numbers with which their files' names begin."""
    return sorted(file.name.partition("_")[0] for file in path_of("migrations").glob("versions/[0-9]*.py"))


def trouble_of_file(path: Path, *, may_be_copying: bool = False) -> str | None:
    """Why EGO must not use this SQLite file, in one line. None if it is EGO's, empty, or does not exist.

    `may_be_copying`: a copy that is not finished is no trouble.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        return f"there is no folder {folder}: create it, or {ANOTHER_FILE}"
    if not path.exists():
        return None
    if not path.is_file():
        return f"{path} is no file: {ANOTHER_FILE}"
    if not path.stat().st_size:
        return None
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
        names = [name for (name,) in rows]
        row = connection.execute(REVISION).fetchone() if ALEMBIC in names else None
    return _trouble(names, None if row is None else str(row[0]), str(path), ANOTHER_FILE, may_be_copying)


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
    revision = tx.exec_driver_sql(REVISION).scalar() if ALEMBIC in names else None
    return _trouble(names, revision, where, "set MIRROR_STAGE_DB_URL to a database of EGO's own", may_be_copying)


_TABLES = (
    "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relnamespace = current_schema()::regnamespace"
    " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
)


def _trouble(names: Collection[str], revision: str | None, where: str, remedy: str, may_be_copying: bool) -> str | None:
    if COPYING in names and not may_be_copying:
        return f"{where} holds a copy that is not finished: run mirror-stage db copy again, or {remedy}"
    found = sorted(set(names) - {ALEMBIC})
    if not found and revision is None:
        return None
    if set(names) >= OURS and revision is not None:
        known = revisions()
        if revision in known:
            return None
        return (
            f"{where} has the schema {revision}, and this EGO knows only those up to {known[-1]}; nothing was changed in it: "
            f"install the newer EGO that used it, or {remedy}"
        )
    if not found:
        return f"{where} holds the revision {revision} of another system; nothing was changed in it: {remedy}"
    some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return f"{where} holds tables of another system ({some}); nothing was changed in it: {remedy}"
