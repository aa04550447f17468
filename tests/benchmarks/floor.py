"""What the server costs without EGO: the same gunicorn and worker, an application that reads the body and answers 202."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask, request

from tests.servers import ROOT, free_port, listens, wait_until

ANSWER = json.dumps({"accepted": 0, "receivedAt": "1970-01-01T00:00:00.000Z"}).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers every request, without a framework."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("202 ACCEPTED", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


flask = Flask(__name__)


@flask.post("/api/metrics/batch")
def _take() -> tuple[bytes, int, dict[str, str]]:
    request.get_data()
    return ANSWER, 202, {"Content-Type": "application/json"}


@contextlib.contextmanager
def running_floor(folder: Path, application: str) -> Iterator[str]:
    """Serve `wsgi` or `flask` of this module; its URL. It is ended afterwards."""
    port = free_port()
    options = ["--worker-class", "gevent", "--bind", f"127.0.0.1:{port}", "--keep-alive", "30", "--log-level", "error"]
    command = [sys.executable, "-m", "gunicorn", *options, f"tests.benchmarks.floor:{application}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        wait_until(lambda: listens(port), 20, what="the floor listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
