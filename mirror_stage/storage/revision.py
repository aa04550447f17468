"""The revision of a database, read without SQLAlchemy and Alembic: importing these takes most of the time of a start."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Problem
from mirror_stage.core.shipped import path_of
from mirror_stage.storage import foreign

_REVISION = "SELECT version_num FROM alembic_version"


def newest() -> str:
    """The newest revision that this version knows: the number with which the name of its file begins."""
    return max(file.name.partition("_")[0] for file in path_of("migrations").glob("versions/[0-9]*.py"))


def is_newest(config: Config) -> bool:
    """Whether the database is EGO's and has the schema of this version.

    Also False if it cannot be read or written, or holds a copy that is not finished: the long way then says why.
    """
    try:
        return (_of_server if config.is_postgresql else _of_file)(config) == newest()
    except (sqlite3.Error, Problem, ImportError):
        return False


def _of_file(config: Config) -> str | None:
    path = config.sqlite_path.absolute()
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)) or foreign.trouble_of_file(path):
        return None
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(_REVISION).fetchone()
    return None if row is None else str(row[0])


def _of_server(config: Config) -> str | None:
    from mirror_stage.storage.backup import connected

    with connected(config) as connection:
        row = connection.execute(_REVISION).fetchone()
        unfinished = connection.execute("SELECT to_regclass(%s)", (foreign.COPYING,)).fetchone()
    return None if row is None or unfinished != (None,) else str(row[0])
