"""Binds an actor to every REST request and every Socket.IO client, and refuses what the actor may not do.

The gate sets `g.actor` before every view and every event handler. A Socket.IO client has one actor for each namespace:
the gate binds it when the client connects. At each event it asks `decide` again, and whether its token or session is still
valid.

A token comes in the header `Authorization`, or in `auth` of Socket.IO. A session is a cookie and a second half, which the
page keeps to itself: in the header `X-Mirror-Stage-Page`, or in `auth`. A browser sends the cookie by itself, also to other
services of this machine, so the cookie alone counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any, cast

from flask import Flask, g, request
from flask_socketio import ConnectionRefusedError, SocketIO
from werkzeug.http import parse_cookie

from mirror_stage.access.accounts import Accounts
from mirror_stage.access.domain import ANONYMOUS, Actor, Connection, Trust, actor_of, decide
from mirror_stage.access.peers import Peers, own_uids, uid_lookup
from mirror_stage.access.permissions import PERMISSION_BY_EVENT, PERMISSION_BY_ROUTE, permission_of_event
from mirror_stage.access.service import People
from mirror_stage.access.tokens import PREFIX
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Forbidden, Problem, Unauthorized
from mirror_stage.core.readiness import Readiness
from mirror_stage.web.services import service
from mirror_stage.web.walls import is_of_field

Environ = dict[str, Any]
Handler = Callable[..., Any]

_PROXIED = frozenset(
    {"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP"}
)
_SOCKET_KEYS = ("gunicorn.socket", "werkzeug.socket")  # where a server puts the socket of a request
SESSION_COOKIE = "mirror-stage-session"
_BEARER = re.compile(rf"(?i:bearer) +({PREFIX}.*)")  # other tokens are for somebody else, such as a proxy
_COOKIES_MAX = 5  # of one name that are tried
_HEALTH = frozenset({"health.live", "health.ready"})  # they answer without a database, too
_USED = "mirror_stage.token_used"  # in the environ of a request whose token was looked at before
_NAMELESS = "-"  # the instance of whoever fetches commands without a name: a second machine could leave it out
_BOUND = "mirror_stage.actors"  # in the environ of a Socket.IO client: its actors by namespace


class Gate:
    """Finds the actor of a request or a Socket.IO client, by the settings of this EGO.

    `field_actor_at` gives the actor for an address on the listener for agents of another make.
    """

    def __init__(
        self, config: Config, socketio: SocketIO, people: People, field_actor_at: Callable[[str | None], Actor]
    ):
        self._config, self._socketio, self._people = config, socketio, people
        self._field_actor_at = field_actor_at
        self._trust, self._peers = Trust(config.security, config.is_loopback, own_uids()), Peers()
        uid_lookup()  # asked now, because the result is kept for ever, and later this process may have no free file descriptor
        self._users, self._agents = Accounts(config.local_users), Accounts(config.local_agents)

    def actor_of(self, environ: Environ, auth: Any = None) -> Actor:
        """The actor of the request with this WSGI environment; `auth` is what a Socket.IO client has sent with it."""
        if is_of_field(environ) and self._config.security != "open":
            return self._field_actor_at(environ.get("REMOTE_ADDR"))
        if auth is not None or "HTTP_AUTHORIZATION" in environ or "HTTP_X_MIRROR_STAGE_PAGE" in environ:
            actor = self._by_credential(environ, auth if isinstance(auth, dict) else {})
            if actor is not None:
                return actor
        can_tell, uid = self.opened(environ)
        trust = self._trust
        if can_tell and uid not in trust.own:
            trust = replace(trust, users=self._users.uids(), agents=self._agents.uids())
        is_proxied = not _PROXIED.isdisjoint(environ)
        return actor_of(Connection(environ.get("REMOTE_ADDR"), is_proxied, can_tell, uid), trust)

    def _by_credential(self, environ: Environ, auth: dict[str, Any]) -> Actor | None:
        """The actor that a token or a session proves; None without either. One that is not valid gives an anonymous actor."""
        peer, token, page = environ.get("REMOTE_ADDR"), auth.get("token"), auth.get("page")
        bearer = _BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        if token is None and bearer is not None:
            token = bearer[1]
        if token is not None:
            is_new_use, environ[_USED] = _USED not in environ, True
            instance = environ.get("HTTP_X_REFLECTOR_INSTANCE") or (_NAMELESS if _claims(environ) else None)
            return self._people.actor_of_token(str(token), peer, instance, is_new_use=is_new_use)
        page = page if page is not None else environ.get("HTTP_X_MIRROR_STAGE_PAGE")
        if page is None:
            return None
        # Another service of this machine can set a cookie of this name, too, and a browser may send that one first.
        cookies = parse_cookie(environ).getlist(session_cookie(environ))[:_COOKIES_MAX]
        actors = (self._people.actor_of_session(cookie, str(page), peer) for cookie in cookies)
        return next((actor for actor in actors if actor is not None), None)

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
        actor = self.client(namespace, sid)
        reason = decide(actor, permission_of_event(namespace, event))
        if reason is not None or event == "disconnect":
            return reason
        try:
            return self._people.trouble(actor)
        except Problem as why:
            return why.detail  # nobody can say whether its credential is still valid

    def clients(self) -> Iterator[tuple[str, str, str]]:
        """(namespace, id, credential) of each Socket.IO client that has a credential."""
        server = self._socketio.server
        for namespace in list(server.manager.rooms):
            for sid, _ in list(server.manager.get_participants(namespace, None)):
                credential = self.client(namespace, sid).credential
                if credential is not None:
                    yield namespace, sid, credential

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


def _claims(environ: Environ) -> bool:
    """Whether a request fetches commands: only then an enrolled agent names its instance each time."""
    return "/commands/pending/" in environ.get("PATH_INFO", "")


def actor() -> Actor:
    """The actor of the current request or event."""
    return cast("Actor", g.actor)


def session_cookie(environ: Environ) -> str:
    """The name of the cookie. A browser takes `__Host-` only over https, and from this very host."""
    return f"__Host-{SESSION_COOKIE}" if environ["wsgi.url_scheme"] == "https" else SESSION_COOKIE


def refuse_unless(actor: Actor, permission: str | None, host: str | None = None) -> None:
    """Raise Unauthorized if the actor may not do this and EGO does not know who it is, Forbidden if EGO does."""
    reason = decide(actor, permission, host)
    if reason is not None:
        raise Unauthorized(reason) if actor.is_unknown and permission is not None else Forbidden(reason)


def admit() -> None:
    """Set `g.actor`. Raises Unauthorized or Forbidden unless the actor has the permission that this route needs.

    It runs before every view. A view that waits calls it again before it acts: the permission may have been withdrawn.
    """
    if request.endpoint is None:
        return  # no such route or method: Flask answers 404 or 405
    try:
        g.actor = service(Gate).actor_of(request.environ)
    except Problem as why:  # the database is away: nobody can say whose credential it is
        if request.endpoint not in _HEALTH:
            raise
        g.actor = Actor(ANONYMOUS, peer=request.remote_addr, because=why.detail)
    refuse_unless(g.actor, PERMISSION_BY_ROUTE.get(request.endpoint), (request.view_args or {}).get("hostname"))


def _guarded(handler: Handler, namespace: str, event: str) -> Handler:
    """The handler with a permission check. A client that may not send the event gets `{"ok": false, "error": reason}`."""

    @wraps(handler)
    def connect(*arguments: Any) -> Any:
        _admit_client(namespace, arguments[0] if arguments else None)
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


def _admit_client(namespace: str, auth: Any) -> None:
    """Bind an actor to a client that connects. Raises ConnectionRefusedError unless it may connect and EGO is ready."""
    g.actor = service(Gate).actor_of(request.environ, auth)
    reason = decide(g.actor, permission_of_event(namespace, "connect"))
    readiness = service(Readiness)
    if reason is None and not readiness.is_restored:
        reason = f"{readiness.why_not}; try again in a moment"
    if reason is not None:
        raise ConnectionRefusedError(reason)
    request.environ.setdefault(_BOUND, {})[namespace] = g.actor
