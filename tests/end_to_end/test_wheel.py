"""The wheel, installed into a fresh environment and served from an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirror_stage.core.config import VARIABLES
from mirror_stage.core.version import VERSION
from tests.servers import ROOT, free_port, wait_until

HUD = "mirror_stage/hud/static"
SHIPPED = ("gunicorn.conf.py", "wsgi.py", "migrations/env.py", "config/ego.env.example", "config/reflector.toml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return built_wheel(ROOT, folder)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (built,) = folder.glob("mirror_stage-*.tar.gz")
    return built


def built_wheel(source: Path, folder: Path, **settings: str) -> Path:
    """Build a wheel of a checkout or of an sdist with the build tools of this environment."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(source)], env=os.environ | settings, check=True)
    (built,) = folder.glob("mirror_stage-*.whl")
    return built


def fresh_environment(folder: Path) -> Path:
    """The `bin` of a new virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin"


def lend_packages(environment: Path) -> None:
    """Let an environment import this environment's packages; its own packages come first."""
    site = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    Path(site, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")


def locked_versions(folder: Path) -> Path:
    """A constraints file with the locked versions but no hashes: with hashes pip would refuse the new wheel."""
    pins = re.findall(r"^[\w-]+==[^ ]+", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins))
    return constraints


@contextmanager
def served(program: Path, folder: Path) -> Iterator[str]:
    """Run `mirror-stage serve` in a folder with no setting but the port; its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (folder.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", "--port", str(port)], cwd=folder, env=bare_environment(), stdout=log, stderr=log
        )
        try:
            wait_until(lambda: answers(f"{address}/api/health/ready", process), 30, what="EGO is ready")
            yield address
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=3) == 0
        finally:
            process.kill()
            process.wait()


def bare_environment() -> dict[str, str]:
    hidden = {*VARIABLES, "PYTHONPATH", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "mirror-stage serve has ended"
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True


def test_wheel_and_sdist_carry_what_hosts_download(wheel: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as packed:
        in_sdist = {Path(name).name for name in packed.getnames() if "/build/agent/" in name}
    in_wheel = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "/_shipped/agent/" in name}
    assert in_wheel == in_sdist
    assert f"mirror_stage_reflector-{VERSION}-py3-none-any.whl" in in_wheel
    assert sorted(name.partition("-")[0] for name in in_wheel) == ["mirror_stage_reflector", *["psutil"] * 4, "tomli"]


def test_the_wheel_has_every_shipped_file_and_no_tests_or_caches(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mirror_stage/_shipped/{name}" for name in SHIPPED} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_the_wheel_has_the_built_hud_with_licences_and_not_its_source(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    page = archive.read(f"{HUD}/index.html").decode()
    for part in re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page):
        size = archive.getinfo(f"{HUD}/{part}").file_size
        assert size > 0
        assert size < 1024 or f"{HUD}/{part}.br" in archive.namelist()  # smaller files are not compressed
    licences = archive.read(f"{HUD}/THIRD_PARTY_LICENSES.txt").decode()
    for package in ("svelte", "socket.io-client", "@lucide/svelte"):
        assert re.search(rf"^{re.escape(package)} \d+\.\d+\.\d+ \((MIT|ISC)\)$", licences, re.MULTILINE), package
    assert not [name for name in archive.namelist() if "/hud/web/" in name or "node_modules" in name]


def test_an_sdist_carries_the_hud_so_that_a_wheel_of_it_needs_no_registry(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"{HUD}/index.html", f"{HUD}/THIRD_PARTY_LICENSES.txt", "mirror_stage/hud/web/package-lock.json"} <= names
    assert not [name for name in names if "node_modules" in name]
    offline = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_cache": str(tmp_path / "npm")}
    wheel = built_wheel(sdist, tmp_path, **offline)
    archive = zipfile.ZipFile(wheel)
    assert f"{HUD}/index.html" in archive.namelist()
    assert archive.read("mirror_stage/core/version.txt").decode().strip() == VERSION
    assert VERSION in wheel.name


def test_a_wheel_without_the_hud_is_not_built(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    shutil.rmtree(source / HUD)
    (source / "mirror_stage/hud/web/package.json").write_text("npm ends at once")
    with pytest.raises(subprocess.CalledProcessError):
        built_wheel(source, tmp_path)
    assert not [*tmp_path.glob("*.whl")]


def examine_installed(program: Path, folder: Path) -> None:
    """Serve from an empty folder, send requests, stop, and check the command line's answers about this EGO."""
    folder.mkdir()
    with served(program, folder) as address:
        assert urllib.request.urlopen(f"{address}/api/health").read() == b"ok"
        assert json.load(urllib.request.urlopen(f"{address}/api/twin/state"))["type"] == "twin-state"
        assert b"<html" in urllib.request.urlopen(f"{address}/").read()
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "attacker.example"}))
    assert {path.name.split(".")[0] for path in folder.iterdir()} == {"mirror_stage"}
    said = {
        question: subprocess.run(
            [program, *question.split()], cwd=folder, env=bare_environment(), capture_output=True, text=True, check=True
        ).stdout
        for question in ("db current", "doctor", "--version")
    }
    assert said["db current"].strip() not in {"", "empty"}
    assert "problem" not in said["doctor"]
    assert said["--version"] == f"mirror-stage {VERSION}\n"


@pytest.mark.timeout(300)
def test_it_serves_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    programs = fresh_environment(environment)
    lend_packages(environment)
    subprocess.run([programs / "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    examine_installed(programs / "mirror-stage", tmp_path / "empty")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_wheel_works_with_only_its_own_dependencies(wheel: Path, tmp_path: Path) -> None:
    programs = fresh_environment(tmp_path / "environment")
    pinned = ["--constraint", str(locked_versions(tmp_path))]
    subprocess.run([programs / "pip", "install", "--quiet", *pinned, str(wheel)], check=True)
    subprocess.run([programs / "pip", "check"], check=True)
    examine_installed(programs / "mirror-stage", tmp_path / "empty")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_agent_alone_needs_only_psutil(wheel: Path, tmp_path: Path) -> None:
    programs = fresh_environment(tmp_path / "environment")
    pinned = ["--constraint", str(locked_versions(tmp_path))]
    subprocess.run([programs / "pip", "install", "--quiet", *pinned, "psutil"], check=True)
    subprocess.run([programs / "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    once = [programs / "mirror-stage", "reflector", "run", "--once"]
    ran = subprocess.run(once, cwd=tmp_path, env=bare_environment(), capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["command_policy"] == "off"
    assert ran.stderr == ""
