"""The owner lock of a database: one process at a time is the owner. A second one waits and takes over when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, exc, text

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.storage import files

log = logging.getLogger(__name__)

OWNER_LOCK, MIGRATION_LOCK = 7_238_401, 7_238_402  # PostgreSQL's advisory locks are numbers
# The owner's transaction stays open without a snapshot, so it holds no vacuum up. A dead owner lets go within 25 s.
_NEVER_IDLE = (
    "SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('tcp_keepalives_idle', '10', true),"
    " set_config('tcp_keepalives_interval', '5', true), set_config('tcp_keepalives_count', '3', true)"
)
_HELD = (
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = :key"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND pid = pg_backend_pid() AND granted)"
)


class Ownership:
    """The owner lock. Its holder folds samples, judges alerts and runs the jobs of this database.

    The workers of a cluster share it (`is_shared`): together they keep everybody else away.
    """

    def __init__(self, config: Config, *, is_shared: bool = False):
        self._config = config
        self._try = "pg_try_advisory_xact_lock_shared" if is_shared else "pg_try_advisory_xact_lock"
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None

    def take(self, engine: Engine) -> bool:
        """Try to take the lock. Returns whether this process has it. Raises Unavailable if the database does not answer."""
        if engine.dialect.name == "postgresql":
            return self._take_advisory(engine)
        return self._config.database_url == "sqlite://" or self._take_file()

    def _take_advisory(self, engine: Engine) -> bool:
        """Hold the lock in a transaction that stays open: behind a pooler, too, that keeps one connection of the server."""
        try:
            if self._connection is not None and not self._holds(self._connection):
                log.warning(
                    "the connection that owns the database was exchanged, by a pooler perhaps; EGO takes it again"
                )
                self._let_go()
            if self._connection is None:
                self._connection = self._locked(engine)
            return self._connection is not None
        except exc.SQLAlchemyError as error:
            self._let_go()
            raise Unavailable("the database does not answer") from error

    def _locked(self, engine: Engine) -> Connection | None:
        """A connection outside the pool that has the lock; None if another process has it."""
        connection = engine.connect()
        try:
            connection.execute(text(_NEVER_IDLE))
            if connection.execute(text(f"SELECT {self._try}(:key)"), {"key": OWNER_LOCK}).scalar():
                connection.detach()
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _holds(self, connection: Connection) -> bool:
        """Whether the server says that the lock is held by the very connection that answers."""
        return bool(connection.execute(text(_HELD), {"key": OWNER_LOCK}).scalar())

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError):
                connection.close()

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
        self._file = None
        self._let_go()


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
