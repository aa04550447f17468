"""Simulated browsers: good ones that read every frame, and bad ones that stop reading."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from datetime import datetime
from typing import Any

import websocket

_GENERATED_AT = re.compile(r'"generatedAt":"([^"]+)"')
_REVISION = re.compile(r'"revision":(\d+)')


def open_browser(port: int, *, stream: str = "full", receive_buffer: int | None = None) -> websocket.WebSocket:
    """A connected client of `/digital-twin`, its first frame not yet read."""
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)] if receive_buffer else []
    # the library checks UTF-8 in pure Python, which takes a second for each frame of a large twin
    client = websocket.create_connection(
        f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
        timeout=10,
        sockopt=options,
        skip_utf8_validation=True,
    )
    assert client.recv().startswith("0")  # Engine.IO's open packet
    client.send("40/digital-twin," + (json.dumps({"stream": "delta"}) if stream == "delta" else ""))
    client.early = []
    while not (text := client.recv()).startswith("40/digital-twin"):
        assert text.startswith("42/digital-twin"), text
        client.early.append(text)  # the first frame may arrive before the connect packet
    return client


def next_event(client: websocket.WebSocket) -> str | None:
    """The next event as it was received. A ping is answered and skipped."""
    text = client.early.pop(0) if client.early else client.recv()
    if text == "2":
        client.send("3")
        return None
    return str(text)


def event_of(text: str) -> tuple[str, Any]:
    """Name and payload of an event."""
    name, payload = json.loads(text[text.index("[") :])
    return name, payload


class GoodBrowser:
    """Reads everything, confirms each delta with `seen`, and notes how old each frame is on arrival."""

    def __init__(self, port: int, *, stream: str = "full"):
        self.stream = stream
        self.ages_seconds: list[float] = []
        self.received_bytes = 0
        self.error: str | None = None
        self._client = open_browser(port, stream=stream)
        self._stopping = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping = True
        self._client.close()
        self._thread.join()

    def _read(self) -> None:
        try:
            while not self._stopping:
                text = next_event(self._client)
                if text is not None:
                    self._note(text)
        except (OSError, websocket.WebSocketException) as error:
            if not self._stopping:
                self.error = repr(error)

    def _note(self, text: str) -> None:
        self.received_bytes += len(text.encode())
        generated_at, revision = _GENERATED_AT.search(text), _REVISION.search(text)
        if generated_at is None or revision is None:
            return
        if self.stream == "delta":
            self._client.send(f'42/digital-twin,["seen",{{"revision":{revision[1]}}}]')
        if '"slots":[]' not in text:  # an empty delta says only that nothing changed since
            self.ages_seconds.append(time.time() - datetime.fromisoformat(generated_at[1]).timestamp())
