"""The revision of a database, read without SQLAlchemy and Alembic: importing these takes most of the time of a start."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Conflict, Problem
from mirror_stage.storage import foreign


def newest() -> str:
    """The newest revision that this version knows."""
    return foreign.revisions()[-1]


def is_newest(config: Config) -> bool:
    """Whether the database is EGO's and has the schema of this version.

    Also False if it cannot be read or written, or holds a copy that is not finished: the long way then says why.
    """
    try:
        return (_of_server if config.is_postgresql else _of_file)(config) == newest()
    except (sqlite3.Error, Problem, ImportError):
        return False


def require_newest(config: Config) -> None:
    """Raises Conflict if `is_newest` is false."""
    if is_newest(config):
        return
    path = config.sqlite_path.absolute()
    if config.is_postgresql:
        raise Conflict(
            "MIRROR_STAGE_DB_URL: has no database of this version: start EGO once, or ask mirror-stage doctor"
        )
    if os.access(path.parent, os.X_OK) and not path.exists():
        raise Conflict(
            f"there is no database {path} yet: run this command in the folder where EGO runs, or start EGO once"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise Conflict(f"{path} cannot be read and written by this account: use EGO's account or root")
    raise Conflict(f"{path} is no database of this version: start EGO once, or ask mirror-stage doctor")


def _of_file(config: Config) -> str | None:
    path = config.sqlite_path.absolute()
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)) or foreign.trouble_of_file(path):
        return None
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(foreign.REVISION).fetchone()
    return None if row is None else str(row[0])


def _of_server(config: Config) -> str | None:
    from mirror_stage.storage.backup import connected

    with connected(config) as connection:
        row = connection.execute(foreign.REVISION).fetchone()
        unfinished = connection.execute("SELECT to_regclass(%s)", (foreign.COPYING,)).fetchone()
    return None if row is None or unfinished != (None,) else str(row[0])
