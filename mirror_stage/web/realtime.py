"""Socket.IO: the one server object, publishing, and the wrapper that keeps slow readers from harming others."""

from __future__ import annotations

import contextlib
import weakref
from http import HTTPStatus
from io import BytesIO
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import parse_qs

import gevent
import orjson
from engineio.packet import MESSAGE, Packet
from flask_socketio import SocketIO
from gevent.lock import RLock

from mirror_stage.core.clock import elapsed_seconds
from mirror_stage.web.problem_json import problem_json

SEND_SECONDS = 10.0  # a client that takes nothing for so long is cut
CLIENT_TO_SERVER_MAX = 16 * 1024
SOCKETS_PATH = "/socket.io"
QUEUED_MAX = 200  # packets that may wait for one client: alerts, commands, output ...
BACKLOG_SECONDS = 2.0  # ... for longer than this; a rack that dies is a longer burst, and gone in a moment
_PIECE = 64 * 1024


def encode_event(namespace: str, event: str, payload: bytes) -> Packet:
    """One event, encoded once for every client that gets it."""
    return Packet(MESSAGE, f"2{namespace},[{orjson.dumps(event).decode()},{payload.decode()}]")


class Realtime:
    """Who is connected, and how they are told."""

    def __init__(self, socketio: SocketIO):
        self.socketio = socketio
        self._full_since: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        if socketio.server is not None:
            _use_bounded_websockets(socketio.server.eio)

    def publish(self, namespace: str, event: str, payload: Any) -> None:
        """Tell every client of a namespace; `payload` is what orjson encodes."""
        sids = self.clients(namespace)
        if sids:
            packet = encode_event(namespace, event, orjson.dumps(payload))
            for sid in sids:
                self.send(namespace, sid, packet)

    def tell(self, namespace: str, sid: str, event: str, payload: Any) -> None:
        """Tell one client."""
        self.send(namespace, sid, encode_event(namespace, event, orjson.dumps(payload)))

    def clients(self, namespace: str) -> list[str]:
        """The ids of a namespace's clients."""
        server = self.socketio.server
        if server is None or namespace not in server.manager.rooms:
            return []
        return [sid for sid, _ in server.manager.get_participants(namespace, None)]

    def send(self, namespace: str, sid: str, packet: Packet) -> None:
        """Queue one encoded packet for a client; a client that is gone is passed over."""
        server = self.socketio.server
        eio_sid = server.manager.eio_sid_from_sid(sid, namespace)
        socket = server.eio.sockets.get(eio_sid)
        if socket is None:
            return
        if self._is_stuck(socket):
            self.cut(namespace, sid)
        else:
            server.eio.send_packet(eio_sid, packet)

    def _is_stuck(self, socket: Any) -> bool:
        """Whether more packets than QUEUED_MAX have waited for this client for BACKLOG_SECONDS."""
        if socket.queue.qsize() < QUEUED_MAX:
            self._full_since.pop(socket, None)
            return False
        now = elapsed_seconds()
        return now - self._full_since.setdefault(socket, now) >= BACKLOG_SECONDS

    def cut(self, namespace: str, sid: str) -> None:
        """End the connection of a client that takes nothing, and forget what waits for it."""
        server = self.socketio.server
        socket = server.eio.sockets.get(server.manager.eio_sid_from_sid(sid, namespace))
        if socket is not None:
            while not socket.queue.empty():
                socket.queue.get()
                socket.queue.task_done()
            socket.close(wait=False)

    def is_idle(self, namespace: str, sid: str) -> bool:
        """Whether everything sent to a client so far has left this process."""
        server = self.socketio.server
        socket = server.eio.sockets.get(server.manager.eio_sid_from_sid(sid, namespace))
        return socket is not None and socket.queue.empty() and not self.is_sending(namespace, sid)

    def is_sending(self, namespace: str, sid: str) -> bool:
        """Whether a websocket's send is under way, which has a deadline of its own."""
        server = self.socketio.server
        eio_sid = server.manager.eio_sid_from_sid(sid, namespace)
        wire = _wire_by_eio_sid.get(eio_sid) or server.environ.get(eio_sid, {}).get("gunicorn.socket")
        return isinstance(wire, SendAllSocket) and wire.is_sending

    def close_all(self) -> None:
        """End every connection, so that the process can stop at once."""
        server = self.socketio.server
        if server is not None:
            for socket in list(server.eio.sockets.values()):
                socket.close(wait=False)


