"""TLS of a real EGO: its own authority, handshakes that fail or never end, plain HTTP, what works over it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websocket import create_connection

from mirror_stage.core.config import Config
from mirror_stage.runtime import doctor
from tests.accounts import OTHER, as_account, needs_root
from tests.builders import make_sample, unique_hostname
from tests.security import raw
from tests.servers import EgoServer, running_ego, wait_until

ON = {"MIRROR_STAGE_TLS": "on"}


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO with an authority of its own."""
    with running_ego(tmp_path_factory.mktemp("ego"), ON) as server:
        yield server


def trusting(ego: EgoServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ego.trusted)


def openssl(ego: EgoServer, *options: str) -> str:
    """What `openssl s_client` says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{ego.port}", "-CAfile", ego.trusted, *options]
    run = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=60)
    return run.stdout + run.stderr


def test_the_first_start_makes_an_authority_that_nobody_else_can_read(ego: EgoServer) -> None:
    folder = ego.folder / "ego.tls"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    files = ("lock", "root.key", "root.pem", "server.key", "server.pem")
    signing = ("signing-online.json", "signing-root.key", "signing-root.pub")
    private = dict.fromkeys((*files, *signing), 0o600)
    assert modes == {"ego.tls": 0o700, **private}


def test_every_client_that_trusts_the_root_accepts_the_certificate(ego: EgoServer) -> None:
    for name in ("127.0.0.1", "localhost", socket.gethostname()):
        said = openssl(
            ego, "-verify_return_error", *(["-verify_ip", name] if name[0].isdigit() else ["-verify_hostname", name])
        )
        assert "Verify return code: 0 (ok)" in said, said
    strict = trusting(ego)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with raw.connect(ego) as plain, strict.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        assert client.version() == "TLSv1.3"
        certificate = client.getpeercert()
    assert ("IP Address", "127.0.0.1") in certificate["subjectAltName"]
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86_400
    assert 88 < days < 90


def test_tls_1_2_is_spoken_and_nothing_older(ego: EgoServer) -> None:
    assert "TLSv1.2, Cipher is ECDHE-" in openssl(ego, "-tls1_2")
    assert "alert protocol version" in openssl(ego, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")


def test_the_root_is_given_to_everybody(ego: EgoServer) -> None:
    answer = ego.get("/api/tls/root.pem")
    assert answer.status_code == 200
    assert answer.text == Path(ego.trusted).read_text()
    assert answer.headers["Content-Type"].split(";")[0] == "application/x-pem-file"


def test_without_tls_there_is_no_root(guarded_ego: EgoServer) -> None:
    assert guarded_ego.get("/api/tls/root.pem").status_code == 404
    assert guarded_ego.get("/api/health/ready").json()["checks"]["tls"] == {
        "ok": True,
        "detail": "off: EGO speaks plain HTTP",
    }
    assert not list(guarded_ego.folder.glob("*.tls/root.*"))


def test_plain_http_is_answered_with_one_line_and_no_redirect(ego: EgoServer) -> None:
    token = "ms_admin_1_secret"
    with raw.connect(ego, "127.0.0.9") as client:
        client.sendall(f"POST /api/commands HTTP/1.1\r\nHost: ego\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        answer = raw.answer_of(client)
    assert answer.status == 426
    assert answer.body == b"EGO speaks https on this port: write https:// instead of http://\n"
    assert "location" not in answer.headers
    assert answer.headers["content-type"].startswith("text/plain")
    wait_until(lambda: "127.0.0.9 is refused (426)" in ego.log)
    assert token not in ego.log


def test_who_does_not_trust_ego_is_counted_in_one_line(ego: EgoServer) -> None:
    for _ in range(5):
        with raw.connect(ego, "127.0.0.8") as client, contextlib.suppress(OSError):
            ssl.create_default_context().wrap_socket(client, server_hostname="127.0.0.1")
            raise AssertionError("a stranger was trusted")
    refused = wait_until(lambda: re.findall(r"127\.0\.0\.8 is refused.*", ego.log))
    assert len(refused) == 1
    assert "UNKNOWN_CA" in refused[0]


def test_garbage_costs_at_most_one_line_and_no_traceback(ego: EgoServer) -> None:
    garbage = (
        b"\x16garbage and more of it",
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x2e\x01",
        b"\x00" * 100,
        b"\x16",
        b"",
    )
    for content in garbage * 3:
        with raw.connect(ego, "127.0.0.7") as client, contextlib.suppress(OSError):  # EGO may close it at any time
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    inside = trusting(ego)
    with raw.connect(ego, "127.0.0.7") as plain:
        client = inside.wrap_socket(plain, server_hostname="127.0.0.1")
        os.write(client.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record that nobody encrypted
        client.settimeout(20)
        with contextlib.suppress(OSError):
            while socket.socket.recv(client, 4096):  # what is on the wire: EGO's alert, then the end
                pass
    assert ego.get("/api/health").text == "ok"
    assert len(re.findall(r"127\.0\.0\.7", ego.log)) <= 1
    assert "Traceback" not in ego.log


def test_clients_that_send_nothing_or_drip_cost_nobody_anything_and_end_after_10_s(ego: EgoServer) -> None:
    before = ego.open_files()
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting(ego).wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1").do_handshake()
    silent = [raw.connect(ego, "127.0.0.6") for _ in range(100)]
    dripping = [raw.connect(ego, "127.0.0.6") for _ in range(100)]
    started = time.monotonic()
    content, waits = hello.read(), []
    for index in range(8):
        for client in dripping:
            with contextlib.suppress(OSError):
                client.sendall(content[index : index + 1])
        asked = time.monotonic()
        assert ego.get("/api/health").text == "ok"
        waits.append(time.monotonic() - asked)
        time.sleep(0.2)
    assert min(waits) < 2
    wait_until(lambda: ego.open_files() <= before + 5, 15, every=0.2, what="EGO has closed them")
    assert 9 < time.monotonic() - started < 60
    assert len(re.findall(r"127\.0\.0\.6 is refused", ego.log)) == 1
    for client in [*silent, *dripping]:
        client.close()


def test_websockets_and_long_polls_work_over_tls(ego: EgoServer) -> None:
    hostname = unique_hostname()
    address = f"wss://127.0.0.1:{ego.port}/socket.io/?EIO=4&transport=websocket"
    client = create_connection(address, sslopt={"ca_certs": ego.trusted}, timeout=20)
    client.recv()
    client.send("40/digital-twin,")
    assert client.recv().startswith("40/digital-twin,")
    ego.post_samples(make_sample(hostname)).raise_for_status()
    wait_until(lambda: hostname in str(client.recv()), what="the sample reaches the websocket")
    client.close()
    started = time.monotonic()
    answer = ego.get(f"/api/commands/pending/{hostname}?wait=1")
    assert answer.json() == []
    assert time.monotonic() - started > 0.9
    assert ego.post("/api/commands", json={"hostname": hostname, "command": "w"}).status_code == 201
    assert ego.get(f"/api/commands/pending/{hostname}").json()[0]["command"] == "w"


def test_a_large_answer_and_the_pages_come_whole(ego: EgoServer) -> None:
    assert ego.get("/icon.svg").content.startswith(b"<svg")
    assert len(ego.get("/api/openapi.json").json()["paths"]) > 20
    origin = {"Origin": ego.url}
    assert ego.get("/api/twin/state", headers=origin).status_code == 200
    assert ego.get("/api/twin/state", headers={"Origin": ego.url.replace("https", "http")}).status_code == 403


@needs_root
def test_the_account_that_asks_decides_over_tls_too(ego: EgoServer) -> None:
    context, port = trusting(ego), ego.port

    def as_other() -> Any:
        client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        client.request("GET", "/api/twin/state")
        answer = client.getresponse()
        return [answer.status, json.loads(answer.read())["detail"]]

    status, detail = as_account(OTHER, as_other)
    assert status == 401
    assert f"uid {OTHER}" in detail
    assert ego.get("/api/twin/state").status_code == 200


def test_doctor_recognises_an_ego_that_speaks_https(ego: EgoServer) -> None:
    settings = Config(port=ego.port, tls="on", sqlite_path=ego.folder / "ego.db")
    assert doctor.port(settings).seen == f"an EGO answers on 127.0.0.1:{ego.port}"
    assert doctor.tls(settings).level == "ok"


def test_ego_stops_quickly_while_a_handshake_is_under_way(tmp_path: Path) -> None:
    with running_ego(tmp_path, ON) as server:
        clients = [raw.connect(server) for _ in range(3)]
        for client in clients:
            client.sendall(b"\x16\x03")
        started = time.monotonic()
        assert server.stop() < 8
        assert "Traceback" not in server.log
        assert time.monotonic() - started < 8
        for client in clients:
            client.close()
