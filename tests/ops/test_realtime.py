"""The wall before Socket.IO: a body that does not arrive ends a polling client's request."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import gevent
import pytest
from flask_socketio import SocketIO

from mirror_stage.web.realtime import WebSocketWall


class Silent:
    """A request body whose last bytes never arrive."""

    def read(self, _size: int) -> bytes:
        gevent.sleep(60)
        raise AssertionError("somebody waited for it")


def asked(body: Any, length: int) -> tuple[list[str], bytes]:
    """The statuses and the answer of a polling client's request."""
    statuses: list[str] = []

    def sockets(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(length)]

    wall = WebSocketWall(sockets, None, SocketIO(), seconds=0.2)
    environ = {"PATH_INFO": "/socket.io/", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(length), "wsgi.input": body}
    answer = wall(environ, lambda status, _headers: statuses.append(status))
    return statuses, b"".join(answer)


def test_a_whole_body_reaches_socketio() -> None:
    assert asked(BytesIO(b'42["hello"]'), 11) == (["200 OK"], b'42["hello"]')


@pytest.mark.timeout(10)
def test_a_body_that_does_not_arrive_is_refused() -> None:
    statuses, answer = asked(Silent(), 9000)
    assert statuses == ["408 Request Timeout"]
    assert json.loads(answer)["statusCode"] == 408