def _use_bounded_websockets(server: Any) -> None:
    """Let no client hold more than its due: neither by a message that never ends nor by a connection that is given up.

    engine.io looks at a message's length only when it is whole. And its close leaves the reader waiting, with the
    connection, until the client closes too, which one that has stopped reading never does.
    """
    unbounded = server._async["websocket"]

    class Bounded(unbounded):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            self.server_args["max_message_size"] = CLIENT_TO_SERVER_MAX

        def close(self) -> None:
            try:
                super().close()
            finally:
                with contextlib.suppress(OSError):  # it is closed already, which is what was wanted
                    self.ws.sock.shutdown(SHUT_RDWR)

    server._async = {**server._async, "websocket": Bounded}


_wire_by_eio_sid: weakref.WeakValueDictionary[str, SendAllSocket] = weakref.WeakValueDictionary()


class SendAllSocket:
    """A socket whose `send` sends everything, one writer at a time, within a deadline.

    simple-websocket ignores short writes: under gevent a client that reads slowly got a broken frame. And engine.io
    forgets a client that does not read, but its greenlet and connection stay until a send fails.
    """

    def __init__(self, socket: Any, seconds: float):
        self._socket, self._seconds, self._lock, self.is_sending = socket, seconds, RLock(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, data: bytes, flags: int = 0) -> int:
        try:
            with self._lock:
                self.is_sending = True
                for start in range(0, len(data), _PIECE):  # a slow client is one that takes nothing at all
                    with gevent.Timeout(self._seconds, OSError("the client takes nothing")):
                        self._socket.sendall(data[start : start + _PIECE], flags)
        except OSError:
            with contextlib.suppress(OSError):  # it is closed already, which is what was wanted
                self._socket.shutdown(2)
            raise
        finally:
            self.is_sending = False
        return len(data)


class WebSocketWall:
    """WSGI middleware outside Socket.IO: websockets get a SendAllSocket, and no compression.

    permessage-deflate costs 12.7 ms a client and MB, and lets a client's small message inflate unchecked. REST goes
    past Socket.IO's own middleware, which makes a class for every request. A body that a polling client sends is taken
    before Socket.IO sees it: that would wait for the rest for ever.
    """

    def __init__(self, sockets: Any, rest: Any, seconds: float = SEND_SECONDS):
        self._sockets, self._rest, self._seconds = sockets, rest, seconds

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if not environ["PATH_INFO"].startswith(SOCKETS_PATH):
            return self._rest(environ, start_response)
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket" and "gunicorn.socket" in environ:
            wire = environ["gunicorn.socket"] = SendAllSocket(environ["gunicorn.socket"], self._seconds)
            environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
            for eio_sid in parse_qs(environ.get("QUERY_STRING", "")).get("sid", []):  # an upgrade from polling
                _wire_by_eio_sid[eio_sid] = wire
        if environ["REQUEST_METHOD"] == "POST" and not self._took_body(environ):
            body = problem_json(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {self._seconds:g} s")
            start_response(
                "408 Request Timeout", [("Content-Type", "application/problem+json"), ("Connection", "close")]
            )
            return [body]
        return self._sockets(environ, start_response)

    def _took_body(self, environ: dict[str, Any]) -> bool:
        """Whether the whole body came in time; one that is too long is left for Socket.IO to refuse."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > CLIENT_TO_SERVER_MAX:
            return True
        with gevent.Timeout(self._seconds, False):
            environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(length))
            return True
        return False
