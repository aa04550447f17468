"""Real reverse proxies on free ports of loopback: Caddy, HAProxy, nginx and Traefik, each with the configuration that a test gives."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import installed, listens, wait_until


@contextlib.contextmanager
def running_nginx(port: int, inside_http: str, user: str = "root root") -> Iterator[Path]:
    """The folder of an nginx that runs as `user` and listens on `port`, which `inside_http` must say."""
    program = installed("nginx", "nginx")
    with _folder("nginx") as folder:
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"user {user}; daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;"
            f"events {{}} http {{ access_log off; {temporary}\n{inside_http}\n}}"
        )
        with _running([program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")], port, folder):
            yield folder


@contextlib.contextmanager
def running_caddy(port: int, site: str) -> Iterator[None]:
    """A Caddy with the blocks of a Caddyfile. It keeps its authority and everything else in a folder of its own."""
    program = installed("caddy", "caddy")
    with _folder("caddy") as folder:
        options = "{\nadmin off\ndefault_bind 127.0.0.1\nskip_install_trust\nauto_https disable_redirects\nservers {\nprotocols h1 h2\n}\n}\n"
        (folder / "Caddyfile").write_text(options + site)
        with _running([program, "run", "--config", str(folder / "Caddyfile")], port, folder):
            yield


@contextlib.contextmanager
def running_haproxy(port: int, configuration: str) -> Iterator[None]:
    """An HAProxy that listens on `port`, which its configuration must say."""
    program = installed("haproxy", "haproxy")
    with _folder("haproxy") as folder:
        (folder / "haproxy.cfg").write_text(configuration)
        with _running([program, "-db", "-f", str(folder / "haproxy.cfg")], port, folder):
            yield


@contextlib.contextmanager
def running_traefik(port: int, dynamic: str) -> Iterator[None]:
    """A Traefik with one entry point, `websecure`, and the routers and services of a dynamic configuration."""
    program = shutil.which("traefik")
    if program is None:
        pytest.skip("traefik is not in the PATH; Debian has no package of it")
    with _folder("traefik") as folder:
        (folder / "ego.yaml").write_text(dynamic)
        options = [f"--entryPoints.websecure.address=127.0.0.1:{port}", f"--providers.file.filename={folder}/ego.yaml"]
        options += ["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]
        with _running([program, *options], port, folder):
            yield


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """The files of a certificate that signs itself, for `name` and 127.0.0.1, and of its key."""
    chain, key = folder / "ego.pem", folder / "ego.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
    subprocess.run([*command, "-out", str(chain), "-keyout", str(key)], check=True, capture_output=True)
    return chain, key


@contextlib.contextmanager
def _folder(name: str) -> Iterator[Path]:
    """A folder that every account may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"mirror-stage-{name}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        wait_until(
            lambda: listens(port) or process.poll() is not None,
            what=f"{command[0]} listens:\n{(folder / 'said').read_text()}",
        )
        assert process.poll() is None, (folder / "said").read_text()
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
