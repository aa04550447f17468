"""The server at the address of Redis may be broken or hostile. Readiness does not wait long for it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mirror_stage.health.redis import redis_trouble
from tests.servers import EgoServer


@contextlib.contextmanager
def scripted(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[float]]]:
    """The URL of a server that answers like this, and when it was asked."""
    asked: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                client.recv(1000)
                asked.append(time.monotonic())
                answer(client)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def silent(client: socket.socket) -> None:
    client.recv(1)


def drips(client: socket.socket) -> None:
    while True:
        client.sendall(b"+")
        time.sleep(0.05)


def never_ends(client: socket.socket) -> None:
    while True:
        client.sendall(b"+" * 65536)


def nests(client: socket.socket) -> None:
    client.sendall(b"*1\r\n" * 1_000_000)


def bulk(client: socket.socket) -> None:
    client.sendall(b"$999999999999\r\n" + b"x" * 10_000_000)


def refuses(client: socket.socket) -> None:
    client.sendall(b"-NOAUTH Authentication required.\r\n")


def explains(client: socket.socket) -> None:
    client.sendall(b"-DENIED Redis is running in protected mode. " + b"Do this, or that. " * 60 + b"\r\n")


HOSTILE = [silent, drips, never_ends, nests, bulk, refuses, explains]


def test_a_redis_that_answers_is_fine() -> None:
    with scripted(lambda client: client.sendall(b"+PONG\r\n")) as (url, asked):
        assert redis_trouble(url) is None
        assert len(asked) == 1


def test_a_long_refusal_is_told_by_its_beginning() -> None:
    with scripted(explains) as (url, _):
        assert "answers PING with b'-DENIED Redis is running in protected mode." in (redis_trouble(url) or "")


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda one: one.__name__)
def test_a_hostile_or_refusing_redis_is_a_problem_within_the_deadline(
    answer: Callable[[socket.socket], None],
) -> None:
    with scripted(answer) as (url, asked):
        started = time.monotonic()
        trouble = redis_trouble(url, 0.5)
        assert time.monotonic() - started < 2.5  # 0.5 s, and what busy cores add
        assert trouble
        assert len(trouble) < 300
        assert len(asked) == 1


def test_readiness_asks_a_hostile_redis_now_and_then_and_others_do_not_wait(
    start_ego: Callable[..., EgoServer],
) -> None:
    with scripted(drips) as (url, asked):
        ego = start_ego({"MIRROR_STAGE_REDIS_URL": url})
        started = time.monotonic()
        asked.clear()
        for _ in range(20):
            check = ego.get("/api/health/ready").json()["checks"]["redis"]
            assert check["ok"] is False
            assert " s ago" in check["detail"]
        assert len(asked) <= 2 + (time.monotonic() - started) / 5
