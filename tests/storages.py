"""A storage of a test's own, without a server."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_mock_engine

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Base, Storage, db


@contextmanager
def migrated(config: Config) -> Iterator[Storage]:
    """An open storage with the newest schema and nothing in it, within the context of its application."""
    app = create_app(config, with_storage=False)
    storage: Storage = app.extensions["mirror_stage"][Storage]
    migrate.upgrade(app)
    with app.app_context():
        if not storage.is_open:
            storage.open(db.engine)
        yield storage
        storage.close()


def create_tables(engine: Engine) -> None:
    """Create the tables of all models in an empty SQLite database, as `create_all` does.

    SQLAlchemy compiles each statement anew, which takes most of `create_all`. Hundreds of tests begin with it.
    """
    with engine.begin() as connection:
        for statement in _statements():
            connection.exec_driver_sql(statement)


@functools.cache
def _statements() -> list[str]:
    found: list[str] = []
    collector = create_mock_engine(
        "sqlite://", lambda each, *_args, **_said: found.append(str(each.compile(dialect=collector.dialect)))
    )
    Base.metadata.create_all(collector, checkfirst=False)
    return found
