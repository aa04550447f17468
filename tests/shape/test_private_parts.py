"""The parts of libraries that are not promised to stay, and on which EGO rests. A test here fails when one changes.

| part | used in | for |
|---|---|---|
| gunicorn `Parser.finish_body(deadline, max_bytes)` | runtime/serving.py `_bound_draining` | an end to reading a refused body |
| gunicorn `util.write_error`, called through its module | runtime/serving.py `post_worker_init` | refusals as problem+json |
| gunicorn `Arbiter.handle_hup`, looked up at each signal | runtime/serving.py `on_starting` | no reload of what cannot start |
| gunicorn `worker.handle`, looked up when the worker runs | runtime/serving.py `_Stopper` | which connections are open |
| gunicorn `worker.handle_request`, looked up at each request | runtime/serving.py `_Stopper` | turns for other connections |
| gunicorn `environ["gunicorn.socket"]` | web/realtime.py, access/gate.py, commands/waiters.py | deadlines; who asks? is the client there? |
| werkzeug `environ["werkzeug.socket"]` | access/gate.py `_SOCKET_KEYS` | who asks, under `flask run` |
| gevent `hub.print_exception` | runtime/serving.py `_log_greenlet_errors` | errors of greenlets as lines of the log |
| gevent `hub.loop.timer` | pipeline/edge.py `_after` | the live view goes on while a commit takes long |
| engineio `server._async["websocket"]` with `server_args` and `ws` | web/realtime.py `_use_bounded_websockets` | sizes, closing |
| engineio `server._async["queue"]` | web/realtime.py `_use_bounded_queues` | how many bytes wait for a client |
| engineio `server.handlers["message"]` | web/realtime.py `_refuse_bad_packets` | bad packets end the connection, without a traceback |
| engineio `Socket.queue`, `server.sockets`, `server.environ` | web/realtime.py `Realtime` | who is slow |
| socketio `manager.rooms`, `get_participants`, `eio_sid_from_sid` | web/realtime.py `Realtime` | who is connected |
| socketio `manager.sid_from_eio_sid`, `packet_class` | web/realtime.py `_refuse_bad_packets` | is the packet good, and its client there? |
| socketio `server.handlers`, `namespace_handlers` | access/gate.py `check_declared` | every event has a permission |
| simple-websocket `Base.sock`, `Server.mode` | web/realtime.py `_use_bounded_websockets` | ending a connection |
| simple-websocket `Base.ws.events` | web/realtime.py `_Websocket` | counting frames where they are parsed |
| marshmallow `Schema._hooks` | metrics/decoder.py `compile_struct` | a schema with hooks has no fast path |
| flask-smorest `view._apidoc` | web/http.py `documented_body` | documenting a body that the view reads |
| flask-smorest `Api._register_error_handlers`, `_register_responses` | web/openapi.py `ProblemApi` | one form of refusal |
| flask-smorest `Api.spec`, what `Api.register_blueprint` does with it | web/openapi.py `ProblemApi` | the document is made when it is first read |
| argparse `ArgumentParser._actions`, `_SubParsersAction` | runtime/completion.py | completing commands and options |
| TimescaleDB `_timescaledb_catalog`, `_timescaledb_functions` | storage/timescale.py `_WATERMARK` | how far aggregates are (history/test_timescale.py) |

When a test fails after `make lock`: read what the new version does instead, change the one place, then the test.
"""

from __future__ import annotations

import argparse
import inspect
import socket
from collections.abc import Callable
from typing import Any

import engineio
import flask_smorest
import gevent.queue
import marshmallow
import pytest
import simple_websocket
import socketio
from engineio.async_drivers import gevent as engineio_gevent
from engineio.socket import Socket
from flask import Flask
from gunicorn import arbiter, util
from gunicorn.http import wsgi
from gunicorn.http.parser import Parser
from gunicorn.workers import base, base_async, ggevent
from werkzeug.serving import WSGIRequestHandler

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
    "gunicorn GeventWorker.handle_request": (
        ggevent.GeventWorker.handle_request,
        ["self", "listener_name", "req", "sock", "addr"],
    ),
    "gevent Hub.print_exception": (type(gevent.get_hub()).print_exception, ["self", "context", "t", "v", "tb"]),
    "engineio WebSocketWSGI": (WebSocket.__init__, ["self", "handler", "server"]),
    "engineio WebSocketWSGI.close": (WebSocket.close, ["self"]),
    "engineio Socket.close": (Socket.close, ["self", "wait", "abort", "reason"]),
    "engineio Server.send_packet": (engineio.Server.send_packet, ["self", "sid", "pkt"]),
    "socketio Manager.eio_sid_from_sid": (socketio.Manager.eio_sid_from_sid, ["self", "sid", "namespace"]),
    "socketio Manager.sid_from_eio_sid": (socketio.Manager.sid_from_eio_sid, ["self", "eio_sid", "namespace"]),
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
    source_says(arbiter.Arbiter.run, 'getattr(self, "handle_%s" % signame')
    source_says(base.Worker.handle_error, "util.write_error(")
    source_says(ggevent.GeventWorker.run, "self.handle")
    source_says(base_async.AsyncWorker.handle, "self.handle_request(")
    source_says(Parser, "self.finish_body()")


def test_a_server_lends_the_socket_of_a_request() -> None:
    source_says(wsgi, '"gunicorn.socket"')
    source_says(WSGIRequestHandler, '"werkzeug.socket"')


