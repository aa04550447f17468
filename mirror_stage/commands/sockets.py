"""Socket.IO: the namespace `/commands`."""

from __future__ import annotations

from typing import Any

from flask import g, request
from flask_socketio import SocketIO
from marshmallow import ValidationError

from mirror_stage.access.permissions import admit_client
from mirror_stage.commands.domain import Caller, normalise_id
from mirror_stage.commands.events import NAMESPACE
from mirror_stage.commands.schemas import WatchSchema
from mirror_stage.commands.service import CommandService
from mirror_stage.core.problems import Problem
from mirror_stage.web.port import service

Ack = dict[str, Any]
_watch_schema = WatchSchema()


def register(socketio: SocketIO) -> None:
    """Install what clients of the namespace may ask for."""
    socketio.on_event("connect", connect, namespace=NAMESPACE)
    socketio.on_event("watch-command", watch_command, namespace=NAMESPACE)
    socketio.on_event("disconnect", disconnect, namespace=NAMESPACE)


def connect(_auth: Any = None) -> None:
    """Let a client in that may be here."""
    admit_client(NAMESPACE)


def watch_command(wanted: Any = None, *_rest: Any) -> Ack:
    """Replay a command's output, then stream it."""
    try:
        asked = _watch_schema.load(wanted)
        after_seq = -1 if asked["afterSeq"] is None else asked["afterSeq"]
        id = normalise_id(asked["id"]) or ""
        service(CommandService).watch(
            _client(), id, after_seq, Caller(g.get("actor"), request.remote_addr, g.get("agent_of"))
        )
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
