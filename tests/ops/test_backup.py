"""`mirror-stage db backup | restore | stats`, against an EGO that runs and takes samples meanwhile."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from mirror_stage.core.config import VARIABLES
from mirror_stage.core.problems import Unavailable
from mirror_stage.runtime import cli
from mirror_stage.storage.backup import program_of
from tests.builders import make_sample
from tests.command_line import forked
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import ROOT, EgoServer, PostgresqlServer, installed, running_ego, wait_until

TIMESCALE_URL = os.environ.get("MIRROR_STAGE_TEST_TIMESCALE_URL", "")


@dataclass
class Ended:
    """The exit status and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(ego: EgoServer, *arguments: str) -> Ended:
    """`mirror-stage db ...` with the settings of an EGO, in this process: a new one takes a second to import it all."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.chdir(ego.folder)
        for name in VARIABLES:
            patched.delenv(name, raising=False)
        for name, value in ego.environment.items():
            patched.setenv(name, value)
        status = cli.main(["db", *arguments])
    return Ended(status, out.getvalue(), err.getvalue())


@pytest.fixture
def elsewhere(database_settings: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path) -> EgoServer:
    """An EGO that has never been started, with an empty database of the same kind."""
    settings = dict(database_settings)
    if settings:
        settings["MIRROR_STAGE_DB_URL"] = request.getfixturevalue("postgresql").new_database()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return EgoServer(folder, settings)


def test_a_backup_of_an_ego_under_load_is_complete_and_can_be_restored_elsewhere(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], elsewhere: EgoServer
) -> None:
    ego = start_ego(database_settings)
    load = Load(ego, Batches(50), 4).start()
    wait_until(lambda: len(load.acknowledged) > 1_000, what="a history to back up")
    before = set(load.acknowledged)
    file = elsewhere.folder / "ego.backup"
    saved = run(ego, "backup", str(file))
    load.stop()
    assert saved.returncode == 0, saved.stderr
    assert set(load.statuses) == {202}
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(elsewhere.folder.iterdir()) == [file]

    restored = run(elsewhere, "restore", str(file))
    assert restored.returncode == 0, restored.stderr
    with running_ego(elsewhere.folder, elsewhere.settings) as again:
        stored = stored_samples(again)
        assert before - stored.keys() == set()
        assert set(stored.values()) == {1}
        names = {host["hostname"] for host in again.get("/api/twin/state").json()["hosts"]}
        assert names >= {hostname for hostname, _ in before}
        assert again.get("/api/info").json()["twinId"] == ego.get("/api/info").json()["twinId"]
        assert again.post_samples(make_sample("new-here")).status_code == 202

        refused = run(again, "restore", str(file), "--force")
        assert (refused.returncode, "an EGO uses this database" in refused.stderr) == (1, True)
    refused = run(elsewhere, "restore", str(file))
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)
    elsewhere.port = again.port
    assert ("new-here" in str(elsewhere.rows("SELECT hostname FROM host_metrics"))) is True
    assert run(elsewhere, "restore", str(file), "--force").returncode == 0
    assert ("new-here" in str(elsewhere.rows("SELECT hostname FROM host_metrics"))) is False


def test_the_statistics_name_every_table_and_tier(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str]
) -> None:
    ego = start_ego(database_settings)
    for n in range(4):
        ego.post_samples(*(make_sample(f"host-{host}", at=int(time.time() * 1000) + n) for host in range(250)))
    found = json.loads(run(ego, "stats", "--json").stdout)
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    raw = next(tier for tier in found["tiers"] if tier["resolution"] == "raw")
    assert rows["host_metric_samples"] == raw["rows"] == 1000
    assert 50 < raw["bytesPerRow"] < 1000
    assert abs(time.time() - time.mktime(time.strptime(raw["newest"], "%Y-%m-%dT%H:%M:%S.000Z")) + time.timezone) < 90
    assert [tier["resolution"] for tier in found["tiers"]] == ["raw", "1m", "15m"]
    assert found["bytes"] > raw["bytes"]
    assert (found["diskFreeBytes"] is None) == bool(database_settings)
    text = run(ego, "stats").stdout
    assert "host_metric_samples" in text
    assert "\x1b" not in text
    assert ego.post_samples(make_sample("still-there")).status_code == 202


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of an EGO on SQLite that does not run, and its backup."""
    ego = EgoServer(tmp_path_factory.mktemp("saved"))
    assert run(ego, "upgrade").returncode == 0
    assert run(ego, "backup", str(ego.folder / "ego.backup")).returncode == 0
    return ego.folder


