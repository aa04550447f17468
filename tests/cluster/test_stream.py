"""The stream reaches Redis through TLS and through sentinels, and says when it cannot."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mirror_stage.cluster import wire
from mirror_stage.cluster.stream import Stream, connected
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import from_environment
from mirror_stage.core.sentinels import Sentinels, parse_sentinels
from mirror_stage.health.redis import redis_trouble
from tests.servers import RedisServer, free_port, installed, wait_until


def test_an_entry_goes_through_tls(tmp_path: Path) -> None:
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    pair = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    subprocess.run(["openssl", "req", "-x509", "-nodes", *pair, *subject], check=True, capture_output=True)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-auth-clients", "no")
    files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
    with RedisServer(tmp_path, *tls, *files):
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path / 'cert.pem'}"
        assert connected(url, 2).ping()
        assert redis_trouble(url, 2) is None


def test_an_entry_goes_to_the_master_that_the_sentinels_name(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as master:
        port = free_port()
        settings = tmp_path / "sentinel.conf"
        settings.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master.port} 1\n")
        command = [installed("redis-server", "redis-server"), str(settings), "--sentinel"]
        sentinel = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main"
            wait_until(lambda: redis_trouble(url) is None, what="a sentinel answers")
            assert connected(url, 2).info("server")["tcp_port"] == master.port
        finally:
            sentinel.kill()
            sentinel.wait(timeout=10)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://h:1",
        "redis+sentinel://h:1/",
        "redis+sentinel://h:x/m",
        "redis+nonsense://h",
    ],
)
def test_a_bad_url_is_refused_at_the_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRROR_STAGE_REDIS_URL", url)
    with pytest.raises(BadSetting, match="MIRROR_STAGE_REDIS_URL"):
        from_environment()


def test_a_url_of_sentinels_says_where_they_are_and_how_to_sign_in() -> None:
    assert parse_sentinels("redis+sentinel://me:p%40ss@one,two:7,[::1]:8/main/2") == Sentinels(
        (("one", 26_379), ("two", 7), ("::1", 8)), "main", 2, "me", "p@ss"
    )


def test_a_stream_without_redis_takes_nothing_and_waits_for_nobody(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        stream = Stream(server.url, "me")
        stream.key, stream.trouble = "stream", None
        assert stream.add(wire.HERE, b"")
        server.kill()
        began = time.monotonic()
        assert stream.add(wire.HERE, b"") is None
        assert stream.trouble
        assert [stream.add(wire.HERE, b"") for _ in range(1_000)] == [None] * 1_000
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"$9\r\nx", b"*1\r\n" * 3_000, b"%1\r\n"])
def test_a_server_that_is_no_redis_is_asked_again_only_now_and_then(answer: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asks = (
            "from gevent import monkey; monkey.patch_all()\n"
            "import sys, gevent\n"
            "from mirror_stage.cluster import stream\n"
            "stream.WHOLE_ANSWER_SECONDS = 0.5\n"
            f"one = stream.Stream('redis://127.0.0.1:{server.getsockname()[1]}', 'me')\n"
            "one.begin('stream', print); gevent.sleep(3); sys.exit(one.trouble == 'not connected yet')\n"
        )
        asked: list[bytes] = []

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                while question := client.recv(4096):
                    asked.append(question)
                    client.sendall(answer)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        done = subprocess.run([sys.executable, "-c", asks], check=False, capture_output=True, text=True, timeout=30)
        server.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(asked) < 40
