"""Who may call what: the one table from endpoint to permission, and the one place that asks for it."""

from __future__ import annotations

from flask import Flask, request
from flask_socketio import ConnectionRefusedError

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Forbidden
from mirror_stage.core.readiness import Readiness
from mirror_stage.web.port import service

# open: everybody · report: an agent sends samples · view: reads · operate: changes and commands · agent: its own queue
PERMISSIONS: dict[str, str] = {
    "health.live": "open",
    "health.ready": "open",
    "health.info": "view",
    "api-docs.openapi_json": "open",
    "hud.index": "open",  # programs and pictures; what they show they ask for by themselves
    "hud.asset": "open",
    "hud.icon": "open",
    "hud.licences": "open",
    "hud.plain": "view",
    "hud.plain_part": "open",
    "metrics.post_batch": "report",
    "twin.state": "view",
    "past.diff": "view",
    "past.timeline": "view",
    "hosts.list_hosts": "view",
    "hosts.get_host": "view",
    "hosts.delete_host": "operate",
    "host-history.of_host": "view",
    "history.of_many": "view",
    "alerts.active": "view",
    "alerts.list_alerts": "view",
    "commands.create": "operate",
    "commands.list_commands": "view",
    "commands.get_command": "view",
    "commands.events": "view",
    "commands.cancel": "operate",
    "commands.pending": "agent",
    "commands.result": "agent",
    "commands.heartbeat": "agent",
    "commands.output": "agent",
    "field.pending": "agent",
    "field.result": "agent",
}

NAMESPACES: dict[str, str] = {"/digital-twin": "view", "/commands": "view", "/alerts": "view"}

_PROXIED = frozenset(
    {"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP"}
)


def init_app(app: Flask) -> None:
    """Ask for a permission before every request of this application. Call it when all routes are there."""
    check_declared(app)
    app.before_request(require_permission)


def check_declared(app: Flask) -> None:
    """Raise RuntimeError if a route has no permission in the table: what nobody declared is open to nobody."""
    undeclared = sorted({rule.endpoint for rule in app.url_map.iter_rules()} - PERMISSIONS.keys())
    if undeclared:
        raise RuntimeError(
            f"routes without a permission in mirror_stage/access/permissions.py: {', '.join(undeclared)}"
        )


def require_permission() -> None:
    """Raise Forbidden unless the caller of this request has the permission of its route."""
    if request.endpoint is None:
        return  # no such route, or not with this method: Flask says so
    reason = _refusal_here(PERMISSIONS[request.endpoint])
    if reason is not None:
        raise Forbidden(reason)


def admit_client(namespace: str) -> None:
    """Raise ConnectionRefusedError unless a Socket.IO client may hear this namespace, and EGO is ready."""
    reason = _refusal_here(NAMESPACES[namespace])
    readiness = service(Readiness)
    if reason is None and not readiness.is_ready:
        reason = f"{readiness.why_not}; try again in a moment"
    if reason is not None:
        raise ConnectionRefusedError(reason)


def _refusal_here(permission: str) -> str | None:
    config = service(Config)
    return refusal(
        permission,
        security=config.security,
        loopback=config.is_loopback,
        proxied=not _PROXIED.isdisjoint(request.environ),
    )


def refusal(permission: str, *, security: str, loopback: bool, proxied: bool) -> str | None:
    """Why a caller may not do what needs `permission`, or None if it may. Credentials will be one more argument here.

    Until there are any, this machine's own users may do everything, and nobody else anything: a proxy on this
    machine must not hand its callers that trust.
    """
    if permission == "open" or security == "open":
        return None
    if security == "strict":
        return "MIRROR_STAGE_SECURITY is strict, and this version has no credentials that could satisfy it"
    if not loopback:
        return "EGO can be reached from the network and has no credentials yet; bind it to 127.0.0.1"
    if proxied:
        return (
            "the request came through a proxy, and EGO has no credentials yet; if the proxy guards it, "
            "say MIRROR_STAGE_SECURITY=open"
        )
    return None
