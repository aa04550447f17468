"""`mirror-stage doctor`, against real ports, files and servers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mirror_stage.core.config import VARIABLES, Config
from mirror_stage.core.findings import Finding, to_text
from mirror_stage.runtime import doctor
from tests.command_line import forked
from tests.servers import ROOT, free_port, running_redis


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return Config(port=free_port(), sqlite_path=tmp_path / "mirror_stage.db")


@pytest.fixture
def other_program(settings: Config) -> Iterator[None]:
    """A program that is not EGO listens on EGO's port."""
    with socket.create_server(("127.0.0.1", settings.port)):
        yield


def test_messages_that_never_arrived_are_a_warning(settings: Config) -> None:
    assert doctor.notifications(settings) == Finding("notifications", "ok", "no channels yet")
    with sqlite3.connect(settings.sqlite_path) as database:
        database.execute("CREATE TABLE channels (name)")
        database.execute("CREATE TABLE deliveries (state, ended_at, due_since)")
        assert "nobody is told" in doctor.notifications(settings).seen
        database.execute("INSERT INTO channels VALUES ('ops')")
        database.commit()
        assert doctor.notifications(settings).level == "ok"
        database.execute("INSERT INTO deliveries VALUES ('dead', ?, 0)", (time.time() * 1000,))
    found = doctor.notifications(settings)
    assert (found.level, "1 messages given up" in found.seen) == ("warning", True)
    assert doctor.notifications(replace(settings, notify="dry")).level == "warning"


def test_a_free_port_is_fine(settings: Config) -> None:
    assert doctor.port(settings).level == "ok"


def test_a_unix_socket_is_taken_only_while_somebody_answers_there(settings: Config, tmp_path: Path) -> None:
    at_socket = replace(settings, bind=f"unix:{tmp_path / 'ego.sock'}")
    assert doctor.taken(at_socket) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "ego.sock"))
        server.listen()
        assert "taken" in str(doctor.taken(at_socket))
    assert doctor.taken(at_socket) is None  # left over


def test_a_listener_for_agents_of_another_make_is_named_with_what_it_means(settings: Config) -> None:
    assert doctor.field(settings) == Finding("field", "ok", "off: every agent needs a token")
    beside = replace(settings, field_bind=f"127.0.0.1:{free_port()}")
    found = doctor.field(beside)
    assert (found.level, "in plain HTTP and without credentials" in found.seen) == ("warning", True)
    with socket.create_server(("127.0.0.1", beside.field_port or 0)):
        assert doctor.field(beside).level == "problem"


@pytest.mark.usefixtures("other_program")
def test_a_taken_port_is_a_problem_that_names_the_process(settings: Config) -> None:
    finding = doctor.port(settings)
    assert finding.level == "problem"
    assert f"process {os.getpid()}" in finding.seen
    assert "PORT" in finding.advice


def test_an_ego_that_runs_already_is_no_problem(settings: Config) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", settings.port), Health) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        finding = doctor.port(settings)
    assert (finding.level, finding.seen) == ("ok", f"an EGO answers on 127.0.0.1:{settings.port}")


def test_an_address_of_another_machine_is_a_problem(settings: Config) -> None:
    assert doctor.port(replace(settings, bind="192.0.2.1")).level == "problem"


def test_the_check_of_a_folder_leaves_no_file_in_it(settings: Config, tmp_path: Path) -> None:
    assert doctor.folder(settings).level == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_or_missing_is_a_problem(settings: Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "missing"):
        finding = doctor.folder(replace(settings, sqlite_path=folder / "mirror_stage.db"))
        assert finding.level == "problem"
        assert str(folder) in finding.seen
        assert "MIRROR_STAGE_SQLITE_PATH" in finding.advice


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_a_problem(settings: Config) -> None:
    assert doctor.folder(replace(settings, sqlite_path=Path("/mirror_stage.db"))).level == "problem"


def test_a_database_that_is_a_folder_is_a_problem(settings: Config, tmp_path: Path) -> None:
    assert doctor.folder(replace(settings, sqlite_path=tmp_path)).level == "problem"


