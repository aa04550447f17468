"""Socket.IO: the namespace `/commands`."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_socketio import SocketIO
from marshmallow import ValidationError

from mirror_stage.access.gate import Gate, actor
from mirror_stage.commands.domain import normalise_id
from mirror_stage.commands.events import NAMESPACE
from mirror_stage.commands.schemas import WatchSchema
from mirror_stage.commands.service import CommandService
from mirror_stage.core.problems import Problem
from mirror_stage.web.services import service

Ack = dict[str, Any]
_watch_schema = WatchSchema()


def register(socketio: SocketIO) -> None:
    """Install the handlers of the namespace."""
    socketio.on_event("connect", connect, namespace=NAMESPACE)
    socketio.on_event("watch-command", watch_command, namespace=NAMESPACE)
    socketio.on_event("disconnect", disconnect, namespace=NAMESPACE)


def connect(_auth: Any = None) -> None:
    """Nothing more to do: the gate has let the client in."""


def watch_command(wanted: Any = None, *_rest: Any) -> Ack:
    """Replay a command's output, then stream it."""
    try:
        asked = _watch_schema.load(wanted)
        after_seq = -1 if asked["afterSeq"] is None else asked["afterSeq"]
        id = normalise_id(asked["id"]) or ""
        client, gate = _client(), service(Gate)

        def may_hear() -> bool:
            """Whether this client may still watch: it may lose its permission while the command runs."""
            return gate.event_refusal(NAMESPACE, client, "watch-command") is None

        service(CommandService).watch(client, id, after_seq, actor(), may_hear)
    except ValidationError as error:
        return {"ok": False, "error": str(error.messages)}
    except Problem as problem:
        return {"ok": False, "error": problem.detail}
    return {"ok": True}


def disconnect(*_reason: Any) -> None:
    """End the watches of a client that is gone."""
    service(CommandService).forget_client(_client())


def _client() -> str:
    return str(request.sid)  # type: ignore[attr-defined]  # Flask-SocketIO puts it there
