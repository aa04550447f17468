"""The outermost wall: it refuses requests that name another machine, and requests from pages of another origin.

It stands before Socket.IO, because Socket.IO answers before Flask does. A name that points to this machine but is not
its own is DNS rebinding (421). A foreign page can neither read nor change anything (403), unless its origin is in
MIRROR_STAGE_ALLOWED_ORIGINS; then it also gets the CORS headers that it needs. Agents and command-line tools send
neither Origin nor Sec-Fetch-Site and pass. A path is accepted in its normal form only (400), so that this wall and the
router never read it differently.

The listener for agents of another make (MIRROR_STAGE_FIELD_BIND) has a wall of its own: it serves the routes of such agents
and nothing else (421), takes no token (401), and believes no proxy. A request belongs to it by the port at which its
connection arrived, which nobody can forge.

The parts of the pages are no secret. EGO sends them whatever the Origin says, so that the HUD loads behind a proxy that
EGO does not trust yet, and can show what to set. A foreign page cannot read them all the same.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final

from mirror_stage.core.addresses import Network, network_of, normalise_address
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.web.refusals import Refusals, reason_left

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
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer"),
    ("Access-Control-Max-Age", "600"),
]

SOCKET: Final = "unix"  # in MIRROR_STAGE_TRUSTED_PROXIES: whoever may connect to the Unix socket
PARTS = ("/assets/", "/plain/", "/icon.svg", "/THIRD_PARTY_LICENSES.txt")  # of the pages: the same for everybody
HEALTH_PATHS = frozenset({"/api/health", "/api/health/", "/api/health/ready", "/api/health/ready/"})

FIELD_ROUTES = re.compile(
    r"(GET|HEAD) /api/health/?|POST /api/metrics/batch|(GET|HEAD) /api/(field/)?commands/pending/[^/]+"
    r"|POST /api/commands/[^/]+/result|POST /api/field/commands/result/[^/]+"
)  # of the specification; GET stands for HEAD, too

_FIELD = "mirror_stage.field"  # in the environ of a request that came over the listener for agents of another make
_TOKEN = "ms_"  # every credential of EGO begins with it
_BELIEVED = "mirror_stage.believed_proxy"  # in the environ of a request: the trusted proxy that passed it on
_OURS = frozenset(name.lower() for name, _ in SECURITY_HEADERS)
_DEFAULT_PORT = {"http": 80, "https": 443}
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_BROWSERS_ACCEPT = re.compile(r"text/(html|css)|(image|audio|video|font)/")
_BROWSERS_HEADERS = {
    "HTTP_ORIGIN": "Origin",
    "HTTP_REFERER": "Referer",
    "HTTP_COOKIE": "Cookie",
    "HTTP_PURPOSE": "Purpose",
    "HTTP_X_PURPOSE": "X-Purpose",
    "HTTP_X_MOZ": "X-Moz",
    "HTTP_DNT": "DNT",
    "HTTP_UPGRADE_INSECURE_REQUESTS": "Upgrade-Insecure-Requests",
    "HTTP_ACCEPT_LANGUAGE": "Accept-Language",  # over plain http a <script> sends little else
}
_ENCODED = re.compile(
    r"%(?![0-9A-Fa-f]{2})|%(?:2[EFef]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])"
)  # no hex digits, or . / \ or a control
_UNWRITABLE, _CONTROL = re.compile(r"[\x00-\x20\x7f#]"), re.compile(r"[\x00-\x1f\x7f\\]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")


@dataclass(frozen=True)
class Refusal:
    """An answer that ends a request at the wall; `detail` says what to do."""

    status: HTTPStatus
    detail: str


class Walls:
    """WSGI middleware, to be put on last: `app.wsgi_app = Walls(app.wsgi_app, config)`."""

    def __init__(self, wsgi: Wsgi, config: Config, refusals: Refusals | None = None):
        self._wsgi = wsgi
        self._rules = Rules(config)
        self.refusals = refusals or Refusals()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._rules.note_peer(environ)
        refusal = self._rules.refusal(environ)
        if refusal:
            self.refusals.note(peer_of(environ), refusal.status, refusal.detail)
            return _refused(environ, start_response, refusal)
        shared_with = self._rules.foreign_origin(environ)
        walls = SECURITY_HEADERS + _sharing_headers(shared_with)
        if shared_with and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ and environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("204 No Content", walls + PREFLIGHT_HEADERS)
            return []

        def answer(status: str, headers: Headers, *rest: Any) -> Any:
            reason = reason_left(environ)
            if reason is not None:
                self.refusals.note(peer_of(environ), int(status.partition(" ")[0]), reason)
            return start_response(status, _without_ours(headers) + walls, *rest)

        return self._wsgi(environ, answer)


class Rules:
    """What the settings allow. Raises BadSetting, naming the variable, for a setting that cannot be understood."""

    def __init__(self, config: Config):
        self._field_port, self._page_address = config.field_port, config.page_address
        self._hosts = own_names() | {config.ego_hostname.lower()}
        self._hosts |= {_allowed_host(name) for name in config.allowed_hosts}
        self._origins = frozenset(_allowed_origin(origin) for origin in config.allowed_origins)
        self._trusts_socket = SOCKET in config.trusted_proxies
        self._proxies = tuple(_trusted_proxy(text) for text in config.trusted_proxies if text != SOCKET)

    def note_peer(self, environ: Environ) -> None:
        """Write the peer's address in normal form. Take address and scheme from the headers of trusted proxies only.

        On the listener for agents of another make no proxy is trusted: the address there is all that EGO knows of them.
        """
        peer = normalise_address(environ.get("REMOTE_ADDR", ""))
        if peer is not None:
            environ["REMOTE_ADDR"] = peer
        if self._field_port is not None and _port_of(environ.get("gunicorn.socket")) in {self._field_port, None}:
            environ[_FIELD] = True
            return
        if not (self.is_proxy(peer) if peer else self._trusts_socket):  # without an address: a Unix socket
            return
        environ[_BELIEVED] = peer or SOCKET
        scheme = _forwarded_scheme(environ)
        if scheme is not None:
            environ["wsgi.url_scheme"] = scheme
        for text in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            address = normalise_address(text)
            if address is None:
                return
            environ["REMOTE_ADDR"] = address
            if not self.is_proxy(address):
                return

    def refusal(self, environ: Environ) -> Refusal | None:
        """Why this request ends here, or None if it may pass."""
        return (
            _path_refusal(environ)
            or self._field_refusal(environ)
            or self._host_refusal(environ)
            or self._origin_refusal(environ)
        )

    def foreign_origin(self, environ: Environ) -> str | None:
        """The Origin header of an allowed page of another origin: the one that CORS headers are for."""
        origin = environ.get("HTTP_ORIGIN")
        return origin if origin and parse_origin(origin) in self._origins else None

    def _field_refusal(self, environ: Environ) -> Refusal | None:
        if not is_of_field(environ):
            return None
        if _TOKEN in environ.get("HTTP_AUTHORIZATION", "") or "HTTP_X_MIRROR_STAGE_PAGE" in environ:
            return Refusal(
                HTTPStatus.UNAUTHORIZED,
                "this address speaks plain HTTP, so the token was sent in the clear, and others may have read it: revoke it "
                f"(mirror-stage tokens revoke, or agents revoke), make another one, and send that to {self._page_address} only",
            )
        if FIELD_ROUTES.fullmatch(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"):
            return None
        secret = "; a code or a password that was sent here was sent in the clear, and has to be replaced"
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "this address is for agents of another make only, which post samples and fetch commands; use "
            f"{self._page_address}{secret if environ['REQUEST_METHOD'] == 'POST' else ''}",
        )

    def _host_refusal(self, environ: Environ) -> Refusal | None:
        host = environ.get("HTTP_HOST")
        if host is None and _is_of_load_balancer(environ):
            return None
        authority = parse_authority(host or "")
        if authority is None:
            return Refusal(HTTPStatus.BAD_REQUEST, "send one Host header: a name or an address, with or without a port")
        name = authority[0]
        if _is_ip(name) or name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return None
        detail = f"{name[:120]} is not a name of this machine; if it should be, add it to MIRROR_STAGE_ALLOWED_HOSTS"
        return Refusal(HTTPStatus.MISDIRECTED_REQUEST, detail)

    def _origin_refusal(self, environ: Environ) -> Refusal | None:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None:
            asks = parse_origin(origin)
            if asks in self._origins:
                return None
            own = parse_origin(f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}")
            if (asks is None or asks != own) and not _is_part(environ):
                return _foreign_page(environ, origin)
        if environ.get("HTTP_SEC_FETCH_SITE", "none") in {"none", "same-origin"} or _is_navigation(environ):
            return None
        return _foreign("a page of another origin may link to EGO's page, but not load from it")

    def is_proxy(self, address: str) -> bool:
        """Whether an address in normal form is a trusted proxy's."""
        return any(ip_address(address) in network for network in self._proxies)


