"""T20 at the wall: which requests reach EGO, by Host, Origin and kind. `end_to_end/` tests the same with a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.web.walls import SECURITY_HEADERS, Walls, parse_authority, parse_origin

CONFIG = Config(
    ego_hostname="ego-01",
    allowed_hosts=("ego.example.org",),
    allowed_origins=("https://wall.example.org",),
    trusted_proxies=("10.0.0.5", "fd00::/8"),
)
WALL = "https://wall.example.org"  # the one foreign origin that is allowed

# (Host header, whether it names this machine)
HOSTS = {
    "127.0.0.1:3000": True,
    "[::1]:3000": True,
    "10.0.0.100": True,
    "LOCALHOST:3000": True,
    "ego.example.org:3000": True,
    "attacker.example": False,
    "localhost.attacker.example:3000": False,
    "127.0.0.1.attacker.example:3000": False,
}

# Origin header, and the Host that it is the same origin as
ORIGINS: dict[str | None, str | None] = {
    None: None,
    "null": None,
    "": None,
    "http://127.0.0.1:3000": "127.0.0.1:3000",
    "http://localhost:3000": "LOCALHOST:3000",
    "http://[::1]:3000": "[::1]:3000",
    "https://127.0.0.1:3000": None,  # another scheme
    "http://127.0.0.1:5173": None,  # another port of the same machine: cookies would not tell them apart
    "http://attacker.example": "attacker.example",  # rebinding: Origin and Host agree, and the Host is foreign
    "http://127.0.0.1:3000.attacker.example": None,
    "http://user@127.0.0.1:3000": None,
    WALL: None,
}

# What asks: method, path, further headers
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "JSON POST": ("POST", "/api/commands", {"Content-Type": "application/json"}),
    "text POST": ("POST", "/api/commands", {"Content-Type": "text/plain"}),
    "GET pending": ("GET", "/api/commands/pending/titan-01", {}),
    "HEAD pending": ("HEAD", "/api/commands/pending/titan-01", {}),
    "OPTIONS": ("OPTIONS", "/api/commands", {}),
    "polling": ("GET", "/socket.io/?EIO=4&transport=polling", {}),
    "websocket": ("GET", "/socket.io/", {"Upgrade": "websocket", "Connection": "Upgrade"}),
}


class Recorder:
    """The application behind the wall. It records the requests that reach it."""

    def __init__(self) -> None:
        self.reached: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.reached.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Access-Control-Allow-Origin", "*")])
        return [b"behind"]


class Answer:
    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, reached: list[dict[str, Any]]):
        self.status, self.headers, self.body, self.reached = status, headers, body, reached

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} twice"
        return values[0] if values else None


def ask(
    method: str = "GET",
    path: str = "/api/twin/state",
    *,
    config: Config = CONFIG,
    peer: str = "127.0.0.1",
    **headers: str | None,
) -> Answer:
    """The answer to one request; keyword arguments are headers (`host=`, `origin=`, `sec_fetch_site=`)."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "wsgi.url_scheme": "http", "REMOTE_ADDR": peer}
    environ["PATH_INFO"], _, environ["QUERY_STRING"] = path.partition("?")
    for name, value in {"host": "127.0.0.1:3000", **headers}.items():
        if value is not None:
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    recorder, started = Recorder(), []
    body = b"".join(Walls(recorder, config)(environ, lambda status, rows, *_: started.append((status, rows))))
    ((status, rows),) = started
    return Answer(int(status.split()[0]), rows, body, recorder.reached)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("origin", ORIGINS, ids=str)
