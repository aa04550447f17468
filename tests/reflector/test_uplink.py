"""What an answer of EGO means, how a body is sent, and which certificates the agent trusts."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from mirror_stage.core.trust import Trust
from mirror_stage.reflector.uplink import Meaning, Uplink, in_path, packed, understood
from tests.reflector.scripted_ego import ScriptedEgo

PROBLEM = "application/problem+json"
JSON = "application/json"


@pytest.mark.parametrize(
    ("status", "kind", "content", "meaning"),
    [
        (202, JSON, b'{"accepted": 1}', Meaning.TAKEN),
        (200, JSON, b"[]", Meaning.TAKEN),
        (200, "text/html", b"<html>", Meaning.MISDIRECTED),
        (200, JSON, b"<html>", Meaning.MISDIRECTED),
        (204, "", b"", Meaning.MISDIRECTED),
        (302, "text/html", b"", Meaning.MISDIRECTED),
        (400, PROBLEM, b'{"detail": "bad"}', Meaning.REFUSED),
        (400, "text/html", b"", Meaning.MISDIRECTED),
        (401, PROBLEM, b"{}", Meaning.MISDIRECTED),
        (404, PROBLEM, b"{}", Meaning.REFUSED),
        (404, "text/plain", b"", Meaning.MISDIRECTED),
        (409, PROBLEM, b"{}", Meaning.REFUSED),
        (421, PROBLEM, b"{}", Meaning.MISDIRECTED),
        (429, PROBLEM, b"{}", Meaning.LATER),
        (503, "text/html", b"", Meaning.LATER),
        (504, PROBLEM, b"{}", Meaning.UNKNOWN),
    ],
)
def test_each_answer_has_one_meaning(status: int, kind: str, content: bytes, meaning: Meaning) -> None:
    assert understood(status, {"Content-Type": kind}, content).meaning is meaning


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0", 0.0), ("-1", 0.0), ("soon", None), (None, None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_a_retry_after_is_a_number_or_a_date(text: str | None, seconds: float | None) -> None:
    headers = {"Content-Type": PROBLEM} | ({"Retry-After": text} if text is not None else {})
    assert understood(503, headers, b"{}").retry_after_seconds == seconds
    later = {"Content-Type": PROBLEM, "Retry-After": formatdate(time.time() + 60, usegmt=True)}
    assert understood(503, later, b"{}").retry_after_seconds == pytest.approx(60, abs=2)


def test_a_large_body_is_compressed_unless_ego_would_refuse_it() -> None:
    assert packed(b"{}") == (b"{}", {"Content-Type": JSON})
    usual = json.dumps([random.random() for _ in range(10_000)]).encode()
    body, headers = packed(usual)
    assert headers["Content-Encoding"] == "gzip"
    assert (gzip.decompress(body), len(body) < len(usual) / 2) == (usual, True)
    monotonous = b" " * 200_000  # compresses 1,000:1; EGO accepts at most 20:1
    assert packed(monotonous) == (monotonous, {"Content-Type": JSON})


def test_connections_are_reused_and_the_path_of_the_address_is_kept(scripted: ScriptedEgo) -> None:
    uplink = Uplink(f"{scripted.url}/ego/")
    for _ in range(3):
        assert uplink.post_samples([b'{"a": 1}']).is_taken
    assert [asked.path for asked in scripted.asked] == ["/ego/api/metrics/batch"] * 3
    assert len({asked.peer for asked in scripted.asked}) == 1


def test_a_reused_connection_that_the_server_has_closed_loses_no_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"accepted":1}'
        seen = []

        def serve() -> None:
            for _ in range(2):
                wire, _address = listener.accept()
                with wire:
                    seen.append(wire.recv(65536))
                    wire.sendall(answer)
                    if len(seen) == 1:
                        wire.recv(65536)  # receive the next request and close without an answer

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        uplink = Uplink(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert uplink.post_samples([b"{}"]).is_taken
        assert uplink.post_samples([b"{}"]).is_taken
        thread.join(5)
    assert len(seen) == 2


def test_a_hostname_is_one_segment_of_a_path() -> None:
    assert in_path("호스트 a?b#c") == "%ED%98%B8%EC%8A%A4%ED%8A%B8%20a%3Fb%23c"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_https_is_verified_with_the_configured_certificates(tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    with served_over_tls(certificate, key) as port:
        answer = Uplink(f"https://localhost:{port}").get("/api/info")
        assert answer.meaning is Meaning.UNKNOWN
        assert "its certificate comes from an authority that is not trusted here" in answer.detail
        assert Uplink(f"https://localhost:{port}", Trust(certificate)).get("/api/info").is_taken


@contextlib.contextmanager
def served_over_tls(certificate: Path, key: Path) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", JSON)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who does not trust us hangs up
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()
