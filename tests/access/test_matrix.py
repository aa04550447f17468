"""The authorization matrix, generated from the routes and events there are, equals the table below; and it is kept to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from flask import Flask, g
from flask_socketio import SocketIO

from mirror_stage.access.domain import (
    ADMIN,
    ANONYMOUS,
    LOCAL,
    OPERATOR,
    PERMISSIONS,
    REPORTER,
    VIEWER,
    Actor,
    actor_of_agent,
    actor_of_field,
    actor_of_person,
    decide,
    not_admitted,
)
from mirror_stage.access.gate import Gate, Sockets, check_declared
from mirror_stage.access.permissions import PERMISSION_BY_EVENT, permission_of_event
from mirror_stage.access.permissions import PERMISSION_BY_ROUTE as ROUTES
from mirror_stage.app import create_app
from mirror_stage.commands.domain import NewCommand
from mirror_stage.commands.service import CommandService
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.installer.wheels import WHEELS

EVERYBODY, AGENTS = "everybody", "agents and admins"
VIEWERS, OPERATORS, ADMINS = "viewers and more", "operators and more", "admins only"
WHO = {
    "local": Actor(LOCAL, role=ADMIN),
    "agent": Actor(LOCAL, role=REPORTER, because="an agent may not"),
    "anonymous": Actor(ANONYMOUS, because="a stranger may not"),
    "open": Actor(ANONYMOUS, role=ADMIN),
    "viewer": actor_of_person("vera", VIEWER, None, credential=None, principal=1),
    "operator": actor_of_person("olaf", OPERATOR, None, credential=None, principal=2),
    "admin": actor_of_person("ada", ADMIN, None, credential=None, principal=3),
    "agent of titan-01": actor_of_agent("titan-01", None, credential=None),
    "field agent of titan-01": actor_of_field("titan-01", "10.0.0.10"),
    "field agent of nobody": actor_of_field(None, "10.0.0.11"),
}
MAY = {
    EVERYBODY: set(WHO),
    AGENTS: {"local", "open", "admin", "agent", "agent of titan-01", "field agent of titan-01"},
    VIEWERS: {"local", "open", "admin", "operator", "viewer"},
    OPERATORS: {"local", "open", "admin", "operator"},
    ADMINS: {"local", "open", "admin"},
}

# The declared table: what is new has to be written here too, by somebody who thinks about it.
MATRIX = {
    "DELETE /api/alert-rules/<name>": ADMINS,
    "DELETE /api/alerts/<id>/ack": OPERATORS,
    "DELETE /api/channels/<name>": ADMINS,
    "DELETE /api/enrol-codes/<id>": ADMINS,
    "DELETE /api/hosts/<hostname>": OPERATORS,
    "DELETE /api/maintenance/<id>": OPERATORS,
    "DELETE /api/mute-times/<name>": ADMINS,
    "DELETE /api/session": EVERYBODY,
    "DELETE /api/sessions": VIEWERS,
    "DELETE /api/sessions/<id>": VIEWERS,
    "DELETE /api/silences/<id>": OPERATORS,
    "DELETE /api/tokens/<id>": ADMINS,
    "DELETE /api/views/<name>": OPERATORS,
    "GET /": EVERYBODY,
    "GET /THIRD_PARTY_LICENSES.txt": EVERYBODY,
    "GET /api/agents": ADMINS,
    "GET /api/alert-rules": VIEWERS,
    "GET /api/alert-rules/<name>": VIEWERS,
    "GET /api/alert-groups": VIEWERS,
    "GET /api/alert-groups/<id>": VIEWERS,
    "GET /api/alerting": ADMINS,
    "GET /api/alerts": VIEWERS,
    "GET /api/alerts/active": VIEWERS,
    "GET /api/audit": ADMINS,
    "GET /api/channels": VIEWERS,
    "GET /api/channels/<name>": VIEWERS,
    "GET /api/commands": OPERATORS,
    "GET /api/commands/<id>": OPERATORS,
    "GET /api/commands/<id>/events": OPERATORS,
    "GET /api/commands/pending/<hostname>": AGENTS,
    "GET /api/deliveries": VIEWERS,
    "GET /api/enrol-codes": ADMINS,
    "GET /api/dispatch": VIEWERS,
    "GET /api/field/commands/pending/<hostname>": AGENTS,
    "GET /api/health": EVERYBODY,
    "GET /api/health/ready": EVERYBODY,
    "GET /api/heartbeat": VIEWERS,
    "GET /api/history": VIEWERS,
    "GET /api/history/processes": VIEWERS,
    "GET /api/hosts": VIEWERS,
    "GET /api/hosts/<hostname>": VIEWERS,
    "GET /api/hosts/<hostname>/alert-routes": VIEWERS,
    "GET /api/hosts/<hostname>/alert-rules": VIEWERS,
    "GET /api/hosts/<hostname>/availability": VIEWERS,
    "GET /api/hosts/<hostname>/disks": VIEWERS,
    "GET /api/hosts/<hostname>/history": VIEWERS,
    "GET /api/info": VIEWERS,
    "GET /api/maintenance": VIEWERS,
    "GET /api/me": EVERYBODY,
    "GET /api/mute-times": VIEWERS,
    "GET /api/openapi.json": EVERYBODY,
    "GET /api/prometheus/targets": VIEWERS,
    "GET /api/routes": VIEWERS,
    "GET /api/routes/reach": VIEWERS,
    "GET /api/selection": VIEWERS,
    "GET /api/sessions": VIEWERS,
    "GET /api/silences": VIEWERS,
    "GET /api/timeline": VIEWERS,
    "GET /api/tls/root.pem": EVERYBODY,
    "GET /api/tokens": ADMINS,
    "GET /api/twin/diff": VIEWERS,
    "GET /api/twin/state": VIEWERS,
    "GET /api/views": VIEWERS,
    "GET /assets/<name>": EVERYBODY,
    "GET /enroll.sh": EVERYBODY,
    "GET /enroll/<name>": EVERYBODY,
    "GET /icon.svg": EVERYBODY,
    "GET /metrics": VIEWERS,
    "GET /metrics/fleet": VIEWERS,
    "GET /plain": VIEWERS,
    "GET /plain/<name>": EVERYBODY,
    "POST /api/alert-rules": ADMINS,
    "POST /api/alert-rules/backtest": ADMINS,
    "POST /api/alert-rules/preview": ADMINS,
    "POST /api/alerts/<id>/ack": OPERATORS,
    "POST /api/alerts/acknowledge": OPERATORS,
    "POST /api/alert-groups/<id>/ack": OPERATORS,
    "POST /api/agents/field": ADMINS,
    "POST /api/agents/<id>/approve": ADMINS,
    "POST /api/agents/<id>/labels": ADMINS,
    "POST /api/agents/<id>/revoke": ADMINS,
    "POST /api/agents/<id>/unlock": ADMINS,
    "POST /api/agents/enroll": EVERYBODY,
    "POST /api/agents/self/rotate": AGENTS,
    "POST /api/alerting/apply": ADMINS,
    "POST /api/alerting/plan": ADMINS,
    "POST /api/channels": ADMINS,
    "POST /api/channels/<name>/test": ADMINS,
    "POST /api/commands": OPERATORS,
    "POST /api/commands/<id>/cancel": OPERATORS,
    "POST /api/commands/<id>/heartbeat": AGENTS,
    "POST /api/commands/<id>/output": AGENTS,
    "POST /api/commands/<id>/result": AGENTS,
    "POST /api/deliveries/<id>/retry": ADMINS,
    "POST /api/enrol-codes": ADMINS,
    "POST /api/field/commands/result/<id>": AGENTS,
    "POST /api/maintenance": OPERATORS,
    "POST /api/metrics/batch": AGENTS,
    "POST /api/mute-times": ADMINS,
    "POST /api/session": EVERYBODY,
    "POST /api/silences": OPERATORS,
    "POST /api/tokens": ADMINS,
    "PUT /api/alert-rules/<name>": ADMINS,
    "PUT /api/channels/<name>": ADMINS,
    "PUT /api/maintenance/<id>": OPERATORS,
    "PUT /api/mute-times/<name>": ADMINS,
    "PUT /api/silences/<id>": OPERATORS,
    "PUT /api/views/<name>": OPERATORS,
    "PUT /api/dispatch": OPERATORS,  # only admins resume: test_dispatch.py
    "PUT /api/routes": ADMINS,
    "/alerts connect": VIEWERS,
    "/commands connect": OPERATORS,
    "/commands disconnect": EVERYBODY,
    "/commands watch-command": OPERATORS,
    "/digital-twin connect": VIEWERS,
    "/digital-twin disconnect": EVERYBODY,
    "/digital-twin resync": VIEWERS,
    "/digital-twin seen": VIEWERS,
    "/digital-twin subscribe": VIEWERS,
    "/digital-twin unwatch-host": VIEWERS,
    "/digital-twin watch-host": VIEWERS,
}
REFUSED = {401, 403}


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Config(testing=True))


@pytest.fixture
def asking(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Actor]]:
    """Whoever is put into this list sends the requests and connects the clients of the test."""
    who: list[Actor] = []
    monkeypatch.setattr(app.extensions["mirror_stage"][Gate], "actor_of", lambda _environ, _auth=None: who[-1])
    yield who


def routes(app: Flask) -> dict[str, Any]:
    """Every route by `METHOD /path`."""
    return {
        f"{method} {rule.rule}": rule
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def handled(app: Flask) -> dict[str, tuple[str, str]]:
    """Every event that is handled, by `/namespace event`."""
    handlers = app.extensions["socketio"].server.handlers
    return {f"{namespace} {event}": (namespace, event) for namespace in handlers for event in handlers[namespace]}


def test_the_generated_matrix_is_the_declared_one(app: Flask) -> None:
    needs = {name: ROUTES.get(rule.endpoint) for name, rule in routes(app).items()}
    needs |= {name: permission_of_event(*event) for name, event in handled(app).items()}
    generated = {
        name: {who for who, actor in WHO.items() if decide(actor, permission) is None}
        for name, permission in needs.items()
    }
    assert generated == {name: MAY[whom] for name, whom in MATRIX.items()}


def test_the_tables_have_exactly_the_routes_and_events_that_there_are(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == set(ROUTES)
    assert {(n, e) for n in PERMISSION_BY_EVENT for e in PERMISSION_BY_EVENT[n]} == set(handled(app).values())
    declared = {*ROUTES.values(), *(needed for events in PERMISSION_BY_EVENT.values() for needed in events.values())}
    assert declared <= set(PERMISSIONS)


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """EGO does not build the agent's wheels: who may download them is decided before."""

    def ready() -> None:
        raise Unavailable("this test builds no wheels")

    monkeypatch.setattr(WHEELS, "ready", ready)


