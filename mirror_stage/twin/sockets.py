"""Socket.IO: the events of the namespace `/digital-twin`."""

from __future__ import annotations

from typing import Any

import gevent
from flask import request
from flask_socketio import SocketIO

from mirror_stage.core.clock import Clock
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.twin.audience import NAMESPACE, Audience
from mirror_stage.twin.service import TwinService
from mirror_stage.web.realtime import Realtime
from mirror_stage.web.services import Services, service, services

Ack = dict[str, Any]


def register(socketio: SocketIO) -> None:
    """Register the handlers of the namespace."""
    socketio.on_event("connect", _connect, namespace=NAMESPACE)
    socketio.on_event("disconnect", _disconnect, namespace=NAMESPACE)
    socketio.on_event("subscribe", _subscribe, namespace=NAMESPACE)
    socketio.on_event("seen", _seen, namespace=NAMESPACE)
    socketio.on_event("resync", _resync, namespace=NAMESPACE)
    socketio.on_event("watch-host", _watch_host, namespace=NAMESPACE)
    socketio.on_event("unwatch-host", _unwatch_host, namespace=NAMESPACE)


def _sid() -> str:
    return str(request.sid)  # type: ignore[attr-defined]


def _member(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, dict) else None


def _connect(auth: Any = None) -> None:
    diagnostics = _member(auth, "diagnostics")
    wants_diagnostics = diagnostics if isinstance(diagnostics, bool) else None
    wants_delta = _member(auth, "stream") == "delta"
    gevent.spawn(_join, services(), _sid(), wants_delta, wants_diagnostics)  # runs after the answer to the connection


def _join(services: Services, sid: str, wants_delta: bool, wants_diagnostics: bool | None) -> None:
    if sid in services[Realtime].clients(NAMESPACE):  # the client may have disconnected already
        services[Audience].join(
            sid, services[Clock].now(), wants_delta=wants_delta, wants_diagnostics=wants_diagnostics
        )


def _disconnect(*_reason: Any) -> None:
    service(Audience).leave(_sid())


def _subscribe(message: Any = None, *_rest: Any) -> Ack:
    stream, diagnostics = _member(message, "stream"), _member(message, "diagnostics")
    if stream == "full" and isinstance(diagnostics, bool | None):
        service(Audience).subscribe_to_full(_sid(), service(Clock).now(), wants_diagnostics=bool(diagnostics))
    elif stream == "delta":
        service(Audience).subscribe(_sid(), service(Clock).now())
    else:
        return _refused('send {"stream": "delta"} or {"stream": "full", "diagnostics": true or false}')
    return {"ok": True}


def _seen(message: Any = None, *_rest: Any) -> Ack:
    revision = _member(message, "revision")
    if not isinstance(revision, int):
        return _refused('seen needs {"revision": a whole number}')
    service(Audience).seen(_sid(), revision)
    return {"ok": True}


def _resync(_message: Any = None, *_rest: Any) -> Ack:
    if service(Audience).resync(_sid(), service(Clock).now()):
        return {"ok": True}
    return _refused("resync works only in the delta stream, and at most every 2 s")


def _watch_host(message: Any = None, *_rest: Any) -> Ack:
    try:
        hostname = _hostname(message)
        service(TwinService).host(
            hostname
        )  # so that a host whose first sample was acknowledged just now can be watched
        why_not = service(Audience).watch(_sid(), hostname)
    except BadField as error:
        return _refused(str(error))
    return {"ok": True} if why_not is None else _refused(why_not)


def _unwatch_host(message: Any = None, *_rest: Any) -> Ack:
    try:
        service(Audience).unwatch(_sid(), _hostname(message))
    except BadField as error:
        return _refused(str(error))
    return {"ok": True}


def _hostname(message: Any) -> str:
    hostname = _member(message, "hostname")
    if not isinstance(hostname, str):
        raise BadField("hostname", "must be a string")
    return normalise_hostname(hostname)


def _refused(why: str) -> Ack:
    return {"ok": False, "error": why}
