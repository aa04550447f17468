"""EGO does not change a byte of another system's database, and its message names the variable to set."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.storage.db import Storage, engine_options
from tests.command_line import forked
from tests.servers import ROOT, PostgresqlServer

THEIRS = "CREATE TABLE alerts (id INTEGER PRIMARY KEY, level TEXT)"


@pytest.fixture
def foreign_file(tmp_path: Path) -> Path:
    path = tmp_path / "mirror_stage.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(THEIRS)
        connection.execute("INSERT INTO alerts VALUES (1, 'high')")
        connection.commit()
    return path


def opened(config: Config) -> None:
    storage = Storage(config)
    storage.open(create_engine(config.database_url, **engine_options(config)))  # type: ignore[arg-type]
    storage.close()


def command(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"MIRROR_STAGE_SQLITE_PATH": str(path), "PORT": "39171", "PYTHONPATH": str(ROOT)}
    return forked([*words], cwd=path.parent, env=settings)


def test_a_file_of_another_system_is_refused_in_one_line_and_not_touched(foreign_file: Path) -> None:
    before = hashlib.sha256(foreign_file.read_bytes()).hexdigest()
    said = command(foreign_file, "serve")
    assert said.returncode == 2
    assert said.stderr.strip().count("\n") == 0
    assert "holds tables of another system (alerts)" in said.stderr
    assert "set MIRROR_STAGE_SQLITE_PATH to another file" in said.stderr
    assert hashlib.sha256(foreign_file.read_bytes()).hexdigest() == before
    assert {path.name for path in foreign_file.parent.iterdir()} == {"mirror_stage.db"}


def test_the_doctor_says_it_too(foreign_file: Path) -> None:
    said = command(foreign_file, "doctor").stdout
    assert "holds tables of another system (alerts)" in said
    assert "MIRROR_STAGE_SQLITE_PATH" in said


def test_a_server_with_tables_of_another_system_is_refused(postgresql: PostgresqlServer) -> None:
    url = postgresql.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(THEIRS)
    with pytest.raises(BadSetting, match="set MIRROR_STAGE_DB_URL to a database of EGO's own"):
        opened(Config(db_url=url))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (1,)


def test_ego_may_use_an_empty_file_and_one_that_was_downgraded_to_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "ego.db"
    path.touch()
    opened(Config(sqlite_path=path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    opened(Config(sqlite_path=path))