@pytest.mark.usefixtures("no_wheels")
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("route", [name for name in MATRIX if not name.startswith("/")])
def test_every_route_lets_in_whom_the_matrix_says(app: Flask, asking: list[Actor], route: str, who: str) -> None:
    asking.append(WHO[who])
    method, _, path = route.partition(" ")
    path = path.replace("<hostname>", "titan-01").replace("<id>", "0" * 8).replace("<name>", "x")
    answer = app.test_client().open(path, method=method)
    assert (answer.status_code not in REFUSED) == (who in MAY[MATRIX[route]])
    if answer.status_code in REFUSED:
        assert answer.json["detail"] in {WHO[who].because, not_admitted("titan-01", WHO[who].peer)}
        assert answer.status_code == (401 if WHO[who].is_unknown else 403)
        assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("namespace", PERMISSION_BY_EVENT)
def test_every_namespace_lets_in_whom_the_matrix_says(
    app: Flask, asking: list[Actor], namespace: str, who: str
) -> None:
    asking.append(WHO[who])
    client = app.extensions["socketio"].test_client(app, namespace=namespace)
    assert client.is_connected(namespace) == (who in MAY[MATRIX[f"{namespace} connect"]])


@pytest.mark.parametrize("name", [n for n in MATRIX if n.startswith("/") and not n.endswith("connect")])
def test_every_event_is_decided_anew(app: Flask, asking: list[Actor], name: str) -> None:
    """Who had the right when it connected is refused as soon as it has it no more."""
    namespace, _, event = name.partition(" ")
    asking.append(WHO["local"])
    socketio = app.extensions["socketio"]
    client = socketio.test_client(app, namespace=namespace)
    for who in ("anonymous", "agent"):
        sid = socketio.server.manager.sid_from_eio_sid(client.eio_sid, namespace)
        socketio.server.get_environ(sid, namespace)["mirror_stage.actors"][namespace] = WHO[who]
        answer = client.emit(event, {}, namespace=namespace, callback=True)
        assert answer == {"ok": False, "error": WHO[who].because}


