"""Local trust depends on the account: real programs of other accounts and a real nginx talk to a real EGO."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.accounts import ANOTHER, OTHER, as_account, ask, needs_root
from tests.builders import make_sample
from tests.proxies import running_nginx
from tests.servers import EgoServer, free_port, running_ego, wait_until

COMMAND = {"hostname": "titan-01", "command": "w"}
SAMPLES = {"samples": [make_sample("titan-01")]}
POLL = "/socket.io/?EIO=4&transport=polling"
pytestmark = needs_root


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO with its default settings."""
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


@pytest.fixture(scope="module")
def naming_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts a user and an agent of this machine."""
    named = {"MIRROR_STAGE_LOCAL_USERS": "nobody", "MIRROR_STAGE_LOCAL_AGENTS": str(ANOTHER)}
    with running_ego(tmp_path_factory.mktemp("ego"), named) as server:
        yield server


def queued(ego: EgoServer) -> int:
    return int(ego.rows("SELECT count(*) FROM commands")[0][0])


@contextlib.contextmanager
def nginx(port: int, account: str, *lines: str) -> Iterator[int]:
    """The port of a proxy that runs as `account` and forwards everything to `port`. `lines` go into its location."""
    own = free_port()
    location = f"location / {{ proxy_pass http://127.0.0.1:{port}; {' '.join(lines)} }}"
    with running_nginx(own, f"server {{ listen 127.0.0.1:{own}; {location} }}", account):
        yield own


def connect_error(url: str) -> str:
    """Why `/commands` refuses a client that asks by polling."""
    opened = json.loads(requests.get(url + POLL, timeout=10).text[1:])
    session = f"{url}{POLL}&sid={opened['sid']}"
    assert requests.post(session, data="40/commands,", timeout=10).text == "OK"
    packet = requests.get(session, timeout=10).text
    assert packet.startswith("44/commands,"), packet
    return str(json.loads(packet.removeprefix("44/commands,"))["message"])


def test_another_account_of_this_machine_is_refused_and_told_what_to_do(ego: EgoServer) -> None:
    for method, path, body in (
        ("POST", "/api/commands", COMMAND),
        ("GET", "/api/commands/pending/titan-01", None),
        ("POST", "/api/metrics/batch", SAMPLES),
        ("GET", "/api/twin/state", None),
        ("DELETE", "/api/hosts/titan-01", None),
    ):
        reply = ask(OTHER, ego.port, method, path, body)
        assert reply.status == 401
        assert f"uid {OTHER}" in reply.detail
        assert "MIRROR_STAGE_LOCAL_USERS" in reply.detail
    assert ask(OTHER, ego.port, "GET", "/api/health").status == 200
    assert queued(ego) == 0
    assert ego.get("/api/twin/state").status_code == 200


def test_an_account_that_is_named_as_user_may_everything(naming_ego: EgoServer) -> None:
    reply = ask(OTHER, naming_ego.port, "POST", "/api/commands", COMMAND)
    assert reply.status == 201
    assert json.loads(reply.text)["requestedBy"] is None
    assert ask(OTHER, naming_ego.port, "GET", "/api/twin/state").status == 200
    through_a_proxy = {"X-Forwarded-For": "10.0.0.7"}
    assert ask(OTHER, naming_ego.port, "POST", "/api/commands", COMMAND, through_a_proxy).status == 401


def test_an_account_that_is_named_as_agent_may_only_report_and_fetch(naming_ego: EgoServer) -> None:
    queued_id = naming_ego.post("/api/commands", json={"hostname": "agent-01", "command": "w"}).json()["id"]
    assert ask(ANOTHER, naming_ego.port, "POST", "/api/metrics/batch", SAMPLES).status == 202
    fetched = ask(ANOTHER, naming_ego.port, "GET", "/api/commands/pending/agent-01")
    assert [item["id"] for item in json.loads(fetched.text)] == [queued_id]
    result = ask(ANOTHER, naming_ego.port, "POST", f"/api/commands/{queued_id}/result", {"status": "succeeded"})
    assert result.status == 201
    for method, path, body in (
        ("POST", "/api/commands", COMMAND),
        ("GET", "/api/commands", None),
        ("GET", "/api/twin/state", None),
        ("DELETE", "/api/hosts/titan-01", None),
    ):
        reply = ask(ANOTHER, naming_ego.port, method, path, body)
        assert reply.status == 403
        assert f"uid {ANOTHER}" in reply.detail
    events = naming_ego.get(f"/api/commands/{queued_id}/events").json()["items"]
    assert [event["actor"] for event in events] == [None, None, None]
    recorded = naming_ego.rows(
        "SELECT e.actor FROM command_events e JOIN commands c ON c.seq = e.command_seq WHERE c.id = ? ORDER BY e.version",
        queued_id,
    )
    assert recorded == [("local",), ("local",), ("local",)]


def test_clients_of_a_plain_proxy_of_another_account_are_not_trusted(ego: EgoServer) -> None:
    """With `proxy_pass` alone, no header shows that there is a proxy."""
    with nginx(ego.port, "nobody nogroup") as port:
        url, host = f"http://127.0.0.1:{port}", {"Host": "127.0.0.1"}
        assert requests.get(f"{url}/api/health", headers=host, timeout=10).text == "ok"
        for _ in range(3):
            answer = requests.post(f"{url}/api/commands", json=COMMAND, headers=host, timeout=10)
            assert answer.status_code == 401
            assert "proxy" in answer.json()["detail"]
        assert requests.get(f"{url}/api/twin/state", headers=host, timeout=10).status_code == 401
        assert "MIRROR_STAGE_LOCAL_USERS" in connect_error(url)
    assert queued(ego) == 0


def test_a_proxy_of_our_own_account_is_known_by_its_headers(ego: EgoServer) -> None:
    with nginx(ego.port, "root root", "proxy_set_header X-Forwarded-For $remote_addr;") as port:
        url = f"http://127.0.0.1:{port}"
        answer = requests.post(f"{url}/api/commands", json=COMMAND, timeout=10)
        assert answer.status_code == 401
        assert "came through a proxy" in answer.json()["detail"]
        assert "came through a proxy" in connect_error(url)
    assert queued(ego) == 0


@pytest.fixture(scope="module")
def open_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts every account of this machine."""
    with running_ego(tmp_path_factory.mktemp("ego"), {"MIRROR_STAGE_SECURITY": "open"}) as server:
        yield server


