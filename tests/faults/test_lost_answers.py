"""T3: the request arrives, its answer is lost, the client sends again. Everything happens exactly once."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import unique_hostname
from tests.faults import print_figures, short_and_full
from tests.faults.load import Batches, stored_samples
from tests.servers import EgoServer


class DroppingProxy:
    """Forwards each request to EGO, waits for the whole answer, notes its status, and drops the client's connection."""

    def __init__(self, port: int):
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.dropped: Counter[int] = Counter()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", self._upstream), timeout=30) as upstream:
                upstream.sendall(_request_from(client))
                answer = http.client.HTTPResponse(upstream)
                answer.begin()
                answer.read()
                self.dropped[answer.status] += 1


def _request_from(client: socket.socket) -> bytes:
    """One whole request, read from a connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    head = received.split(b"\r\n\r\n", 1)[0]
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(received) < len(head) + 4 + length:
        received += client.recv(65536)
    return received


@pytest.fixture
def proxy(ego: EgoServer) -> Iterator[DroppingProxy]:
    dropping = DroppingProxy(ego.port)
    yield dropping
    dropping.close()


def lose_answer(
    proxy: DroppingProxy, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> None:
    """Send a request whose answer never comes."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/json"} | (headers or {}))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("requests", short_and_full(40, 1_000))
def test_samples_sent_again_are_stored_once(ego: EgoServer, proxy: DroppingProxy, requests: int) -> None:
    per_request = 5
    batches = Batches(per_request, stem=unique_hostname("lost"))
    sent, accepted, duplicates = set(), 0, 0
    for _ in range(requests):
        batch = next(batches)
        sent.update(batch.keys)
        lose_answer(proxy, "POST", "/api/metrics/batch", batch.body)
        again = ego.post("/api/metrics/batch", data=batch.body, headers={"Content-Type": "application/json"})
        assert again.status_code == 202
        accepted += again.json()["accepted"]
        duplicates += again.json()["duplicates"]
    stored = {key: times for key, times in stored_samples(ego).items() if key in sent}
    print_figures(
        "T3", answers_lost=proxy.dropped[202], rows=sum(stored.values()), accepted=accepted, duplicates=duplicates
    )
    assert proxy.dropped == {202: requests}
    assert sum(stored.values()) == len(stored) == requests * per_request
    assert accepted == duplicates == requests * per_request


@pytest.mark.parametrize("commands", short_and_full(10, 200))
def test_commands_sent_again_are_queued_run_and_reported_once(
    ego: EgoServer, proxy: DroppingProxy, commands: int
) -> None:
    """Commands from creation to result, with an agent that keeps a journal. Each first answer is lost."""
    hostname = unique_hostname("lost")
    journal = {"X-Reflector-Instance": str(uuid.uuid4()), "X-Reflector-Journal": "1"}
    outcome = {"status": "succeeded", "exitCode": 0, "stdout": "done", "durationSeconds": 0.1}
    ran: Counter[str] = Counter()
    for number in range(commands):
        key = {"Idempotency-Key": f"{hostname}-{number}"}
        wanted = {"hostname": hostname, "command": f"echo {number}"}
        created = _twice(ego, proxy, "/api/commands", wanted, 200, key)

        lose_answer(proxy, "GET", f"/api/commands/pending/{hostname}", headers=journal)
        handed_out = ego.get(f"/api/commands/pending/{hostname}", headers=journal).json()
        assert [item["id"] for item in handed_out] == [created["id"]]
        _twice(ego, proxy, f"/api/commands/{created['id']}/heartbeat", {"phase": "started"}, 200)
        assert ego.get(f"/api/commands/pending/{hostname}", headers=journal).json() == []
        ran[created["id"]] += 1

        reported = _twice(ego, proxy, f"/api/commands/{created['id']}/result", outcome, 200)
        assert (reported["status"], reported["stdout"]) == ("succeeded", "done")
    listed = ego.get(f"/api/commands?hostname={hostname}&pageSize=1").json()
    events = [ego.get(f"/api/commands/{id}/events").json()["total"] for id in ran]
    print_figures(
        "T3",
        commands=listed["total"],
        run_once=sum(times == 1 for times in ran.values()),
        answers_lost=proxy.dropped.total(),
    )
    assert listed["total"] == commands == len(ran)
    assert set(events) == {3}  # created, claimed, reported: no transition twice


def _twice(
    ego: EgoServer,
    proxy: DroppingProxy,
    path: str,
    body: dict[str, Any],
    status: int,
    headers: dict[str, str] | None = None,
) -> Any:
    """The answer to a request that is sent again because its first answer was lost."""
    lose_answer(proxy, "POST", path, json.dumps(body).encode(), headers)
    again = ego.post(path, json=body, headers=headers)
    assert again.status_code == status, again.text
    return again.json()


def test_a_command_that_an_agent_without_a_journal_may_have_run_is_never_handed_out_again(
    ego: EgoServer, proxy: DroppingProxy
) -> None:
    hostname = unique_hostname("lost")
    created = ego.post("/api/commands", json={"hostname": hostname, "command": "reboot"}).json()
    lose_answer(proxy, "GET", f"/api/commands/pending/{hostname}")
    assert proxy.dropped == {200: 1}
    assert ego.get(f"/api/commands/pending/{hostname}").json() == []
    assert ego.get(f"/api/commands/{created['id']}").json()["status"] == "running"
