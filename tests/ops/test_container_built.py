"""The image of the Containerfile, really built and started: buildah builds it, on a base made with mmdebstrap.

The base is Debian 12 with its Python, in the place of the image that the Containerfile names. The steps run with buildah's
isolation `chroot`; the container is started by runc, with namespaces of its own, so that EGO is its process 1. Minutes long;
`make test-long` runs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.builders import make_sample
from tests.ops import debian
from tests.ops.test_container import EGO, instructions
from tests.servers import ROOT, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

TOOLS = {"buildah": "buildah", "runc": "runc", "mmdebstrap": "mmdebstrap"}
PACKAGES = ("python3", "python3-venv", "ca-certificates")  # what the image of Python has
IMAGE = "localhost/mirror-stage-ego"
ENVIRONMENT = EGO["environment"] | {"MIRROR_STAGE_DB_URL": "", "MIRROR_STAGE_REDIS_URL": ""}  # SQLite, in the volume


def why_not() -> str | None:
    """Why this machine cannot build the image, in one line; None if it can."""
    if os.geteuid() != 0:
        return "only root can build on a base of its own"
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        return f"missing: apt install {' '.join(missing)}"
    return None if debian.sources() else "apt knows no mirror of Debian: apt update"


@dataclass(frozen=True)
class Buildah:
    """buildah with a store of its own."""

    folder: Path

    def command(self, *words: object) -> list[str]:
        places = ["--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver", "overlay"]
        return ["buildah", *map(str, (*places, *words))]

    def __call__(self, *words: object) -> str:
        ended = subprocess.run(self.command(*words), capture_output=True, text=True, errors="replace", check=False)
        assert ended.returncode == 0, f"buildah {words[0]}\n{ended.stdout[-6000:]}{ended.stderr[-6000:]}"
        return ended.stdout.strip()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A buildah that has the image."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("container")
    built = Buildah(folder)
    try:
        places = make_base(built)
        checkout = folder / "checkout"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
        debian.copy_checkout(checkout)
        lent = [f"--volume={path}:{path}:ro" for path in places if path.is_dir()]
        how = ["--format=docker", "--isolation=chroot", "--network=host", "--pull-never", *lent]
        built("build", *how, "--file", checkout / "Containerfile", "--tag", IMAGE, checkout)
        yield built
    finally:
        subprocess.run(built.command("rm", "--all"), check=False, capture_output=True)
        subprocess.run(built.command("rmi", "--all", "--force"), check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def make_base(buildah: Buildah) -> set[Path]:
    """Give the name that the Containerfile begins with to a Debian. Returns the places of this machine's registries."""
    (name,) = {arguments.split()[0] for instruction, arguments in instructions() if instruction == "FROM"}
    root = buildah.folder / "base"
    reason = debian.install(root, PACKAGES, base=())
    if reason:
        pytest.skip(f"no package mirror: {reason}")
    debian.lend_registries(root, ("/root",))
    places = debian.places_for(root)
    for file in places:
        if file.is_file():
            there = root / file.relative_to("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, there)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, root, "/")
    for variable, value in debian.settings().items():
        buildah("config", "--env", f"{variable}={value}", container)
    buildah("commit", "--quiet", "--rm", container, name)
    shutil.rmtree(root)
    return places


@dataclass(frozen=True)
class Running:
    """A container that runs what the image says."""

    buildah: subprocess.Popen[bytes]
    log: Path
    image: dict[str, Any]

    @property
    def ego(self) -> psutil.Process:
        """Process 1 of the container. LookupError if it has not started yet."""
        assert self.buildah.poll() is None, self.log.read_text()
        for process in psutil.Process(self.buildah.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if process.uids().real == 10001 and re.search(r"^NSpid:.*\t1$", status, re.MULTILINE):
                    return process
        raise LookupError("EGO has not started yet")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """How a command ends in the container, as its user."""
        ego = self.ego
        into = ["nsenter", f"--target={ego.pid}", "--all", "--root", "--wd", "--setuid=10001", "--setgid=10001"]
        return subprocess.run(
            [*into, *command], env=ego.environ(), capture_output=True, text=True, check=False, timeout=60
        )

    def is_healthy(self) -> bool:
        kind, *check = self.image["Healthcheck"]["Test"]
        assert kind == "CMD"
        with suppress(LookupError):
            return self.run(*check).returncode == 0
        return False

    def ask(self, path: str, body: object = None) -> Any:
        """What EGO answers to somebody in the container; no network leads out of it."""
        code = (
            "import sys; from urllib.request import Request, urlopen;"
            "data = sys.argv[2].encode() or None;"
            "asked = Request('http://127.0.0.1:3000' + sys.argv[1], data, {'Content-Type': 'application/json'});"
            "print(urlopen(asked, timeout=20).read().decode())"
        )
        ended = self.run("python3", "-c", code, path, json.dumps(body) if body is not None else "")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


@contextmanager
def started(buildah: Buildah, volume: Path) -> Iterator[Running]:
    """A new container of the image, with a volume at /data, until it is healthy and after."""
    image = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    (place,) = image["Volumes"]
    container = buildah("from", "--pull-never", IMAGE)
    if not volume.exists():  # a new volume is like the folder in the image
        as_in_image = (Path(buildah("mount", container)) / place.lstrip("/")).stat()
        volume.mkdir()
        os.chown(volume, as_in_image.st_uid, as_in_image.st_gid)
        volume.chmod(as_in_image.st_mode)
        buildah("umount", container)
    settings = [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
    how = ["--isolation=oci", "--runtime=runc", "--network=none", f"--volume={volume}:{place}", *settings]
    log = volume.parent / f"{container}.log"
    with log.open("wb") as output:
        command = buildah.command("run", *how, container, "--", *image["Cmd"])
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    running = Running(process, log, image)
    try:
        wait_until(running.is_healthy, 60, 0.5, "the health check succeeds")
        yield running
    finally:
        if process.poll() is None:
            running.ego.kill()
            process.wait(60)
        buildah("rm", container)


def test_the_image_runs_ends_and_keeps_its_data(buildah: Buildah) -> None:
    volume = buildah.folder / "volume"
    with started(buildah, volume) as first:
        assert first.image["User"] == "ego"
        assert first.run("id", "--user").stdout == "10001\n"
        assert first.run("sh", "-c", "touch /etc/written || touch /opt/mirror-stage/written").returncode != 0
        assert first.run("mirror-stage", "--version").stdout.split()[1] == first.ask("/api/info")["version"]
        assert first.ask("/api/metrics/batch", {"samples": [make_sample("titan-01")]})
        end(first)
    with started(buildah, volume) as second:
        assert "titan-01" in hosts(second)
        end(second)


def hosts(container: Running) -> Sequence[str]:
    return [host["hostname"] for host in container.ask("/api/twin/state")["hosts"]]


def end(container: Running) -> None:
    """End it as `docker stop` does, within the 10 s after which Docker kills."""
    assert container.image["StopSignal"] == "SIGTERM"
    container.ego.terminate()
    assert container.buildah.wait(10 * 4) == 0, container.log.read_text()
