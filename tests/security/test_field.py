"""The listener for agents of another make: plain HTTP beside a main listener with TLS that asks everybody for a credential."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.web.walls import FIELD_ROUTES
from tests.builders import make_sample, unique_hostname
from tests.command_line import forked
from tests.security import raw
from tests.servers import EgoServer, free_port, running_ego, wait_until

CUT_SECONDS = 5.0  # the promise
SERVED = {"health.live", "metrics.post_batch", "commands.pending", "commands.result", "field.pending", "field.result"}
PEERS = iter(f"127.0.{high}.{low}" for high in range(1, 9) for low in range(1, 250))
RECORDING = json.loads((Path(__file__).parent.parent / "fixtures" / "field-reflector.json").read_text())


@dataclass(frozen=True)
class Reply:
    status: int
    text: str

    @property
    def detail(self) -> str:
        return str(json.loads(self.text)["detail"])


class TwoListeners(EgoServer):
    """An EGO with a second listener, and what an agent of another make says to it."""

    @property
    def field_port(self) -> int:
        return int(self.settings["MIRROR_STAGE_FIELD_BIND"].rpartition(":")[2])

    def field(self, method: str, path: str, body: Any = None, peer: str = "127.0.0.1", **headers: str) -> Reply:
        """The answer to one request from an address, without a word about credentials."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client = http.client.HTTPConnection("127.0.0.1", self.field_port, timeout=60, source_address=(peer, 0))
        try:
            sent = None if body is None else json.dumps(body)
            client.request(method, path, sent, ({"Content-Type": "application/json"} if sent else {}) | named)
            answer = client.getresponse()
            return Reply(answer.status, answer.read().decode())
        finally:
            client.close()

    def run(self, words: str, status: int = 0) -> str:
        """What a command prints, at EGO's own machine."""
        ended = forked(shlex.split(words), cwd=self.folder, env=self.environment)
        assert ended.returncode == status, ended.stderr
        return ended.stdout + ended.stderr if status else ended.stdout

    def bearer(self, words: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.run(f'tokens create {words}').strip()}"}


def two_listeners() -> dict[str, str]:
    return {
        "MIRROR_STAGE_SECURITY": "strict",
        "MIRROR_STAGE_TLS": "on",
        "MIRROR_STAGE_FIELD_BIND": f"127.0.0.1:{free_port()}",
    }


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoListeners]:
    settings = two_listeners() | {"MIRROR_STAGE_TRUSTED_PROXIES": "127.0.0.0/8"}
    with running_ego(tmp_path_factory.mktemp("ego"), settings, TwoListeners) as server:
        assert isinstance(server, TwoListeners)
        yield server


@pytest.fixture(scope="module")
def admin(ego: TwoListeners) -> dict[str, str]:
    return ego.bearer("--role admin")


def admit(ego: TwoListeners, admin: dict[str, str], *, takes_commands: bool = False) -> tuple[str, str]:
    """The name and the address of a host that is admitted just now."""
    name, peer = unique_hostname("titan"), next(PEERS)
    body = {"hostname": name, "address": peer, "takesCommands": takes_commands}
    made = ego.post("/api/agents/field", json=body, headers=admin)
    assert (made.status_code, made.json()["kind"], made.json()["takesCommands"]) == (201, "field", takes_commands)
    return name, peer


def batch(*names: str) -> dict[str, Any]:
    return {"samples": [make_sample(name) for name in names]}


# ------------------------------------------------------------------ who is admitted


def test_an_agent_that_knows_nothing_of_credentials_posts_and_is_commanded_as_before(
    ego: TwoListeners, admin: dict[str, str]
) -> None:
    """The recording of such an agent is replayed; only its endpoint was changed."""
    name, peer = admit(ego, admin, takes_commands=True)
    new = {"hostname": name, "command": "echo hello", "timeoutSeconds": 20, "confirmUnverified": True}
    id = ego.post("/api/commands", json=new, headers=admin).json()["id"]
    statuses = []
    for request in RECORDING["requests"]:
        path = request["path"].replace("/api/commands", "/api/field/commands").replace("field-01", name)
        path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", id, path)
        body = request["body"]
        if body is not None and "samples" in body:
            body = {"samples": [sample | {"hostname": name} for sample in body["samples"]]}
        headers = {key.replace("-", "_"): value for key, value in request["headers"].items() if key != "Content-Length"}
        answer = ego.field(request["method"], path, body, peer, **headers)
        statuses.append(answer.status)
        if "pending" in path:
            assert json.loads(answer.text)["items"] == [{"id": id, "command": "echo hello", "timeout": 20}]
    assert statuses == [202, 200, 201, 202, 202]
    ended = ego.get(f"/api/commands/{id}", headers=admin).json()
    assert (ended["status"], ended["stdout"]) == ("succeeded", "hello\n")
    events = ego.get(f"/api/commands/{id}/events", headers=admin).json()["items"]
    assert [each["actor"] for each in events[1:]] == [f"agent:{name}"] * 2


