"""docs/contract.md, section 1 and promise P9: the wall refuses other machines' names and pages of other origins, sockets too."""

from __future__ import annotations

import base64
import os
import socket
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import assert_problem, claim, command, create
from tests.servers import EgoServer

OPEN = "/socket.io/?EIO=4&transport=polling"
PATHS = ["/", "/api/health", "/api/twin/state", "/api/commands", "/api/commands/pending/titan-01", OPEN, "/nothing"]
FOREIGN_HOSTS = [
    "attacker.example",
    "attacker.example:3000",
    "localhost.attacker.example",
    "127.0.0.1.nip.io",
    f"not-{socket.gethostname()}",
]
OWN_HOSTS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST:3000",
    "[::1]:3000",
    "10.0.0.100:3000",
    "192.168.1.7",
    socket.gethostname(),
]
FOREIGN_ORIGINS = [
    "http://attacker.example",
    "null",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:1",
    "http://localhost",
]


@pytest.fixture
def ego(sqlite_ego: EgoServer) -> EgoServer:
    """Who asks is decided before storage is reached, so one database is enough."""
    return sqlite_ego


def get(ego: EgoServer, path: str, **headers: str) -> requests.Response:
    """The answer to a GET with these headers; underscores stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ego.get(path, headers=named, allow_redirects=False)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_request_that_names_another_machine_is_misdirected(ego: EgoServer, host: str) -> None:
    for path in PATHS:
        assert_problem(get(ego, path, Host=host), 421)
    hostname = unique_hostname()
    answer = ego.post("/api/commands", json={"hostname": hostname, "command": "w"}, headers={"Host": host})
    assert_problem(answer, 421)
    assert claim(ego, hostname) == []


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_an_address_and_the_machines_own_names_pass(sqlite_ego: EgoServer, host: str) -> None:
    for path in ("/api/health", "/api/twin/state", OPEN):
        assert get(sqlite_ego, path, Host=host).status_code == 200


@pytest.mark.parametrize("host", ["", "a b", "127.0.0.1:99999", "127.0.0.1, attacker.example", "[::1"])
def test_a_malformed_host_header_is_refused(ego: EgoServer, host: str) -> None:
    with socket.create_connection(("127.0.0.1", ego.port)) as wire:
        wire.settimeout(5)
        wire.sendall(f"GET /api/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = wire.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_page_of_another_origin_can_neither_read_nor_change_anything(ego: EgoServer, origin: str) -> None:
    origin = origin.format(port=ego.port)
    for path in PATHS:
        answer = get(ego, path, Origin=origin)
        assert_problem(answer, 403)
        assert "Access-Control-Allow-Origin" not in answer.headers
    hostname = unique_hostname()
    body = {"hostname": hostname, "command": "w"}
    assert_problem(ego.post("/api/commands", json=body, headers={"Origin": origin}), 403)
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked = requests.options(f"{ego.url}/api/commands", headers=preflight, timeout=10)
    assert_problem(asked, 403)
    assert claim(ego, hostname) == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_a_browser_marks_as_from_another_origin_is_refused(ego: EgoServer, site: str) -> None:
    waiting = create(ego, unique_hostname())
    pending = f"/api/commands/pending/{waiting['hostname']}"
    for path in ("/api/twin/state", pending, OPEN):
        for mode, destination in (("no-cors", "image"), ("cors", "empty"), ("navigate", "document")):
            answer = get(ego, path, Sec_Fetch_Site=site, Sec_Fetch_Mode=mode, Sec_Fetch_Dest=destination)
            assert_problem(answer, 403)
    assert command(ego, waiting["id"])["status"] == "pending"
    assert get(ego, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document").status_code == 200


def test_the_own_page_and_agents_that_send_neither_pass(ego: EgoServer) -> None:
    own = f"http://127.0.0.1:{ego.port}"
    assert get(ego, "/api/twin/state", Origin=own).status_code == 200
    assert get(ego, "/api/twin/state", Sec_Fetch_Site="same-origin").status_code == 200
    assert get(ego, "/api/twin/state", Sec_Fetch_Site="none").status_code == 200
    body = {"hostname": unique_hostname(), "command": "w"}
    assert ego.post("/api/commands", json=body, headers={"Origin": own}).status_code == 201
    assert ego.post("/api/commands", json=body).status_code == 201
    assert ego.post_samples(make_sample(unique_hostname())).status_code == 202


def upgrade(ego: EgoServer, **headers: str) -> bytes:
    """The status of the answer to a websocket handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    sent = {"Host": f"127.0.0.1:{ego.port}", "Upgrade": "websocket", "Connection": "Upgrade",
            "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"} | headers  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection(("127.0.0.1", ego.port)) as wire:
        wire.settimeout(5)
        wire.sendall(f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{lines}\r\n".encode())
        return wire.recv(65536).split()[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, b"101"),
        ({"Host": "localhost"}, b"101"),
        ({"Host": "attacker.example"}, b"421"),
        ({"Host": "attacker.example", "Origin": "http://attacker.example"}, b"421"),
        ({"Origin": "http://attacker.example"}, b"403"),
        ({"Origin": "null"}, b"403"),
        ({"Origin": "http://127.0.0.1:1"}, b"403"),
        ({"Sec-Fetch-Site": "cross-site"}, b"403"),
    ],
)
def test_a_websocket_meets_the_same_wall(sqlite_ego: EgoServer, headers: dict[str, str], status: bytes) -> None:
    assert upgrade(sqlite_ego, **headers) == status


def test_a_websocket_of_the_own_page_opens(ego: EgoServer) -> None:
    assert upgrade(ego, Origin=f"http://127.0.0.1:{ego.port}") == b"101"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_content_types_that_a_form_of_a_foreign_page_could_send_are_refused(ego: EgoServer, content_type: str) -> None:
    hostname = unique_hostname()
    body = '{"hostname": "%s", "command": "w"}' % hostname
    for path in ("/api/commands", "/api/metrics/batch"):
        assert_problem(ego.post(path, data=body, headers={"Content-Type": content_type}), 415)
    assert claim(ego, hostname) == []


def test_clients_of_a_proxy_on_this_machine_are_not_trusted_as_local(ego: EgoServer) -> None:
    hostname = unique_hostname()
    forwarded: list[dict[str, Any]] = [
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
    ]
    for headers in forwarded:
        body = {"hostname": hostname, "command": "w"}
        assert_problem(ego.post("/api/commands", json=body, headers=headers), 401)
        assert_problem(ego.get("/api/twin/state", headers=headers), 401)
        assert ego.get("/api/health", headers=headers).status_code == 200
    assert claim(ego, hostname) == []


def test_every_answer_has_the_security_headers(ego: EgoServer) -> None:
    for path in ("/", "/api/health", "/api/twin/state", "/api/nothing"):
        answer = ego.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in ego.get("/plain").headers["Content-Security-Policy"]
