"""The database: engine, pragmas, `write(work)` and `read(query)`. Nothing else opens a transaction.

There are three ways in, so that none of them waits for another (`Lane`): what somebody asks for, the samples that are
committed, and EGO's own work. Each has its own connections and its own bounds.

Under gevent a SQLite call would stop the event loop, so SQLite lives in native threads: one that writes, two that
answer questions, one that reads for EGO's own work, each with its own connection. In those threads there is no logging,
no lock of the application and no ORM session: a monkey-patched lock that two native threads contend for hangs.
PostgreSQL runs in the calling greenlet.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import gevent
from flask_sqlalchemy import SQLAlchemy
from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool
from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.orm import DeclarativeBase

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.problems import BadRow, OutcomeUnknown, Problem, Unavailable
from mirror_stage.storage import files, foreign

JOURNAL_SIZE_LIMIT_BYTES = 64 * 2**20
STORAGE_FULL = "storage-full"
BUSY_SECONDS = 5.0  # SQLite: how long another program may hold the database
POOL_SECONDS = 5.0  # PostgreSQL: how long somebody waits for a connection


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a lane, in seconds: of a read, of a statement that writes, of waiting for a lock, and of a server
    that neither answers nor refuses. `connections` are PostgreSQL's; SQLite has one writer."""

    connections: int
    read: float
    write: float = 8.0
    lock: float = 8.0

    @property
    def hang(self) -> float:
        return max(self.read, self.write) + 2.0


ASKED = Bounds(connections=6, read=2.0, lock=4.0)
SAMPLES = Bounds(connections=1, read=8.0)
OWN = Bounds(connections=4, read=60.0, write=60.0, lock=4.0)  # pieces are small: only what hangs meets these

SETTINGS = "postgresql_settings"  # the execution option of SQLAlchemy that holds the statement of `_settings`
_SERVER_SETTINGS = {
    "timezone": "utc",
    "synchronous_commit": "on",
    "jit": "off",  # compiling a question about forty columns takes longer than answering it
}

Answer = TypeVar("Answer")
Tx = Connection  # what stores get: an open transaction
Work = Callable[[Tx], Answer]


class Base(DeclarativeBase):
    """The tables of every domain."""


db = SQLAlchemy(model_class=Base)


def engine_options(config: Config, bounds: Bounds = ASKED) -> dict[str, object]:
    """What Flask-SQLAlchemy hands to `create_engine`; with `bounds` that of another lane."""
    if config.is_postgresql:
        connect_args = {
            "connect_timeout": 5,
            "client_encoding": "utf8",  # else a database in SQL_ASCII answers with bytes, and nobody can say what is wrong
            "prepare_threshold": None,  # behind a pooler a statement may be prepared on another connection
            "sslmode": "require" if config.db_ssl else "prefer",
        }
        said = make_url(config.database_url).query  # what the URL says itself stands
        connect_args = {name: value for name, value in connect_args.items() if name not in said}
        pool = {"pool_size": bounds.connections, "max_overflow": 0, "pool_timeout": POOL_SECONDS}
        settings = {} if "options" in said else {SETTINGS: _settings(bounds, bounds.write)}
        return {
            **pool,
            "pool_pre_ping": True,
            "pool_recycle": 1800,
            "connect_args": connect_args,
            "execution_options": settings,
        }
    return {"connect_args": {"check_same_thread": False, "timeout": BUSY_SECONDS}}


def _settings(bounds: Bounds, seconds: float) -> str:
    """The statements that set what a transaction needs of PostgreSQL, until its end; sent as one.

    A pooler such as PgBouncer takes no settings at the start of a connection, and in transaction mode the next
    transaction may run on another connection.
    """
    wanted = _SERVER_SETTINGS | {
        "statement_timeout": str(int(seconds * 1000)),
        "lock_timeout": str(int(bounds.lock * 1000)),
    }
    return "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in wanted.items())


@event.listens_for(Engine, "begin")
def _begin_postgresql(connection: Connection) -> None:
    settings = connection.get_execution_options().get(SETTINGS)
    if settings is not None:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(settings)


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


class Lane:
    """One way into the storage, with bounds of its own."""

    def __init__(self, storage: Storage, bounds: Bounds):
        self._storage, self._bounds = storage, bounds

    @property
    def is_postgresql(self) -> bool:
        """Whether writers run beside each other and beside readers; on SQLite they take turns."""
        return self._storage.is_postgresql

    def write(self, work: Work[Answer]) -> Answer:
        """What `work(tx)` returns, committed.

        Raises BadRow when a value is at fault, Unavailable when nothing was stored, OutcomeUnknown when the
        connection broke during COMMIT. A Problem that `work` raises rolls back and passes through.
        """
        return self._storage.door().write(work, self._bounds)

    def read(self, query: Work[Answer]) -> Answer:
        """What `query(tx)` returns: plain tuples, at most a few hundred. Raises Unavailable, also when it takes too long."""
        return self._storage.door().read(query, self._bounds)


