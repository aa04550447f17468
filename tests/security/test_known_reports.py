"""Attacks from public reports about similar servers, tried on EGO. Each test names its report."""

from __future__ import annotations

import json

import pytest

from tests.contract.wire import unique_hostname
from tests.security.raw import ask, connect, frame, is_cut, open_websocket
from tests.servers import EgoServer

JSON = "Content-Type: application/json"
INNER = "GET /api/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

SMUGGLED = {  # benoitc/gunicorn#3364, #2955; CVE-2024-6827
    "both lengths": ["Content-Length: 4", "Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: 4", "Content-Length: 60"],
    "a coding in control characters": ["Transfer-Encoding: \x0bchunked\x0b"],
    "a coding that is not the last": ["Transfer-Encoding: chunked, identity"],
    "an unknown coding": ["Transfer-Encoding: xchunked"],
    "chunked twice": ["Transfer-Encoding: chunked, chunked"],
    "a space before the colon": ["Transfer-Encoding : chunked"],
    "a folded header": ["Transfer-Encoding:\r\n chunked"],
    "a signed length": ["Content-Length: +60"],
    "a length in hexadecimal": ["Content-Length: 0x3c"],
}


@pytest.mark.parametrize("kind", SMUGGLED)
def test_no_second_request_hides_in_the_body_of_the_first(guarded_ego: EgoServer, kind: str) -> None:
    head = ["POST /api/metrics/batch HTTP/1.1", "Host: localhost", JSON, *SMUGGLED[kind], "", ""]
    with connect(guarded_ego) as client:
        client.sendall(("\r\n".join(head) + "0\r\n\r\n" + INNER).encode("latin-1"))
        client.shutdown(1)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.count(b"HTTP/1.1 ") == 1, received[:2000]
    refusal = b"HTTP/1.1 501 Not Implemented\r\n" if kind == "an unknown coding" else b"HTTP/1.1 400 Bad Request\r\n"
    assert received.startswith(refusal), received[:200]
    assert b"smuggled" not in received


def test_a_foreign_page_opens_no_websocket(guarded_ego: EgoServer) -> None:
    """Uptime Kuma, CVE-2023-49805; Vite, CVE-2025-24010. The same host on another port is foreign too."""
    for origin in ("http://attacker.example", "null", "http://127.0.0.1:1", "file://"):
        for transport in ("websocket", "polling"):
            headers = {"Origin": origin, "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec_WebSocket_Version": "13"}
            if transport == "websocket":
                headers["Upgrade"] = "websocket"
            assert ask(guarded_ego, f"/socket.io/?EIO=4&transport={transport}", **headers).status == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/assets../wsgi.py", 404),  # Nezha, CVE-2026-53519: /dashboard../data/config.yaml
        ("/assets/../../wsgi.py", 400),
        ("/assets/..%2f..%2fwsgi.py", 400),
        ("/assets/%2e%2e/%2e%2e/ego.db", 400),
        ("/assets/....//ego.db", 400),
        ("/assets//etc/passwd", 400),
        ("/@fs/etc/passwd?import&raw", 404),  # Vite, CVE-2026-39364 and its forerunners
        ("/assets/index.html?raw", 404),
        ("/.env", 404),
        ("/./.env", 400),
        ("/.git/config", 404),
        ("/ego.db", 404),
        ("/api/../ego.db", 400),
    ],
)
def test_no_path_reaches_a_file_that_is_not_served(guarded_ego: EgoServer, path: str, status: int) -> None:
    answer = ask(guarded_ego, path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "//attacker.example",
        "//attacker.example/%2e%2e",
        "/\\attacker.example",
        "/%5cattacker.example",
        "//attacker.example/plain/",
    ],
)
def test_no_path_redirects_to_another_host(guarded_ego: EgoServer, path: str) -> None:
    """Jupyter, CVE-2020-26275 and CVE-2020-26232: //attacker.example/.. became a redirect."""
    answer = ask(guarded_ego, path)
    assert answer.status == 400
    assert "location" not in answer.headers


def test_a_form_without_an_origin_changes_nothing(guarded_ego: EgoServer) -> None:
    """Jupyter notebook #1830: forms of other pages, sometimes without an Origin."""
    hostname = unique_hostname()
    body = json.dumps({"hostname": hostname, "command": "true"})
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
    ):
        answer = guarded_ego.post("/api/commands", data=body, headers={"Content-Type": content_type})
        assert answer.status_code == 415
    assert guarded_ego.get("/api/commands", params={"hostname": hostname}).json()["total"] == 0


def test_a_broken_upgrade_takes_no_event_from_the_session(guarded_ego: EgoServer) -> None:
    """python-engineio #367: a broken upgrade was answered as a poll, and the page never saw the event."""
    sid = json.loads(guarded_ego.get("/socket.io/?EIO=4&transport=polling").text[1:])["sid"]
    url = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
    guarded_ego.post(url, data=b"40/digital-twin,")
    broken = ask(guarded_ego, url.replace("polling", "websocket"), Upgrade="websocket", Sec_WebSocket_Version="13")
    assert broken.status == 400
    assert ask(guarded_ego, url.replace("polling", "websocket")).status == 400  # a proxy has dropped the Upgrade header
    assert "40/digital-twin" in guarded_ego.get(url).text


def test_a_message_that_is_too_large_ends_its_session(guarded_ego: EgoServer) -> None:
    """ws, engine.io-client #481: one message could have any size."""
    with open_websocket(guarded_ego) as client:
        client.sendall(frame("42/digital-twin," + "x" * 20_000))
        assert is_cut(client, 10)


def test_a_header_of_the_client_cannot_set_its_address(guarded_ego: EgoServer) -> None:
    """Home Assistant #14345: the first of X-Forwarded-For was believed; nonsense in it was a 500."""
    for forwarded in ("127.0.0.1", "127.0.0.1, 10.0.0.9", "nonsense", "1.2.3.4:99999999", "[::1", "\x85", "," * 500):
        assert ask(guarded_ego, "/api/twin/state", X_Forwarded_For=forwarded).status == 401


def test_no_line_of_the_log_is_written_by_a_client(guarded_ego: EgoServer) -> None:
    """Netdata #3635 and #4521: line ends in URLs became lines of the log and headers of the answer."""
    for path, status in (
        ("/api/%0aINJECTED", 400),
        ("/api/%0d%0aSet-Cookie:%20INJECTED", 400),
        ("/api/x?%0aINJECTED", 404),
        ("/api/hosts/INJECTED%1b[2J", 400),
    ):
        answer = ask(guarded_ego, path, User_Agent="INJECTED", Referer="INJECTED")
        assert answer.status == status, path
        assert "set-cookie" not in answer.headers
    for line in guarded_ego.log.splitlines():
        assert json.loads(line)["logger"]


def test_the_snapshot_has_no_credential_and_no_command(guarded_ego: EgoServer) -> None:
    """Nezha, GHSA-hvv7 and GHSA-ww5p: lists that show more than their reader may see."""
    hostname = unique_hostname()
    guarded_ego.post("/api/commands", json={"hostname": hostname, "command": "echo s3cr3t"})
    for path in ("/api/twin/state", "/api/hosts", "/api/info", "/api/health/ready", "/api/alerts"):
        assert "s3cr3t" not in guarded_ego.get(path).text
