"""The database: engine, pragmas, `write(work)` and `read(query)`. Nothing else opens a transaction.

There are four lanes, each with its own connections and time limits: one for requests, one for samples, one for EGO's own
jobs, one for the cluster. On PostgreSQL no lane waits for another. On SQLite reads do not wait, and writes run one at a time.

Under gevent a call of SQLite would block the event loop, so SQLite runs in native threads, each with its own connection:
one writes, two read for requests, one reads for EGO's own jobs. Code in these threads must not log, take a lock of the
application or use an ORM session: a monkey-patched lock that two native threads wait for hangs. PostgreSQL runs in the
calling greenlet.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
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
from mirror_stage.figures.instruments import Histogram
from mirror_stage.storage import files, foreign

JOURNAL_SIZE_LIMIT_BYTES = 64 * 2**20
STORAGE_FULL = "storage-full"
BUSY_SECONDS = 5.0  # SQLite: how long another program may hold the database
POOL_SECONDS = 5.0  # PostgreSQL: how long to wait for a connection


@dataclass(frozen=True, slots=True)
class Bounds:
    """The time limits of a lane, in seconds: for a read, a statement that writes, a wait for a lock.

    `hang` is the limit for a server that neither answers nor refuses. `connections` is for PostgreSQL; SQLite has one
    writer.
    """

    connections: int
    read: float
    write: float = 8.0
    lock: float = 8.0

    @property
    def hang(self) -> float:
        return max(self.read, self.write) + 2.0


ASKED = Bounds(connections=6, read=2.0, lock=4.0)
SAMPLES = Bounds(connections=1, read=8.0)
OWN = Bounds(connections=4, read=60.0, write=60.0, lock=4.0)  # jobs run in pieces: only a hang reaches these limits
CLUSTER = Bounds(connections=1, read=1.0, write=1.0, lock=0.5)  # who owns the twin has to be known within seconds

SETTINGS = "postgresql_settings"  # the execution option of SQLAlchemy that holds the statement of `_settings`
_SERVER_SETTINGS = {
    "timezone": "utc",
    "synchronous_commit": "on",
    "jit": "off",  # compiling a query about forty columns takes longer than running it
}

Answer = TypeVar("Answer")
Tx = Connection  # an open transaction
Work = Callable[[Tx], Answer]


class Base(DeclarativeBase):
    """The tables of every domain."""


db = SQLAlchemy(model_class=Base)


def engine_options(config: Config, bounds: Bounds = ASKED) -> dict[str, object]:
    """The options of `create_engine` for a lane."""
    if config.is_postgresql:
        connect_args = {
            "connect_timeout": 5,
            "client_encoding": "utf8",  # else a database in SQL_ASCII answers with bytes, and nobody can say what is wrong
            "prepare_threshold": None,  # behind a pooler a statement may be prepared on another connection
            "sslmode": "require" if config.db_ssl else "prefer",
        }
        said = make_url(config.database_url).query  # the parameters of the URL take precedence
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
    return {"connect_args": {"check_same_thread": False, "timeout": BUSY_SECONDS, "cached_statements": 256}}


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
        try:
            driver.execute(settings)
        except Exception as error:  # the connection has broken; SQLAlchemy would pass on the driver's own error
            raise exc.OperationalError(settings, None, error) from error


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
    # IMMEDIATE: a transaction that reads first and then writes could fail with SQLITE_BUSY.
    driver.execute("BEGIN" if reading else "BEGIN IMMEDIATE")


class Calls:
    """How long the reads or the writes of a lane wait until the database takes them up, and how long they take in all."""

    def __init__(self) -> None:
        self.waits, self.seconds, self.under_way = Histogram(), Histogram(), 0

    def timed(self, call: Callable[[Work[Answer], Bounds], Answer], work: Work[Answer], bounds: Bounds) -> Answer:
        """The answer of `call(work, bounds)`, which is counted."""
        asked, began = time.perf_counter(), 0.0

        def begins(tx: Tx) -> Answer:
            nonlocal began
            began = time.perf_counter()  # a native thread may run this: it counts nothing itself
            return work(tx)

        self.under_way += 1
        try:
            return call(begins, bounds)
        finally:
            self.under_way -= 1
            ended = time.perf_counter()
            self.waits.observe((began or ended) - asked)
            self.seconds.observe(ended - asked)


class Lane:
    """One way into the storage, with its own connections and time limits."""

    def __init__(self, storage: Storage, bounds: Bounds):
        self._storage, self._bounds = storage, bounds
        self.reads, self.writes = Calls(), Calls()
        self.guard: Work[None] | None = None  # ends each transaction that writes; may raise a Problem

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL, where writes run at the same time. On SQLite one write runs at a time."""
        return self._storage.is_postgresql

    def write(self, work: Work[Answer]) -> Answer:
        """Run `work(tx)`, commit, and return its result.

        Raises BadRow if a value is at fault, Unavailable if nothing was stored, OutcomeUnknown if the connection broke
        during COMMIT. A Problem that `work` raises rolls back and is passed on.
        """
        guarded = work if self.guard is None else _guarded(work, self.guard)
        return self.writes.timed(self._storage.backend().write, guarded, self._bounds)

    def read(self, query: Work[Answer]) -> Answer:
        """The result of `query(tx)`: plain tuples, few where the event loop must not wait. Raises Unavailable, also if it takes too long."""
        return self.reads.timed(self._storage.backend().read, query, self._bounds)


