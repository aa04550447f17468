"""The namespace `/commands`, as a Socket.IO client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIOTestClient

from mirror_stage.app import create_app
from mirror_stage.commands.service import CommandService
from mirror_stage.core.config import Config
from mirror_stage.web.realtime import Realtime
from tests.commands.bench import UNKNOWN

NAMESPACE = "/commands"


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Config(testing=True))


@pytest.fixture
def browser(app: Flask) -> Iterator[SocketIOTestClient]:
    socketio = app.extensions["socketio"]
    client = socketio.test_client(app, namespace=NAMESPACE)
    yield client
    if client.is_connected(NAMESPACE):
        client.disconnect(namespace=NAMESPACE)


def running(app: Flask, host: str) -> str:
    rest = app.test_client()
    rest.post("/api/commands", json={"hostname": host, "command": "uptime"})
    return rest.get(f"/api/commands/pending/{host}").json[0]["id"]


def say(app: Flask, id: str, seq: int) -> None:
    body = {"seq": seq, "stream": "stdout", "data": f"line {seq}\n"}
    assert app.test_client().post(f"/api/commands/{id}/output", json=body).status_code == 200


def watch(browser: SocketIOTestClient, *wanted: Any) -> Any:
    return browser.emit("watch-command", *wanted, namespace=NAMESPACE, callback=True)


@pytest.fixture
def heard(browser: SocketIOTestClient, app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The events sent to this client, recorded here: Flask-SocketIO's test client has no real socket."""
    sent: list[tuple[str, dict[str, Any]]] = []
    realtime = app.extensions["mirror_stage"][Realtime]
    monkeypatch.setattr(realtime, "tell", lambda _ns, _sid, event, payload: sent.append((event, payload)))
    monkeypatch.setattr(realtime, "publish", lambda _ns, event, payload, **_: sent.append((event, payload)))
    return sent


def test_a_watcher_gets_the_stored_output_then_the_new_output(
    app: Flask, browser: SocketIOTestClient, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    id = running(app, "socket-01")
    say(app, id, 0)
    say(app, id, 1)
    heard.clear()
    assert watch(browser, {"id": id, "afterSeq": 0}) == {"ok": True}
    say(app, id, 2)
    assert heard == [
        ("command-output", {"id": id, "seq": seq, "stream": "stdout", "data": f"line {seq}\n"}) for seq in (1, 2)
    ]


def test_a_client_that_leaves_is_forgotten(app: Flask, browser: SocketIOTestClient) -> None:
    id = running(app, "socket-02")
    assert watch(browser, {"id": id}) == {"ok": True}
    browser.disconnect(namespace=NAMESPACE)
    assert not app.extensions["mirror_stage"][CommandService]._watchers._ids_by_client


@pytest.mark.parametrize(
    "wanted",
    [
        (),
        (None,),
        ("id",),
        ({},),
        ({"id": 5},),
        ({"id": "x"},),
        ({"id": UNKNOWN, "afterSeq": "0"},),
        ({"id": UNKNOWN},),
    ],
)
def test_a_watch_that_is_impossible_is_refused_with_a_reason(
    browser: SocketIOTestClient, wanted: tuple[Any, ...]
) -> None:
    ack = watch(browser, *wanted)
    assert ack["ok"] is False
    assert ack["error"]
