"""Long polls: each is woken at once, one waits for each host, and EGO claims nothing for a client that is gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from mirror_stage.commands.waiters import Waiters, is_connected
from tests.commands.bench import CommandBench


@pytest.fixture
def waiters() -> Waiters:
    return Waiters(most=3)


class Queue:
    """Commands that can be claimed; counts the claims."""

    def __init__(self) -> None:
        self.pending: list[str] = []
        self.looks = 0

    def claim(self) -> list[str]:
        self.looks += 1
        found, self.pending = self.pending, []
        return found


def always() -> bool:
    return True


def waiting(waiters: Waiters, queue: Queue, host: str = "titan-01", is_there: Callable[[], bool] = always) -> Any:
    """A greenlet that waits for a command."""
    poll = gevent.spawn(waiters.serve, host, 5.0, queue.claim, is_there)
    gevent.sleep(0)
    return poll


def test_without_a_wait_there_is_one_claim(waiters: Waiters) -> None:
    queue = Queue()
    assert waiters.serve("titan-01", 0.0, queue.claim, always) == []
    assert (queue.looks, len(waiters)) == (1, 0)


def test_a_wait_ends_without_a_command_when_its_time_is_over(waiters: Waiters) -> None:
    started = time.monotonic()
    assert waiters.serve("titan-01", 0.05, Queue().claim, always) == []
    assert 0.04 < time.monotonic() - started < 5
    assert len(waiters) == 0


def test_a_new_command_wakes_its_host_and_no_other(waiters: Waiters) -> None:
    queue, other = Queue(), Queue()
    poll, idle = waiting(waiters, queue), waiting(waiters, other, "titan-02")
    queue.pending = ["uptime"]
    waiters.look_again(["titan-01", "unknown"])
    assert poll.get(timeout=1) == ["uptime"]
    assert (other.looks, idle.dead) == (1, False)
    waiters.close()


def test_a_command_that_is_queued_during_the_first_claim_is_not_missed(waiters: Waiters) -> None:
    queue = Queue()

    def claim() -> list[str]:
        found = queue.claim()
        if queue.looks == 1:
            queue.pending = ["uptime"]
            waiters.look_again(["titan-01"])
        return found

    assert waiters.serve("titan-01", 5.0, claim, always) == ["uptime"]


def test_the_newest_poll_of_a_host_dismisses_the_older_one(waiters: Waiters) -> None:
    old, new = Queue(), Queue()
    older = waiting(waiters, old)
    newer = waiting(waiters, new)
    assert older.get(timeout=1) == []
    new.pending = ["uptime"]
    waiters.look_again(["titan-01"])
    assert newer.get(timeout=1) == ["uptime"]
    assert (old.looks, len(waiters)) == (1, 0)


def test_a_poll_that_does_not_wait_dismisses_one_that_does(waiters: Waiters) -> None:
    older = waiting(waiters, Queue())
    waiters.serve("titan-01", 0.0, Queue().claim, always)
    assert older.get(timeout=1) == []


def test_an_older_poll_still_answers_with_what_it_has_claimed(waiters: Waiters) -> None:
    def claim() -> list[str]:
        waiters.serve("titan-01", 0.0, list, always)
        return ["uptime"]

    assert waiters.serve("titan-01", 5.0, claim, always) == ["uptime"]


def test_beyond_the_limit_a_poll_is_answered_without_waiting(waiters: Waiters) -> None:
    polls = [waiting(waiters, Queue(), f"titan-{n}") for n in range(3)]
    queue = Queue()
    assert waiting(waiters, queue, "titan-9").get(timeout=1) == []
    queue.pending = ["uptime"]
    assert waiting(waiters, queue, "titan-9").get(timeout=1) == ["uptime"]
    waiters.close()
    gevent.joinall(polls, timeout=1)
    assert len(waiters) == 0


def test_closing_ends_all_waits_and_allows_no_new_one(waiters: Waiters) -> None:
    queue = Queue()
    poll = waiting(waiters, queue)
    queue.pending = ["uptime"]
    waiters.close()
    assert poll.get(timeout=1) == []
    assert queue.pending == ["uptime"]
    assert waiters.serve("titan-02", 5.0, list, always) == []


def test_nothing_is_claimed_for_a_client_that_is_gone(waiters: Waiters) -> None:
    queue, there = Queue(), [True]
    poll = waiting(waiters, queue, is_there=lambda: there[0])
    queue.pending = ["uptime"]
    there[0] = False
    waiters.look_again(["titan-01"])
    assert poll.get(timeout=1) == []
    assert queue.pending == ["uptime"]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(server's end, client's end) of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with server, client:
            yield server, client


def test_a_client_is_connected_until_it_hangs_up(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    assert is_connected({})
    assert is_connected({"gunicorn.socket": server})
    client.sendall(b"GET /next HTTP/1.1\r\n")
    assert is_connected({"gunicorn.socket": server})
    client.close()
    time.sleep(0.01)
    assert not is_connected({"gunicorn.socket": server})
    assert server.recv(100) == b"GET /next HTTP/1.1\r\n"  # the check has read nothing
    server.close()
    assert not is_connected({"gunicorn.socket": server})


def test_a_reset_connection_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    time.sleep(0.01)
    assert not is_connected({"gunicorn.socket": server})


def test_a_new_command_is_handed_to_its_waiting_agent_at_once(bench: CommandBench) -> None:
    poll = gevent.spawn(bench.claim, wait=5.0)
    gevent.sleep(0)
    command = bench.create()
    assert [claimed.id for claimed in poll.get(timeout=1)] == [command.id]


def test_a_command_that_another_process_has_queued_is_found(bench: CommandBench) -> None:
    poll = gevent.spawn(bench.claim, wait=5.0)
    gevent.sleep(0)
    ours = bench.commands
    bench.restart()
    command = bench.create()
    ours.look_for_pending()
    assert [claimed.id for claimed in poll.get(timeout=1)] == [command.id]


def test_looking_for_pending_commands_reads_nothing_while_no_agent_waits(
    bench: CommandBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.storage, "read", None)
    bench.commands.look_for_pending()
