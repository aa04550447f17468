"""The owner lock of a database: one process at a time is the owner. A second one waits and takes over when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, exc, text

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.storage import files

OWNER_LOCK, MIGRATION_LOCK = 7_238_401, 7_238_402  # PostgreSQL's advisory locks are numbers


class Ownership:
    """The owner lock. Its holder folds samples, judges alerts and runs the jobs of this database."""

    def __init__(self, config: Config):
        self._config = config
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None

    def take(self, engine: Engine) -> bool:
        """Try to take the lock. Returns whether this process has it. Raises Unavailable if the database does not answer."""
        if engine.dialect.name == "postgresql":
            return self._take_advisory(engine)
        return self._config.database_url == "sqlite://" or self._take_file()

    def _take_advisory(self, engine: Engine) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))  # the lock lives as long as this connection
                return True
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": OWNER_LOCK}).scalar():
                connection.detach()
                self._connection = connection
                return True
            connection.close()
            return False
        except exc.SQLAlchemyError as error:
            self._connection = None
            raise Unavailable("the database does not answer") from error

    def _take_file(self) -> bool:
        if self._file is not None:
            return True
        file = os.fdopen(files.open_own(_lock_path(self._config), os.O_RDWR), "rb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Release the lock, so that the next process can take it."""
        if self._file is not None:
            self._file.close()
        if self._connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError):
                self._connection.close()
        self._file = self._connection = None


@contextlib.contextmanager
def migrating(engine: Engine, config: Config) -> Iterator[None]:
    """Hold the lock of migrations: no other process changes the schema meanwhile; a second one waits for it."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # the other migration may take long
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            yield
    else:
        with os.fdopen(files.open_own(_lock_path(config, "migration"), os.O_RDWR), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _lock_path(config: Config, purpose: str = "owner") -> Path:
    path = config.sqlite_path.absolute()
    return path.with_name(f"{path.name}.{purpose}.lock")
