"""T21: every kind of asker asks every route and namespace of a real EGO, and gets what the declared table says.

The routes and namespaces come from the application itself. `tests/access/test_matrix.py` declares the table, and checks
that a route without a row stops the start.
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from mirror_stage.access.passwords import hashed
from mirror_stage.access.permissions import PERMISSION_BY_EVENT
from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from tests.access.test_matrix import MATRIX, MAY, REFUSED, routes
from tests.accounts import ANOTHER, OTHER, as_account, needs_root
from tests.builders import unique_hostname
from tests.contract.clients import listening
from tests.security.credentials import PASSWORD, bearer, run, signed_in, token_of
from tests.servers import EgoServer, running_ego

HOST, OTHER_HOST = "titan-01", "titan-02"
PAGE = "X-Mirror-Stage-Page"
CUT_SECONDS = 5.0  # the promise
PASSWORD_HASH = hashed(PASSWORD)
ROLES = ("viewer", "operator", "admin")
# Each ends sessions, so each principal asks them last.
LAST = ["DELETE /api/sessions", "DELETE /api/session"]
ROUTES = [name for name in routes(create_app(Config(testing=True))) if name not in LAST] + LAST
CLAIMS = {name for name in ROUTES if "/commands/pending/" in name}


@dataclass(frozen=True)
class Principal:
    """Somebody who asks: what a request carries, what a Socket.IO client says, and the row of the table that it stands for."""

    stands_for: str
    headers: dict[str, str] = field(default_factory=dict)
    auth: dict[str, str] = field(default_factory=dict)

    @property
    def is_browser(self) -> bool:
        return "Cookie" in self.headers

    @property
    def session(self) -> str:
        """The id of the session."""
        return self.headers["Cookie"].split("=")[1].partition(".")[0]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts nobody without a credential. It has one person for each role."""
    with running_ego(tmp_path_factory.mktemp("strict"), {"MIRROR_STAGE_SECURITY": "strict"}) as server:
        for role in ROLES:
            add_person(server, f"{role}-01", role)
        yield server


def add_person(ego: EgoServer, name: str, role: str) -> None:
    ego.rows(
        "INSERT INTO principals (name, role, password_hash, created_at) VALUES (?, ?, ?, 0)", name, role, PASSWORD_HASH
    )


class Makes:
    """Makes a new principal of each kind, with the rights of an admin."""

    def __init__(self, ego: EgoServer, admin: dict[str, str]):
        self._ego, self._admin = ego, admin

    def token(self, stands_for: str, headers: dict[str, str] | None = None, **wanted: str) -> Principal:
        answer = self._ego.post("/api/tokens", json=wanted, headers=headers or self._admin)
        assert answer.status_code == 201, answer.text
        token = answer.json()["token"]
        return Principal(stands_for, bearer(token), {"token": token})

    def session(self, stands_for: str, name: str) -> Principal:
        browser = signed_in(self._ego, {"name": name, "password": PASSWORD})
        return Principal(stands_for, browser.headers, {"page": browser.page})

    def revoked_token(self) -> Principal:
        gone = self.token("anonymous", role="admin")
        assert self._delete(f"/api/tokens/{gone.auth['token'].split('_')[2]}", self._admin) == 204
        return gone

    def expired_token(self) -> Principal:
        gone = self.token("anonymous", role="admin")
        self._ego.rows("UPDATE credentials SET expires_at = 1 WHERE id = ?", gone.auth["token"].split("_")[2])
        return gone

    def session_of_disabled(self) -> Principal:
        name = self._somebody()
        gone = self.session("anonymous", name)
        run(self._ego, f"users disable {name}")
        return gone

    def token_of_disabled(self) -> Principal:
        name = self._somebody()
        gone = self.token("anonymous", self.session("admin", name).headers, role="admin")
        run(self._ego, f"users disable {name}")
        return gone

    def expired_session(self) -> Principal:
        gone = self.session("anonymous", self._somebody())
        self._ego.rows("UPDATE sessions SET expires_at = 1 WHERE id = ?", gone.session)
        return gone

    def signed_out_session(self) -> Principal:
        gone = self.session("anonymous", self._somebody())
        assert self._delete("/api/session", gone.headers) == 204
        return gone

    def cookie_alone(self) -> Principal:
        return Principal("anonymous", {"Cookie": self.session("admin", "admin-01").headers["Cookie"]})

    def half_of_page_alone(self) -> Principal:
        whole = self.session("admin", "admin-01")
        return Principal("anonymous", {PAGE: whole.headers[PAGE]}, whole.auth)

    def token_to_revoke(self) -> tuple[Principal, Callable[[], object]]:
        principal = self.token("admin", role="admin")
        id = principal.auth["token"].split("_")[2]
        return principal, lambda: self._delete(f"/api/tokens/{id}", self._admin)

    def session_to_sign_out(self) -> tuple[Principal, Callable[[], object]]:
        principal = self.session("admin", self._somebody())
        return principal, lambda: self._delete("/api/session", principal.headers)

    def session_to_end_by_admin(self) -> tuple[Principal, Callable[[], object]]:
        principal = self.session("admin", self._somebody())
        return principal, lambda: self._delete(f"/api/sessions/{principal.session}", self._admin)

    def session_to_end_by(self, command: str) -> tuple[Principal, Callable[[], object]]:
        name = self._somebody()
        return self.session("admin", name), lambda: run(self._ego, command.format(name), typed="another password\n")

    def _somebody(self) -> str:
        name = unique_hostname("gone")
        add_person(self._ego, name, "admin")
        return name

    def _delete(self, path: str, headers: dict[str, str]) -> int:
        return requests.delete(self._ego.url + path, headers=headers, timeout=30).status_code


