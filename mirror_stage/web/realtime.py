"""Socket.IO: the one server object, publishing, and the limits that keep one client from harming the others."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from io import BytesIO
from socket import SHUT_RDWR
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import gevent
import orjson
import simple_websocket
from engineio.packet import MESSAGE, Packet
from flask_socketio import SocketIO
from gevent.lock import RLock
from socketio import packet as socketio_packet
from wsproto.utilities import ProtocolError

from mirror_stage.core.budget import Budget
from mirror_stage.core.clock import elapsed_seconds
from mirror_stage.web import refusals
from mirror_stage.web.problem_json import problem_json

SEND_SECONDS = 10.0  # a client that reads nothing for this long is cut
CLIENT_TO_SERVER_MAX = 16 * 1024
SOCKETS_PATH = "/socket.io"
QUEUED_MAX = 200  # a client is cut if more packets than this wait for it ...
BACKLOG_SECONDS = 2.0  # ... for longer than this: if a rack fails, more may wait, but only for a moment
WAITING_BYTES_MAX = 4 * 2**20  # a client is cut at once if more bytes than this wait for it
FRAMES_PER_SECOND, FRAMES_AT_ONCE = 50.0, 200.0  # from one client; the HUD sends about five
PATIENCE_SECONDS = 5.0  # a client that sends faster is slowed down for this long, then it is cut
SESSIONS_MAX, SESSIONS_OF_PEER_MAX = 2_000, 1_000
NAMESPACE_MAX = 64
_PIECE = 64 * 1024
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_OF_THE_SERVER = frozenset(
    {"connect", "disconnect"}
)  # events that it raises itself; it would take a client's like its own
_CONTROL_MAX = 16  # `2probe` is the longest packet that is no message

EncodedEvent: TypeAlias = Packet


def encode_event(namespace: str, event: str, payload: bytes) -> EncodedEvent:
    """One event, encoded once for every client that gets it."""
    return Packet(MESSAGE, f"2{namespace},[{orjson.dumps(event).decode()},{payload.decode()}]")


class Realtime:
    """Knows the connected clients and sends events to them."""

    def __init__(self, socketio: SocketIO):
        self.socketio = socketio
        self.relay: Callable[[str, str, str, int, bytes], None] | None = None  # tells the clients of all workers
        self._full_since: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        if socketio.server is not None:
            _use_bounded_websockets(socketio.server.eio)
            _use_bounded_queues(socketio.server.eio)
            _refuse_bad_packets(socketio.server)

    def publish(self, namespace: str, event: str, payload: Any, *, subject: str, version: int) -> None:
        """Tell every client of a namespace; `payload` is what orjson encodes.

        `version` rises with each event about `subject`. With several workers, each client hears each version once.
        """
        body = orjson.dumps(payload)
        if self.relay is not None:
            self.relay(namespace, event, subject, version, body)
        else:
            self.publish_here(namespace, event, body)

    def publish_here(self, namespace: str, event: str, body: bytes) -> None:
        """Tell every client of a namespace at this worker; `body` is JSON."""
        sids = self.clients(namespace)
        if sids:
            packet = encode_event(namespace, event, body)
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

    def send(self, namespace: str, sid: str, packet: EncodedEvent) -> None:
        """Queue one encoded packet for a client. A client that is gone is skipped."""
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
        """End the connection of a client that does not read, and drop the packets that wait for it."""
        server = self.socketio.server
        socket = server.eio.sockets.get(server.manager.eio_sid_from_sid(sid, namespace))
        if socket is not None:
            _cut(socket)

    def is_idle(self, namespace: str, sid: str) -> bool:
        """Whether everything sent to a client so far has left this process."""
        server = self.socketio.server
        socket = server.eio.sockets.get(server.manager.eio_sid_from_sid(sid, namespace))
        return socket is not None and socket.queue.empty() and not self.is_sending(namespace, sid)

    def is_sending(self, namespace: str, sid: str) -> bool:
        """Whether a send to this client's websocket is under way. Such a send has its own deadline."""
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


