"""The outermost wall: requests that name another machine, or that a page of another origin sends, end here.

It stands before Socket.IO, because that answers before Flask is asked. A name that points at this machine without
being its own is DNS rebinding (421). A foreign page can neither read nor change anything (403), unless its origin is
in MIRROR_STAGE_ALLOWED_ORIGINS; then it also gets the CORS headers that it needs. Agents and command-line tools send
neither Origin nor Sec-Fetch-Site and pass.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

SECURITY_HEADERS: Headers = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
]
PREFLIGHT_HEADERS: Headers = [
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-None-Match, Prefer"),
    ("Access-Control-Max-Age", "600"),
]

_OURS = frozenset(name.lower() for name, _ in SECURITY_HEADERS)
_DEFAULT_PORT = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")


@dataclass(frozen=True)
class Refusal:
    """An answer that ends a request at the wall; `detail` says what to do."""

    status: HTTPStatus
    detail: str


class Walls:
    """WSGI middleware, to be put on last: `app.wsgi_app = Walls(app.wsgi_app, config)`."""

    def __init__(self, wsgi: Wsgi, config: Config):
        self._wsgi = wsgi
        self._rules = Rules(config)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._rules.believe_proxy(environ)
        refusal = self._rules.refusal(environ)
        if refusal:
            return _refused(environ, start_response, refusal)
        shared_with = self._rules.foreign_origin(environ)
        walls = SECURITY_HEADERS + _sharing_headers(shared_with)
        if shared_with and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ and environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("204 No Content", walls + PREFLIGHT_HEADERS)
            return []

        def answer(status: str, headers: Headers, *rest: Any) -> Any:
            return start_response(status, _without_ours(headers) + walls, *rest)

        return self._wsgi(environ, answer)


class Rules:
    """What the settings allow. Raises BadSetting, naming the variable, for a setting that cannot be understood."""

    def __init__(self, config: Config):
        self._hosts = own_names() | {config.ego_hostname.lower()}
        self._hosts |= {_allowed_host(name) for name in config.allowed_hosts}
        self._origins = frozenset(_allowed_origin(origin) for origin in config.allowed_origins)
        self._proxies = tuple(_trusted_proxy(address) for address in config.trusted_proxies)

    def believe_proxy(self, environ: Environ) -> None:
        """Take scheme and address of the client from a trusted proxy's headers; from nobody else's."""
        if not self._is_proxy(environ.get("REMOTE_ADDR", "")):
            return
        scheme = _last(environ.get("HTTP_X_FORWARDED_PROTO", "")).lower()
        if scheme in _DEFAULT_PORT:
            environ["wsgi.url_scheme"] = scheme
        for address in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            if not _is_ip(address.strip()):
                return
            environ["REMOTE_ADDR"] = address.strip()
            if not self._is_proxy(address.strip()):
                return

    def refusal(self, environ: Environ) -> Refusal | None:
        """Why this request ends here, or None if it may pass."""
        return self._host_refusal(environ.get("HTTP_HOST", "")) or self._origin_refusal(environ)

    def foreign_origin(self, environ: Environ) -> str | None:
        """The Origin header of an allowed page of another origin: the one that CORS headers are for."""
        origin = environ.get("HTTP_ORIGIN")
        return origin if origin and parse_origin(origin) in self._origins else None

    def _host_refusal(self, host: str) -> Refusal | None:
        authority = parse_authority(host)
        if authority is None:
            return Refusal(HTTPStatus.BAD_REQUEST, "send one Host header: a name or an address, and perhaps a port")
        name = authority[0]
        if _is_ip(name) or name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return None
        detail = f"{name[:120]} is no name of this machine; if it should be, add it to MIRROR_STAGE_ALLOWED_HOSTS"
        return Refusal(HTTPStatus.MISDIRECTED_REQUEST, detail)

    def _origin_refusal(self, environ: Environ) -> Refusal | None:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None:
            asks, own = parse_origin(origin), f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}"
            if asks in self._origins:
                return None
            if asks is None or asks != parse_origin(own):
                return _foreign(
                    f"a page of {origin[:120]!a} may not ask {own}; if it should, add its origin to "
                    "MIRROR_STAGE_ALLOWED_ORIGINS (behind a TLS proxy: the proxy to MIRROR_STAGE_TRUSTED_PROXIES)"
                )
        if environ.get("HTTP_SEC_FETCH_SITE", "none") in {"none", "same-origin"} or _is_navigation(environ):
            return None
        return _foreign("a page of another origin may link to EGO's page, but not load from it")

    def _is_proxy(self, address: str) -> bool:
        ip = _address(address) if self._proxies else None
        return ip is not None and any(ip in network for network in self._proxies)


@cache
def own_names() -> frozenset[str]:
    """The names that this machine gives itself, in lower case."""
    return frozenset(name.lower() for name in (socket.gethostname(), socket.getfqdn()) if name)


@lru_cache(maxsize=4096)
def parse_authority(text: str) -> tuple[str, int | None] | None:
    """Name in lower case (an IPv6 address without brackets) and port of `name[:port]`; None if it is neither."""
    match = _AUTHORITY.match(text)
    if match is None:
        return None
    name, port = match[1].lower(), int(match[2]) if match[2] else None
    if port is not None and port > 65535:
        return None
    if name.startswith("["):
        return (name[1:-1], port) if _is_ip(name[1:-1]) else None
    return name.removesuffix("."), port


def parse_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, name and port of `scheme://name[:port]`; None for `null` and for anything that is no web origin."""
    scheme, separator, rest = text.partition("://")
    authority = parse_authority(rest)
    if not separator or authority is None or scheme.lower() not in _DEFAULT_PORT:
        return None
    name, port = authority
    return scheme.lower(), name, port if port is not None else _DEFAULT_PORT[scheme.lower()]


