"""`mirror-stage demo` starts EGO and a fleet, and leaves no process or file behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import requests

from tests.servers import ROOT, EgoServer, free_port, wait_until


def start(folder: Path, port: int, *options: str) -> subprocess.Popen[str]:
    """A demo whose temporary files are in `folder`."""
    environment = {**os.environ, "PORT": str(port), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "demo", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_demo_shows_a_fleet_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    demo = start(tmp_path, port, "--hosts", "20")
    try:

        def simulated_hosts() -> bool:
            try:
                hosts = requests.get(f"http://127.0.0.1:{port}/api/hosts", timeout=2).json()["items"]
            except requests.RequestException:
                return False
            return sum(host["agentVersion"].endswith("+simulated") for host in hosts) == 20

        wait_until(simulated_hosts, 40, every=0.2, what="the whole fleet is in the twin")
        parts = psutil.Process(demo.pid).children(recursive=True)
        assert len(parts) >= 3  # gunicorn's master and worker, the fleet
    finally:
        demo.send_signal(signal.SIGINT)
        stdout, stderr = demo.communicate(timeout=40)
    assert demo.returncode == 0, stderr
    assert f"http://127.0.0.1:{port}" in stdout
    assert "refused 0" in stderr
    assert [part for part in parts if part.is_running()] == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_takes_and_prints_another_port_if_an_ego_uses_the_wanted_one(
    tmp_path: Path, start_ego: Callable[..., EgoServer]
) -> None:
    ego, folder = start_ego(), tmp_path / "demo"
    folder.mkdir()
    demo = start(folder, ego.port, "--hosts", "5")
    try:
        assert demo.stdout is not None
        told = re.match(rf"port {ego.port}: taken by .*; the demo takes port ([0-9]+)$", demo.stdout.readline())
        assert told is not None
        own = f"http://127.0.0.1:{told[1]}"
        wait_until(lambda: answers_ready(own), 30, every=0.2, what="the demo's own EGO is ready")
        heard = [host["hostname"] for host in ego.get("/api/hosts").json()["items"]]
        assert heard == ["core-switch"]  # only the hub: the fleet does not report here
    finally:
        demo.send_signal(signal.SIGINT)
        _, stderr = demo.communicate(timeout=40)
    assert demo.returncode == 0, stderr
    assert list(folder.iterdir()) == []


def answers_ready(ego: str) -> bool:
    try:
        return requests.get(f"{ego}/api/health/ready", timeout=2).status_code == 200
    except requests.RequestException:
        return False
