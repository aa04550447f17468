"""The one place that finds out who asks, for REST and Socket.IO alike, and turns away who may not.

`g.actor` is set before every view and every event handler. A client of Socket.IO has one actor for each namespace, bound
when it connects and kept with its connection; what it may do is decided again at each of its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any, cast

from flask import Flask, g, request
from flask_socketio import ConnectionRefusedError, SocketIO

from mirror_stage.access.accounts import Accounts
from mirror_stage.access.domain import ANONYMOUS, Actor, Connection, Trust, actor_of, decide
from mirror_stage.access.peers import Peers, means, own_uids
from mirror_stage.access.permissions import EVENTS, PERMISSIONS, permission_of_event
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Forbidden
from mirror_stage.core.readiness import Readiness
from mirror_stage.web.port import service

Environ = dict[str, Any]
Handler = Callable[..., Any]

_PROXIED = frozenset(
    {"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP"}
)
_WIRES = ("gunicorn.socket", "werkzeug.socket")  # where a server puts the connection of a request
_BOUND = "mirror_stage.actors"  # where the connection of a Socket.IO client keeps who it is, by namespace


class Gate:
    """Knows whom this EGO trusts."""

    def __init__(self, config: Config, socketio: SocketIO):
        self._config, self._socketio = config, socketio
        self._own, self._peers = own_uids(), Peers()
        means()  # found out now: later a lack of open files would look like a system that cannot say
        self._users, self._agents = Accounts(config.local_users), Accounts(config.local_agents)

    def actor_of(self, environ: Environ) -> Actor:
        """Who sends this request."""
        trust = Trust(self._config.security, self._config.is_loopback, self._own)
        can_tell, uid = self.opened(environ)
        if can_tell and uid not in trust.own:
            trust = replace(trust, users=self._users.uids(), agents=self._agents.uids())
        is_proxied = not _PROXIED.isdisjoint(environ)
        return actor_of(Connection(environ.get("REMOTE_ADDR"), is_proxied, can_tell, uid), trust)

    def opened(self, environ: Environ) -> tuple[bool, int | None]:
        """Whether EGO can say who opens connections, and the account that opened the one of this request, if known."""
        if self._config.security == "open":
            return False, None  # it does not matter
        return self._peers.opened(next((environ[name] for name in _WIRES if name in environ), None))

    def client(self, namespace: str, sid: str) -> Actor:
        """Who a client of Socket.IO is, as it was bound when it connected; nobody once it is gone."""
        environ = self._socketio.server.get_environ(sid, namespace) or {}
        return cast("Actor", environ.get(_BOUND, {}).get(namespace, _STRANGER))

    def event_refusal(self, namespace: str, sid: str, event: str) -> str | None:
        """Why a client may not (or no longer) ask for this event, or None if it may."""
        return decide(self.client(namespace, sid), permission_of_event(namespace, event))

    def notes(self) -> Iterator[str]:
        """What whoever starts EGO should know of whom it trusts."""
        if self._config.security == "auto" and means() is None:
            yield (
                "this system does not say which account opened a connection: every account of this machine, and whoever "
                "reaches a proxy here that adds no X-Forwarded-For, may do everything"
            )
        for name in self._users.unknown():
            yield f"MIRROR_STAGE_LOCAL_USERS: this machine has no account {name}"


_STRANGER = Actor(ANONYMOUS)


class Arrivals:
    """WSGI middleware: looks who opened a connection when its first request arrives.

    Socket.IO asks later, and the connection on which a polling client said hello may be closed by then.
    """

    def __init__(self, wsgi: Any, gate: Gate):
        self._wsgi, self._gate = wsgi, gate

    def __call__(self, environ: Environ, start_response: Any) -> Any:
        self._gate.opened(environ)
        return self._wsgi(environ, start_response)


class Sockets(SocketIO):  # type: ignore[misc]  # Flask-SocketIO has no types
    """Socket.IO whose handlers are all behind the gate: nothing can be registered that is not."""

    def on(self, message: str, namespace: str | None = None) -> Callable[[Handler], Handler]:
        register = super().on(message, namespace)
        return lambda handler: cast("Handler", register(_guarded(handler, namespace or "/", message)))


def init_app(app: Flask, socketio: SocketIO) -> None:
    """Ask before every request of this application. Call it when all routes and events are there."""
    check_declared(app, socketio)
    app.before_request(admit)


def check_declared(app: Flask, socketio: SocketIO) -> None:
    """Raise RuntimeError if a route or an event has no permission in the tables."""
    undeclared = sorted({rule.endpoint for rule in app.url_map.iter_rules()} - PERMISSIONS.keys())
    for namespace, handlers in socketio.server.handlers.items():
        undeclared += sorted(f"{namespace} {event}" for event in handlers.keys() - EVENTS.get(namespace, {}).keys())
    undeclared += sorted(socketio.server.namespace_handlers)  # classes of handlers: they would pass the gate by
    if undeclared:
        raise RuntimeError(f"without a permission in mirror_stage/access/permissions.py: {', '.join(undeclared)}")


def actor() -> Actor:
    """Who sends this request or event."""
    return cast("Actor", g.actor)


def admit() -> None:
    """Set `g.actor`. Raises Forbidden unless it has the permission of this request's route.

    Every view finds this done; one that waits does it again before it acts, because a right may be gone meanwhile.
    """
    if request.endpoint is None:
        return  # no such route, or not with this method: Flask says so
    g.actor = service(Gate).actor_of(request.environ)
    reason = decide(g.actor, PERMISSIONS.get(request.endpoint), (request.view_args or {}).get("hostname"))
    if reason is not None:
        raise Forbidden(reason)


def _guarded(handler: Handler, namespace: str, event: str) -> Handler:
    """The handler of an event, for those who may ask for it. Others get `{"ok": false, "error": reason}`."""

    @wraps(handler)
    def connect(*arguments: Any) -> Any:
        _admit_client(namespace)
        return handler(*arguments)

    @wraps(handler)
    def ask(*arguments: Any) -> Any:
        sid: str = request.sid  # type: ignore[attr-defined]  # Flask-SocketIO puts it there
        reason = service(Gate).event_refusal(namespace, sid, event)
        if reason is not None:
            return {"ok": False, "error": reason}
        g.actor = service(Gate).client(namespace, sid)
        return handler(*arguments)

    return connect if event == "connect" else ask


def _admit_client(namespace: str) -> None:
    """Bind who connects to a namespace. Raises ConnectionRefusedError unless it may hear it and EGO is ready."""
    g.actor = service(Gate).actor_of(request.environ)
    reason = decide(g.actor, permission_of_event(namespace, "connect"))
    readiness = service(Readiness)
    if reason is None and not readiness.is_ready:
        reason = f"{readiness.why_not}; try again in a moment"
    if reason is not None:
        raise ConnectionRefusedError(reason)
    request.environ.setdefault(_BOUND, {})[namespace] = g.actor