def test_the_routes_of_the_specification_work_too(ego: TwoListeners, admin: dict[str, str]) -> None:
    name, peer = admit(ego, admin, takes_commands=True)
    assert ego.field("GET", "/api/health", peer=peer).text == "ok"
    assert ego.field("POST", "/api/metrics/batch", batch(name), peer).status == 202
    new = {"hostname": name, "command": "w", "confirmUnverified": True}
    id = ego.post("/api/commands", json=new, headers=admin).json()["id"]
    (claimed,) = json.loads(ego.field("GET", f"/api/commands/pending/{name}", peer=peer).text)
    assert claimed["id"] == id
    result = {"status": "succeeded", "exitCode": 0}
    assert ego.field("POST", f"/api/commands/{id}/result", result, peer).status == 201


def test_who_is_not_admitted_gets_a_line_that_its_owner_can_act_on(ego: TwoListeners, admin: dict[str, str]) -> None:
    name, peer = unique_hostname("titan"), next(PEERS)
    line = f"mirror-stage enroll field {name} --address {peer}"
    said = f"{name} ({peer}) is not admitted: {line}"
    polled = ego.field("GET", f"/api/commands/pending/{name}", peer=peer)
    assert (polled.status, polled.detail) == (401, said)
    checks = ego.get("/api/health/ready", headers=admin).json()["checks"]
    assert checks["refused"]["ok"] is False
    assert line in checks["refused"]["detail"]
    posted = ego.field("POST", "/api/metrics/batch", batch(name), peer)
    assert (posted.status, posted.detail) == (401, said)
    assert ego.field("POST", f"/api/commands/{'0' * 8}/result", {"status": "failed"}, peer).status == 401
    assert line in ego.log
    ego.run(line.removeprefix("mirror-stage "))
    wait_until(lambda: ego.field("POST", "/api/metrics/batch", batch(name), peer).status == 202, 5, every=0.2)


def test_the_line_is_safe_to_paste_whatever_the_host_calls_itself(ego: TwoListeners) -> None:
    name, peer = "x; touch pwned $(id) '", next(PEERS)
    detail = ego.field("POST", "/api/metrics/batch", batch(name), peer).detail
    assert shlex.split(detail.partition("admitted: ")[2]) == [
        "mirror-stage",
        "enroll",
        "field",
        name,
        "--address",
        peer,
    ]


def test_the_address_and_the_name_must_fit(ego: TwoListeners, admin: dict[str, str]) -> None:
    one, peer = admit(ego, admin)
    other, other_peer = admit(ego, admin)
    for name, where in ((one, other_peer), (other, peer), (unique_hostname("titan"), peer)):
        posted = ego.field("POST", "/api/metrics/batch", batch(name), where)
        assert (posted.status, f"{name} ({where}) is not admitted" in posted.detail) == (401, True)
        assert ego.field("GET", f"/api/commands/pending/{name}", peer=where).status == 401
    assert ego.field("POST", "/api/metrics/batch", batch(one, other), peer).status == 401
    assert ego.get(f"/api/hosts/{other}", headers=admin).status_code == 404


def test_a_large_batch_meets_the_same_rules(ego: TwoListeners, admin: dict[str, str]) -> None:
    """It does not go the short way of a usual batch."""
    one, peer = admit(ego, admin)
    many = {"samples": [make_sample(one, tags={"pad": "x" * 900}) for _ in range(80)]}
    assert ego.field("POST", "/api/metrics/batch", many, peer).status == 202
    many["samples"][-1]["hostname"] = unique_hostname("titan")
    assert ego.field("POST", "/api/metrics/batch", many, peer).status == 401
    assert ego.field("POST", "/api/metrics/batch", many, next(PEERS)).status == 401


