"""`mirror-stage serve` and plain `gunicorn wsgi:app` end in under 3 s, whatever clients keep open."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import websocket

from tests.builders import make_sample
from tests.servers import ROOT, EgoServer, wait_until

PROGRAMS = {
    "serve": ["mirror_stage.runtime.cli", "serve"],
    "gunicorn": ["gunicorn", "--config", str(ROOT / "gunicorn.conf.py"), "wsgi:app"],
}
STOP_SECONDS = 3.0


@pytest.fixture(params=PROGRAMS)
def ego(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EgoServer]:
    server = EgoServer(tmp_path)
    with (tmp_path / "ego.log").open("w") as log:
        server.process = subprocess.Popen(
            [sys.executable, "-m", *PROGRAMS[request.param]], cwd=tmp_path, env=server.environment, stderr=log
        )
    try:
        server.wait_ready()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_everything_open(ego: EgoServer, told: signal.Signals) -> None:
    sockets = [open_socket(ego.port, namespace) for namespace in ("/digital-twin", "/commands", "/alerts")]
    idle = HTTPConnection("127.0.0.1", ego.port)
    idle.request("GET", "/api/health")
    assert idle.getresponse().read() == b"ok"
    half_sent = socket.create_connection(("127.0.0.1", ego.port))
    half_sent.sendall(b"POST /api/metrics/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    half_sent.sendall(b"Content-Length: 1000\r\n\r\n{")
    ego.post_samples(make_sample("titan-01")).raise_for_status()
    polled: list[bytes] = []
    poll = threading.Thread(target=lambda: polled.append(ego.get("/api/commands/pending/titan-01?wait=30").content))
    poll.start()
    wait_until(lambda: ego.get("/api/hosts/titan-01").json()["lastPollAt"], what="the poll is open")

    started = time.monotonic()
    assert ego.process is not None
    ego.process.send_signal(told)
    assert ego.process.wait(timeout=STOP_SECONDS) == 0
    print(f"stopped {time.monotonic() - started:.2f} s after {told.name}")

    poll.join()
    assert polled == [b"[]"]  # the poll got an answer and was not cut
    events = [json.loads(line) for line in ego.log.splitlines()]
    odd = [event for event in events if event["level"] not in {"debug", "info"}]
    assert [event for event in odd if "stood still" not in event["message"]] == []  # a busy machine may let EGO wait
    for client in (*sockets, idle, half_sent):
        client.close()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_while_it_starts(tmp_path: Path, told: signal.Signals) -> None:
    server = EgoServer(tmp_path)
    with (tmp_path / "ego.log").open("w") as log:
        serve = [sys.executable, "-m", *PROGRAMS["serve"]]
        process = subprocess.Popen(serve, cwd=tmp_path, env=server.environment, stderr=log)
    try:
        wait_until(lambda: "Booting worker" in server.log, 20, what="the worker has started")
        process.send_signal(told)
        assert process.wait(timeout=STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def open_socket(port: int, namespace: str) -> websocket.WebSocket:
    client = websocket.create_connection(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket", timeout=5)
    client.recv()  # Engine.IO's open packet
    client.send(f"40{namespace},")
    client.recv()  # Socket.IO's connect packet
    return client