def _guarded(work: Work[Answer], guard: Work[None]) -> Work[Answer]:
    def guarded(tx: Tx) -> Answer:
        answer = work(tx)
        guard(tx)
        return answer

    return guarded


class Storage(Lane):
    """The only way to the database. Open it before use; until then it raises Unavailable.

    It is itself the lane for requests and commands. `samples` is the lane for samples. `own` is the lane for EGO's own
    jobs, which run in small pieces (`storage/pieces.py`) and have longer time limits. `cluster` is for who owns the twin.
    """

    def __init__(self, config: Config):
        super().__init__(self, ASKED)
        self.samples, self.own, self.cluster = Lane(self, SAMPLES), Lane(self, OWN), Lane(self, CLUSTER)
        self.own_name: str | None = (
            None  # how the connections of `own` call themselves in PostgreSQL; set before `open`
        )
        self._config = config
        self.engine: Engine | None = None
        self._backend: _Backend | None = None

    def open(self, engine: Engine, *, may_be_copying: bool = False) -> None:
        """Connect. Raises Unavailable if the database does not answer, BadSetting if EGO must not use it (`foreign.py`)."""
        try:
            trouble = self._foreign(engine, may_be_copying)
            if trouble is not None:
                raise BadSetting(trouble)
            if engine.dialect.name == "postgresql":
                backend: _Backend = _Postgresql(_lanes(engine, self._config, self.own_name))
            else:
                if not self.is_in_memory:
                    files.tighten(self._config.sqlite_path.absolute())
                if not event.contains(engine, "begin", _begin_sqlite):
                    event.listen(engine, "connect", _prepare_sqlite)
                    event.listen(engine, "begin", _begin_sqlite)
                threaded = monkey.is_module_patched("threading") and not self.is_in_memory
                backend = _SqliteThreads(engine) if threaded else _SqliteInline(engine)
        except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise Unavailable(f"cannot connect to the database: {_why(error)}") from error
        self.engine, self._backend = engine, backend

    def _foreign(self, engine: Engine, may_be_copying: bool) -> str | None:
        if self.is_in_memory:
            return None
        if not self.is_postgresql:
            return foreign.trouble_of_file(self._config.sqlite_path, may_be_copying=may_be_copying)
        with engine.connect() as connection:
            return foreign.trouble_of_server(connection, may_be_copying=may_be_copying)

    def close(self) -> None:
        """Refuse new work, wait for the work that is running, and disconnect."""
        (engine, self.engine), (backend, self._backend) = (self.engine, None), (self._backend, None)
        if backend is not None:
            backend.close()
        if engine is not None:
            engine.dispose()

    def apart(self, bounds: Bounds) -> Apart:
        """A way into PostgreSQL for one native thread, with a connection of its own: it shares no lock with the event loop."""
        if self.engine is None:
            raise Unavailable("the database is not open: EGO is starting or stopping")
        return Apart(
            _Postgresql({bounds: create_engine(self.engine.url, **engine_options(self._config, bounds))}), bounds
        )  # type: ignore[arg-type]

    @property
    def is_open(self) -> bool:
        return self._backend is not None

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL, where writes run at the same time. On SQLite one write runs at a time."""
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
        """How long a trivial query takes. Raises Unavailable."""
        started = time.perf_counter()
        self.read(lambda tx: tx.execute(text("SELECT 1")).scalar())
        return (time.perf_counter() - started) * 1000

    def backend(self) -> _Backend:
        """The open backend. Raises Unavailable while the storage is not open."""
        if self._backend is None:
            raise Unavailable("the database is not open: EGO is starting or stopping")
        return self._backend


class _Backend(Protocol):
    """How one kind of database is read and written."""

    def write(self, work: Work[Answer], bounds: Bounds) -> Answer: ...

    def read(self, query: Work[Answer], bounds: Bounds) -> Answer: ...

    def close(self) -> None: ...


class _SqliteReader:
    """A read-only connection. It interrupts a query that reaches its time limit."""

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
    """Commit all works together. Returns (answer, None) or (None, error) for each; one that fails is rolled back alone."""
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
    """Run `function` in one of `threads`. Its error comes back as a value, because gevent logs an error that is raised there."""

    def caught() -> tuple[Answer | None, BaseException | None]:
        try:
            return function(*arguments), None
        except BaseException as error:
            return None, error

    answer, error = threads.apply(caught)
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


class _SqliteInline(_Backend):
    """For SQLite in memory or without gevent's patches: one connection in the calling thread, under a native lock."""

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