@pytest.mark.parametrize(("kind", "taken"), [("ego", False), ("open_ego", True)])
def test_a_client_that_has_closed_its_connection_is_not_taken_for_root(
    request: pytest.FixtureRequest, kind: str, taken: bool
) -> None:
    """A proxy closes when its own client goes away. For a socket without a process the kernel reports uid 0."""
    ego: EgoServer = request.getfixturevalue(kind)
    port, worker = ego.port, ego.worker_pid()
    body = json.dumps(COMMAND)

    def send_and_leave() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/api/commands", body, {"Content-Type": "application/json"})
        assert connection.sock is not None
        own = int(connection.sock.getsockname()[1])
        connection.close()
        return own

    os.kill(worker, signal.SIGSTOP)
    try:
        left = as_account(OTHER, send_and_leave)
        row = next(
            line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if f":{left:04X} " in line[:20]
        )
        assert row[9] == "0", "the client's end still has an owner"
    finally:
        os.kill(worker, signal.SIGCONT)
    if taken:
        wait_until(lambda: queued(ego) == 1, what="the command of the client that left")
    else:
        assert ego.get("/api/twin/state").status_code == 200
        wait_until(lambda: not is_open(ego, left), what="EGO is done with the client that left")
        assert queued(ego) == 0


def is_open(ego: EgoServer, client_port: int) -> bool:
    """Whether EGO still holds its end of a client's connection."""
    ends = f":{ego.port:04X} 0100007F:{client_port:04X} "
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line]
    return any(row[9] != "0" for row in rows)


def test_clients_of_a_unix_socket_are_known_by_their_account_too(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mirror-stage-unix-"))
    folder.chmod(0o755)
    path = str(folder / "ego.sock")
    server = EgoServer(tmp_path, {"MIRROR_STAGE_BIND": f"unix:{path}"})

    def status(of: str = "/api/twin/state") -> int:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(path)
        connection.request("GET", of)
        return connection.getresponse().status

    def is_ready() -> bool:
        try:
            return status("/api/health/ready") == 200
        except OSError:  # no socket yet, or one that EGO has bound and does not listen on
            return False

    try:
        server.start(wait=False)
        wait_until(is_ready, 40, what="EGO is ready")
        os.chmod(path, 0o777)
        assert status() == 200
        assert as_account(OTHER, status) == 401
    finally:
        server.stop()
        shutil.rmtree(folder)
