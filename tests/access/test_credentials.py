"""Which credential of a request counts, and that it is checked again whenever somebody goes on."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mirror_stage.access import service as access
from mirror_stage.access.domain import ADMIN, LOCAL, OPERATOR, Actor
from mirror_stage.access.gate import Gate
from mirror_stage.access.service import People
from mirror_stage.app import create_app
from mirror_stage.commands.domain import Chunk, NewCommand
from mirror_stage.commands.service import CommandService
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.web.realtime import Realtime

HERE = Actor(LOCAL, role=ADMIN)
COOKIE = "mirror-stage-session"


@pytest.fixture
def app() -> Flask:
    """An EGO on loopback that trusts this test without a credential."""
    return create_app(Config(testing=True, trusted_proxies=("127.0.0.1",)))


@pytest.fixture
def people(app: Flask) -> People:
    found: People = app.extensions["mirror_stage"][People]
    return found


def token(people: People, role: str | None = OPERATOR, hostname: str | None = None) -> tuple[str, str]:
    """The id and the text of a new token."""
    text, row = people.create_token(HERE, role=role, hostname=hostname, note=None, lasts=None)
    return row.id, text


def me(client: FlaskClient, headers: dict[str, str], **options: Any) -> tuple[str, str | None]:
    """The role and the name of whoever asks with these headers."""
    found = client.get("/api/me", headers=headers, **options).json
    return found["role"], found["name"]


def signed_in(client: FlaskClient, people: People, **options: Any) -> tuple[Any, str]:
    """The answer to a sign-in, and the page's half."""
    secret = people.create_link("ada", ADMIN, HERE)
    answer = client.post("/api/session", json={"link": secret}, **options)
    assert answer.status_code == 201
    return answer, answer.json["page"]


def test_a_token_counts_more_than_the_account_of_this_machine(app: Flask, people: People) -> None:
    client = app.test_client()
    id, text = token(people)
    assert me(client, {}) == ("admin", None)
    assert me(client, {"Authorization": f"Bearer {text}"}) == ("operator", f"token:{id}")
    refused = client.get("/api/tokens", headers={"Authorization": f"Bearer {text}"})
    assert (refused.status_code, "role operator" in refused.json["detail"]) == (403, True)


@pytest.mark.parametrize("said", ["Basic YWRhOng=", "Bearer eyJhbGciOi", "Bearer", "ms_user_x"])
def test_an_authorization_for_somebody_else_is_passed_over(app: Flask, said: str) -> None:
    assert me(app.test_client(), {"Authorization": said}) == ("admin", None)


def test_a_token_that_is_not_valid_is_not_passed_over(app: Flask, people: People) -> None:
    client = app.test_client()
    id, text = token(people)
    people.revoke(id, HERE)
    for said, why in ((text, "was revoked"), (text[:-1] + "?", "copy it again"), ("ms_", "copy it again")):
        answer = client.get("/api/hosts", headers={"Authorization": f"Bearer {said}"})
        assert (answer.status_code, why in answer.json["detail"]) == (401, True)
    assert client.get("/api/health", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_the_secret_of_a_link_is_no_token(app: Flask, people: People) -> None:
    secret = people.create_link("ada", ADMIN, HERE)
    answer = app.test_client().get("/api/hosts", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, "for signing in once" in answer.json["detail"]) == (401, True)
    _, text = token(people)
    answer = app.test_client().post("/api/session", json={"link": text})
    assert (answer.status_code, "no link" in answer.json["detail"]) == (401, True)


def test_over_https_the_cookie_is_for_this_host_and_for_https_only(app: Flask, people: People) -> None:
    https = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.7", "Host": "127.0.0.1"}
    client = app.test_client(use_cookies=False)
    answer, page = signed_in(client, people, headers=https)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"__Host-{COOKIE}=")
    assert "Secure" in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    assert me(client, https | {"Cookie": f"__Host-{COOKIE}={value}", "X-Mirror-Stage-Page": page})[0] == "admin"
    assert me(client, https | {"Cookie": f"{COOKIE}={value}", "X-Mirror-Stage-Page": page})[0] == "nobody"


@pytest.mark.parametrize(
    "body", [{}, {"link": "x", "name": "a", "password": "b"}, {"name": "a"}, {"link": 7}, {"name": "a", "password": ""}]
)
def test_a_sign_in_shows_one_proof(app: Flask, body: dict[str, Any]) -> None:
    assert app.test_client().post("/api/session", json=body).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"role": "viewer", "hostname": "a"},
        {"role": "root"},
        {"role": "agent"},
        {"hostname": "a/b"},
        {"role": "viewer", "expiresInSeconds": 0},
        {"role": "viewer", "note": "x" * 201},
    ],
)
def test_a_token_is_for_one_role_or_one_host(app: Flask, body: dict[str, Any]) -> None:
    assert app.test_client().post("/api/tokens", json=body).status_code == 400


def test_a_lookup_counts_for_one_second(app: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    now, read = [1_000.0], []
    monkeypatch.setattr(access, "elapsed_seconds", lambda: now[0])
    known = access.store.known
    monkeypatch.setattr(access.store, "known", lambda tx, keys: read.append(keys) or known(tx, keys))
    _, text = token(people)
    for _ in range(3):
        assert people.actor_of_token(text, None).role == OPERATOR
    assert len(read) == 1
    now[0] += 1.0
    assert people.actor_of_token(text, None).role == OPERATOR
    assert len(read) == 2


def test_a_socket_is_refused_at_its_next_event_and_its_next_chunk(app: Flask, people: People) -> None:
    ego, socketio = app.extensions["mirror_stage"], app.extensions["socketio"]
    commands: CommandService = ego[CommandService]
    id, text = token(people)
    client = socketio.test_client(app, namespace="/commands", auth={"token": text})
    command, _ = commands.create(NewCommand("chunks-01", "w"), HERE)
    commands.claim("chunks-01", HERE)
    told: list[Any] = []
    ego[Realtime].tell = lambda _namespace, _sid, event, payload: told.append((event, payload["data"]))
    assert client.emit("watch-command", {"id": command.id}, namespace="/commands", callback=True) == {"ok": True}
    commands.append_output(command.id, Chunk(1, "stdout", "before"), HERE)
    people.revoke(id, HERE)
    commands.append_output(command.id, Chunk(2, "stdout", "after"), HERE)
    assert told == [("command-output", "before")]
    answer = client.emit("watch-command", {"id": command.id}, namespace="/commands", callback=True)
    assert (answer["ok"], "was revoked" in answer["error"]) == (False, True)


def test_while_the_database_is_away_a_credential_proves_nothing(app: Flask, people: People) -> None:
    socketio, gate = app.extensions["socketio"], app.extensions["mirror_stage"][Gate]
    _, text = token(people)
    client = socketio.test_client(app, namespace="/commands", auth={"token": text})
    sid = socketio.server.manager.sid_from_eio_sid(client.eio_sid, "/commands")
    assert gate.event_refusal("/commands", sid, "watch-command") is None

    def away(*_arguments: Any) -> Any:
        raise Unavailable("the database does not answer")

    people.forget()
    people._storage.read = away  # type: ignore[method-assign]
    assert gate.event_refusal("/commands", sid, "watch-command") == "the database does not answer"
    http, headers = app.test_client(), {"Authorization": f"Bearer {text}"}
    assert http.get("/api/hosts", headers=headers).status_code == 503
    assert http.get("/api/me", headers=headers).status_code == 503
    assert http.get("/api/health", headers=headers).text == "ok"
    assert http.get("/api/hosts").status_code == 200  # this machine's own user needs no database for that
