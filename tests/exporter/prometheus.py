"""A real Prometheus with the configuration that EGO ships, in a folder of its own, on loopback only."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.servers import ROOT, EgoServer, free_port, installed, listens, wait_until

CONFIG = ROOT / "config/prometheus"
SHIPPED_ADDRESS = "127.0.0.1:3000"


@dataclass
class Prometheus:
    """A running Prometheus."""

    folder: Path
    port: int

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API. Fails with its words if it refuses."""
        answer = requests.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=query, timeout=30)
        found = answer.json()
        assert found["status"] == "success", f"{query}: {found.get('error')}"
        return found["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    @property
    def log(self) -> str:
        return (self.folder / "prometheus.log").read_text(errors="replace")


def configured(folder: Path, ego: EgoServer, token: str) -> Path:
    """The configuration that EGO ships, for this EGO; it scrapes each second."""
    shutil.copy(CONFIG / "ego.rules.yml", folder)
    (folder / "ego.token").write_text(token)
    text = (CONFIG / "prometheus.yml").read_text()
    assert SHIPPED_ADDRESS in text
    text = text.replace(SHIPPED_ADDRESS, f"127.0.0.1:{ego.port}").replace(
        "scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s"
    )
    text = re.sub(r"^( +- url: .*)", r"\1\n        refresh_interval: 1s", text, flags=re.MULTILINE)
    file = folder / "prometheus.yml"
    file.write_text(text)
    return file


@contextlib.contextmanager
def running_prometheus(folder: Path, ego: EgoServer, token: str) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes an EGO. It is ended afterwards."""
    port = free_port()
    command = [
        installed("prometheus", "prometheus"),
        f"--config.file={configured(folder, ego, token)}",
        f"--storage.tsdb.path={folder / 'data'}",
    ]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    server = Prometheus(folder, port)
    try:
        wait_until(lambda: is_ready(process, server), 20, what="Prometheus is ready")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def is_ready(process: subprocess.Popen[bytes], server: Prometheus) -> bool:
    """Whether a Prometheus that was started answers. Fails with its log if it has ended."""
    assert process.poll() is None, server.log
    return listens(server.port) and requests.get(f"http://127.0.0.1:{server.port}/-/ready", timeout=5).ok


def promtool(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What promtool says."""
    return subprocess.run([installed("promtool", "prometheus"), *words], input=given, capture_output=True, check=False)