class _SqliteThreads(_Backend):
    """For SQLite under gevent: one native thread writes, two read for requests, one reads for EGO's own jobs.

    Greenlets wait for the threads. All writes that wait are committed together.
    """

    def __init__(self, engine: Engine):
        self._connection = engine.connect()
        self._writing = ThreadPool(1)
        self._asked, self._own = _SqliteReaders(engine, 2), _SqliteReaders(engine, 1)
        self._waiting: list[tuple[Work[Any], AsyncResult]] = []
        self._committer: gevent.Greenlet | None = None
        self._inside = 0

    @contextlib.contextmanager
    def _entered(self, bounds: Bounds) -> Iterator[None]:
        """Count the callers, so that `close` waits for them: callers of a killed thread pool would wait for ever."""
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
        """Commit group after group until no write waits."""
        try:
            while self._waiting:
                self._commit_next()
        finally:
            self._committer = None

    def _commit_next(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            outcomes = _applied(self._writing, _commit_group, self._connection, [work for work, _ in group])
        except Exception as error:  # the commit failed: nothing of the group is stored
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
        self._writing.join()  # the work of a caller that was killed may still run
        self._connection.close()
        self._writing.kill()
        self._asked.close()
        self._own.close()


class _SqliteReaders:
    """`count` native threads that read, each with its own connection."""

    def __init__(self, engine: Engine, count: int):
        self._readers = deque(_SqliteReader(engine) for _ in range(count))
        self._threads = ThreadPool(count)

    def read(self, query: Work[Answer], seconds: float) -> Answer:
        return _applied(self._threads, self._read, query, seconds)

    def _read(self, query: Work[Answer], seconds: float) -> Answer:
        # There are as many readers as threads, so one is free. pop and append of a deque are atomic.
        reader = self._readers.pop()
        try:
            return reader.read(query, seconds)
        finally:
            self._readers.append(reader)

    def close(self) -> None:
        self._threads.join()
        for reader in self._readers:
            reader.close()
        self._threads.kill()


def _lanes(engine: Engine, config: Config, own_name: str | None) -> dict[Bounds, Engine]:
    """An engine for each lane of PostgreSQL, which answers: `engine` is that of the requests."""
    engines = {ASKED: engine}
    for bounds in (SAMPLES, OWN, CLUSTER):
        options = engine_options(config, bounds)
        if bounds is OWN and own_name is not None:
            options["connect_args"] |= {"application_name": own_name}  # type: ignore[operator]
        engines[bounds] = create_engine(engine.url, **options)  # type: ignore[arg-type]
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return engines


class _Postgresql(_Backend):
    """PostgreSQL. psycopg is cooperative: only the calling greenlet waits. Each lane has its own pool of connections."""

    def __init__(self, engines: Mapping[Bounds, Engine]):
        self._engines = engines

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
                    f"the connection to the database broke during COMMIT ({_why(error, bounds.write)}); send it again"
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
        """A pooled connection. It is closed for good if the server hangs for longer than the lane allows."""
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


class Apart:
    """A way into PostgreSQL for one native thread."""

    def __init__(self, backend: _Backend, bounds: Bounds):
        self._backend, self._bounds = backend, bounds

    def write(self, work: Work[Answer]) -> Answer:
        """As `Lane.write`."""
        return self._backend.write(work, self._bounds)

    def close(self) -> None:
        """Disconnect."""
        self._backend.close()


@contextlib.contextmanager
def _connecting(bounds: Bounds) -> Iterator[None]:
    """Raise Unavailable if there is no connection: all are in use, or the server gives none."""
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
    """The result of `work(tx)`, run under a savepoint. If a value is at fault it is rolled back and raises BadRow."""
    try:
        with tx.begin_nested():
            return work(tx)
    except _BAD_ROW as error:
        raise BadRow(_why(error)) from error


@contextlib.contextmanager
def translated(bounds: Bounds = ASKED, seconds: float | None = None) -> Iterator[None]:
    """Turn errors of the database into BadRow (a value is at fault) or Unavailable (the database is).

    `seconds` is the time limit of the statement, for the message; the default is the limit of a write.
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


_NO_ROOM = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE"})  # the second: a quota, or the size limit of a file
_WRITABLE = "EGO's user must be able to write the file of MIRROR_STAGE_SQLITE_PATH and its folder"
_ADVICE = {  # of SQLite's errors, what to do
    "SQLITE_CANTOPEN": _WRITABLE,
    "SQLITE_READONLY": _WRITABLE,
    "SQLITE_NOTADB": "set MIRROR_STAGE_SQLITE_PATH to another file, or restore a backup with mirror-stage db restore",
    "SQLITE_CORRUPT": "stop EGO and restore a backup with mirror-stage db restore",
}


def _why(error: BaseException, seconds: float = ASKED.write, lock_seconds: float = ASKED.lock) -> str:
    """The reason in one line for a person, without the statement and its values. It names the time limit, if one was reached."""
    cause = getattr(error, "orig", None) or error
    line = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    of_sqlite = _why_of_sqlite(getattr(cause, "sqlite_errorname", ""), line)
    if of_sqlite is not None:
        return of_sqlite
    if _is_interrupted(error) or "statement timeout" in line:
        return f"it took longer than {seconds:g} s; ask for less"
    if "statement pooling mode" in line:
        return "a pooler in statement mode stands before the database: set pool_mode to session or transaction"
    if "lock timeout" in line:
        return f"another transaction has held what this needs for {lock_seconds:g} s"
    return line


def _why_of_sqlite(name: str, line: str) -> str | None:
    """The reason of an error of SQLite, and what to do; None for one that says enough."""
    if name in _NO_ROOM:
        return f"{STORAGE_FULL}: {line}; free some space"
    kind = "_".join(name.split("_")[:2])  # SQLITE_READONLY_DIRECTORY is one of SQLITE_READONLY
    if kind == "SQLITE_BUSY":
        return f"another program has held the database for {BUSY_SECONDS:g} s ({line})"
    return f"{line}: {_ADVICE[kind]}" if kind in _ADVICE else None


def _is_interrupted(error: BaseException) -> bool:
    """Whether SQLite interrupted a query at its time limit."""
    return getattr(getattr(error, "orig", None) or error, "sqlite_errorname", "") == "SQLITE_INTERRUPT"
