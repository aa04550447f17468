"""A server that would not start EGO is refused with one line that says what to run; gunicorn's own options and signals do no harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror_stage.core.foreign_servers import ADVICE, server_refusal
from tests.servers import ROOT, EgoServer, free_port, wait_until

WITH_CONF = ("gunicorn", "-c", str(ROOT / "gunicorn.conf.py"))
REFUSED = {
    "gunicorn": (("gunicorn", "wsgi:app"), 4, "this is gunicorn without EGO's gunicorn.conf.py: " + ADVICE),
    "gunicorn with gevent and several workers": (
        ("gunicorn", "-k", "gevent", "-w", "3", "mirror_stage.app:create_app()"),
        4,
        "this is gunicorn without EGO's gunicorn.conf.py: " + ADVICE,
    ),
    "flask run": (("flask", "--app", "wsgi", "run"), 2, "this is flask run, which does not start EGO: " + ADVICE),
    "python wsgi.py": ((), 1, "this file is for gunicorn; run mirror-stage serve"),
    "threads": (
        (*WITH_CONF, "-k", "sync", "--threads", "4", "wsgi:app"),
        2,
        "EGO needs gunicorn's worker class gevent, not gthread: leave out -k (--worker-class)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_server_that_cannot_run_ego_is_refused_with_one_line(name: str, tmp_path: Path) -> None:
    words, status, line = REFUSED[name]
    command = [sys.executable, "-m", *words] if words else [sys.executable, str(ROOT / "wsgi.py")]
    own = {"PORT": str(free_port()), "PYTHONPATH": str(ROOT)}
    options = {"GUNICORN_CMD_ARGS": f"-b 127.0.0.1:{own['PORT']}", "FLASK_RUN_PORT": own["PORT"]}
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **own, **options},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=90,
    )
    ours = [text for text in ended.stderr.splitlines() if text.startswith("mirror-stage: ")]
    assert (ended.returncode, set(ours)) == (status, {f"mirror-stage: {line}"}), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not [*tmp_path.glob("*.db")]


@pytest.mark.parametrize("module", ["uwsgi", "mod_wsgi", "waitress.server"])
def test_any_known_server_is_named(module: str) -> None:
    assert "which does not start EGO" in str(server_refusal({module}, [], {}))


def test_gunicorn_with_our_hooks_and_other_flask_commands_are_no_foreign_server() -> None:
    assert server_refusal({"gunicorn.arbiter", "mirror_stage.runtime.serving"}, [], {}) is None
    assert server_refusal({}, ["routes"], {"FLASK_RUN_FROM_CLI": "true"}) is None


def test_a_server_that_nobody_knows_answers_with_what_to_run(tmp_path: Path) -> None:
    code = "from wsgi import app; a = app.test_client().get('/api/twin/state'); print(a.status_code, a.json['detail'])"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"503 this server does not start EGO: {ADVICE}\n"


@pytest.fixture
def of_four(tmp_path: Path) -> Iterator[EgoServer]:
    """An EGO that somebody starts with four workers, without a database that they could share."""
    rules = tmp_path / "rules.toml"
    rules.write_text("")
    server = EgoServer(tmp_path, {"WEB_CONCURRENCY": "1", "MIRROR_STAGE_ALERT_RULES": str(rules)})
    with (tmp_path / "ego.log").open("ab") as log:
        server.process = subprocess.Popen(
            [sys.executable, "-m", *WITH_CONF, "-w", "4", "wsgi:app"],
            cwd=tmp_path,
            env=server.environment,
            stdout=log,
            stderr=log,
        )
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def test_one_worker_stays_one_when_gunicorn_reloads_and_a_bad_file_stops_no_reload(of_four: EgoServer) -> None:
    assert of_four.process is not None
    master = of_four.process.pid
    first = of_four.worker_pid()
    (of_four.folder / "rules.toml").write_text("[")
    os.kill(master, signal.SIGHUP)
    wait_until(
        lambda: "not reloaded, EGO goes on as before: MIRROR_STAGE_ALERT_RULES" in of_four.log, what="the refusal"
    )
    assert of_four.pids() == [master, first]
    (of_four.folder / "rules.toml").write_text("")
    os.kill(master, signal.SIGHUP)
    os.kill(master, signal.SIGTTIN)
    wait_until(lambda: (own := of_four.pids()[1:]) and first not in own, what="another worker")
    wait_until(of_four.is_ready, what="the other worker is ready")
    assert len(of_four.pids()) == 2
    assert not [line for line in map(json.loads, of_four.log.splitlines()) if "stop failed" in line["message"]]