@pytest.mark.parametrize("header", ["X_Forwarded_For", "X_Real_IP", "Forwarded"])
def test_no_header_says_where_a_request_comes_from(ego: TwoListeners, admin: dict[str, str], header: str) -> None:
    """Also not from a proxy that the main listener trusts."""
    name, peer = admit(ego, admin)
    form = "for={}" if header == "Forwarded" else "{}"
    spoofed = ego.field("POST", "/api/metrics/batch", batch(name), "127.0.0.8", **{header: form.format(peer)})
    assert (spoofed.status, f"{name} (127.0.0.8) is not admitted" in spoofed.detail) == (401, True)
    assert (
        ego.field("POST", "/api/metrics/batch", batch(name), peer, **{header: form.format("127.0.0.8")}).status == 202
    )


def test_a_name_has_one_address_and_an_address_one_name(ego: TwoListeners, admin: dict[str, str]) -> None:
    name, peer = admit(ego, admin)
    again = ego.post("/api/agents/field", json={"hostname": name, "address": next(PEERS)}, headers=admin)
    assert (again.status_code, f"{name} is admitted at {peer} already" in again.json()["detail"]) == (409, True)
    mapped = {"hostname": unique_hostname("titan"), "address": f"::ffff:{peer}"}
    other = ego.post("/api/agents/field", json=mapped, headers=admin)
    assert (other.status_code, f"{peer} is admitted as {name} already" in other.json()["detail"]) == (409, True)
    for address in ("0.0.0.0", "224.0.0.1", "10.0.0.1:80", "10.0.0.0/8", "fe80::1%eth0", "titan-01", ""):
        body = {"hostname": unique_hostname("titan"), "address": address}
        assert ego.post("/api/agents/field", json=body, headers=admin).status_code == 400, address


def test_a_revoked_one_is_refused_at_once_and_its_long_poll_ends(ego: TwoListeners, admin: dict[str, str]) -> None:
    name, peer = admit(ego, admin, takes_commands=True)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(ego.field, "GET", f"/api/commands/pending/{name}?wait=30", None, peer)
        time.sleep(1)
        assert not waits.done()
        ego.run(f"agents revoke {name}")
        revoked_at = time.monotonic()
        assert waits.result(40).status == 401
    assert time.monotonic() - revoked_at < CUT_SECONDS
    assert ego.field("POST", "/api/metrics/batch", batch(name), peer).status == 401
    (row,) = [each for each in json.loads(ego.run("agents list --json")) if each["hostname"] == name]
    assert (row["state"], row["address"]) == ("revoked", peer)
    audited = [each for each in json.loads(ego.run("audit list --rows 200 --json")) if each["subject"] == name]
    assert [each["what"] for each in reversed(audited)] == ["agent-admitted", "agent-revoked"]


def test_it_is_unverified_wherever_it_shows_also_after_a_restart(tmp_path: Path) -> None:
    with running_ego(tmp_path, two_listeners(), TwoListeners) as ego:
        assert isinstance(ego, TwoListeners)
        admin, peer = ego.bearer("--role admin"), "127.0.0.9"
        agent = ego.bearer("--agent web-01")
        ego.run(f"enroll field titan-01 --address {peer}")
        wait_until(lambda: ego.field("POST", "/api/metrics/batch", batch("titan-01"), peer).status == 202, 5)
        ego.post_samples(make_sample("web-01"), headers=agent).raise_for_status()

        def marks() -> dict[str, Any]:
            hosts = ego.get("/api/twin/state", headers=admin).json()["hosts"]
            return {host["hostname"]: host.get("unverified", "absent") for host in hosts}

        assert {name: marks()[name] for name in ("titan-01", "web-01")} == {"titan-01": True, "web-01": "absent"}
        assert ego.get("/api/hosts/titan-01", headers=admin).json()["unverified"] is True
        assert ego.stop() < 8
        ego.start()
        assert {name: marks()[name] for name in ("titan-01", "web-01")} == {"titan-01": True, "web-01": "absent"}
        ego.run("agents revoke titan-01")
        own = ego.bearer("--agent titan-01")
        ego.post_samples(make_sample("titan-01"), headers=own).raise_for_status()
        wait_until(lambda: marks()["titan-01"] == "absent", 5, what="a token proves who it is")


# ------------------------------------------------------------------ commands