@pytest.fixture
def idle(saved: Path, tmp_path: Path) -> EgoServer:
    """The same EGO, with its own copies of database and backup."""
    for name in ("ego.db", "ego.backup"):
        shutil.copy(saved / name, tmp_path)
    return EgoServer(tmp_path)


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    file.write_bytes(content)


def newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def with_log(file: Path) -> None:
    file.with_name(f"{file.name}-wal").write_bytes(b"x")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.write_bytes(b"something else"), "is no backup"),
        (lambda file: file.write_bytes(b"PGDMP and more"), "is a backup of PostgreSQL"),
        (damaged, "is damaged"),
        (newer, "does not know"),
        (with_log, "has a write-ahead log beside it"),
    ],
)
def test_restore_refuses_a_file_that_is_not_a_complete_backup_and_changes_nothing(
    idle: EgoServer, spoil: Callable[[Path], None], reason: str
) -> None:
    file = idle.folder / "ego.backup"
    spoil(file)
    before = (idle.folder / "ego.db").read_bytes()
    refused = run(idle, "restore", str(file), "--force")
    assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
    assert (idle.folder / "ego.db").read_bytes() == before


def test_a_backup_overwrites_nothing_by_accident(idle: EgoServer) -> None:
    file = idle.folder / "ego.backup"
    file.write_text("mine")
    refused = run(idle, "backup", str(file))
    assert (refused.returncode, "--force" in refused.stderr) == (2, True)
    assert file.read_text() == "mine"
    assert run(idle, "backup", str(file), "--force").returncode == 0
    for command in ("backup", "restore"):
        itself = run(idle, command, str(idle.folder / "ego.db"), "--force")
        assert (itself.returncode, "is the database itself" in itself.stderr) == (2, True)
    nowhere = run(idle, "backup", str(idle.folder / "no" / "where"))
    assert (nowhere.returncode, "there is no folder" in nowhere.stderr) == (2, True)


@pytest.mark.parametrize("name", ["", "-", "folder", "pipe"])
def test_what_is_no_regular_file_never_becomes_a_backup(name: str, idle: EgoServer) -> None:
    """With --force the file replaces what has its name: as root that could be /dev/null."""
    (idle.folder / "folder").mkdir()
    os.mkfifo(idle.folder / "pipe")
    ended = run(idle, "backup", name, "--force")
    assert (ended.returncode, "is no regular file" in ended.stderr) == (2, True)
    assert (idle.folder / "pipe").is_fifo()


def test_an_older_backup_is_brought_up_to_date(idle: EgoServer) -> None:
    file = idle.folder / "ego.backup"
    refused = run(idle, "downgrade", "0001")
    assert (refused.returncode, "--force" in refused.stderr) == (2, True)
    assert run(idle, "downgrade", "0001", "--force").stdout == "schema 0001\n"
    assert run(idle, "backup", str(file), "--force").returncode == 0
    assert run(idle, "restore", str(file), "--force").returncode == 0
    assert run(idle, "current").stdout.strip() != "0001"
    assert run(idle, "stats").returncode == 0