def test_only_own_hosts_and_own_origins_reach_ego(origin: str | None, kind: str) -> None:
    method, path, headers = KINDS[kind]
    for host, is_own in HOSTS.items():
        answer = ask(method, path, host=host, origin=origin, **headers)
        may_pass = is_own and (origin in {None, WALL} or ORIGINS[origin] == host)
        assert bool(answer.reached) == may_pass, host
        assert answer.status == (200 if may_pass else 403 if is_own else 421), host
        assert answer.header("Access-Control-Allow-Origin") == (WALL if may_pass and origin == WALL else None), host
        assert {name: answer.header(name) for name, _ in SECURITY_HEADERS} == dict(SECURITY_HEADERS), host


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE", "something-new"])
def test_a_load_of_a_foreign_page_without_an_origin_is_refused(site: str, kind: str) -> None:
    method, path, headers = KINDS[kind]
    image = {"sec_fetch_site": site, "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
    answer = ask(method, path, **image, **headers)
    assert (answer.status, answer.reached) == (403, [])


@pytest.mark.parametrize(
    ("method", "path", "mode", "dest", "status"),
    [
        ("GET", "/", "navigate", "document", 200),
        ("GET", "/hosts/titan-01", "navigate", "document", 200),
        ("GET", "/apiary", "navigate", "document", 200),
        ("GET", "/api", "navigate", "document", 403),
        ("GET", "/api/commands/pending/titan-01", "navigate", "document", 403),
        ("GET", "/socket.io/", "navigate", "document", 403),
        ("POST", "/", "navigate", "document", 403),
        ("HEAD", "/", "navigate", "document", 403),
        ("GET", "/", "navigate", "iframe", 403),
        ("GET", "/", "no-cors", "document", 403),
        ("GET", "/", "no-cors", "script", 403),
    ],
)
def test_a_foreign_link_may_open_the_page_and_nothing_else(
    method: str, path: str, mode: str, dest: str, status: int
) -> None:
    answer = ask(method, path, sec_fetch_site="cross-site", sec_fetch_mode=mode, sec_fetch_dest=dest)
    assert answer.status == status


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_egos_own_page_and_the_address_bar_pass(site: str) -> None:
    assert ask(sec_fetch_site=site, sec_fetch_mode="cors", sec_fetch_dest="empty").status == 200


def test_an_own_origin_does_not_excuse_a_foreign_page() -> None:
    assert ask("POST", origin="http://127.0.0.1:3000", sec_fetch_site="cross-site").status == 403


@pytest.mark.parametrize("host", [None, "", "ego 01", "a,b", "127.0.0.1:", "localhost:70000", "[::1", "[1.2]", "a/b"])
def test_a_missing_or_garbled_host_is_a_bad_request(host: str | None) -> None:
    answer = ask(host=host)
    assert (answer.status, answer.reached) == (400, [])


@pytest.mark.parametrize("host", ["localhost.", "deep.localhost", "EGO-01:3000", "255.1.1.1:1", "[fe80::1]"])
def test_local_names_and_addresses_are_names_of_this_machine(host: str) -> None:
    assert ask(host=host).status == 200


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "ego-02", "example.org", "xego.example.org"])
def test_other_names_are_not_names_of_this_machine(host: str) -> None:
    assert ask(host=host).status == 421


def test_a_refusal_is_a_problem_that_says_what_to_do() -> None:
    answer = ask(host="attacker.example")
    problem = json.loads(answer.body)
    assert answer.header("Content-Type") == "application/problem+json"
    assert answer.header("Content-Length") == str(len(answer.body))
    assert (problem["status"], problem["statusCode"], problem["title"]) == (421, 421, "Misdirected Request")
    assert "attacker.example" in problem["detail"]
    assert "MIRROR_STAGE_ALLOWED_HOSTS" in problem["detail"]
    assert "MIRROR_STAGE_ALLOWED_ORIGINS" in json.loads(ask(origin="https://foreign.example").body)["detail"]


def test_a_refused_head_has_no_body() -> None:
    assert ask("HEAD", host="attacker.example").body == b""


def test_the_preflight_of_an_allowed_origin_is_answered_here() -> None:
    answer = ask(
        "OPTIONS", "/api/commands", origin=WALL, access_control_request_method="POST", sec_fetch_site="cross-site"
    )
    assert (answer.status, answer.body, answer.reached) == (204, b"", [])
    assert answer.header("Access-Control-Allow-Origin") == WALL
    assert "POST" in (answer.header("Access-Control-Allow-Methods") or "")
    assert "Content-Type" in (answer.header("Access-Control-Allow-Headers") or "")
    assert answer.header("Access-Control-Allow-Credentials") is None
    assert answer.header("Vary") == "Origin"


def test_the_preflight_of_any_other_origin_is_refused() -> None:
    assert ask("OPTIONS", origin="https://foreign.example", access_control_request_method="POST").status == 403


@pytest.mark.parametrize(
    ("peer", "proto", "status"),
    [
        ("10.0.0.5", "https", 200),
        ("fd00::17", "http, https", 200),
        ("10.0.0.5", "wss", 200),  # Traefik says so of a websocket
        ("10.0.0.5", "ws", 403),
        ("10.0.0.6", "https", 403),  # the peer is no trusted proxy, so its header is ignored
        ("10.0.0.5", "http", 403),
        ("10.0.0.5", "gopher", 403),
        ("10.0.0.5", None, 403),
    ],
)
def test_only_a_trusted_proxy_can_set_the_scheme(peer: str, proto: str | None, status: int) -> None:
    answer = ask(host="ego.example.org", origin="https://ego.example.org", peer=peer, x_forwarded_proto=proto)
    assert answer.status == status


def test_a_unix_socket_is_a_proxy_only_where_it_is_named() -> None:
    forwarded = {"x_forwarded_proto": "https", "x_forwarded_for": "10.0.0.77"}
    request: dict[str, Any] = {"host": "127.0.0.1", "origin": "https://127.0.0.1", "peer": "", **forwarded}
    refused = ask(**request, config=CONFIG)
    assert refused.status == 403
    assert "MIRROR_STAGE_TRUSTED_PROXIES=unix" in json.loads(refused.body)["detail"]
    taken = ask(**request, config=Config(trusted_proxies=("unix",)))
    assert taken.status == 200
    assert taken.reached[0]["REMOTE_ADDR"] == "10.0.0.77"
    assert ask(**{**request, "peer": "10.0.0.6"}, config=Config(trusted_proxies=("unix",))).status == 403


