"""Binds an actor to every REST request and every Socket.IO client, and refuses what the actor may not do.

The gate sets `g.actor` before every view and every event handler. A Socket.IO client has one actor for each namespace:
the gate binds it when the client connects, and asks `decide` again at each event.
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
from mirror_stage.access.peers import Peers, own_uids, uid_lookup
from mirror_stage.access.permissions import PERMISSION_BY_EVENT, PERMISSION_BY_ROUTE, permission_of_event
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Forbidden
from mirror_stage.core.readiness import Readiness
from mirror_stage.web.services import service

Environ = dict[str, Any]
Handler = Callable[..., Any]

_PROXIED = frozenset(
    {"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP"}
)
_SOCKET_KEYS = ("gunicorn.socket", "werkzeug.socket")  # where a server puts the socket of a request
_BOUND = "mirror_stage.actors"  # in the environ of a Socket.IO client: its actors by namespace


class Gate:
    """Finds the actor of a request or a Socket.IO client, by the settings of this EGO."""

    def __init__(self, config: Config, socketio: SocketIO):
        self._config, self._socketio = config, socketio
        self._trust, self._peers = Trust(config.security, config.is_loopback, own_uids()), Peers()
        uid_lookup()  # asked now, because the result is kept for ever, and later this process may have no free file descriptor
        self._users, self._agents = Accounts(config.local_users), Accounts(config.local_agents)

    def actor_of(self, environ: Environ) -> Actor:
        """The actor of the request with this WSGI environment."""
        can_tell, uid = self.opened(environ)
        trust = self._trust
        if can_tell and uid not in trust.own:
            trust = replace(trust, users=self._users.uids(), agents=self._agents.uids())
        is_proxied = not _PROXIED.isdisjoint(environ)
        return actor_of(Connection(environ.get("REMOTE_ADDR"), is_proxied, can_tell, uid), trust)

    def opened(self, environ: Environ) -> tuple[bool, int | None]:
        """Whether this machine can say which account opened a connection, and the uid for this request, if known."""
        if self._config.security == "open":
            return False, None  # not needed: everybody may do everything
        return self._peers.opened(next((environ[name] for name in _SOCKET_KEYS if name in environ), None))

    def client(self, namespace: str, sid: str) -> Actor:
        """The actor that was bound to a Socket.IO client when it connected; after it left, one that may do nothing."""
        environ = self._socketio.server.get_environ(sid, namespace) or {}
        return cast("Actor", environ.get(_BOUND, {}).get(namespace, _STRANGER))

    def event_refusal(self, namespace: str, sid: str, event: str) -> str | None:
        """The reason why a client may not send this event, or may not any more; None if it may."""
        return decide(self.client(namespace, sid), permission_of_event(namespace, event))

    def notes(self) -> Iterator[str]:
        """Warnings for the start log about accounts that EGO trusts or does not find."""
        if self._config.security == "auto" and uid_lookup() is None:
            yield (
                "this system does not say which account opened a connection: every account of this machine may do "
                "everything, and so may everybody who reaches a proxy here that adds no X-Forwarded-For"
            )
        for name in self._users.unknown():
            yield f"MIRROR_STAGE_LOCAL_USERS: this machine has no account {name}"


_STRANGER = Actor(ANONYMOUS)


class AccountLookup:
    """WSGI middleware: looks up which account opened a connection when its first request arrives.

    Socket.IO looks later. By then a client that polls may have closed the connection of its first request.
    """

    def __init__(self, wsgi: Any, gate: Gate):
        self._wsgi, self._gate = wsgi, gate

    def __call__(self, environ: Environ, start_response: Any) -> Any:
        self._gate.opened(environ)
        return self._wsgi(environ, start_response)


class Sockets(SocketIO):  # type: ignore[misc]  # Flask-SocketIO has no types
    """Socket.IO with a permission check around every handler that is registered."""

    def on(self, message: str, namespace: str | None = None) -> Callable[[Handler], Handler]:
        register = super().on(message, namespace)
        return lambda handler: cast("Handler", register(_guarded(handler, namespace or "/", message)))


def init_app(app: Flask, socketio: SocketIO) -> None:
    """Check the permission before every request. Call it after all routes and events are registered."""
    check_declared(app, socketio)
    app.before_request(admit)


def check_declared(app: Flask, socketio: SocketIO) -> None:
    """Raise RuntimeError if a route or an event has no permission in the tables."""
    undeclared = sorted({rule.endpoint for rule in app.url_map.iter_rules()} - PERMISSION_BY_ROUTE.keys())
    for namespace, handlers in socketio.server.handlers.items():
        undeclared += sorted(
            f"{namespace} {event}" for event in handlers.keys() - PERMISSION_BY_EVENT.get(namespace, {}).keys()
        )
    undeclared += sorted(socketio.server.namespace_handlers)  # class-based handlers would bypass the gate
    if undeclared:
        raise RuntimeError(f"without a permission in mirror_stage/access/permissions.py: {', '.join(undeclared)}")


def actor() -> Actor:
    """The actor of the current request or event."""
    return cast("Actor", g.actor)


def admit() -> None:
    """Set `g.actor`. Raises Forbidden unless the actor has the permission that this request's route needs.

    It runs before every view. A view that waits calls it again before it acts: the permission may have been withdrawn.
    """
    if request.endpoint is None:
        return  # no such route or method: Flask answers 404 or 405
    g.actor = service(Gate).actor_of(request.environ)
    reason = decide(g.actor, PERMISSION_BY_ROUTE.get(request.endpoint), (request.view_args or {}).get("hostname"))
    if reason is not None:
        raise Forbidden(reason)


def _guarded(handler: Handler, namespace: str, event: str) -> Handler:
    """The handler with a permission check. A client that may not send the event gets `{"ok": false, "error": reason}`."""

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
    """Bind an actor to a client that connects. Raises ConnectionRefusedError unless it may connect and EGO is ready."""
    g.actor = service(Gate).actor_of(request.environ)
    reason = decide(g.actor, permission_of_event(namespace, "connect"))
    readiness = service(Readiness)
    if reason is None and not readiness.is_restored:
        reason = f"{readiness.why_not}; try again in a moment"
    if reason is not None:
        raise ConnectionRefusedError(reason)
    request.environ.setdefault(_BOUND, {})[namespace] = g.actor