def test_a_command_needs_the_admins_word_and_a_confirmation(ego: TwoListeners, admin: dict[str, str]) -> None:
    silent, _ = admit(ego, admin)
    body = {"hostname": silent, "command": "w", "confirmUnverified": True}
    refused = ego.post("/api/commands", json=body, headers=admin)
    assert (refused.status_code, f"{silent} is admitted for samples only" in refused.json()["detail"]) == (409, True)
    assert "--commands" in refused.json()["detail"]
    name, peer = admit(ego, admin, takes_commands=True)
    for confirmation in ({}, {"confirmUnverified": False}):
        asked = ego.post("/api/commands", json={"hostname": name, "command": "w"} | confirmation, headers=admin)
        assert (asked.status_code, '"confirmUnverified": true' in asked.json()["detail"]) == (409, True)
    odd = ego.post("/api/commands", json={"hostname": name, "command": "w", "confirmUnverified": "yes"}, headers=admin)
    assert odd.status_code == 400
    assert json.loads(ego.field("GET", f"/api/commands/pending/{name}", peer=peer).text) == []
    confirmed = {"hostname": name, "command": "w", "confirmUnverified": True}
    assert ego.post("/api/commands", json=confirmed, headers=admin).status_code == 201


def test_who_is_admitted_for_samples_only_is_handed_no_command(ego: TwoListeners, admin: dict[str, str]) -> None:
    """Also not one that waits already. Here the row allows it for a moment; the change is too old for EGO to notice."""
    name, peer = admit(ego, admin)
    ego.rows("UPDATE agents SET takes_commands = ?, changed_at = changed_at - 600000 WHERE hostname = ?", True, name)
    new = {"hostname": name, "command": "w", "confirmUnverified": True}
    made = ego.post("/api/commands", json=new, headers=admin)
    assert made.status_code == 201
    assert ego.field("GET", f"/api/commands/pending/{name}", peer=peer).text == "[]"
    assert ego.field("GET", f"/api/field/commands/pending/{name}", peer=peer).text == '{"items":[]}'
    assert ego.get(f"/api/commands/{made.json()['id']}", headers=admin).json()["status"] == "pending"


def test_it_cannot_report_or_claim_for_another_host(ego: TwoListeners, admin: dict[str, str]) -> None:
    one, peer = admit(ego, admin, takes_commands=True)
    other, other_peer = admit(ego, admin, takes_commands=True)
    new = {"hostname": one, "command": "w", "confirmUnverified": True}
    id = ego.post("/api/commands", json=new, headers=admin).json()["id"]
    assert ego.field("GET", f"/api/commands/pending/{one}", peer=other_peer).status == 401
    assert json.loads(ego.field("GET", f"/api/commands/pending/{one}", peer=peer).text)[0]["id"] == id
    forged = ego.field("POST", f"/api/commands/{id}/result", {"status": "succeeded"}, other_peer)
    assert forged.status == 404
    assert other in ego.run("agents list --json")


# ------------------------------------------------------------------ what the listener serves


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Config(testing=True), with_storage=False)


