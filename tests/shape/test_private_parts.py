"""The parts of libraries that are not promised to stay, and on which EGO rests. A test here fails when one changes.

| part | used in | for |
|---|---|---|
| gunicorn `Parser.finish_body(deadline, max_bytes)` | runtime/serving.py `_bound_draining` | an end to reading a refused body |
| gunicorn `util.write_error`, called through its module | runtime/serving.py `post_worker_init` | refusals as problem+json |
| gunicorn `worker.handle`, looked up when the worker runs | runtime/serving.py `_Stopper` | which connections are open |
| gunicorn `environ["gunicorn.socket"]` | web/realtime.py, commands/waiters.py | deadlines for sends; is the client there? |
| gevent `hub.print_exception` | runtime/serving.py `_log_greenlet_errors` | errors of greenlets as lines of the log |
| engineio `server._async["websocket"]` with `server_args` and `ws` | web/realtime.py `_use_bounded_websockets` | sizes, closing |
| engineio `Socket.queue`, `server.sockets`, `server.environ` | web/realtime.py `Realtime` | who is slow |
| socketio `manager.rooms`, `get_participants`, `eio_sid_from_sid` | web/realtime.py `Realtime` | who is connected |
| simple-websocket `Base.sock` | web/realtime.py `_use_bounded_websockets` | ending a connection |
| marshmallow `Schema._hooks` | metrics/decoder.py `compile_struct` | a schema with hooks has no fast path |
| flask-smorest `view._apidoc` | web/http.py `documented_body` | documenting a body that the view reads |
| flask-smorest `Api._register_error_handlers`, `_register_responses` | web/openapi.py `ProblemApi` | one form of refusal |

When a test fails after `make lock`: read what the new version does instead, change the one place, then the test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import engineio
import flask_smorest
import gevent
import marshmallow
import pytest
import simple_websocket
import socketio
from engineio.async_drivers import gevent as engineio_gevent
from engineio.socket import Socket
from flask import Flask
from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.parser import Parser
from gunicorn.workers import base, ggevent

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.web.http import Blueprint
from mirror_stage.web.openapi import ProblemApi
from mirror_stage.web.realtime import CLIENT_TO_SERVER_MAX

WebSocket = engineio_gevent._async["websocket"]

SIGNATURES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "gunicorn Parser.finish_body": (Parser.finish_body, ["self", "deadline", "max_bytes"]),
    "gunicorn util.write_error": (util.write_error, ["sock", "status_int", "reason", "mesg"]),
    "gunicorn util.write_nonblock": (util.write_nonblock, ["sock", "data", "chunked"]),
    "gunicorn GeventWorker.handle": (ggevent.GeventWorker.handle, ["self", "listener", "client", "addr"]),
    "gevent Hub.print_exception": (type(gevent.get_hub()).print_exception, ["self", "context", "t", "v", "tb"]),
    "engineio WebSocketWSGI": (WebSocket.__init__, ["self", "handler", "server"]),
    "engineio WebSocketWSGI.close": (WebSocket.close, ["self"]),
    "engineio Socket.close": (Socket.close, ["self", "wait", "abort", "reason"]),
    "engineio Server.send_packet": (engineio.Server.send_packet, ["self", "sid", "pkt"]),
    "socketio Manager.eio_sid_from_sid": (socketio.Manager.eio_sid_from_sid, ["self", "sid", "namespace"]),
    "socketio Manager.get_participants": (socketio.Manager.get_participants, ["self", "namespace", "room"]),
    "flask-smorest Api._register_error_handlers": (flask_smorest.Api._register_error_handlers, ["self"]),
    "flask-smorest Api._register_responses": (flask_smorest.Api._register_responses, ["self"]),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_is_wrapped_or_replaced_takes_the_arguments_that_ego_counts_on(name: str) -> None:
    part, expected = SIGNATURES[name]
    found = list(inspect.signature(part).parameters)
    assert found == expected, f"{name} takes {found} now, and EGO counts on {expected}"


def source_says(part: Any, words: str) -> None:
    assert words in inspect.getsource(part), f"{part.__name__} says `{words}` no more: see the table of this file"


def test_gunicorn_looks_its_parts_up_where_ego_replaces_them() -> None:
    source_says(base.Worker.handle_error, "util.write_error(")
    source_says(ggevent.GeventWorker.run, "self.handle")
    source_says(Parser, "self.finish_body()")


def test_gunicorn_lends_the_socket_of_a_request() -> None:
    source_says(wsgi, '"gunicorn.socket"')


def test_engineio_takes_its_websockets_from_a_table_and_gives_each_its_arguments() -> None:
    class Bounded(WebSocket):  # type: ignore[misc, valid-type]
        pass

    server = socketio.Server(async_mode="gevent").eio
    assert {"websocket", "queue"} <= server._async.keys()
    one = Bounded(lambda _ws: None, server)
    one.server_args["max_message_size"] = CLIENT_TO_SERVER_MAX
    source_says(WebSocket.__mro__[1], "**self.server_args")
    source_says(WebSocket.__mro__[1], "self.ws = simple_websocket.Server")
    assert one.server_args["max_message_size"] == CLIENT_TO_SERVER_MAX


def test_engineio_keeps_a_queue_for_each_of_its_sockets() -> None:
    server = socketio.Server(async_mode="gevent").eio
    one = Socket(server, "sid")
    assert server.sockets == {}
    assert one.queue.empty()
    assert one.queue.qsize() == 0
    one.queue.put("packet")
    one.queue.get()
    one.queue.task_done()


def test_socketio_knows_who_is_in_a_namespace() -> None:
    server = socketio.Server(async_mode="gevent")
    assert server.manager.rooms == {}
    assert server.environ == {}
    sid = server.manager.connect("eio-sid", "/alerts")
    assert [found for found, _ in server.manager.get_participants("/alerts", None)] == [sid]
    assert server.manager.eio_sid_from_sid(sid, "/alerts") == "eio-sid"


def test_simple_websocket_names_its_socket() -> None:
    source_says(simple_websocket.ws.Base, "self.sock = sock")


def test_marshmallow_keeps_the_hooks_of_a_schema_in_one_table() -> None:
    class Plain(marshmallow.Schema):
        name = marshmallow.fields.String()

    class Hooked(Plain):
        @marshmallow.post_load
        def change(self, data: Any, **_kwargs: Any) -> Any:
            return data

    assert not any(Plain._hooks.values())
    assert any(Hooked._hooks.values()), "the decoder no longer sees that a schema has hooks"


def test_flask_smorest_documents_what_a_view_carries() -> None:
    class Body(marshmallow.Schema):
        name = marshmallow.fields.String(required=True)

    app = Flask(__name__)
    app.config |= {"API_TITLE": "t", "API_VERSION": "1", "OPENAPI_VERSION": "3.1.0"}
    api, blueprint = ProblemApi(app), Blueprint("things", __name__)

    @blueprint.route("/things", methods=["POST"])
    @Blueprint.documented_body(Body)
    def post() -> str:
        return ""

    api.register_blueprint(blueprint)
    operation = api.spec.to_dict()["paths"]["/things"]["post"]
    assert "application/json" in operation["requestBody"]["content"], "flask-smorest no longer reads view._apidoc"


def test_flask_smorest_asks_for_handlers_and_responses_where_ego_answers() -> None:
    asked = []

    class Asked(flask_smorest.Api):
        def _register_error_handlers(self) -> None:
            asked.append("handlers")

        def _register_responses(self) -> None:
            asked.append("responses")

    app = Flask(__name__)
    app.config |= {"API_TITLE": "t", "API_VERSION": "1", "OPENAPI_VERSION": "3.1.0"}
    Asked(app)
    assert sorted(asked) == ["handlers", "responses"]


def test_ego_uses_its_own_websockets() -> None:
    server = create_app(Config(testing=True)).extensions["socketio"].server.eio
    assert server._async["websocket"] is not WebSocket
    assert server._async["websocket"].__name__ == "Bounded"