def test_a_timer_of_gevent_works_once_unless_it_is_closed() -> None:
    fired: list[str] = []
    loop = gevent.get_hub().loop
    kept, closed = loop.timer(0.01), loop.timer(0)
    kept.start(fired.append, "kept")
    closed.start(fired.append, "closed")
    closed.close()
    gevent.sleep(0.05)
    kept.close()
    assert fired == ["kept"]


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


def test_engineio_takes_the_queue_of_each_socket_from_its_table() -> None:
    class Counting(gevent.queue.JoinableQueue):  # type: ignore[misc]
        pass

    server = socketio.Server(async_mode="gevent").eio
    assert issubclass(Counting, server._async["queue"])
    server._async = {**server._async, "queue": Counting}
    assert type(Socket(server, "sid").queue) is Counting


def test_engineio_looks_its_handler_of_messages_up_at_each_message() -> None:
    server = socketio.Server(async_mode="gevent")
    assert server.eio.handlers["message"] == server._handle_eio_message
    heard: list[tuple[str, str]] = []
    server.eio.handlers["message"] = lambda eio_sid, message: heard.append((eio_sid, message))
    server.eio._trigger_event("message", "eio-sid", "2[]", run_async=False)
    assert heard == [("eio-sid", "2[]")]


def test_socketio_parses_a_packet_and_raises_for_a_bad_one() -> None:
    server = socketio.Server(async_mode="gevent")
    packet = server.packet_class(encoded_packet='2/alerts,["seen",1]')
    assert (packet.packet_type, packet.namespace, packet.data) == (socketio.packet.EVENT, "/alerts", ["seen", 1])
    with pytest.raises((ValueError, TypeError, IndexError, KeyError)):
        server.packet_class(encoded_packet="2[")


def test_socketio_keeps_its_handlers_in_two_tables() -> None:
    server = socketio.Server(async_mode="gevent")
    assert (server.handlers, server.namespace_handlers) == ({}, {})
    server.on("seen", print, namespace="/digital-twin")
    server.register_namespace(socketio.Namespace("/classes"))
    assert server.handlers == {"/digital-twin": {"seen": print}}
    assert list(server.namespace_handlers) == ["/classes"]


def test_socketio_knows_who_is_in_a_namespace() -> None:
    server = socketio.Server(async_mode="gevent")
    assert server.manager.rooms == {}
    assert server.environ == {}
    sid = server.manager.connect("eio-sid", "/alerts")
    assert [found for found, _ in server.manager.get_participants("/alerts", None)] == [sid]
    assert server.manager.eio_sid_from_sid(sid, "/alerts") == "eio-sid"
    assert server.manager.sid_from_eio_sid("eio-sid", "/alerts") == sid
    assert server.manager.sid_from_eio_sid("eio-sid", "/commands") is None


def test_simple_websocket_names_its_socket_and_its_server_and_asks_for_frames_where_ego_counts_them() -> None:
    counted: list[str] = []

    class Counting(simple_websocket.Server):  # type: ignore[misc]  # it has no types
        def handshake(self) -> None:
            super().handshake()
            events = self.ws.events
            self.ws.events = lambda: (counted.append(type(event).__name__) or event for event in events())

    here, there = socket.socketpair()
    with here, there:
        headers = {"UPGRADE": "websocket", "CONNECTION": "Upgrade", "SEC_WEBSOCKET_VERSION": "13", "HOST": "ego"}
        environ = {f"HTTP_{name}": value for name, value in headers.items()}
        one = Counting(environ | {"HTTP_SEC_WEBSOCKET_KEY": "AAAAAAAAAAAAAAAAAAAAAA==", "gunicorn.socket": here})
        assert (one.sock, one.mode) == (here, "gunicorn")
        there.sendall(b"\x82\x82\0\0\0\0ab")  # a binary message of two bytes
        assert one.receive(timeout=10) == b"ab"
        assert counted == ["BytesMessage"]
        one.close()


def test_argparse_lists_its_options_and_commands() -> None:
    parser = argparse.ArgumentParser()
    child = parser.add_subparsers().add_parser("serve")
    child.add_argument("--port", choices=("1", "2"))
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert commands.choices == {"serve": child}
    assert [action.option_strings for action in child._actions] == [["-h", "--help"], ["--port"]]
    assert child._actions[1].choices == ("1", "2")


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


def test_the_document_is_the_one_of_flask_smorest_and_is_made_when_it_is_read() -> None:
    class Body(marshmallow.Schema):
        name = marshmallow.fields.String(required=True)

    class Eager(ProblemApi):
        spec: Any = None
        register_blueprint = flask_smorest.Api.register_blueprint

    documents = []
    for kind in (ProblemApi, Eager):
        app = Flask(__name__)
        app.config |= {"API_TITLE": "t", "API_VERSION": "1", "OPENAPI_VERSION": "3.1.0"}
        api, blueprint = kind(app), Blueprint("things", __name__, description="All of them.")

        @blueprint.route("/things/<name>", methods=["POST"])
        @blueprint.arguments(Body)
        @blueprint.response(201, Body)
        def post(body: dict[str, str], name: str) -> dict[str, str]:
            return body

        api.register_blueprint(blueprint)
        assert app.test_client().post("/things/one", json={"name": "a"}).get_json() == {"name": "a"}
        assert kind is Eager or not api._spec.to_dict()["paths"]
        documents.append(api.spec.to_dict())
    assert documents[0] == documents[1]
    assert documents[0]["tags"] == [{"name": "things", "description": "All of them."}]


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