def _cut(socket: Any) -> None:
    """End an engine.io connection, and drop the packets that wait for it."""
    while not socket.queue.empty():
        socket.queue.get()
        socket.queue.task_done()
    socket.close(wait=False)


class FrameLimit:
    """Limits how fast one client may send. All frames count the same, also pings and empty ones."""

    def __init__(self) -> None:
        self._budget = Budget(FRAMES_PER_SECOND, FRAMES_AT_ONCE)
        self._slowed_since: float | None = None

    def wait(self, count: int = 1) -> bool:
        """Wait until the client may send `count` frames. False if it has been too fast for too long."""
        while not self._budget.take(elapsed_seconds(), count):
            now = elapsed_seconds()
            self._slowed_since = now if self._slowed_since is None else self._slowed_since
            if now - self._slowed_since > PATIENCE_SECONDS:
                return False
            gevent.sleep(count / FRAMES_PER_SECOND)
        if self._budget.left > FRAMES_AT_ONCE / 2:
            self._slowed_since = None
        return True


class _Websocket(simple_websocket.Server):  # type: ignore[misc]  # it has no types
    """A websocket whose frames are counted where they are parsed: a ping or a fragment is no message."""

    def handshake(self) -> None:
        super().handshake()
        self.ws.events = _paced(self.ws.events)


def _paced(events: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]:
    limit = FrameLimit()

    def paced() -> Iterator[Any]:
        for event in events():
            if not limit.wait():
                raise ConnectionAbortedError("the client sends too fast")  # the reader ends, and closes
            yield event

    return paced


def _use_bounded_websockets(server: Any) -> None:
    """Limit the length of a client's messages, refuse bad packets, and really end a connection that is closed.

    engine.io checks the length of a message only when all of it has arrived, and raises errors for bad packets. Its
    `close` keeps the reader and the connection until the client closes too. A client that has stopped reading never
    does.
    """
    unbounded = server._async["websocket"]

    class Bounded(unbounded):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            self.server_args["max_message_size"] = CLIENT_TO_SERVER_MAX

        def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
            try:
                self.ws = _Websocket(environ, **self.server_args)
            except (ProtocolError, simple_websocket.ConnectionError) as error:
                return tuple(_refused(environ, start_response, HTTPStatus.BAD_REQUEST, f"no websocket: {error}"))
            ended = self.app(self)
            if self.ws.mode == "gunicorn":
                raise StopIteration  # the connection is used up
            return ended

        def wait(self) -> Any:
            message = super().wait()
            return message if message is None or is_packet(message) else None  # None ends the connection

        def close(self) -> None:
            try:
                super().close()
            finally:
                with contextlib.suppress(OSError):  # it is closed already
                    self.ws.sock.shutdown(SHUT_RDWR)

    server._async = {**server._async, "websocket": Bounded}


def is_packet(message: object) -> bool:
    """Whether a client may send this packet: a text message or a short control packet, never a binary one."""
    if not isinstance(message, str):
        return False
    if message[:1] == "4":
        return message[1:2] in {"0", "1", "2", "3"}
    return message[:1] in {"1", "2", "3", "5"} and len(message) <= _CONTROL_MAX and message.isascii()


def _use_bounded_queues(server: Any) -> None:
    """Count the bytes that wait for each client, acks too, and cut a client for which too many wait."""
    unbounded, send = server._async["queue"], server.send_packet

    class Counting(unbounded):  # type: ignore[misc, valid-type]
        waiting_bytes = 0

        def put(self, item: Any, *how: Any, **named: Any) -> None:
            self.waiting_bytes += _cost(item)
            super().put(item, *how, **named)

        def get(self, *how: Any, **named: Any) -> Any:
            item = super().get(*how, **named)
            self.waiting_bytes -= _cost(item)
            return item

    def bounded_send(eio_sid: str, packet: Packet) -> None:
        socket = server.sockets.get(eio_sid)
        if socket is not None and socket.queue.waiting_bytes > WAITING_BYTES_MAX:
            _cut(socket)
        elif socket is not None:
            send(eio_sid, packet)

    server._async = {**server._async, "queue": Counting}
    server.send_packet = bounded_send