PRINCIPALS: dict[str, Callable[[Makes], Principal]] = {
    "anonymous": lambda _: Principal("anonymous"),
    "viewer by session": lambda make: make.session("viewer", "viewer-01"),
    "viewer by token": lambda make: make.token("viewer", role="viewer"),
    "operator by session": lambda make: make.session("operator", "operator-01"),
    "operator by token": lambda make: make.token("operator", role="operator"),
    "admin by session": lambda make: make.session("admin", "admin-01"),
    "admin by token": lambda make: make.token("admin", role="admin"),
    "agent of this host": lambda make: make.token("agent of titan-01", hostname=HOST),
    "agent of another host": lambda make: make.token("agent of titan-02", hostname=OTHER_HOST),
    "revoked token": Makes.revoked_token,
    "expired token": Makes.expired_token,
    "token of a disabled person": Makes.token_of_disabled,
    "session of a disabled person": Makes.session_of_disabled,
    "expired session": Makes.expired_session,
    "session that was signed out": Makes.signed_out_session,
    "cookie without the half of the page": Makes.cookie_alone,
    "half of the page without the cookie": Makes.half_of_page_alone,
}


@pytest.fixture(scope="module")
def make(ego: EgoServer) -> Makes:
    return Makes(ego, bearer(token_of(ego, "--role admin")[1]))


