"""T20: whatever Origin and Host a page sends to a real EGO, with or without the cookie of somebody who has signed in.

Another origin gets nothing; a request as an agent sends it gets all that its token allows. `test_walls.py` asks the wall
alone, and `end_to_end/test_foreign_page.py` asks with a browser.
"""

from __future__ import annotations

import base64
import http.client
import itertools
from collections.abc import Iterator

import pytest

from tests.security.credentials import Browser, bearer, by_link, token_of
from tests.servers import EgoServer, running_ego

HOST = "titan-01"
OWN_HOSTS = ("127.0.0.1:{port}", "[::1]:{port}", "10.0.0.100", "LOCALHOST:{port}")
FOREIGN_HOSTS = (
    "attacker.example",
    "localhost.attacker.example:{port}",
    "127.0.0.1.attacker.example:{port}",
    "attacker.example:{port}",
)
ORIGINS = (
    None,
    "null",
    "http://{host}",  # the same origin, as far as the two headers tell
    "https://{host}",
    "http://127.0.0.1:5173",  # another service of this machine: it receives EGO's cookie
    "http://localhost:{port}.attacker.example",
    "http://attacker.example",
    "http://user@127.0.0.1:{port}",
    "http://127.0.0.1:{port}/",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "http://127.0.0.1:{port}, http://attacker.example",
)
COMMAND = '{"hostname": "titan-01", "command": "id"}'
KINDS: dict[str, tuple[str, str, dict[str, str], str | None]] = {
    "JSON POST": ("POST", "/api/commands", {"Content-Type": "application/json"}, COMMAND),
    "text POST": ("POST", "/api/commands", {"Content-Type": "text/plain"}, COMMAND),
    "GET pending": ("GET", f"/api/commands/pending/{HOST}", {}, None),
    "HEAD pending": ("HEAD", f"/api/commands/pending/{HOST}", {}, None),
    "image pending": ("GET", f"/api/commands/pending/{HOST}", {"Accept": "image/avif,image/webp,*/*;q=0.8"}, None),
    "read": ("GET", "/api/twin/state", {}, None),
    "polling": ("GET", "/socket.io/?EIO=4&transport=polling", {}, None),
    "websocket": (
        "GET",
        "/socket.io/?EIO=4&transport=websocket",
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        },
        None,
    ),
}
# What everybody gets from EGO's own origin: a transport, in which every namespace asks for a credential.
OPEN_KINDS = {"polling", "websocket"}
# A quick run asks with the hosts and origins that differ most.
FEW_HOSTS, FEW_ORIGINS = (OWN_HOSTS[0], FOREIGN_HOSTS[0]), ORIGINS[:7]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts nobody without a credential, with one command that waits."""
    with running_ego(tmp_path_factory.mktemp("ego"), {"MIRROR_STAGE_SECURITY": "strict"}) as server:
        token_of(server, f"--agent {HOST}")  # EGO takes no command for a stranger
        yield server


@pytest.fixture(scope="module")
def admin(ego: EgoServer) -> Browser:
    """Somebody who has signed in."""
    browser = by_link(ego)
    assert browser.ask("POST", "/api/commands", json={"hostname": HOST, "command": "true"}).status_code == 201
    return browser


def ask(ego: EgoServer, kind: str, host: str, origin: str | None, headers: dict[str, str]) -> int:
    """The status of one request."""
    method, path, own, body = KINDS[kind]
    named = {"Host": host} | ({} if origin is None else {"Origin": origin}) | own | headers
    connection = http.client.HTTPConnection("127.0.0.1", ego.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, text in (named | ({} if body is None else {"Content-Length": str(len(body))})).items():
            connection.putheader(name, text)
        connection.endheaders(None if body is None else body.encode())
        return connection.getresponse().status
    finally:
        connection.close()


def matrix(
    ego: EgoServer, hosts: tuple[str, ...], origins: tuple[str | None, ...]
) -> Iterator[tuple[str, str, str | None]]:
    """Kind, Host and Origin of each request."""
    for kind, host_form, origin_form in itertools.product(KINDS, hosts, origins):
        host = host_form.format(port=ego.port)
        yield kind, host, None if origin_form is None else origin_form.format(host=host, port=ego.port)


def is_own(host: str, origin: str | None) -> bool:
    return "attacker.example" not in host and origin in {None, f"http://{host}"}


@pytest.mark.parametrize(
    ("hosts", "origins"),
    [
        pytest.param(FEW_HOSTS, FEW_ORIGINS, id="few"),
        pytest.param(OWN_HOSTS + FOREIGN_HOSTS, ORIGINS, id="all", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("sent", ["nothing", "the cookie", "the cookie and the half of the page"])
def test_another_origin_gets_nothing(
    ego: EgoServer, admin: Browser, hosts: tuple[str, ...], origins: tuple[str | None, ...], sent: str
) -> None:
    whole = admin.headers
    headers = {"nothing": {}, "the cookie": {"Cookie": whole["Cookie"]}}.get(sent, whole)
    before = ego.rows("SELECT id, status, version FROM commands ORDER BY seq")
    got: dict[str, set[int]] = {}
    foreign = 0
    for kind, host, origin in matrix(ego, hosts, origins):
        status = ask(ego, kind, host, origin, headers)
        if not is_own(host, origin):
            foreign += 1
            assert status in {400, 403, 421}, (kind, host, origin)
        else:
            got.setdefault(kind, set()).add(status)
    assert foreign > len(KINDS) * len(origins)
    is_signed_in = headers is whole
    assert got == {
        "JSON POST": {201} if is_signed_in else {401},
        "text POST": {415} if is_signed_in else {401},
        "GET pending": {403} if is_signed_in else {401},  # not from a browser, whoever asks
        "HEAD pending": {403} if is_signed_in else {401},
        "image pending": {403} if is_signed_in else {401},
        "read": {200} if is_signed_in else {401},
        "polling": {200},
        "websocket": {101},
    }
    created = sum(is_own(host, origin) for kind, host, origin in matrix(ego, hosts, origins) if kind == "JSON POST")
    after = ego.rows("SELECT id, status, version FROM commands ORDER BY seq")
    assert after[: len(before)] == before, "a command was claimed"
    assert len(after) == len(before) + (created if is_signed_in else 0)


def test_a_request_as_an_agent_or_a_script_sends_it_is_never_refused(ego: EgoServer) -> None:
    """Without an Origin, and by an address or a name of this machine."""
    agent, operator = bearer(token_of(ego, "--agent agent-01")[1]), bearer(token_of(ego, "--role operator")[1])
    for host_form in OWN_HOSTS:
        host = host_form.format(port=ego.port)
        for kind, headers, status in (
            ("JSON POST", operator, 201),
            ("read", operator, 200),
            ("polling", agent, 200),
            ("websocket", agent, 101),
        ):
            assert ask(ego, kind, host, None, headers) == status, (kind, host)
        answer = ego.get("/api/commands/pending/agent-01", headers=agent | {"Host": host})
        assert answer.status_code == 200, host