def test_a_network_filesystem_is_a_problem(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_filesystem", lambda _path: "nfs4")
    finding = doctor.folder(settings)
    assert (finding.level, "nfs4" in finding.seen) == ("problem", True)


@pytest.mark.parametrize(
    ("free", "level"), [(10 * 2**20, "problem"), (500 * 2**20, "warning"), (50 * 2**30, "ok")], ids=str
)
def test_little_free_space_is_a_warning_and_then_a_problem(
    settings: Config, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert doctor.disk(settings).level == level


def test_no_database_yet_is_fine_and_none_is_made(settings: Config) -> None:
    assert doctor.database(settings).level == "ok"
    assert not settings.sqlite_path.exists()


def test_a_database_without_this_versions_schema_is_a_warning(settings: Config) -> None:
    sqlite3.connect(settings.sqlite_path).execute("CREATE TABLE alembic_version (version_num)")
    finding = doctor.database(settings)
    assert (finding.level, "mirror-stage db upgrade" in finding.advice) == ("warning", True)


def test_a_file_that_is_no_database_is_a_problem(settings: Config) -> None:
    settings.sqlite_path.write_text("not a database, but long enough to look like one" * 50)
    finding = doctor.database(settings)
    assert (finding.level, "not a database" in finding.seen) == ("problem", True)


def test_a_postgresql_that_does_not_answer_is_a_problem_that_shows_no_password(settings: Config) -> None:
    finding = doctor.database(replace(settings, db_url=f"postgresql://ego:secret@127.0.0.1:{free_port()}/ego"))
    assert finding.level == "problem"
    assert "refused" in finding.seen
    assert "secret" not in finding.seen + finding.advice


def test_redis_that_is_not_used_is_fine(settings: Config) -> None:
    assert doctor.redis(settings).level == "ok"


def test_redis_that_is_down_is_a_problem(settings: Config) -> None:
    finding = doctor.redis(replace(settings, redis_url=f"redis://:secret@127.0.0.1:{free_port()}"))
    assert (finding.level, "secret" in finding.seen) == ("problem", False)


@pytest.mark.usefixtures("other_program")
def test_redis_that_hangs_is_a_problem_after_seconds(settings: Config) -> None:
    started = time.monotonic()
    assert doctor.redis(replace(settings, redis_url=f"redis://127.0.0.1:{settings.port}")).level == "problem"
    assert time.monotonic() - started < 10


def test_redis_that_answers_is_fine(settings: Config, tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        assert doctor.redis(replace(settings, redis_url=url)).level == "ok"


@pytest.mark.parametrize(("now", "level"), [(0, "problem"), (4_200_000_000, "problem"), (4_000_000_000, "ok")])
def test_the_clock_must_be_plausible(settings: Config, monkeypatch: pytest.MonkeyPatch, now: float, level: str) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    assert doctor.clock(settings).level == level


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        (Config(), "ok"),
        (Config(bind="0.0.0.0"), "ok"),
        (Config(bind="0.0.0.0", security="open"), "warning"),
        (Config(security="strict"), "ok"),
        (Config(workers=4), "warning"),
    ],
)
def test_risky_listen_and_worker_settings_are_reported(settings: Config, level: str) -> None:
    assert doctor.listener(settings).level == level


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": str(free_port()), **environment}
    return forked(["doctor", *arguments], cwd=Path.cwd(), env=settings)


def test_a_healthy_machine_is_status_0() -> None:
    run = run_doctor()
    assert (run.returncode, run.stderr) == (0, "")
    assert {line.split()[0] for line in run.stdout.splitlines()} <= {"ok", "warning", "→"}


def test_a_problem_is_status_1_and_comes_with_advice() -> None:
    run = run_doctor(MIRROR_STAGE_SQLITE_PATH="/missing/folder/mirror_stage.db")
    assert run.returncode == 1
    assert "problem  folder" in run.stdout
    assert "→ change its owner, or set MIRROR_STAGE_SQLITE_PATH" in run.stdout


def test_a_bad_setting_is_a_problem_too() -> None:
    run = run_doctor(MIRROR_STAGE_LOG_LEVEL="loud")
    assert (run.returncode, run.stderr) == (1, "")
    assert "MIRROR_STAGE_LOG_LEVEL" in run.stdout


def test_json_says_the_same() -> None:
    run = run_doctor("--json", MIRROR_STAGE_SQLITE_PATH="/missing/folder/mirror_stage.db")
    report = json.loads(run.stdout)
    assert (run.returncode, report["ok"]) == (1, False)
    assert report["checks"][0]["check"] == "python"
    assert {check["level"] for check in report["checks"]} >= {"ok", "problem"}


def test_colours_are_only_for_terminals_that_want_them() -> None:
    findings = [Finding("port", "problem", "taken", "stop it")]
    assert "\x1b[31m" in to_text(findings, colour=True)
    assert "\x1b" not in to_text(findings, colour=False)
