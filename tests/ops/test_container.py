"""Containerfile and compose.yaml name files, variables, ports and commands that exist.

These tests read the two files; they build nothing. `test_container_built.py` builds the image and runs it. By hand,
docker-compose 1.29 started all three services with `--profile ego up -d`, with PostgreSQL 15 and Redis 7 of Debian in the place of
the images of TimescaleDB and Redis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from mirror_stage.core.config import VARIABLES, Config
from mirror_stage.runtime import cli
from mirror_stage.web.walls import HEALTH_PATHS
from tests.servers import ROOT
from tests.shape.test_lock import PROJECT, text_of

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
EGO = COMPOSE["services"]["ego"]
PORT = Config.port


def instructions() -> Iterator[tuple[str, str]]:
    """The instructions of the Containerfile: name and arguments, each on one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        if name:
            yield name, " ".join(arguments.split())


def last(name: str) -> str:
    return [arguments for each, arguments in instructions() if each == name][-1]


def checked_path(command: str) -> str:
    found = re.search(rf"://127\.0\.0\.1:{PORT}(/[a-z/]+)", command)
    assert found is not None, command
    return found[1]


def test_every_file_that_is_copied_exists() -> None:
    for name, arguments in instructions():
        *sources, _target = arguments.split()
        if name == "COPY" and not sources[0].startswith("--from="):
            assert all((ROOT / source).exists() for source in sources), arguments
    ignored = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert not ignored & {"migrations", "config", "mirror_stage", "requirements", ".git", "README.md"}
    for secret in (".env", "*.db", "*.db-wal"):
        assert secret in ignored


def test_it_runs_as_a_user_of_its_own_whose_data_lie_in_a_volume() -> None:
    assert last("USER") == "ego"
    assert last("VOLUME") == last("WORKDIR") == "/data"
    (made,) = (arguments for name, arguments in instructions() if name == "RUN" and "useradd" in arguments)
    assert "--owner ego --group ego --mode 0700 /data" in made
    assert EGO["volumes"] == ["ego:/data"]
    assert "ego" in COMPOSE["volumes"]


def test_every_variable_exists() -> None:
    values = dict(pair.split("=", 1) for pair in last("ENV").split())
    ours = {name for name in values if name != "PATH"}
    assert ours == {"MIRROR_STAGE_BIND", "MIRROR_STAGE_SQLITE_PATH"}
    assert ours | EGO["environment"].keys() <= set(VARIABLES)
    assert Path(values["MIRROR_STAGE_SQLITE_PATH"]).parent == Path(last("VOLUME"))


def test_port_command_signal_and_health_are_egos() -> None:
    assert last("EXPOSE") == str(PORT)
    assert EGO["ports"] == [f"${{PUBLISH_ON:-127.0.0.1}}:{PORT}:{PORT}"]
    program, *words = json.loads(last("CMD"))
    assert program == "mirror-stage"
    assert cli._parser().parse_args(words).run is cli._serve
    assert last("STOPSIGNAL") == "SIGTERM"
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert checked_path(check[-1]) in HEALTH_PATHS
    assert EGO["healthcheck"]["test"] == ["CMD", *check]


def test_what_is_uninstalled_is_locked_and_only_builds() -> None:
    (removed,) = (each.split()[3:] for name, each in instructions() if name == "RUN" and "pip uninstall" in each)
    lock = text_of("run")
    assert len(removed) == 6
    for name in removed:
        block = re.search(rf"^{re.escape(name)}==.*?(?=^\w|\Z)", lock, re.MULTILINE | re.DOTALL)
        assert block is not None, name
        needed_by = set(re.findall(r"^ +#(?: via)? +(?!via$|-c )(\S.*)$", block[0], re.MULTILINE))
        assert needed_by <= {*removed, "mirror-stage (pyproject.toml)"}, f"{needed_by} need {name}"
        assert not any(name == Requirement(each).name for each in PROJECT["project"]["dependencies"])


@pytest.mark.parametrize("service", ["timescaledb", "redis"])
def test_the_databases_of_the_specification_need_no_profile(service: str) -> None:
    assert "profiles" not in COMPOSE["services"][service]
    assert EGO["profiles"] == ["ego"]
    assert EGO["depends_on"][service] == {"condition": "service_healthy"}
    assert f"{service}:" in " ".join(map(str, EGO["environment"].values())).replace("@", " ")