class Storage(Lane):
    """Where everything durable is written and read. Open it before use; it says `Unavailable` until then.

    It is itself the lane of those who ask: questions and commands. `samples` is for what agents send, `own` for EGO's
    own work, which goes in small pieces (`storage/pieces.py`) and is not held to the bound of a question.
    """

    def __init__(self, config: Config):
        super().__init__(self, ASKED)
        self.samples, self.own = Lane(self, SAMPLES), Lane(self, OWN)
        self._config = config
        self.engine: Engine | None = None
        self._door: _Door | None = None

    def open(self, engine: Engine) -> None:
        """Connect. Raises Unavailable if the database does not answer, BadSetting if it is somebody else's."""
        try:
            trouble = self._foreign(engine)
            if trouble is not None:
                raise BadSetting(trouble)
            if engine.dialect.name == "postgresql":
                door: _Door = _PostgresqlDoor(engine, self._config)
            else:
                if not self.is_in_memory:
                    files.tighten(self._config.sqlite_path.absolute())
                if not event.contains(engine, "begin", _begin_sqlite):
                    event.listen(engine, "connect", _prepare_sqlite)
                    event.listen(engine, "begin", _begin_sqlite)
                threaded = monkey.is_module_patched("threading") and not self.is_in_memory
                door = _SqliteThreads(engine) if threaded else _SqliteInline(engine)
        except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise Unavailable(f"cannot connect to the database: {_why(error)}") from error
        self.engine, self._door = engine, door

    def _foreign(self, engine: Engine) -> str | None:
        if self.is_in_memory:
            return None
        if not self.is_postgresql:
            return foreign.trouble_of_file(self._config.sqlite_path)
        with engine.connect() as connection:
            return foreign.trouble_of_server(connection)

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

    def latency_ms(self) -> float:
        """How long a trivial question takes. Raises Unavailable."""
        started = time.perf_counter()
        self.read(lambda tx: tx.execute(text("SELECT 1")).scalar())
        return (time.perf_counter() - started) * 1000

    def door(self) -> _Door:
        """What the lanes go through. Raises Unavailable while it is shut."""
        if self._door is None:
            raise Unavailable("the database is not open: EGO is starting or stopping")
        return self._door


class _Door(Protocol):
    """How one kind of database is written and read."""

    def write(self, work: Work[Answer], bounds: Bounds) -> Answer: ...

    def read(self, query: Work[Answer], bounds: Bounds) -> Answer: ...

    def close(self) -> None: ...


class _SqliteReader:
    """A connection that cannot write, whose questions end when their bound is met."""

    def __init__(self, engine: Engine):
        self._connection = engine.connect().execution_options(reading=True)
        self._deadline = 0.0
        driver = self._connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA query_only=ON")
        driver.set_progress_handler(lambda: time.monotonic() > self._deadline, 10_000)

    def read(self, query: Work[Answer], seconds: float) -> Answer:
        self._deadline = time.monotonic() + seconds
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

    def write(self, work: Work[Answer], bounds: Bounds) -> Answer:
        with self._lock, translated(bounds):
            return _commit(self._connection, work)

    def read(self, query: Work[Answer], bounds: Bounds) -> Answer:
        return self.write(query, bounds)

    def close(self) -> None:
        self._connection.close()


class _SqliteThreads(_Door):
    """Under gevent: ThreadPool(1) writes, ThreadPool(2) answers questions, ThreadPool(1) reads for EGO's own work;
    greenlets wait. What waits is committed at once."""

    def __init__(self, engine: Engine):
        self._connection = engine.connect()
        self._writing = ThreadPool(1)
        self._asked, self._own = _SqliteReaders(engine, 2), _SqliteReaders(engine, 1)
        self._waiting: list[tuple[Work[Any], AsyncResult]] = []
        self._committer: gevent.Greenlet | None = None
        self._inside = 0

    @contextlib.contextmanager
    def _entered(self, bounds: Bounds) -> Iterator[None]:
        """Whoever is inside holds the threads: a pool that is killed leaves its callers waiting for ever."""
        self._inside += 1
        try:
            with translated(bounds):
                yield
        finally:
            self._inside -= 1

    def write(self, work: Work[Answer], bounds: Bounds) -> Answer:
        with self._entered(bounds):
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

    def read(self, query: Work[Answer], bounds: Bounds) -> Answer:
        readers = self._own if bounds is OWN else self._asked
        with self._entered(bounds):
            return readers.read(query, bounds.read)

    def close(self) -> None:
        while self._inside:
            gevent.sleep(0.01)
        self._writing.join()  # a caller that was killed leaves its work behind
        self._connection.close()
        self._writing.kill()
        self._asked.close()
        self._own.close()


class _SqliteReaders:
    """So many native threads, each with a connection of its own."""

    def __init__(self, engine: Engine, count: int):
        self._readers = deque(_SqliteReader(engine) for _ in range(count))
        self._threads = ThreadPool(count)

    def read(self, query: Work[Answer], seconds: float) -> Answer:
        return _applied(self._threads, self._read, query, seconds)

    def _read(self, query: Work[Answer], seconds: float) -> Answer:
        reader = self._readers.pop()  # as many readers as threads, and deque's ends are atomic
        try:
            return reader.read(query, seconds)
        finally:
            self._readers.append(reader)

    def close(self) -> None:
        self._threads.join()
        for reader in self._readers:
            reader.close()
        self._threads.kill()