def _is_of_load_balancer(environ: Environ) -> bool:
    """Whether a request without a Host is a load balancer's question after EGO's health. Every browser names its Host."""
    is_old = environ.get("SERVER_PROTOCOL") == "HTTP/1.0" and "HTTP_ORIGIN" not in environ
    return is_old and environ["PATH_INFO"] in HEALTH_PATHS


def is_passed_on(environ: Environ) -> bool:
    """Whether a trusted proxy passed this request on. The client saw the proxy's certificate, if any, and not EGO's."""
    return _BELIEVED in environ


def is_of_field(environ: Environ) -> bool:
    """Whether a request came over the listener for agents of another make."""
    return _FIELD in environ


def _port_of(connection: Any) -> int | None:
    """The port at which a connection arrived; 0 if it has none, None if nobody can say it any more."""
    if connection is None:
        return 0
    try:
        name = connection.getsockname()
    except OSError:
        return None
    return int(name[1]) if isinstance(name, tuple) else 0


def peer_of(environ: Environ) -> str:
    """The peer for the log: its address in normal form, or a text if it has none."""
    return environ.get("REMOTE_ADDR") or "a program of this machine"


def browser_mark(environ: Environ) -> str | None:
    """The header that shows that a browser sent this request; None if there is none.

    Over plain http browsers send no Sec-Fetch headers, and an image of a foreign page no Origin.
    """
    for name in environ:
        if name.startswith("HTTP_SEC_"):
            return name[5:].replace("_", "-").title()
    for name, header in _BROWSERS_HEADERS.items():
        if name in environ:
            return header
    accept = environ.get("HTTP_ACCEPT", "").lower()
    return f"Accept: {accept[:60]}" if _BROWSERS_ACCEPT.search(accept) else None


