"""EGO behind a real PgBouncer: it works in session and in transaction mode, and knows whether it still owns the database."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from mirror_stage.core.config import Config
from mirror_stage.storage.db import engine_options
from mirror_stage.storage.ownership import OWNER_LOCK, Ownership
from tests.builders import make_sample
from tests.command_line import forked
from tests.servers import EgoServer, PostgresqlServer, running_ego, running_pgbouncer, wait_until

OWNER = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {OWNER_LOCK} AND granted"


@pytest.fixture
def database(postgresql: PostgresqlServer) -> str:
    return postgresql.new_database()


@dataclass(frozen=True)
class Pooled:
    """An EGO behind a PgBouncer, the URL of its database through it, and the same database without it."""

    ego: EgoServer
    url: str
    database: str


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooled(
    request: pytest.FixtureRequest, postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pooled]:
    """One EGO behind each kind of pooler, shared by the tests of this module."""
    database = postgresql.new_database()
    with (
        running_pgbouncer(database, request.param) as url,
        running_ego(tmp_path_factory.mktemp("ego"), {"MIRROR_STAGE_DB_URL": url}) as ego,
    ):
        yield Pooled(ego, url, database)


def owners(database: str) -> list[int]:
    """The backends that own this database."""
    with psycopg.connect(database, autocommit=True) as connection:
        query = OWNER + " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        return [pid for (pid,) in connection.execute(query)]


def looked_at(database: str) -> datetime:
    """When the owner last looked at its lock, which it does each second."""
    (owner,) = owners(database)
    with psycopg.connect(database, autocommit=True) as connection:
        ((at,),) = connection.execute("SELECT query_start FROM pg_stat_activity WHERE pid = %s", (owner,))
    assert isinstance(at, datetime)
    return at


def post(ego: EgoServer, count: int) -> None:
    for number in range(count):
        assert ego.post_samples(make_sample(f"host-{number % 5}")).status_code == 202


def stored(database: str) -> int:
    with psycopg.connect(database) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM host_metric_samples")
        return int(count)


def test_samples_and_history_go_through_a_pooler(pooled: Pooled) -> None:
    ego, database = pooled.ego, pooled.database
    worker, before = ego.worker_pid(), stored(database)
    post(ego, 30)
    for _ in range(20):  # often enough that a driver would prepare the statement
        assert ego.get("/api/hosts/host-1/history?metrics=cpuLoad").status_code == 200
    for _ in range(2):
        last = looked_at(database)
        wait_until(lambda last=last: looked_at(database) > last, what="the owner looks at its lock again")
    post(ego, 5)
    assert ego.worker_pid() == worker
    assert len(owners(database)) == 1
    assert "taken this database over" not in ego.log
    assert "it runs again" not in ego.log  # no job has failed
    assert stored(database) == before + 35


def test_an_owner_whose_connection_is_cut_takes_the_database_again(pooled: Pooled) -> None:
    ego, database = pooled.ego, pooled.database
    worker = ego.worker_pid()
    (before,) = owners(database)
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute("SELECT pg_terminate_backend(%s)", (before,)).fetchone() == (True,)
    wait_until(lambda: [pid for pid in owners(database) if pid != before], what="EGO owns the database again")
    post(ego, 5)
    assert ego.worker_pid() == worker
    assert "taken this database over" not in ego.log


def test_a_killed_ego_leaves_no_lock_in_the_pooler(database: str, tmp_path: Path) -> None:
    """pgbouncer 102 and 418: a lock stayed with a connection of the pooler, and nobody could take it any more."""
    (tmp_path / "next").mkdir()
    with running_pgbouncer(database, "transaction") as url:
        settings = {"MIRROR_STAGE_DB_URL": url}
        with running_ego(tmp_path, settings) as ego:
            post(ego, 5)
            ego.kill()
        with running_ego(tmp_path / "next", settings) as ego:  # ready: it owns the database
            post(ego, 5)
        assert stored(database) == 10


def test_a_lock_that_went_with_another_connection_is_noticed(database: str, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(db_url=database)
    engine = create_engine(config.database_url, **engine_options(config))  # type: ignore[arg-type]
    first, second = Ownership(config), Ownership(config)
    assert (first.take(engine), second.take(engine)) == (True, False)
    driver = first._connection.connection.dbapi_connection  # type: ignore[union-attr]
    driver.rollback()  # as a pooler does that gives the connection of the server to somebody else
    assert owners(database) == []
    with caplog.at_level(logging.WARNING):
        assert first.take(engine)
    assert "was exchanged" in caplog.text
    assert len(owners(database)) == 1
    driver = first._connection.connection.dbapi_connection  # type: ignore[union-attr]
    driver.rollback()
    assert second.take(engine)
    assert not first.take(engine)  # now another EGO has it, and the server says so
    first.release()
    second.release()
    assert owners(database) == []
    engine.dispose()


def test_a_backup_is_refused_through_a_pooler_that_changes_connections(database: str, tmp_path: Path) -> None:
    ego, file = EgoServer(tmp_path, {"MIRROR_STAGE_DB_URL": database}), tmp_path / "backup"
    assert forked(["db", "upgrade"], cwd=tmp_path, env=ego.environment).returncode == 0
    with running_pgbouncer(database, "session") as url:
        assert db(ego, "backup", file, url).returncode == 0
    with running_pgbouncer(database, "transaction") as url:
        for command in ("backup", "restore"):
            ended = db(ego, command, file, url)
            (line,) = ended.stderr.splitlines()
            assert ended.returncode == 1
            assert "a pooler in transaction mode" in line
            assert "MIRROR_STAGE_DB_URL" in line


def db(ego: EgoServer, command: str, file: Path, url: str) -> subprocess.CompletedProcess[str]:
    """How `mirror-stage db backup | restore` ends with this database."""
    environment = ego.environment | {"MIRROR_STAGE_DB_URL": url}
    return forked(["db", command, str(file), "--force"], cwd=ego.folder, env=environment)


def test_statement_mode_is_refused_in_one_line(database: str, tmp_path: Path) -> None:
    ego = EgoServer(tmp_path)
    with running_pgbouncer(database, "statement") as url:
        ended = forked(["db", "upgrade"], cwd=tmp_path, env=ego.environment | {"MIRROR_STAGE_DB_URL": url})
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "set pool_mode to session or transaction" in line


def test_the_settings_hold_in_every_transaction(pooled: Pooled) -> None:
    config = Config(db_url=pooled.url)
    engine = create_engine(config.database_url, **engine_options(config))  # type: ignore[arg-type]
    for _ in range(5):
        with engine.begin() as connection:
            found = [
                connection.execute(text(f"SHOW {name}")).scalar() for name in ("timezone", "jit", "statement_timeout")
            ]
        assert found == ["UTC", "off", "8s"]
    engine.dispose()