class _PostgresqlDoor(_Door):
    """psycopg is cooperative: the calling greenlet waits, the others go on. Each lane has a pool of its own."""

    def __init__(self, engine: Engine, config: Config):
        others = (SAMPLES, OWN)
        self._engines = {ASKED: engine} | {
            bounds: create_engine(engine.url, **engine_options(config, bounds))  # type: ignore[arg-type]
            for bounds in others
        }
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def write(self, work: Work[Answer], bounds: Bounds) -> Answer:
        hang = OutcomeUnknown(f"the database has not answered for {bounds.hang:g} s; send it again")
        with translated(bounds), self._connected(bounds, hang) as connection:
            transaction = connection.begin()
            try:
                answer = work(connection)
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except (exc.OperationalError, exc.InterfaceError) as error:
                raise OutcomeUnknown(
                    f"the database left during COMMIT ({_why(error, bounds.write)}); send it again"
                ) from error
            return answer

    def read(self, query: Work[Answer], bounds: Bounds) -> Answer:
        hang = Unavailable(f"the database has not answered for {bounds.read + 2:g} s")
        with translated(bounds, bounds.read), self._connected(bounds, hang) as connection:
            if SETTINGS in connection.get_execution_options():
                connection.execution_options(**{SETTINGS: _settings(bounds, bounds.read)})
            with connection.begin():
                return query(connection)

    def close(self) -> None:
        for engine in self._engines.values():
            engine.dispose()

    @contextlib.contextmanager
    def _connected(self, bounds: Bounds, hang: Problem) -> Iterator[Connection]:
        """A pooled connection, thrown away if the server hangs for longer than its lane bears."""
        with gevent.Timeout(bounds.hang, hang):
            with _connecting(bounds):
                connection = self._engines[bounds].connect()
            with connection:
                try:
                    yield connection
                except Problem as problem:
                    if problem is hang:
                        connection.invalidate()
                    raise


@contextlib.contextmanager
def _connecting(bounds: Bounds) -> Iterator[None]:
    """Why there is no connection, in words: all are in use, or the server gives none."""
    try:
        yield
    except exc.TimeoutError as error:
        busy = "the connection has" if bounds.connections == 1 else f"all {bounds.connections} connections have"
        detail = f"{busy} been in use, or could not be made, for {POOL_SECONDS:g} s; try again later"
        raise Unavailable(f"the database does not answer: {detail}") from error
    except exc.OperationalError as error:
        raise Unavailable(f"cannot connect to the database: {_why(error, POOL_SECONDS)}") from error


_BAD_ROW = (exc.IntegrityError, exc.DataError, OverflowError, UnicodeError)


def attempt(tx: Tx, work: Work[Answer]) -> Answer:
    """What `work(tx)` returns, under a savepoint. Raises BadRow, leaving nothing, when a value is at fault."""
    try:
        with tx.begin_nested():
            return work(tx)
    except _BAD_ROW as error:
        raise BadRow(_why(error)) from error


@contextlib.contextmanager
def translated(bounds: Bounds = ASKED, seconds: float | None = None) -> Iterator[None]:
    """The database's errors in EGO's two kinds: this row is bad, or the database is.

    `seconds` is the bound that a statement was given, that of a write unless it is said.
    """
    try:
        yield
    except (Problem, BadRow):
        raise
    except _BAD_ROW as error:
        raise BadRow(_why(error)) from error
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        why = _why(error, bounds.read if _is_interrupted(error) else seconds or bounds.write, bounds.lock)
        raise Unavailable(why if why.startswith(STORAGE_FULL) else f"the database does not answer: {why}") from error


_NO_ROOM = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE"})  # the second: a quota, or a file as large as it may be


def _why(error: BaseException, seconds: float = ASKED.write, lock_seconds: float = ASKED.lock) -> str:
    """One line that a person can act on, without the statement and its values; it names the bound that was met."""
    cause = getattr(error, "orig", None) or error
    line = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if getattr(cause, "sqlite_errorname", "") in _NO_ROOM:
        return f"{STORAGE_FULL}: {line}; free some space"
    if getattr(cause, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
        return f"another program has held the database for {BUSY_SECONDS:g} s ({line})"
    if _is_interrupted(error) or "statement timeout" in line:
        return f"it took longer than {seconds:g} s; ask for less"
    if "statement pooling mode" in line:
        return "a pooler in statement mode stands before the database: set pool_mode to session or transaction"
    if "lock timeout" in line:
        return f"another transaction has held what this needs for {lock_seconds:g} s"
    return line


def _is_interrupted(error: BaseException) -> bool:
    """Whether SQLite ended a question that met its bound."""
    return getattr(getattr(error, "orig", None) or error, "sqlite_errorname", "") == "SQLITE_INTERRUPT"
