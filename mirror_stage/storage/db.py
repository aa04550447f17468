"""The database: engine, pragmas, `write(work)` and `read(query)`. Nothing else opens a transaction.

Under gevent a SQLite call would stop the event loop, so SQLite lives in native threads: one that writes, two that
read, each with its own connection. In those threads there is no logging, no lock of the application and no ORM
session: a monkey-patched lock that two native threads contend for hangs. PostgreSQL runs in the calling greenlet.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import gevent
from flask_sqlalchemy import SQLAlchemy
from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool
from sqlalchemy import Connection, Engine, event, exc, make_url, text
from sqlalchemy.orm import DeclarativeBase

from mirror_stage.core.config import Config
from mirror_stage.core.problems import BadRow, OutcomeUnknown, Problem, Unavailable
from mirror_stage.storage import files

READ_DEADLINE_SECONDS = 2.0
WRITE_DEADLINE_SECONDS = 10.0  # PostgreSQL: a server that neither answers nor refuses
JOURNAL_SIZE_LIMIT_BYTES = 64 * 2**20
STORAGE_FULL = "storage-full"

_SERVER_SETTINGS = {
    "timezone": "utc",
    "synchronous_commit": "on",
    "statement_timeout": 8000,
    "jit": "off",  # compiling a question about forty columns takes longer than answering it
    **{"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3},  # a dead owner lets go
}

Answer = TypeVar("Answer")
Tx = Connection  # what stores get: an open transaction
Work = Callable[[Tx], Answer]


class Base(DeclarativeBase):
    """The tables of every domain."""


db = SQLAlchemy(model_class=Base)


def engine_options(config: Config) -> dict[str, object]:
    """What Flask-SQLAlchemy hands to `create_engine`."""
    if config.is_postgresql:
        connect_args = {
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in _SERVER_SETTINGS.items()),
            "sslmode": "require" if config.db_ssl else "prefer",
        }
        said = make_url(config.database_url).query  # what the URL says itself stands
        connect_args = {name: value for name, value in connect_args.items() if name not in said}
        pool = {"pool_size": 10, "max_overflow": 0, "pool_timeout": 5, "pool_pre_ping": True, "pool_recycle": 1800}
        return {**pool, "connect_args": connect_args}
    return {"connect_args": {"check_same_thread": False, "timeout": 5}}


def _prepare_sqlite(connection: object, _record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # we say BEGIN ourselves
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may lose commits on power loss, and a 202 says they are safe
    cursor.execute(f"PRAGMA journal_size_limit={JOURNAL_SIZE_LIMIT_BYTES}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("BEGIN" if reading else "BEGIN IMMEDIATE")  # a late upgrade to writing fails at once


class Storage:
    """Where everything durable is written and read. Open it before use; it says `Unavailable` until then."""

    def __init__(self, config: Config):
        self._config = config
        self.engine: Engine | None = None
        self._door: _Door | None = None

    def open(self, engine: Engine) -> None:
        """Connect. Raises Unavailable if the database does not answer."""
        try:
            if engine.dialect.name == "postgresql":
                door: _Door = _PostgresqlDoor(engine)
            else:
                if not self.is_in_memory:
                    files.tighten(self._config.sqlite_path.absolute())
                if not event.contains(engine, "begin", _begin_sqlite):
                    event.listen(engine, "connect", _prepare_sqlite)
                    event.listen(engine, "begin", _begin_sqlite)
                threaded = monkey.is_module_patched("threading") and not self.is_in_memory
                door = _SqliteThreads(engine) if threaded else _SqliteInline(engine)
        except (exc.SQLAlchemyError, OSError) as error:
            raise Unavailable(_why(error)) from error
        self.engine, self._door = engine, door

    def close(self) -> None:
        """Let nobody in any more, wait for what is under way, disconnect."""
        (engine, self.engine), (door, self._door) = (self.engine, None), (self._door, None)
        if door is not None:
            door.close()
        if engine is not None:
            engine.dispose()

    @property
    def is_open(self) -> bool:
        return self._door is not None

    @property
    def is_postgresql(self) -> bool:
        """Whether writers run beside each other and beside readers; on SQLite they take turns."""
        return self._config.is_postgresql

    @property
    def is_in_memory(self) -> bool:
        return self._config.database_url == "sqlite://"

    @property
    def description(self) -> str:
        """`sqlite, wal, full` or `postgresql`, for people."""
        if self._config.is_postgresql:
            return "postgresql"
        return "sqlite in memory: nothing survives a restart" if self.is_in_memory else "sqlite, wal, full"

    def write(self, work: Work[Answer]) -> Answer:
        """What `work(tx)` returns, committed.

        Raises BadRow when a value is at fault, Unavailable when nothing was stored, OutcomeUnknown when the
        connection broke during COMMIT. A Problem that `work` raises rolls back and passes through.
        """
        return self._opened().write(work)

    def read(self, query: Work[Answer]) -> Answer:
        """What `query(tx)` returns: plain tuples, at most a few hundred. Raises Unavailable, also after 2 s."""
        return self._opened().read(query)

    def latency_ms(self) -> float:
        """How long a trivial question takes. Raises Unavailable."""
        started = time.perf_counter()
        self.read(lambda tx: tx.execute(text("SELECT 1")).scalar())
        return (time.perf_counter() - started) * 1000

    def _opened(self) -> _Door:
        if self._door is None:
            raise Unavailable("the database is not open: EGO is starting or stopping")
        return self._door


class _Door(Protocol):
    """How one kind of database is written and read."""

    def write(self, work: Work[Answer]) -> Answer: ...

    def read(self, query: Work[Answer]) -> Answer: ...

    def close(self) -> None: ...


class _SqliteReader:
    """A connection that cannot write, whose questions end after READ_DEADLINE_SECONDS."""

    def __init__(self, engine: Engine):
        self._connection = engine.connect().execution_options(reading=True)
        self._deadline = 0.0
        driver = self._connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA query_only=ON")
        driver.set_progress_handler(lambda: time.monotonic() > self._deadline, 10_000)

    def read(self, query: Work[Answer]) -> Answer:
        self._deadline = time.monotonic() + READ_DEADLINE_SECONDS
        with self._connection.begin():
            return query(self._connection)

    def close(self) -> None:
        self._connection.close()


def _commit(connection: Connection, work: Work[Answer]) -> Answer:
    with connection.begin():
        return work(connection)


def _commit_group(connection: Connection, works: list[Work[Any]]) -> list[tuple[Any, BaseException | None]]:
    """(answer, or None and the error) of each work, committed together. One that fails is rolled back alone."""
    if len(works) == 1:
        return [(_commit(connection, works[0]), None)]
    outcomes: list[tuple[Any, BaseException | None]] = []
    with connection.begin():
        driver = connection.connection.driver_connection
        assert driver is not None
        for work in works:
            driver.execute("SAVEPOINT work")
            try:
                outcomes.append((work(connection), None))
            except BaseException as error:
                driver.execute("ROLLBACK TO work")
                outcomes.append((None, error))
            driver.execute("RELEASE work")
    return outcomes


def _applied(threads: ThreadPool, function: Callable[..., Answer], *arguments: object) -> Answer:
    """What `function` does in one of `threads`. An error comes back as a value: gevent logs whatever is raised there."""

    def caught() -> tuple[Answer | None, BaseException | None]:
        try:
            return function(*arguments), None
        except BaseException as error:
            return None, error

    answer, error = threads.apply(caught)
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


class _SqliteInline(_Door):
    """Without gevent's patches, or in memory: one connection, in the calling thread, under a native lock."""

    def __init__(self, engine: Engine):
        self._lock = monkey.get_original("threading", "RLock")()
        self._connection = engine.connect()

    def write(self, work: Work[Answer]) -> Answer:
        with self._lock, translated():
            return _commit(self._connection, work)

    def read(self, query: Work[Answer]) -> Answer:
        return self.write(query)

    def close(self) -> None:
        self._connection.close()


