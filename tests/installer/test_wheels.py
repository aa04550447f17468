"""The wheels that EGO serves: those of the lock, built when they are first asked for, and only files of the set."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from flask import Flask

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.installer.wheels import KINDS, WHEELS, Wheels
from tests.servers import ROOT

LOCK = (ROOT / "requirements/agent.txt").read_text()


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Config(testing=True))


def test_every_wheel_of_others_is_one_of_the_lock_and_each_has_its_licence() -> None:
    found = WHEELS.ready()
    assert found.psutil.keys() == KINDS.keys()
    assert len(found.sha256) == len(KINDS) + 2
    for name, sha256 in found.sha256.items():
        path = WHEELS.file(name)
        assert path is not None
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        if name != found.agent:
            assert f"sha256:{sha256}" in LOCK
            assert [one for one in zipfile.ZipFile(path).namelist() if "LICENSE" in one]


def test_a_builder_that_fails_is_told_and_not_run_again_at_once(tmp_path: Path) -> None:
    builder, ran = tmp_path / "builder.py", tmp_path / "ran"
    builder.write_text(f"open({str(ran)!r}, 'a').write('x'); raise SystemExit('no index')")
    wheels = Wheels(tmp_path / "none", builder)
    for _ in range(3):
        with pytest.raises(Unavailable, match="run make agent-wheels on its machine"):
            wheels.ready()
    assert ran.read_text() == "x"


def test_an_installed_ego_that_lacks_them_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="has no wheels of its agent: install EGO's wheel again"):
        Wheels(tmp_path).ready()


def test_the_script_and_its_files_are_served_to_everybody(app: Flask) -> None:
    client = app.test_client()
    answer = client.get("/enroll.sh")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    assert "ego='http://localhost'" in answer.text
    for name, sha256 in WHEELS.ready().sha256.items():
        assert hashlib.sha256(client.get(f"/enroll/{name}").data).hexdigest() == sha256


@pytest.mark.parametrize("path", ["/enroll/", "/enroll/x.whl", "/enroll/..%2fagent.lock", "/enroll/%2e%2e/agent.lock",
                                  "/enroll/.lock", "/enroll/*.whl", "/enroll/sub/x.whl"])  # fmt: skip
def test_nothing_else_is_served(app: Flask, path: str) -> None:
    assert app.test_client().get(path).status_code in {400, 404}


def test_the_script_says_what_to_do_where_the_wheels_cannot_be_built(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror_stage.installer.routes.WHEELS", Wheels(tmp_path))
    answer = app.test_client().get("/enroll.sh")
    assert answer.status_code == 503
    assert "install EGO's wheel again" in answer.get_json()["detail"]
