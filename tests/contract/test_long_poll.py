"""docs/contract.md, section 1, Commands: a poll that waits."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.builders import unique_hostname
from tests.contract.wire import act, claim, command, create, elapsed
from tests.servers import PATIENCE, EgoServer


class Poll(threading.Thread):
    """One poll in a thread of its own."""

    def __init__(self, ego: EgoServer, hostname: str, wait: float, headers: dict[str, str] | None = None):
        super().__init__(daemon=True)
        self._url = f"{ego.url}/api/commands/pending/{hostname}"
        self._wait, self._headers = wait, headers
        self.items: list[dict[str, Any]] | None = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        query = {"wait": self._wait}
        answer, self.seconds = elapsed(
            lambda: requests.get(self._url, params=query, headers=self._headers, timeout=self._wait + 10)
        )
        assert answer.status_code == 200, answer.text
        self.items = answer.json()

    def ids(self) -> list[str]:
        """What it got, once it was answered."""
        self.join(20)
        assert self.items is not None, "never answered"
        return [item["id"] for item in self.items]


@contextmanager
def waiting_socket(ego: EgoServer, hostname: str, wait: int = 20) -> Iterator[socket.socket]:
    """A raw connection whose poll waits."""
    with socket.create_connection(("127.0.0.1", ego.port)) as wire:
        request = f"GET /api/commands/pending/{hostname}?wait={wait} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        wire.sendall(request.encode())
        all_wait(ego)
        yield wire


def all_wait(ego: EgoServer) -> None:
    """Return when all earlier polls wait: polls that came later have their answers."""
    for _ in range(3):
        assert claim(ego, unique_hostname()) == []


def all_have_looked(ego: EgoServer) -> None:
    """Return when all pollers that were woken earlier have claimed: one that is woken later has its command."""
    hostname = unique_hostname()
    poll = Poll(ego, hostname, wait=20)
    all_wait(ego)
    command_id = create(ego, hostname)["id"]
    assert poll.ids() == [command_id]


def test_a_poll_without_wait_is_answered_at_once(ego: EgoServer) -> None:
    for query in ({}, {"wait": 0}):
        items, seconds = elapsed(lambda query=query: claim(ego, unique_hostname(), **query))
        assert items == []
        assert seconds < PATIENCE


def test_a_poll_without_a_command_is_answered_empty_when_its_time_is_over(ego: EgoServer) -> None:
    items, seconds = elapsed(lambda: claim(ego, unique_hostname(), wait=1.2))
    assert items == []
    assert 1.1 < seconds < 3 * PATIENCE


def test_a_pending_command_is_answered_at_once(ego: EgoServer) -> None:
    hostname = unique_hostname()
    command_id = create(ego, hostname)["id"]
    items, seconds = elapsed(lambda: claim(ego, hostname, wait=20))
    assert [item["id"] for item in items] == [command_id]
    assert seconds < 2 * PATIENCE  # not 20


def test_a_poll_that_waits_is_answered_as_soon_as_there_is_a_command(ego: EgoServer) -> None:
    hostname = unique_hostname()
    poll = Poll(ego, hostname, wait=20)
    all_wait(ego)
    assert poll.items is None
    started = time.monotonic()
    command_id = create(ego, hostname)["id"]
    assert poll.ids() == [command_id]
    assert time.monotonic() - started < 1.5 * PATIENCE  # not 20
    assert command(ego, command_id)["status"] == "running"


def test_a_waiter_whose_connection_is_gone_claims_nothing(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with waiting_socket(ego, hostname):
        pass
    command_id = create(ego, hostname)["id"]
    all_have_looked(ego)
    assert command(ego, command_id)["status"] == "pending"
    assert [item["id"] for item in claim(ego, hostname)] == [command_id]


def test_a_waiter_whose_connection_was_reset_claims_nothing(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with waiting_socket(ego, hostname) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() sends RST
    command_id = create(ego, hostname)["id"]
    all_have_looked(ego)
    assert command(ego, command_id)["status"] == "pending"


def test_a_waiter_that_is_still_there_is_answered_on_its_raw_connection(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with waiting_socket(ego, hostname) as wire:
        command_id = create(ego, hostname)["id"]
        wire.settimeout(5)
        answer = b""
        while command_id.encode() not in answer:
            answer += wire.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"cache-control: no-store" in head.lower()
    assert json.loads(body)[0]["id"] == command_id


def test_of_two_waiters_of_one_host_one_gets_the_command(ego: EgoServer) -> None:
    hostname = unique_hostname()
    polls = [Poll(ego, hostname, wait=3) for _ in range(2)]
    all_wait(ego)
    command_id = create(ego, hostname)["id"]
    assert sorted(poll.ids() for poll in polls) == [[], [command_id]]


def test_forty_hosts_wait_at_once_and_each_gets_its_own(ego: EgoServer) -> None:
    hostnames = [unique_hostname() for _ in range(40)]
    polls = {hostname: Poll(ego, hostname, wait=25) for hostname in hostnames}
    all_wait(ego)
    assert elapsed(lambda: ego.get("/api/health"))[1] < 2 * PATIENCE  # nobody else is held up
    with requests.Session() as session:
        created = {}
        for hostname in hostnames:
            body = {"hostname": hostname, "command": "true"}
            created[hostname] = session.post(f"{ego.url}/api/commands", json=body, timeout=10).json()["id"]
    assert {hostname: poll.ids() for hostname, poll in polls.items()} == {name: [i] for name, i in created.items()}


def test_a_command_wakes_no_waiter_of_another_host(ego: EgoServer) -> None:
    hostname = unique_hostname()
    poll = Poll(ego, hostname, wait=1)
    all_wait(ego)
    create(ego, unique_hostname())
    assert poll.ids() == []
    assert poll.seconds > 0.9


def test_a_head_that_waits_is_answered_at_once_and_claims_nothing(ego: EgoServer) -> None:
    hostname = unique_hostname()
    answer, seconds = elapsed(lambda: requests.head(f"{ego.url}/api/commands/pending/{hostname}?wait=20", timeout=10))
    assert (answer.status_code, answer.content) == (200, b"")
    assert seconds < PATIENCE  # not 20


@pytest.mark.parametrize("prefix", ["/api/commands", "/api/field/commands"])
def test_a_waiter_does_not_get_a_cancelled_command(ego: EgoServer, prefix: str) -> None:
    hostname = unique_hostname()
    cancelled = create(ego, hostname)["id"]
    assert act(ego, cancelled, "cancel").status_code == 200
    answer, seconds = elapsed(lambda: ego.get(f"{prefix}/pending/{hostname}?wait=0.5"))
    assert answer.json() == ([] if prefix == "/api/commands" else {"items": []})
    assert seconds > 0.4


def test_a_connected_waiter_gets_the_command_that_a_disconnected_one_did_not(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with waiting_socket(ego, hostname):
        pass
    poll = Poll(ego, hostname, wait=20)
    all_wait(ego)
    command_id = create(ego, hostname)["id"]
    assert poll.ids() == [command_id]
    assert command(ego, command_id)["status"] == "running"