def _cost(packet: Packet | None) -> int:
    """How many bytes a waiting packet counts. The limit is _PIECE: a large packet is a frame that all clients share."""
    text = getattr(packet, "data", None)
    return min(len(text) if isinstance(text, str) else 0, _PIECE) + 100


def _refuse_bad_packets(server: Any) -> None:
    """Cut a client whose message is no Socket.IO packet, and ignore an event of a namespace that it has not joined.

    Socket.IO would log a traceback or a warning for each, so that a client could fill the log with little traffic.
    """
    take = server.eio.handlers["message"]

    def take_good(eio_sid: str, message: Any) -> Any:
        try:
            packet = server.packet_class(encoded_packet=message)
        except (ValueError, TypeError, IndexError, KeyError, RecursionError):
            packet = None
        socket = server.eio.sockets.get(eio_sid)
        if packet is None or not _is_good(packet):
            if socket is not None:
                _cut(socket)
            return None
        namespace = packet.namespace or "/"
        if packet.packet_type == socketio_packet.ACK:  # EGO asks for no acks
            return None
        is_event = packet.packet_type == socketio_packet.EVENT
        if is_event and server.manager.sid_from_eio_sid(eio_sid, namespace) is None:
            return None
        return take(eio_sid, message)

    server.eio.handlers["message"] = take_good


def _is_good(packet: Any) -> bool:
    if len(packet.namespace or "") > NAMESPACE_MAX:
        return False
    if packet.packet_type != socketio_packet.EVENT:
        return packet.packet_type in {socketio_packet.CONNECT, socketio_packet.DISCONNECT, socketio_packet.ACK}
    if not isinstance(packet.data, list) or not packet.data or not isinstance(packet.data[0], str):
        return False
    return packet.data[0] not in _OF_THE_SERVER


_wire_by_eio_sid: weakref.WeakValueDictionary[str, SendAllSocket] = weakref.WeakValueDictionary()


class SendAllSocket:
    """A socket whose `send` sends everything, one writer at a time, within a deadline.

    simple-websocket ignores short writes: under gevent a client that reads slowly would get a broken frame. And
    engine.io forgets a client that does not read, but keeps its greenlet and connection until a send fails.
    """

    def __init__(self, socket: Any, seconds: float):
        self._socket, self._seconds, self._lock, self.is_sending = socket, seconds, RLock(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, data: bytes, flags: int = 0) -> int:
        try:
            with self._lock:
                self.is_sending = True
                for start in range(0, len(data), _PIECE):  # each piece has its own deadline
                    with gevent.Timeout(self._seconds, OSError("the client takes nothing")):
                        self._socket.sendall(data[start : start + _PIECE], flags)
        except OSError:
            with contextlib.suppress(OSError):  # it is closed already
                self._socket.shutdown(2)
            raise
        finally:
            self.is_sending = False
        return len(data)