class _SqliteThreads(_Door):
    """Under gevent: ThreadPool(1) writes, ThreadPool(2) reads, greenlets wait. What waits is committed at once."""

    def __init__(self, engine: Engine):
        self._connection = engine.connect()
        self._readers = deque(_SqliteReader(engine) for _ in range(2))
        self._writing, self._reading = ThreadPool(1), ThreadPool(2)
        self._waiting: list[tuple[Work[Any], AsyncResult]] = []
        self._committer: gevent.Greenlet | None = None
        self._inside = 0

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Whoever is inside holds the threads: a pool that is killed leaves its callers waiting for ever."""
        self._inside += 1
        try:
            with translated():
                yield
        finally:
            self._inside -= 1

    def write(self, work: Work[Answer]) -> Answer:
        with self._entered():
            result = AsyncResult()
            self._waiting.append((work, result))
            if self._committer is None:
                self._committer = gevent.spawn(self._commit_waiting)
            answer: Answer = result.get()
            return answer

    def _commit_waiting(self) -> None:
        """Commit group after group until nobody waits."""
        try:
            while self._waiting:
                self._commit_next()
        finally:
            self._committer = None

    def _commit_next(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            outcomes = _applied(self._writing, _commit_group, self._connection, [work for work, _ in group])
        except Exception as error:  # the transaction itself failed: nothing of the group is stored
            outcomes = [(None, error)] * len(group)
        for (_, result), (answer, why) in zip(group, outcomes, strict=True):
            if why is None:
                result.set(answer)
            else:
                result.set_exception(why)

    def read(self, query: Work[Answer]) -> Answer:
        with self._entered():
            return _applied(self._reading, self._read, query)

    def _read(self, query: Work[Answer]) -> Answer:
        reader = self._readers.pop()  # as many readers as threads, and deque's ends are atomic
        try:
            return reader.read(query)
        finally:
            self._readers.append(reader)

    def close(self) -> None:
        while self._inside:
            gevent.sleep(0.01)
        self._writing.join()  # a caller that was killed leaves its work behind
        self._reading.join()
        self._connection.close()
        for reader in self._readers:
            reader.close()
        self._writing.kill()
        self._reading.kill()


class _PostgresqlDoor(_Door):
    """psycopg is cooperative: the calling greenlet waits, the others go on."""

    def __init__(self, engine: Engine):
        self._engine = engine
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def write(self, work: Work[Answer]) -> Answer:
        with translated(), self._connected() as connection:
            transaction = connection.begin()
            try:
                answer = work(connection)
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except (exc.OperationalError, exc.InterfaceError) as error:
                raise OutcomeUnknown(f"the database left during COMMIT ({_why(error)}); send it again") from error
            return answer

    def read(self, query: Work[Answer]) -> Answer:
        with translated(), self._connected() as connection, connection.begin():
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(READ_DEADLINE_SECONDS * 1000)}")
            return query(connection)

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A pooled connection, thrown away if the server hangs for longer than the deadline."""
        hang = OutcomeUnknown(f"the database has not answered for {WRITE_DEADLINE_SECONDS:g} s; send it again")
        with gevent.Timeout(WRITE_DEADLINE_SECONDS, hang), self._engine.connect() as connection:
            try:
                yield connection
            except OutcomeUnknown:
                connection.invalidate()
                raise


_BAD_ROW = (exc.IntegrityError, exc.DataError, OverflowError, UnicodeError)


def attempt(tx: Tx, work: Work[Answer]) -> Answer:
    """What `work(tx)` returns, under a savepoint. Raises BadRow, leaving nothing, when a value is at fault."""
    try:
        with tx.begin_nested():
            return work(tx)
    except _BAD_ROW as error:
        raise BadRow(_why(error)) from error


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The database's errors in EGO's two kinds: this row is bad, or the database is."""
    try:
        yield
    except (Problem, BadRow):
        raise
    except _BAD_ROW as error:
        raise BadRow(_why(error)) from error
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        why = _why(error)
        raise Unavailable(why if why.startswith(STORAGE_FULL) else f"the database does not answer: {why}") from error


_NO_ROOM = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE"})  # the second: a quota, or a file as large as it may be


def _why(error: BaseException) -> str:
    """One line that a person can act on, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    line = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if getattr(cause, "sqlite_errorname", "") in _NO_ROOM:
        return f"{STORAGE_FULL}: {line}; free some space"
    if "interrupted" in line or "statement timeout" in line:
        return f"the question took longer than {READ_DEADLINE_SECONDS:g} s; ask for less"
    return line
