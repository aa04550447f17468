"""Requests as raw bytes, also malformed ones, which a client library would correct or refuse to send."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

from tests.servers import EgoServer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connect(ego: EgoServer, peer: str = "127.0.0.1") -> socket.socket:
    """A connection from one of this machine's loopback addresses."""
    return socket.create_connection(("127.0.0.1", ego.port), timeout=20, source_address=(peer, 0))


def ask(
    ego: EgoServer, target: str, method: str = "GET", *, version: str = "1.1", peer: str = "127.0.0.1", **headers: str
) -> Answer:
    """The answer to one request; `_` in a header's name stands for `-`."""
    named = ({"Host": "127.0.0.1"} if version == "1.1" else {}) | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in named.items())]
    with connect(ego, peer) as client:
        client.sendall(("\r\n".join([*lines, "Connection: close", "", ""])).encode("latin-1"))
        return answer_of(client)


def answer_of(client: socket.socket) -> Answer:
    """The answer, read until the connection ends."""
    head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def open_websocket(
    ego: EgoServer, namespace: str = "/digital-twin", receive_buffer: int | None = None
) -> socket.socket:
    """A websocket that has joined a namespace and has read nothing since."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(20)
    client.connect(("127.0.0.1", ego.port))
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert client.recv(12) == b"HTTP/1.1 101"
    client.sendall(frame(f"40{namespace},"))
    return client


def frame(text: str | bytes, opcode: int = 1) -> bytes:
    """A client's frame, masked with zeros."""
    content = text.encode() if isinstance(text, str) else text
    size = bytes([0x80 | len(content)]) if len(content) < 126 else b"\xfe" + struct.pack(">H", len(content))
    return bytes([0x80 | opcode]) + size + bytes(4) + content


def is_cut(client: socket.socket, seconds: float) -> bool:
    """Whether EGO ends the connection within `seconds`; everything that it still sends is read."""
    client.settimeout(seconds)
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