def _is_navigation(environ: Environ) -> bool:
    """Whether a person follows a link to a page, as against a page that loads something."""
    path = environ.get("PATH_INFO", "")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and environ.get("HTTP_SEC_FETCH_DEST") == "document"
        and not (path + "/").startswith(("/api/", "/socket.io/"))
    )


def _without_ours(headers: Headers) -> Headers:
    return [row for row in headers if row[0].lower() not in _OURS and not row[0].lower().startswith("access-control-")]


def _sharing_headers(origin: str | None) -> Headers:
    """What lets the page of an allowed origin read the answer."""
    if origin is None:
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "ETag, Retry-After"),
        ("Vary", "Origin"),
    ]


def _refused(environ: Environ, start_response: Callable[..., Any], refusal: Refusal) -> Iterable[bytes]:
    from mirror_stage.web.problem_json import (
        problem_json,  # Flask; gunicorn's master checks the rules and must not import it
    )

    body = problem_json(refusal.status, refusal.detail)
    headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    start_response(f"{refusal.status.value} {refusal.status.phrase}", headers + SECURITY_HEADERS)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _foreign(detail: str) -> Refusal:
    return Refusal(HTTPStatus.FORBIDDEN, detail)


def _allowed_host(text: str) -> str:
    authority = parse_authority(text)
    if authority is None:
        raise BadSetting(f"MIRROR_STAGE_ALLOWED_HOSTS: {text!r} is not the name of a machine")
    return authority[0]


def _allowed_origin(text: str) -> tuple[str, str, int]:
    origin = parse_origin(text)
    if origin is None:
        raise BadSetting(f"MIRROR_STAGE_ALLOWED_ORIGINS: {text!r} is not of the form https://name:port")
    return origin


def _trusted_proxy(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise BadSetting(f"MIRROR_STAGE_TRUSTED_PROXIES: {text!r} is neither an address nor a network") from error


def _last(listed: str) -> str:
    return listed.rpartition(",")[2].strip()


def _is_ip(text: str) -> bool:
    return _address(text) is not None


@lru_cache(maxsize=4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
