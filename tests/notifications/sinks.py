"""Receivers on this machine, each in a thread of its own: they note what they get, and answer as the test says."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any


Answer = tuple[int, dict[str, str]]


@dataclass
class Sink:
    """An HTTP server. `answer` says what it answers to the n-th request, counted from 0."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answer: Callable[[int], Answer] = lambda _number: (200, {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> list[str]:
        return [one.headers["Idempotency-Key"] for one in self.got]

    @property
    def kinds(self) -> list[str]:
        return [one.body["kind"] for one in self.got]


@contextlib.contextmanager
def sink(answer: Callable[[int], Answer] | None = None) -> Iterator[Sink]:
    """A server that answers 200, or what `answer` says."""
    made = Sink()
    if answer is not None:
        made.answer = answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers = made.answer(len(made.got))
            kind = self.headers.get("Content-Type", "")
            made.got.append(Got(self.path, dict(self.headers), json.loads(body) if "json" in kind else body.decode()))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def raw(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does with each connection what `behave` does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=_guarded, args=(behave, connection), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def _guarded(behave: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        behave(connection)


def hang(connection: socket.socket) -> None:
    """Read, and never answer."""
    while connection.recv(4096):
        pass


def trickle(connection: socket.socket) -> None:
    """Answer with one byte a second, for ever."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    pause = threading.Event()
    while not pause.wait(1):
        connection.sendall(b"a")


def reset(connection: socket.socket) -> None:
    """Read the request, and break the connection."""
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def endless(first: bytes, more: bytes) -> Callable[[socket.socket], None]:
    """Answer for ever, as fast as the connection takes it."""

    def flood(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        while True:
            connection.sendall(more)

    return flood


def endless_mail(connection: socket.socket) -> None:
    """A mail server whose reply has no last line."""
    connection.sendall(b"220 here\r\n")
    endless(b"", b"250-x\r\n" * 8_000)(connection)
