"""The ways to run EGO that are compared: on SQLite, on PostgreSQL, and as two workers with PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import EgoServer, PostgresqlServer, RedisServer, running_ego

SQLITE, POSTGRESQL, TWO_WORKERS = "SQLite", "PostgreSQL", "two workers"
ENGINES = (SQLITE, POSTGRESQL, TWO_WORKERS)


class Engines:
    """Starts EGOs. PostgreSQL and Redis are started once, when they are first needed; use it in a `with` statement."""

    def __init__(self) -> None:
        self._opened = contextlib.ExitStack()
        self._postgresql: PostgresqlServer | None = None
        self._redis: RedisServer | None = None

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @contextlib.contextmanager
    def ego(self, engine: str) -> Iterator[EgoServer]:
        """An EGO with an empty database, on its engine. It is ended afterwards."""
        with tempfile.TemporaryDirectory() as folder, running_ego(Path(folder), self._settings(engine)) as ego:
            yield ego

    def _settings(self, engine: str) -> dict[str, str]:
        if engine == SQLITE:
            return {}
        if self._postgresql is None:
            self._postgresql = PostgresqlServer(fsync=True)
            self._opened.callback(self._postgresql.remove)
            self._postgresql.start()
        settings = {"MIRROR_STAGE_DB_URL": self._postgresql.new_database()}
        if engine == TWO_WORKERS:
            if self._redis is None:
                folder = self._opened.enter_context(tempfile.TemporaryDirectory())
                self._redis = self._opened.enter_context(RedisServer(Path(folder)))
            settings |= {"MIRROR_STAGE_REDIS_URL": self._redis.url, "WEB_CONCURRENCY": "2"}
        return settings
