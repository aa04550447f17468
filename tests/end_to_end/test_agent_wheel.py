"""The wheel of the agent alone (`make agent-wheel`): small, pure Python, and it needs only psutil."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import psutil
import pytest

from mirror_stage.core.version import VERSION
from tests.end_to_end.test_wheel import bare_environment, fresh_environment
from tests.servers import ROOT

PROJECT = ROOT / "packaging/reflector"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mirror-stage` in an environment that has this wheel and psutil, nothing else."""
    environment = tmp_path_factory.mktemp("agent") / "environment"
    programs = fresh_environment(environment)
    subprocess.run([programs / "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    Path(site, "psutil").symlink_to(Path(psutil.__file__).parent)
    return programs / "mirror-stage"


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words], cwd=program.parent, env=bare_environment(), capture_output=True, text=True, check=False
    )


def test_it_is_small_and_pure_and_needs_psutil_and_on_old_pythons_tomli(wheel: Path) -> None:
    assert wheel.name == f"mirror_stage_reflector-{VERSION}-py3-none-any.whl"
    assert wheel.stat().st_size < 400_000
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    ego = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = Parser().parsestr(metadata).get_all("Requires-Dist") or []
    psutil_here, tomli = sorted(needed)
    assert [set(each.split("psutil")[1].split(",")) for each in ego if "psutil" in each] == [
        set(psutil_here.split("psutil")[1].split(","))
    ]
    assert tomli == "tomli<3,>=2; python_version < '3.11'"
    assert not [name for name in archive.namelist() if "__pycache__" in name or "/hud/" in name]


def test_building_it_needs_no_node() -> None:
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["build-system"]["requires"] == ["hatchling>=1.27"]


def test_the_installed_agent_measures_and_checks(program: Path) -> None:
    assert run(program, "--version").stdout == f"mirror-stage {VERSION}\n"
    once = run(program, "reflector", "run", "--once")
    assert (once.returncode, once.stderr) == (0, "")
    assert json.loads(once.stdout)["agent_version"] == VERSION
    checked = run(program, "reflector", "check", "--ego", "http://127.0.0.1:9")
    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr


def test_the_unit_and_the_settings_are_in_it(program: Path) -> None:
    shipped = "from mirror_stage.core.shipped import path_of; print(path_of('config/reflector.toml').read_text()); "
    shipped += "print(path_of('config/systemd/mirror-stage-reflector.service').read_text())"
    printed = subprocess.run(
        [program.parent / "python", "-c", shipped], env=bare_environment(), capture_output=True, text=True, check=True
    ).stdout
    assert "command_policy" in printed
    assert "ExecStart=/opt/mirror-stage/bin/mirror-stage reflector run" in printed


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "doctor",
        "demo",
        "users list",
        "tls show",
        "signing show",
        "dispatch stop",
        "db stats",
        "db copy --to x",
        "db backup file",
    ],
)
def test_a_command_of_ego_says_what_to_install(program: Path, command: str) -> None:
    ended = run(program, *command.split())
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert line.startswith("mirror-stage: this command needs EGO's libraries")