@pytest.mark.parametrize(
    ("headers", "says", "leaves_out"),
    [
        ({"x_forwarded_proto": "https"}, "set MIRROR_STAGE_TRUSTED_PROXIES=10.0.0.6", "ALLOWED_ORIGINS"),
        ({}, "set MIRROR_STAGE_TRUSTED_PROXIES=10.0.0.6", "does not know the proxy"),
        ({"peer": "10.0.0.5"}, "let the proxy send Host and X-Forwarded-Proto", "TRUSTED_PROXIES"),
        ({"x_forwarded_proto": "https", "origin": "https://foreign.example"}, "ALLOWED_ORIGINS", "know the proxy"),
    ],
)
def test_a_refusal_names_what_a_proxy_lacks(headers: dict[str, str], says: str, leaves_out: str) -> None:
    request: dict[str, Any] = {"host": "127.0.0.1", "origin": "https://127.0.0.1", "peer": "10.0.0.6", **headers}
    answer = ask("POST", "/api/commands", **request)
    assert (answer.status, answer.reached) == (403, [])
    detail = json.loads(answer.body)["detail"]
    assert says in detail
    assert leaves_out not in detail


@pytest.mark.parametrize("path", ["/assets/index-1.js", "/plain/page.css", "/icon.svg", "/THIRD_PARTY_LICENSES.txt"])
def test_a_part_of_a_page_is_sent_whatever_the_origin_and_no_foreign_page_can_read_it(path: str) -> None:
    answer = ask(path=path, origin="https://127.0.0.1:3000")
    assert answer.status == 200
    assert answer.header("Access-Control-Allow-Origin") is None
    assert answer.header("Cross-Origin-Resource-Policy") == "same-origin"
    assert ask(path=path, origin="http://foreign.example", sec_fetch_site="cross-site").status == 403
    assert ask(path=path, origin="http://attacker.example", host="attacker.example").status == 421
    assert ask("POST", path, origin="https://127.0.0.1:3000").status == 403


def test_a_page_of_an_allowed_origin_may_load_the_parts_too() -> None:
    config = Config(allowed_origins=("https://dash.example",))
    answer = ask(path="/assets/index-1.js", origin="https://dash.example", sec_fetch_site="cross-site", config=config)
    assert answer.status == 200
    assert answer.header("Access-Control-Allow-Origin") == "https://dash.example"


@pytest.mark.parametrize("origin", ["null", "chrome-extension://abcdef"])
def test_an_origin_that_is_no_web_page_is_not_taken_for_a_proxy(origin: str) -> None:
    answer = ask("POST", "/api/commands", origin=origin)
    assert answer.status == 403
    assert "does not know the proxy" not in json.loads(answer.body)["detail"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.5", "10.0.0.77", "10.0.0.77"),
        ("10.0.0.5", "1.2.3.4, 10.0.0.77", "10.0.0.77"),  # the client can write the left part
        ("10.0.0.5", "10.0.0.77, fd00::1", "10.0.0.77"),
        ("10.0.0.5", "unknown", "10.0.0.5"),
        ("10.0.0.5", None, "10.0.0.5"),
        ("10.0.0.77", "1.2.3.4", "10.0.0.77"),
    ],
)
def test_a_trusted_proxy_sets_the_address_of_its_client(peer: str, forwarded: str | None, client: str) -> None:
    assert ask(peer=peer, x_forwarded_for=forwarded).reached[0]["REMOTE_ADDR"] == client


@pytest.mark.parametrize(
    ("setting", "variable"),
    [
        ({"allowed_hosts": ("a b",)}, "MIRROR_STAGE_ALLOWED_HOSTS"),
        ({"allowed_hosts": ("*",)}, "MIRROR_STAGE_ALLOWED_HOSTS"),
        ({"allowed_origins": ("*",)}, "MIRROR_STAGE_ALLOWED_ORIGINS"),
        ({"allowed_origins": ("null",)}, "MIRROR_STAGE_ALLOWED_ORIGINS"),
        ({"allowed_origins": ("https://wall.example.org/",)}, "MIRROR_STAGE_ALLOWED_ORIGINS"),
        ({"trusted_proxies": ("nginx",)}, "MIRROR_STAGE_TRUSTED_PROXIES"),
    ],
)
def test_a_setting_that_cannot_be_understood_is_named(setting: dict[str, Any], variable: str) -> None:
    with pytest.raises(BadSetting, match=variable):
        Walls(Recorder(), Config(**setting))


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("Titan-01:80", ("titan-01", 80)),
        ("titan-01", ("titan-01", None)),
        ("[FE80::1]:3000", ("fe80::1", 3000)),
        ("10.0.0.1\n", None),
        ("tïtan", None),
        ("", None),
    ],
)
def test_parse_authority(text: str, authority: tuple[str, int | None] | None) -> None:
    assert parse_authority(text) == authority


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://ego", ("http", "ego", 80)),
        ("https://ego", ("https", "ego", 443)),
        ("HTTP://EGO:80", ("http", "ego", 80)),
        ("ftp://ego", None),
        ("null", None),
        ("http://", None),
        ("http://ego/", None),
        ("file://", None),
    ],
)
def test_parse_origin(text: str, origin: tuple[str, str, int] | None) -> None:
    assert parse_origin(text) == origin
