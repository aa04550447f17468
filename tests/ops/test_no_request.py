"""Bytes that are not an HTTP request get a problem document like every other refusal, not an HTML page of gunicorn."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.servers import EgoServer, running_ego

GARBLED = {
    "request line": (b"hello\r\n\r\n", 400),
    "method": (b"g\x00t /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "two hosts": (b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n", 400),
    "control character": (b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n", 400),
    "endless header": (b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 300_000 + b"\r\n\r\n", 431),
    "endless path": (b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
}


@pytest.fixture(scope="module")
def own_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


@pytest.mark.parametrize("kind", GARBLED)
def test_bytes_that_are_no_request_get_a_problem_document(own_ego: EgoServer, kind: str) -> None:
    sent, expected = GARBLED[kind]
    with socket.create_connection(("127.0.0.1", own_ego.port), timeout=5) as client:
        client.sendall(sent)
        head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert b"application/problem+json" in head
    assert (int(head.split()[1]), problem["status"], problem["statusCode"]) == (expected, expected, expected)
    assert "Traceback" not in own_ego.log
