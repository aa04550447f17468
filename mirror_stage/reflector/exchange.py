"""Sends one HTTP request and reads its answer, with limits on its size and on the time until its last byte.

The server, or a proxy before it, may be hostile. So redirects are not followed, and compressed answers are refused.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from mirror_stage.core.trust import Trust

CONNECT_SECONDS = 5.0
CONNECTIONS_MAX = 16  # idle connections that are kept open
ANSWER_BYTES_MAX = 2**20  # the largest answer of EGO is a command with both of its outputs
FRAMING_BYTES_MAX = 256 * 1024  # head and chunk sizes, beside the answer itself
_PART = 64 * 1024


class Broken(Exception):
    """No complete answer came. The text gives the innermost reason."""


class NotReached(Broken):
    """No connection could be made."""


class _Gone(Broken):
    """The server had closed a connection that was kept open."""


@dataclass(frozen=True)
class Reply:
    """An answer; its content has at most 1 MiB, and the names of its headers are written like Content-Type."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class _Incoming(io.RawIOBase):
    """Reads from a socket until a deadline, and at most a fixed number of bytes."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline, self._left = sock, deadline, ANSWER_BYTES_MAX + FRAMING_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(_seconds_until(self._deadline))
        count = self._sock.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise Broken(f"the answer is longer than {ANSWER_BYTES_MAX // 2**20} MiB")
        return count


class _Connection:
    """One connection, for one request at a time. http.client uses it like a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.deadline = 0.0
        self.was_used = False

    def sendall(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            self._sock.settimeout(_seconds_until(self.deadline))
            view = view[self._sock.send(view[:_PART]) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._sock, self.deadline))

    def close(self) -> None:
        """Does nothing: http.client calls this after each answer, but Exchange decides whether the connection stays open."""

    @property
    def is_quiet(self) -> bool:
        """Whether the server has neither closed the connection nor sent anything since its last answer."""
        with selectors.DefaultSelector() as looking:
            looking.register(self._sock, selectors.EVENT_READ)
            return not looking.select(0)

    def hang_up(self) -> None:
        self._sock.close()


class Exchange:
    """Sends requests to the server of one URL, over connections that stay open. Thread-safe.

    Ignores HTTP_PROXY and the like, because EGO is in a private network.
    """

    def __init__(self, url: str, trust: Trust | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._prefix = parts.hostname or "", quote(parts.path.rstrip("/"), safe="/%")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._trust = (trust or Trust()) if parts.scheme == "https" else None
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def ask(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], within_seconds: float
    ) -> Reply:
        """The answer to one request. Raises Broken, and NotReached if no connection could be made."""
        kept = self._kept()
        if kept is not None:
            try:
                return self._ask(kept, method, target, body, headers, time.monotonic() + within_seconds)
            except _Gone:
                # A closed connection shows only when it is used. Every request may be sent twice: EGO recognises
                # repeated samples, results and polls.
                pass
        return self._ask(self._connect(), method, target, body, headers, time.monotonic() + within_seconds)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.hang_up()

    def _kept(self) -> _Connection | None:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_quiet:
                    return connection
                connection.hang_up()
        return None

    def _keep(self, connection: _Connection) -> None:
        connection.was_used = True
        with self._lock:
            if len(self._idle) < CONNECTIONS_MAX:
                self._idle.append(connection)
                return
        connection.hang_up()

    def _connect(self) -> _Connection:
        try:
            if self._trust is None:
                return _Connection(self._connect_plainly())
            return _Connection(self._trust.secured(self._connect_plainly, self._host, self._prefix))
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the hostname is empty or too long
            raise NotReached(_in_words(error)) from error

    def _connect_plainly(self) -> socket.socket:
        sock = socket.create_connection((self._host, self._port), CONNECT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _ask(
        self,
        connection: _Connection,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Reply:
        connection.deadline = deadline
        talk = http.client.HTTPConnection(self._host, self._port)
        talk.sock = connection  # type: ignore[assignment]
        is_reusable = False
        try:
            with contextlib.suppress(BrokenPipeError):  # the server may answer before it has read the whole request
                talk.request(method, self._prefix + target, body, dict(headers))
            with talk.getresponse() as response:
                named = {name.title(): value for name, value in response.headers.items()}
                reply = Reply(response.status, named, _whole(response))
                is_reusable = not response.will_close and response.status >= 200
            return reply
        except ConnectionError as error:
            raise (_Gone if connection.was_used else Broken)(_in_words(error)) from error
        except TimeoutError as error:
            raise Broken("no whole answer came in time") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(_in_words(error)) from error
        finally:
            if is_reusable:
                self._keep(connection)
            else:
                connection.hang_up()


def _whole(response: http.client.HTTPResponse) -> bytes:
    """The content of an answer. Raises Broken if it is incomplete, too long or compressed."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Broken("the answer is packed, which nobody has asked for")
    content = response.read(ANSWER_BYTES_MAX + 1)
    if len(content) > ANSWER_BYTES_MAX:
        raise Broken(f"the answer is longer than {ANSWER_BYTES_MAX // 2**20} MiB")
    if response.length:
        raise Broken("the answer ended early")
    return content


def _seconds_until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _in_words(error: Exception) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text or type(error).__name__