def test_without_a_database_backup_and_stats_are_refused(tmp_path: Path) -> None:
    ego = EgoServer(tmp_path)
    for arguments in (("backup", "file"), ("stats",)):
        refused = run(ego, *arguments)
        assert (refused.returncode, "there is no database" in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_another_encoding_is_refused_and_leaves_no_backup(
    encoding: str, postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    name = f"in_{encoding}_{os.getpid()}".lower()
    with psycopg.connect(postgresql.new_database(), autocommit=True) as connection:
        how = f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(f"CREATE DATABASE {name} {how}")  # type: ignore[call-overload]
    url = urlsplit(postgresql.new_database())._replace(path=f"/{name}").geturl()
    ego, file = EgoServer(tmp_path, {"MIRROR_STAGE_DB_URL": url}), tmp_path / "ego.backup"
    for command in (["serve"], ["db", "upgrade"], ["doctor"]):
        ended = forked(command, cwd=ego.folder, env=ego.environment)
        (line,) = [line for line in (ended.stdout + ended.stderr).splitlines() if encoding in line]
        assert ended.returncode in {1, 2}
        assert "Traceback" not in ended.stderr
        assert "UTF8" in line
    refused = run(ego, "backup", str(file))
    assert (refused.returncode, "nothing to back up" in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_restore_would_refuse_is_not_kept(idle: EgoServer) -> None:
    file = idle.folder / "unknown.backup"
    ((revision,),) = idle.rows("SELECT version_num FROM alembic_version")
    idle.rows("UPDATE alembic_version SET version_num = '9999'")
    try:
        refused = run(idle, "backup", str(file))
    finally:
        idle.rows("UPDATE alembic_version SET version_num = ?", revision)
    assert (refused.returncode, "schema 9999" in refused.stderr) == (1, True)
    assert [path.name for path in idle.folder.iterdir() if "unknown" in path.name] == []


def test_a_missing_program_of_postgresql_is_named() -> None:
    with pytest.raises(Unavailable, match="apt install postgresql-client-99"):
        program_of("pg_dump", 99)
    installed("pg_dump", "postgresql-client-15")
    assert os.access(program_of("pg_dump", 15), os.X_OK)


def test_a_dump_of_the_databases_container_comes_back_by_the_lines_of_the_page(
    start_ego: Callable[..., EgoServer], postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    """The lines themselves, on a PostgreSQL that is no container. Those that TimescaleDB alone understands are left out."""
    page = (ROOT / "docs/operating.md").read_text()
    (dump,), lines = (
        [line for line in block.splitlines() if "-T timescaledb" in line and "timescaledb_" not in line]
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        if "pg_dump" in block or "pg_restore" in block
    )
    lines = [line for line in lines if "CREATE EXTENSION" not in line]
    url = urlsplit(postgresql.new_database())
    environment = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(url.port), "PGDATABASE": url.path[1:]}

    def follow(line: str) -> None:
        ours = line.replace("docker compose exec -T timescaledb ", "").replace("FILE", str(tmp_path / "file"))
        ours = ours.replace("-U mirror_stage", "-U postgres").replace("mirror_stage", url.path[1:])
        subprocess.run(["sh", "-c", ours], env=environment, check=True)

    ego = start_ego({"MIRROR_STAGE_DB_URL": url.geturl()})
    assert ego.post_samples(make_sample("titan-01")).status_code == 202
    follow(dump)
    assert ego.post_samples(make_sample("too-late")).status_code == 202
    ego.stop()
    assert [line.split()[5] for line in lines] == ["pg_restore", "dropdb", "createdb", "pg_restore"]
    for line in lines:
        follow(line)
    ego.start()
    assert {host["hostname"] for host in ego.get("/api/hosts").json()["items"]} >= {"titan-01"}
    assert ego.rows("SELECT hostname FROM host_metrics WHERE hostname = 'too-late'") == []
    assert ego.rows("SELECT count(*) FROM host_metric_samples") == [(1,)]


@pytest.mark.skipif(not TIMESCALE_URL, reason="MIRROR_STAGE_TEST_TIMESCALE_URL names no server with TimescaleDB")
def test_a_backup_of_timescaledb_comes_back_with_its_hypertable_and_aggregates(
    start_ego: Callable[..., EgoServer], tmp_path: Path
) -> None:
    urls = []
    with psycopg.connect(TIMESCALE_URL, autocommit=True) as connection:
        for number in range(2):
            name = f"ego_backup_{os.getpid()}_{number}"
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
            urls.append(urlsplit(TIMESCALE_URL)._replace(path=f"/{name}").geturl())
    ego = start_ego({"MIRROR_STAGE_DB_URL": urls[0]})
    now = int(time.time() * 1000)
    for minute in range(120):
        ego.post_samples(*(make_sample(f"h{n}", at=now - minute * 60_000) for n in range(5)))
    file = tmp_path / "ego.backup"
    assert run(ego, "backup", str(file)).returncode == 0
    other = EgoServer(tmp_path, {"MIRROR_STAGE_DB_URL": urls[1]})
    for force in ((), ("--force",)):
        restored = run(other, "restore", str(file), *force)
        assert restored.returncode == 0, restored.stderr
        for question in (
            "SELECT count(*) FROM host_metric_samples",
            "SELECT sum(cpu_load_sum), count(*) FROM host_metrics_15m",
            "SELECT view_name FROM timescaledb_information.continuous_aggregates ORDER BY 1",
        ):
            # TimescaleDB's own jobs may be refreshing one of the two
            wait_until(lambda q=question: other.rows(q) == ego.rows(q), 20, what=question)  # type: ignore[misc]
    ego.stop()
    with psycopg.connect(TIMESCALE_URL, autocommit=True) as connection:
        for url in urls:
            connection.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")  # type: ignore[call-overload]