def test_a_handler_finds_the_actor_that_connected(app: Flask, asking: list[Actor]) -> None:
    heard: list[Actor] = []
    socketio = app.extensions["socketio"]
    handlers = dict(socketio.server.handlers["/digital-twin"])
    try:
        socketio.on_event("seen", lambda *_: heard.append(g.actor), namespace="/digital-twin")
        for who in ("local", "open"):
            asking.append(WHO[who])
            client = socketio.test_client(app, namespace="/digital-twin")
            asking.append(WHO["anonymous"])  # who asks now is not who connected
            client.emit("seen", {}, namespace="/digital-twin")
    finally:
        socketio.server.handlers["/digital-twin"] = handlers
    assert heard == [WHO["local"], WHO["open"]]


def test_a_route_or_event_that_nobody_declared_stops_the_start() -> None:
    app = Flask(__name__)
    socketio = Sockets(app, async_mode="threading")
    app.add_url_rule("/api/back-door", "back_door", lambda: "")
    socketio.on_event("steal", lambda: None, namespace="/commands")
    socketio.on_event("connect", lambda: None, namespace="/cellar")
    with pytest.raises(RuntimeError, match=r"back_door.*/commands steal.*/cellar connect"):
        check_declared(app, socketio)


def test_what_nobody_declared_is_refused_should_it_be_served_all_the_same() -> None:
    late = create_app(Config(testing=True))
    late.add_url_rule("/api/back-door", "back_door", lambda: "in")
    socketio: SocketIO = late.extensions["socketio"]
    socketio.on_event("steal", lambda *_: "in", namespace="/commands")
    assert "declared" in late.test_client().get("/api/back-door").json["detail"]
    client = socketio.test_client(late, namespace="/commands")
    assert "declared" in client.emit("steal", namespace="/commands", callback=True)["error"]


def test_a_poll_whose_right_is_gone_when_it_wakes_claims_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    ego, asked = app.extensions["mirror_stage"], []
    gate, commands = ego[Gate], ego[CommandService]
    monkeypatch.setattr(
        gate,
        "actor_of",
        lambda _environ, _auth=None: asked.append(1) or WHO["agent" if len(asked) <= 2 else "anonymous"],
    )
    poll = gevent.spawn(app.test_client().get, "/api/commands/pending/waits-01?wait=10")
    with gevent.Timeout(5):
        while len(asked) < 2:  # before the view, and before its first look
            gevent.sleep(0.01)
    command, _ = commands.create(NewCommand("waits-01", "w"), WHO["local"])
    answer = poll.get(timeout=5)
    assert (answer.status_code, answer.json["detail"]) == (401, WHO["anonymous"].because)
    assert commands.get(command.id, WHO["local"]).status == "pending"
