"""EGO does not change a byte of another system's database, and its message names the variable to set."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.runtime import doctor
from mirror_stage.storage import foreign, revision
from mirror_stage.storage.db import Storage, engine_options, translated
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


def command(path: Path, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"MIRROR_STAGE_SQLITE_PATH": str(path), "PORT": "39171", "PYTHONPATH": str(ROOT)}
    return forked([*words], cwd=folder or path.parent, env=settings)


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


OURS = [f"CREATE TABLE {name} (id INTEGER)" for name in sorted(foreign.OURS)]
THEIR_REVISION = "DROP TABLE alerts; CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('fe7656c21eaa')"
VERSION = "CREATE TABLE alembic_version (version_num TEXT)"

# Another system's file: (the statements that made it, what the message says). Many systems use Alembic, some its numbers.
THEIR_FILES = {
    "tables beside a revision": ([VERSION, "INSERT INTO alembic_version VALUES ('fe7656c21eaa')", THEIRS], "(alerts)"),
    "tables beside a revision of our name": ([VERSION, "INSERT INTO alembic_version VALUES ('0001')", THEIRS], "(alerts)"),
    "a revision and nothing else": ([VERSION, "INSERT INTO alembic_version VALUES ('fe7656c21eaa')"], "the revision fe7656c21eaa"),
    "a revision of our name and nothing else": ([VERSION, "INSERT INTO alembic_version VALUES ('0001')"], "the revision 0001"),
    "views": (["CREATE VIEW alerts AS SELECT 1 AS id"], "(alerts)"),
    "our tables without our revision": (OURS, "(ego_state, host_metric_samples)"),
    "our tables beside no revision": ([*OURS, VERSION], "(ego_state, host_metric_samples)"),
    "a newer EGO": ([*OURS, VERSION, "INSERT INTO alembic_version VALUES ('9999')"], "install the newer EGO that used it"),
}  # fmt: skip


@pytest.mark.parametrize(("made_by", "said"), THEIR_FILES.values(), ids=THEIR_FILES)
def test_what_is_not_of_this_ego_is_refused_and_not_touched(made_by: list[str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mirror_stage.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in made_by:
            connection.execute(statement)
        connection.commit()
    path.chmod(0o644)
    before = path.read_bytes(), path.stat().st_mode
    with pytest.raises(BadSetting, match=re.escape(said)) as refused:
        opened(Config(sqlite_path=path))
    assert "nothing was changed in it" in str(refused.value)
    assert "set MIRROR_STAGE_SQLITE_PATH to another file" in str(refused.value)
    assert (path.read_bytes(), path.stat().st_mode) == before
    assert list(tmp_path.iterdir()) == [path]
    assert not revision.is_newest(Config(sqlite_path=path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is no file"),
        (os.mkfifo, "is no file"),
        (lambda path: path.symlink_to("nowhere/ego.db"), "there is no folder"),
    ],
    ids=["a folder", "a pipe", "a link to nowhere"],
)
def test_what_can_be_no_database_is_refused_with_what_to_do(
    make: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "mirror_stage.db"
    make(path)
    with pytest.raises(BadSetting, match=f"{said}.*set MIRROR_STAGE_SQLITE_PATH to another file"):
        opened(Config(sqlite_path=path))
    finding = doctor.database(Config(sqlite_path=path))
    assert (finding.level, "MIRROR_STAGE_SQLITE_PATH" in finding.advice) == ("problem", True)


def test_a_file_that_is_no_database_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mirror_stage.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable, match="file is not a database: set MIRROR_STAGE_SQLITE_PATH to another file"):
        opened(Config(sqlite_path=path))


def test_a_damaged_file_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mirror_stage.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"x" * (len(whole) - 100))  # all but the header
    with pytest.raises(Unavailable, match="disk image is malformed: stop EGO and restore a backup"):
        opened(Config(sqlite_path=path))


def test_a_file_that_cannot_be_written_is_said_with_what_to_do() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA query_only = 1")
        with (
            pytest.raises(Unavailable, match="EGO's user must be able to write the file of MIRROR_STAGE_SQLITE_PATH"),
            translated(),
        ):
            connection.execute("CREATE TABLE a (b)")


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    said = command(tmp_path / "data" / "ego.db", "serve", folder=tmp_path)
    assert said.returncode == 2
    assert said.stderr.strip().count("\n") == 0
    assert f"there is no folder {tmp_path / 'data'}: create it" in said.stderr


def test_a_server_with_tables_of_another_system_is_refused(postgresql: PostgresqlServer) -> None:
    url = postgresql.new_database()
    for statement in ("CREATE VIEW alerts AS SELECT 1 AS id", f"DROP VIEW alerts; {THEIRS}", THEIR_REVISION):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]
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
