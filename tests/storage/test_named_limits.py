"""A message names the limit that was met, and says whether the database is slow, locked, busy or away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import create_engine, text

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.storage import db
from mirror_stage.storage.db import ASKED, OWN, SAMPLES, Bounds, Lane, Storage, Tx, engine_options
from tests.servers import PostgresqlServer

AT_ONCE = "SET LOCAL statement_timeout = 50"  # so that the test need not wait for the limit that the message names


@pytest.fixture
def url(postgresql: PostgresqlServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def storage(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    monkeypatch.setattr(db, "POOL_SECONDS", 0.5)
    config = Config(db_url=url)
    storage = Storage(config)
    storage.open(create_engine(config.database_url, **engine_options(config)))  # type: ignore[arg-type]
    yield storage
    storage.close()


def sleeps(tx: Tx) -> None:
    tx.execute(text(AT_ONCE))
    tx.execute(text("SELECT pg_sleep(5)"))


LANES: list[tuple[str, Callable[[Storage], Lane], Bounds]] = [
    ("requests", lambda storage: storage, ASKED),
    ("samples", lambda storage: storage.samples, SAMPLES),
    ("own work", lambda storage: storage.own, OWN),
]


@pytest.mark.parametrize(("lane", "bounds"), [row[1:] for row in LANES], ids=[row[0] for row in LANES])
def test_a_statement_that_takes_too_long_names_the_limit_of_its_lane(
    storage: Storage, lane: Callable[[Storage], Lane], bounds: Bounds
) -> None:
    with pytest.raises(Unavailable, match=f"it took longer than {bounds.write:g} s"):
        lane(storage).write(sleeps)
    with pytest.raises(Unavailable, match=f"it took longer than {bounds.read:g} s"):
        lane(storage).read(sleeps)


def test_a_lock_that_is_not_free_in_time_is_named_with_its_limit(storage: Storage, url: str) -> None:
    storage.write(lambda tx: tx.execute(text("CREATE TABLE wanted (id int)")))

    def waits(tx: Tx) -> None:
        tx.execute(text("SET LOCAL lock_timeout = 50"))
        tx.execute(text("INSERT INTO wanted VALUES (1)"))

    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE wanted IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match=f"another transaction has held what this needs for {ASKED.lock:g} s"):
            storage.write(waits)


def test_a_lane_without_a_free_connection_says_so(storage: Storage) -> None:
    release, held = threading.Event(), threading.Semaphore(0)

    def hold(_tx: Tx) -> None:
        held.release()
        release.wait(30)

    threads = [threading.Thread(target=storage.write, args=(hold,)) for _ in range(ASKED.connections)]
    try:
        for thread in threads:
            thread.start()
        assert all(held.acquire(timeout=30) for _ in threads)
        with pytest.raises(Unavailable, match=r"all 6 connections have been in use.* for 0\.5 s"):
            storage.read(lambda tx: tx.execute(text("SELECT 1")).scalar())
        assert storage.samples.read(lambda tx: tx.execute(text("SELECT 1")).scalar()) == 1  # another lane has its own
    finally:
        release.set()
        for thread in threads:
            thread.join()


def test_a_pool_that_cannot_connect_says_that(storage: Storage, url: str) -> None:
    name = url.rpartition("/")[2]
    with psycopg.connect(url.removesuffix(name) + "postgres", autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[arg-type]
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for lane in (storage, storage.samples, storage.own):
            for _ in range(2):  # the first may still find its connection broken
                with pytest.raises(Unavailable) as why:
                    lane.read(lambda tx: tx.execute(text("SELECT 1")).scalar())
            assert "cannot connect to the database" in str(why.value.detail)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[arg-type]
    assert storage.read(lambda tx: tx.execute(text("SELECT 1")).scalar()) == 1