@cache
def own_names() -> frozenset[str]:
    """The names that this machine gives itself, in lower case."""
    return frozenset(name.lower() for name in (socket.gethostname(), socket.getfqdn()) if name)


@lru_cache(maxsize=4096)
def parse_authority(text: str) -> tuple[str, int | None] | None:
    """Name in lower case (an IPv6 address without brackets) and port of `name[:port]`; None for any other text."""
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


def _path_refusal(environ: Environ) -> Refusal | None:
    """Why a path is refused; None if it is in normal form, both as the client wrote it and as the server decoded it.

    Servers, proxies and routers read other forms in different ways. Then one of them checks another path than the next
    one serves.
    """
    written, decoded = environ.get("RAW_URI", "").partition("?")[0], environ["PATH_INFO"]
    why = (written and _why_not_as_written(written)) or _why_no_path(decoded)
    return Refusal(HTTPStatus.BAD_REQUEST, f"{(written or decoded)[:120]!a}: {why}") if why else None


@lru_cache(maxsize=4096)
def _why_not_as_written(target: str) -> str | None:
    if not target.startswith("/"):
        return "the target must be a path that begins with /"
    if _ENCODED.search(target):
        return "the path has an encoded dot, slash, backslash or control character, or a % that encodes nothing"
    if _UNWRITABLE.search(target):
        return "the path has a space, a # or a control character; encode it"
    return None


@lru_cache(maxsize=4096)
def _why_no_path(path: str) -> str | None:
    first, *inner = path[1:].split("/")
    if (inner and not first) or "" in inner[:-1]:
        return "the path has an empty segment"
    if not {".", ".."}.isdisjoint({first, *inner}):
        return "the path has a dot segment"
    if _CONTROL.search(path):
        return "the path has a backslash or a control character"
    try:
        path.encode("latin-1").decode()  # WSGI passes bytes as Latin-1
    except ValueError:
        return "the path is not UTF-8"
    return None


def _foreign_page(environ: Environ, origin: str) -> Refusal:
    """The refusal of a page of `origin`: it says what to set if that is EGO's own page behind a proxy."""
    host, peer, believed = environ["HTTP_HOST"], environ.get("REMOTE_ADDR") or SOCKET, environ.get(_BELIEVED)
    asks = parse_origin(origin)
    if not believed and asks is not None and asks == parse_origin(f"{_forwarded_scheme(environ)}://{host}"):
        return _foreign(
            f"a proxy passed this on from a page of {origin[:120]!a}, and EGO does not know the proxy; if it is yours, "
            f"set MIRROR_STAGE_TRUSTED_PROXIES={peer}"
        )
    trust = "" if believed else f", and set MIRROR_STAGE_TRUSTED_PROXIES={peer}"
    return _foreign(
        f"a page of {origin[:120]!a} may not ask {environ['wsgi.url_scheme']}://{host[:120]}; if it is EGO's own page behind "
        f"a proxy, let the proxy send Host and X-Forwarded-Proto{trust}; if it is another page that should, add its origin to "
        "MIRROR_STAGE_ALLOWED_ORIGINS"
    )


def _is_part(environ: Environ) -> bool:
    """Whether a part of a page is asked for: code, style, picture or licences."""
    return environ["REQUEST_METHOD"] in {"GET", "HEAD"} and environ["PATH_INFO"].startswith(PARTS)


def _is_navigation(environ: Environ) -> bool:
    """Whether a browser opens a page for a person: no page is loading something by itself."""
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
    """The headers that let a page of an allowed origin read the answer."""
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


def _trusted_proxy(text: str) -> Network:
    try:
        return network_of(text)
    except ValueError as error:
        raise BadSetting(
            f"MIRROR_STAGE_TRUSTED_PROXIES: {text!r} is neither an address, a network nor {SOCKET}"
        ) from error


def _forwarded_scheme(environ: Environ) -> str | None:
    """`http` or `https` by the header of the last proxy; None if it says neither. Traefik says `wss` of a websocket."""
    return _SCHEMES.get(environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower())


@lru_cache(maxsize=4096)
def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
