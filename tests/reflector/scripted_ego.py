"""A server that answers an agent's requests as the test decides, and records them."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.servers import wait_until


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    content: Any
    at: float
    peer: tuple[str, int]


@dataclass
class Reply:
    """The answer to send after `delay_seconds`."""

    status: int = 202
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    kind: str | None = None
    delay_seconds: float = 0.0


def problem(status: int, detail: str = "no", **members: Any) -> Reply:
    headers = {"Retry-After": str(members.pop("retry_after"))} if "retry_after" in members else {}
    return Reply(status, {"status": status, "detail": detail, **members}, headers, "application/problem+json")


class ScriptedEgo:
    """Answers with the result of `decide`. If that is None, it accepts the request as EGO would."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[Asked] = []
        self.decide: Callable[[Asked], Reply | None] = lambda _asked: None

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        reply = self.decide(asked)
        if reply is not None:
            return reply
        if asked.path.endswith("/batch"):
            return Reply(202, {"accepted": len(asked.content["samples"])})
        if "/pending/" in asked.path:
            return Reply(200, [])
        return Reply(201, {})

    def of(self, part: str) -> list[Asked]:
        """The requests whose path contains `part`."""
        return [asked for asked in list(self.asked) if part in asked.path]

    def batches(self) -> list[list[Any]]:
        """The samples of each batch that arrived."""
        return [asked.content["samples"] for asked in self.of("/batch")]

    def wait_for(self, part: str, count: int = 1, seconds: float = 8) -> list[Asked]:
        """Wait for `count` requests whose path contains `part`, and return them."""
        wait_until(lambda: len(self.of(part)) >= count, seconds, what=f"{count} requests of {part}")
        return self.of(part)


@contextmanager
def scripted_ego() -> Iterator[ScriptedEgo]:
    """A running server for one test."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            asked = Asked(
                self.command,
                self.path if "?" in self.path else urlsplit(self.path).path,
                dict(self.headers),
                json.loads(body) if body else None,
                time.monotonic(),
                self.client_address,
            )
            reply = ego.answer(asked)
            time.sleep(reply.delay_seconds)
            content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
            self.send_response(reply.status)
            for name, value in {
                "Content-Type": reply.kind or "application/json",
                "Content-Length": str(len(content)),
                **reply.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = serve

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the agent has stopped waiting
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        ego = ScriptedEgo(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield ego
        finally:
            server.shutdown()
            server.block_on_close = False
