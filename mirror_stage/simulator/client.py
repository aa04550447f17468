"""One HTTP connection to an EGO, kept open like an agent's."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from mirror_stage.core.trust import Trust
from mirror_stage.core.urls import url_trouble

ANSWER_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 5.0  # of a longer Retry-After only this much counts


class BadAddress(ValueError):
    """The given text is not an address of an EGO."""


class Unanswered(Exception):
    """No answer came: nothing listens there, the connection broke, or it took too long."""


@dataclass(frozen=True)
class Answer:
    """What EGO answered."""

    status: int
    body: bytes
    retry_after: str | None = None

    @property
    def json(self) -> Any:
        """The decoded body. Raises Unanswered if it is not JSON, so not from EGO."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Unanswered(f"the answer is no JSON: {self.body[:80]!r}") from error

    @property
    def reason(self) -> str:
        """Why EGO refused the request: status and detail."""
        try:
            problem = orjson.loads(self.body)
            return f"{self.status} {problem['detail']}"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return f"{self.status} {self.body[:120].decode(errors='replace')}"

    @property
    def wait_seconds(self) -> float:
        """The seconds of Retry-After, at most LONGEST_WAIT_SECONDS; 0 without one."""
        text = self.retry_after or ""
        return min(float(text), LONGEST_WAIT_SECONDS) if text.isdigit() else 0.0


class _Secured(http.client.HTTPConnection):
    """A connection over https to a server that `trust` accepts."""

    def __init__(self, host: str, port: int, trust: Trust, prefix: str):
        super().__init__(host, port, timeout=ANSWER_SECONDS)
        self._trust, self._path = trust, prefix

    def connect(self) -> None:
        self.sock = self._trust.secured(self._connect_plainly, self.host, self._path)

    def _connect_plainly(self) -> socket.socket:
        super().connect()
        return self.sock


class Client:
    """Sends one request after the other, and connects when needed. `ego` is an address such as http://10.0.0.100:3000.

    Connecting and reading use the standard library. The request is written here, so that it goes out in one packet:
    `http.client` would send head and body in two, which costs both sides more.
    """

    def __init__(self, ego: str, trust: Trust | None = None, token: str | None = None):
        parts = parse_address(ego)
        self._prefix = parts.path.rstrip("/")
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._http = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        if parts.scheme == "https":
            self._http = _Secured(host, port, trust or Trust(), self._prefix)
        self._headers = f"HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        if token is not None:
            self._headers += f"Authorization: Bearer {token}\r\n"

    def get(self, path: str, seconds: float = ANSWER_SECONDS) -> Answer:
        """The answer within so many seconds. Raises Unanswered."""
        return self._ask("GET", path, None, seconds)

    def post(self, path: str, body: bytes) -> Answer:
        """The answer. Raises Unanswered, although EGO may have processed the request."""
        return self._ask("POST", path, body, ANSWER_SECONDS)

    def delete(self, path: str) -> Answer:
        """The answer. Raises Unanswered, although EGO may have processed the request."""
        return self._ask("DELETE", path, None, ANSWER_SECONDS)

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> Answer:
        is_kept = self._http.sock is not None
        try:
            return self._ask_once(method, path, body, seconds)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            if not is_kept:
                raise Unanswered(_words(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(_words(error)) from error
        try:  # EGO had closed the idle connection; every request of an agent may be repeated
            return self._ask_once(method, path, body, seconds)
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(_words(error)) from error

    def _ask_once(self, method: str, path: str, body: bytes | None, seconds: float) -> Answer:
        connection = self._http
        connection.timeout = seconds
        is_done = False
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(seconds)
            about = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            head = f"{method} {self._prefix}{path} {self._headers}{about}\r\n".encode()
            connection.sock.sendall(head if body is None else head + body)
            response = http.client.HTTPResponse(connection.sock, method=method)
            response.begin()
            answer = Answer(response.status, response.read(), response.headers.get("Retry-After"))
            is_done = not response.will_close
            return answer
        finally:
            if not is_done:
                connection.close()


def parse_address(ego: str) -> SplitResult:
    """The parts of EGO's address. Raises BadAddress."""
    url = ego if "://" in ego else f"http://{ego}"
    trouble = url_trouble(url, ("http", "https"), may_hold_password=False, needs_host=True)
    if trouble is None and (set(url) & set("?#") or not url.isascii()):
        trouble = "has a ?, a # or a character that is not ASCII"
    if trouble:
        raise BadAddress(f"--ego {trouble}; it must be like http://10.0.0.100:3000")
    return urlsplit(url)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