def rules(app: Flask) -> list[tuple[str, str, str]]:
    """(endpoint, method, a path) of every route."""
    return sorted(
        (rule.endpoint, method, re.sub(r"<[^>]+>", "one", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    )


def test_the_list_of_served_routes_names_the_specifications_and_no_other(app: Flask) -> None:
    served = {
        endpoint for endpoint, method, path in rules(app) if FIELD_ROUTES.fullmatch(f"{method} {path}") is not None
    }
    assert served == SERVED
    for endpoint, method, path in rules(app):
        is_served = FIELD_ROUTES.fullmatch(f"{method} {path}") is not None
        assert is_served == (endpoint in SERVED and method != "OPTIONS"), (method, path)


def test_every_other_route_of_the_route_map_is_refused(ego: TwoListeners, app: Flask, admin: dict[str, str]) -> None:
    _, peer = admit(ego, admin)
    refused = 0
    for endpoint, method, path in rules(app):
        if endpoint in SERVED and method != "OPTIONS":
            continue
        answer = ego.field(method, path, {} if method == "POST" else None, peer)
        assert answer.status == 421, (method, path, answer)
        if method != "HEAD":
            assert f"use {ego.url}" in answer.detail, (method, path)
        refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    "target",
    [
        "/", "/index.html", "/socket.io/?EIO=4&transport=polling", "/enroll.sh", "/api/health/ready", "/api/metrics/batch",
        "/api/commands", "/api/commands/pending", "/api/hosts", "/nothing",
    ],
)  # fmt: skip
def test_what_a_browser_or_a_curious_client_asks_is_refused(ego: TwoListeners, target: str) -> None:
    assert ego.field("GET", target).status == 421


@pytest.mark.parametrize("target", ["//api/commands/pending/a", "/api/commands/pending/a%2F..", "/api/./health"])
def test_a_path_in_another_form_is_refused_as_everywhere(ego: TwoListeners, target: str) -> None:
    assert ego.field("GET", target).status == 400


def test_a_websocket_is_refused(ego: TwoListeners) -> None:
    with socket.create_connection(("127.0.0.1", ego.field_port), timeout=20) as client:
        client.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert client.recv(12) == b"HTTP/1.1 421"


def test_a_token_in_the_clear_is_refused_and_said_to_be_lost(ego: TwoListeners, admin: dict[str, str]) -> None:
    name, peer = admit(ego, admin)
    for headers in (admin, ego.bearer(f"--agent {unique_hostname()}"), {"X-Mirror-Stage-Page": "half"}):
        named = {key.replace("-", "_"): value for key, value in headers.items()}
        for method, path, body in (
            ("POST", "/api/metrics/batch", batch(name)),
            ("GET", f"/api/commands/pending/{name}", None),
            ("GET", "/api/hosts", None),
        ):
            answer = ego.field(method, path, body, peer, **named)
            assert answer.status == 401
            assert "was sent in the clear" in answer.detail
            assert "revoke" in answer.detail
    foreign = ego.field("POST", "/api/metrics/batch", batch(name), peer, Authorization="Basic YTpi")
    assert foreign.status == 202, "it is for somebody else, such as a proxy"


def test_the_main_listener_takes_nobody_without_a_credential(ego: TwoListeners, admin: dict[str, str]) -> None:
    """A name and an address count on the other listener only."""
    name, peer = admit(ego, admin)
    through_proxy = ego.post_samples(make_sample(name), headers={"X-Forwarded-For": peer})
    assert through_proxy.status_code == 401
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://127.0.0.1:{ego.field_port}/api/health", verify=ego.trusted, timeout=20)


def test_one_connection_serves_many_requests_and_each_is_judged(ego: TwoListeners, admin: dict[str, str]) -> None:
    name, peer = admit(ego, admin)
    client = http.client.HTTPConnection("127.0.0.1", ego.field_port, timeout=20, source_address=(peer, 0))
    client.connect()
    wire, statuses = client.sock, []
    for path in ("/api/health", f"/api/commands/pending/{name}", "/api/hosts", "/api/health"):
        client.request("GET", path)
        answer = client.getresponse()
        answer.read()
        statuses.append(answer.status)
    assert statuses == [200, 200, 421, 200]
    assert client.sock is wire, "the connection was kept"
    ego.run(f"agents revoke {name}")

    def is_refused() -> bool:
        client.request("GET", f"/api/commands/pending/{name}")
        answer = client.getresponse()
        answer.read()
        return answer.status == 401

    wait_until(is_refused, CUT_SECONDS, every=0.2, what="the open connection is refused, too")
    client.close()


# ------------------------------------------------------------------ start and stop


def test_both_listeners_stop_cleanly_with_open_connections(tmp_path: Path) -> None:
    with running_ego(tmp_path, two_listeners(), TwoListeners) as ego:
        assert isinstance(ego, TwoListeners)
        idle = [socket.create_connection(("127.0.0.1", port), timeout=20) for port in (ego.port, ego.field_port) * 3]
        kept = http.client.HTTPConnection("127.0.0.1", ego.field_port, timeout=20)
        kept.request("GET", "/api/health")
        assert kept.getresponse().read() == b"ok"
        assert "is for agents of another make, in plain HTTP" in ego.log
        assert ego.stop() < 8
        assert ego.process is not None
        assert ego.process.returncode == 0
        assert "Traceback" not in ego.log
        for client in idle:
            assert raw.is_cut(client, 5)
            client.close()
        kept.close()
        for port in (ego.port, ego.field_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_an_exposed_one_turns_nothing_on_at_the_main_listener(tmp_path: Path) -> None:
    """EGO itself stays on loopback, as it was: only the other listener can be reached."""
    port = free_port()
    with running_ego(tmp_path, {"MIRROR_STAGE_FIELD_BIND": f"0.0.0.0:{port}"}, TwoListeners) as ego:
        assert isinstance(ego, TwoListeners)
        assert ego.get("/api/hosts").status_code == 200
        assert ego.field("GET", "/api/health").text == "ok"
        assert ego.field("POST", "/api/metrics/batch", batch("titan-01")).status == 401
        assert f"0.0.0.0:{port} is for agents of another make" in ego.log
