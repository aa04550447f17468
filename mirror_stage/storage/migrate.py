"""Runs the migrations of the schema: one Alembic history for SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import flask_migrate
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Connection

from mirror_stage.core.config import Config
from mirror_stage.core.shipped import path_of
from mirror_stage.storage.db import Storage, db, translated
from mirror_stage.storage.ownership import migrating

logging.getLogger("alembic").setLevel(logging.WARNING)


def upgrade(app: Flask, revision: str = "head") -> None:
    """Bring the schema to `revision`, under a lock. Raises Unavailable if the database does not answer."""
    with _reached(app) as config, migrating(db.engine, config):
        if revision != "head" or _current() != head():
            flask_migrate.upgrade(directory=_directory(), revision=revision)


def downgrade(app: Flask, revision: str = "-1") -> None:
    """Take the schema back to `revision`, under the same lock. Raises Unavailable if the database does not answer."""
    with _reached(app) as config, migrating(db.engine, config):
        flask_migrate.downgrade(directory=_directory(), revision=revision)


def current(app: Flask) -> str | None:
    """The present revision of the schema, None if it has none. Raises Unavailable if the database does not answer."""
    with _reached(app):
        return _current()


@contextlib.contextmanager
def _reached(app: Flask) -> Iterator[Config]:
    """The application's settings, with an open storage. Errors of the database become problems of EGO."""
    services = app.extensions["mirror_stage"]
    with app.app_context(), translated():
        if not services[Storage].is_open:
            services[Storage].open(db.engine)
        yield services[Config]


def head() -> str | None:
    """The newest revision that this version knows."""
    return ScriptDirectory(_directory()).get_current_head()


def revision_of(connection: Connection) -> str | None:
    """The revision of a database, None if it has no schema."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """Every revision that this version knows."""
    return [script.revision for script in ScriptDirectory(_directory()).walk_revisions()]


def _current() -> str | None:
    with db.engine.connect() as connection:
        return revision_of(connection)


def _directory() -> str:
    return str(path_of("migrations"))