class WebSocketWall:
    """WSGI middleware outside Socket.IO: websockets get a SendAllSocket, and no compression.

    permessage-deflate costs 12.7 ms for each client and MB, and a client's small message could inflate without limit.
    REST requests bypass Socket.IO's own middleware, which makes a class for every request. The body of a polling client
    is read here, because Socket.IO would wait for the rest of it without a deadline.
    """

    def __init__(
        self,
        sockets: Any,
        rest: Any,
        socketio: SocketIO,
        seconds: float = SEND_SECONDS,
        *,
        has_several_workers: bool = False,
    ):
        """With several workers a polling client is refused: its next request may reach another worker."""
        self._sockets, self._rest, self._server, self._seconds = sockets, rest, socketio.server, seconds
        self._has_several_workers = has_several_workers
        self._limits: weakref.WeakKeyDictionary[Any, FrameLimit] = weakref.WeakKeyDictionary()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if not environ["PATH_INFO"].startswith(SOCKETS_PATH):
            return self._rest(environ, start_response)
        query = parse_qs(environ.get("QUERY_STRING", ""))
        refusal = _handshake_refusal(environ, query) or self._session_refusal(environ, query)
        if self._has_several_workers and not _is_upgrade(environ):
            refusal = HTTPStatus.BAD_REQUEST, 'this EGO has several workers: connect with transports: ["websocket"]'
        if refusal is None and environ["REQUEST_METHOD"] == "POST":
            refusal = self._body_refusal(environ, query)
        if refusal is not None:
            return _refused(environ, start_response, *refusal)
        if _is_upgrade(environ) and "gunicorn.socket" in environ:
            wire = environ["gunicorn.socket"] = SendAllSocket(environ["gunicorn.socket"], self._seconds)
            environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
            for eio_sid in query.get("sid", []):  # an upgrade from polling
                _wire_by_eio_sid[eio_sid] = wire
        return self._sockets(environ, start_response)

    def _session_refusal(self, environ: dict[str, Any], query: dict[str, list[str]]) -> StatusAndDetail | None:
        """Why no further session may begin: each costs memory until it times out, even if its client is gone."""
        if "sid" in query or self._server is None or len(self._server.eio.sockets) < SESSIONS_OF_PEER_MAX:
            return None
        peer = environ.get("REMOTE_ADDR")
        of_peer = sum(known.get("REMOTE_ADDR") == peer for known in self._server.environ.values())
        if of_peer < SESSIONS_OF_PEER_MAX and len(self._server.eio.sockets) < SESSIONS_MAX:
            return None
        return HTTPStatus.TOO_MANY_REQUESTS, "too many Socket.IO sessions are open; close some, or try again later"

    def _body_refusal(self, environ: dict[str, Any], query: dict[str, list[str]]) -> StatusAndDetail | None:
        """Why a polling client's packets are refused. Reads the body, unless that is too long."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > CLIENT_TO_SERVER_MAX:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"packets have at most {CLIENT_TO_SERVER_MAX} bytes together"
        body: bytes | None = None
        with gevent.Timeout(self._seconds, False):
            body = environ["wsgi.input"].read(length)
        if body is None:
            return HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {self._seconds:g} s"
        packets = body.decode(errors="replace").split("\x1e")
        if not all(is_packet(packet) for packet in packets):
            return HTTPStatus.BAD_REQUEST, "the body is not a list of text packets"
        socket = self._server.eio.sockets.get(query.get("sid", [""])[0]) if self._server is not None else None
        if socket is not None and not self._limits.setdefault(socket, FrameLimit()).wait(len(packets)):
            _cut(socket)
            return HTTPStatus.TOO_MANY_REQUESTS, f"a client sends at most {FRAMES_PER_SECOND:g} packets a second"
        environ["wsgi.input"] = BytesIO(body)
        return None


StatusAndDetail = tuple[HTTPStatus, str]


def _is_upgrade(environ: dict[str, Any]) -> bool:
    return bool(environ.get("HTTP_UPGRADE", "").lower() == "websocket")


def _handshake_refusal(environ: dict[str, Any], query: dict[str, list[str]]) -> StatusAndDetail | None:
    """Why a request cannot begin or continue a session, judged by its headers and query."""
    if "j" in query:  # the answer would be a script, for browsers of 2008; any page could load it
        return HTTPStatus.BAD_REQUEST, "JSONP is not served"
    if not _is_upgrade(environ):
        return None
    names = {name.strip().lower() for name in environ.get("HTTP_CONNECTION", "").split(",")}
    if environ["REQUEST_METHOD"] != "GET" or "upgrade" not in names or environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return HTTPStatus.BAD_REQUEST, "a websocket begins with GET, HTTP/1.1 and Connection: Upgrade"
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        return HTTPStatus.BAD_REQUEST, "a websocket needs Sec-WebSocket-Version: 13"
    if not _KEY.fullmatch(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
        return HTTPStatus.BAD_REQUEST, "a websocket needs a Sec-WebSocket-Key: 16 bytes in base64"
    return None


def _refused(environ: dict[str, Any], start_response: Any, status: HTTPStatus, detail: str) -> list[bytes]:
    refusals.explain(environ, detail, None)
    body = problem_json(status, detail)
    headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        headers.append(("Retry-After", "5"))
    start_response(f"{status.value} {status.phrase}", [*headers, ("Connection", "close")])
    return [body]
