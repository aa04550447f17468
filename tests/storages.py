"""A storage of a test's own, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Storage, db


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
