"""A hostile HTTP server: the test decides which bytes it sends as an answer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Attack = Callable[[socket.socket], None]

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def whole(content: bytes, head: bytes = JSON_HEAD) -> bytes:
    """A complete, valid answer."""
    return head + b"Content-Length: %d\r\n\r\n" % len(content) + content


def sends(*parts: bytes) -> Attack:
    """An attack that sends these bytes and closes the connection."""

    def attack(wire: socket.socket) -> None:
        for part in parts:
            wire.sendall(part)

    return attack


def silent_after(*parts: bytes) -> Attack:
    """An attack that sends these bytes, then nothing more, and keeps the connection open."""

    def attack(wire: socket.socket) -> None:
        sends(*parts)(wire)
        wire.recv(1)  # until the client closes the connection

    return attack


def drips(first: bytes, drop: bytes, every_seconds: float = 0.05) -> Attack:
    """An attack that sends `drop` again and again without end. No single read of the client takes long."""

    def attack(wire: socket.socket) -> None:
        wire.sendall(first)
        while True:
            wire.sendall(drop)
            time.sleep(every_seconds)

    return attack


def floods(first: bytes, part: bytes) -> Attack:
    """An attack that sends the same part without end, as fast as the client reads."""

    def attack(wire: socket.socket) -> None:
        wire.sendall(first)
        while True:
            wire.sendall(part)

    return attack


class HostileEgo:
    """Answers each request with `attack`. `heads` are the heads of the requests that arrived."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.attack: Attack = sends(whole(b"[]"))
        self.heads: list[bytes] = []

    def serve(self, wire: socket.socket) -> None:
        with wire, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                part = wire.recv(65536)
                if not part:
                    return
                request += part
            head, _, body = request.partition(b"\r\n\r\n")
            missing = _length_of(head) - len(body)
            while missing > 0:
                missing -= len(wire.recv(65536)) or missing
            self.heads.append(head)
            self.attack(wire)


def _length_of(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)


@contextmanager
def hostile_ego() -> Iterator[HostileEgo]:
    """A hostile server. It answers one request on each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ego = HostileEgo(listener.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    threading.Thread(target=ego.serve, args=(wire,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield ego
        finally:
            listener.shutdown(socket.SHUT_RDWR)