def visit(port: int, names: list[str], headers: dict[str, str], auth: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Status and body of each route, and 101 or 403 for each namespace. It imports nothing: another account may run it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection.request(method, path, body, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")

    found = {}
    for name in names:
        method, _, path = name.partition(" ")
        if method:
            path = path.replace("<hostname>", HOST).replace("<id>", "0" * 8).replace("<name>", "x")
            found[name] = ask(method, path, "{}" if method == "POST" else None)
            continue
        poll = "/socket.io/?EIO=4&transport=polling"
        poll += "&sid=" + json.loads(ask("GET", poll)[1][1:])["sid"]
        ask("POST", poll, f"40{path},{json.dumps(auth)}")
        packet = ask("GET", poll)[1]
        assert packet.startswith((f"40{path},", f"44{path},")), packet
        found[name] = (101, packet) if packet.startswith("40") else (403, packet)
    return found


NAMES = [f" {namespace}" for namespace in PERMISSION_BY_EVENT] + ROUTES


def expected(name: str, principal: Principal) -> set[int] | None:
    """The statuses with which EGO refuses; None if it lets in."""
    of_route = MATRIX[name if name[0] != " " else f"{name[1:]} connect"]
    who = "agent of titan-01" if principal.stands_for == "agent of titan-02" else principal.stands_for
    is_foreign = principal.stands_for == "agent of titan-02" and name in CLAIMS
    if who in MAY[of_route] and not is_foreign and not (principal.is_browser and name in CLAIMS):
        return None
    return {403} if name[0] == " " or who != "anonymous" else {401}


def check(found: dict[str, tuple[int, str]], principal: Principal) -> None:
    assert set(found) == set(NAMES)
    wrong = {
        name: (status, refusals, body[:200])
        for name, (status, body) in found.items()
        for refusals in [expected(name, principal)]
        if status >= 500 or (status in REFUSED if refusals is None else status not in refusals)
    }
    assert wrong == {}


@pytest.mark.parametrize("kind", PRINCIPALS)
def test_a_principal_gets_what_the_table_says_and_nothing_else(ego: EgoServer, make: Makes, kind: str) -> None:
    principal = PRINCIPALS[kind](make)
    check(visit(ego.port, NAMES, principal.headers, principal.auth), principal)


@needs_root
def test_accounts_of_this_machine_get_what_the_table_says(tmp_path: Path) -> None:
    with running_ego(tmp_path, {"MIRROR_STAGE_LOCAL_AGENTS": str(ANOTHER)}) as ego:
        check(visit(ego.port, NAMES, {}, {}), Principal("local"))
        for uid, stands_for in ((ANOTHER, "agent"), (OTHER, "anonymous")):
            check(as_account(uid, lambda: visit(ego.port, NAMES, {}, {})), Principal(stands_for))


def test_a_command_of_another_host_looks_to_an_agent_like_one_that_does_not_exist(ego: EgoServer, make: Makes) -> None:
    operator, own, foreign = (
        make.token("operator", role="operator").headers,
        make.token("agent", hostname=HOST).headers,
        make.token("agent", hostname=OTHER_HOST).headers,
    )
    id = ego.post("/api/commands", json={"hostname": HOST, "command": "w"}, headers=operator).json()["id"]
    assert id in ego.get(f"/api/commands/pending/{HOST}", headers=own).text
    unknown = str(uuid.uuid4())
    before = ego.get(f"/api/commands/{id}", headers=operator).json()
    reports = {
        "/api/commands/{}/result": {"status": "succeeded"},
        "/api/commands/{}/heartbeat": {"phase": "started"},
        "/api/commands/{}/output": {"seq": 0, "stream": "stdout", "data": "forged"},
        "/api/field/commands/result/{}": {"status": "success"},
    }
    for path, body in reports.items():
        of_this, of_none = (ego.post(path.format(each), json=body, headers=foreign) for each in (id, unknown))
        assert (of_this.status_code, of_none.status_code) == (404, 404), path
        assert of_this.text.replace(id, unknown) == of_none.text
    assert ego.get(f"/api/commands/{id}", headers=operator).json() == before
    for path, body in reports.items():  # the last word is a repeat of the first
        assert ego.post(path.format(id), json=body, headers=own).status_code in {200, 201, 409}, path


ENDS: dict[str, Callable[[Makes], tuple[Principal, Callable[[], object]]]] = {
    "the token is revoked": Makes.token_to_revoke,
    "the person signs out": Makes.session_to_sign_out,
    "an admin ends the session": Makes.session_to_end_by_admin,
    "the password is changed": lambda make: make.session_to_end_by("users password {}"),
    "the person is disabled": lambda make: make.session_to_end_by("users disable {}"),
}


@pytest.mark.parametrize("end", ENDS)
def test_whoever_loses_the_right_loses_every_socket_within_five_seconds(ego: EgoServer, make: Makes, end: str) -> None:
    principal, take_away = ENDS[end](make)
    headers = {name: text for name, text in principal.headers.items() if name == "Cookie"}
    with ExitStack() as stack:
        clients = [
            stack.enter_context(listening(ego, namespace, auth=principal.auth, headers=headers))
            for namespace in PERMISSION_BY_EVENT
        ]
        assert not any(client.disconnected.is_set() for client in clients)
        take_away()
        taken_at = time.monotonic()
        for client in clients:
            assert client.disconnected.wait(taken_at + CUT_SECONDS - time.monotonic()), client.namespace
    assert ego.get("/api/twin/state", headers=principal.headers).status_code == 401
