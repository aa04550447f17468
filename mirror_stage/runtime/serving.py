"""How gunicorn runs EGO: where it listens, when it refuses to, how a worker starts and how it stops in under 3 s.

gunicorn's master imports this before it forks, unpatched; so Flask and the application are imported in the worker only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent
from gevent import monkey
from gevent.lock import BoundedSemaphore
from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http.parser import Parser

from mirror_stage.alerts import rules as alert_rules
from mirror_stage.core import config, logs
from mirror_stage.core.addresses import normalise_address
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config, is_loopback
from mirror_stage.storage import files
from mirror_stage.web import walls

if TYPE_CHECKING:
    from mirror_stage.web.refusals import Refusals

DRAIN_SECONDS, DRAIN_BYTES = 5.0, 8 * 2**20
_PIECE = 64 * 1024
LINGER_SECONDS = 0.5  # for what a client still sends after it was refused
CONNECTIONS_OF_PEER_MAX = 5_000  # half of what there is; not for this machine's own programs and trusted proxies
STOP_SECONDS = 2.0  # what the services get to flush; everything acknowledged is durable before that


def read_settings() -> Config:
    """The settings, all of them checked, with the file of alert rules. Raises BadSetting with one line."""
    settings = config.from_environment()
    walls.Rules(settings)
    alert_rules.load(settings)
    return settings


def settings_or_exit() -> Config:
    """The settings; a bad one ends this process with status 2 and one line."""
    try:
        return read_settings()
    except BadSetting as error:
        print(f"mirror-stage: {error}", file=sys.stderr)
        sys.exit(2)


def listen_address(settings: Config) -> str:
    """What gunicorn is told to listen on: `127.0.0.1:3000`, `[::1]:3000` or `unix:/path`."""
    if settings.bind.startswith("unix:"):
        return settings.bind
    name = settings.bind.strip("[]")
    return f"[{name}]:{settings.port}" if ":" in name else f"{name}:{settings.port}"


def exposure_refusal(addresses: Iterable[str], settings: Config) -> str | None:
    """Why EGO does not start on these listen addresses, or None if it may."""
    if settings.security == "open":
        return None
    if settings.security == "strict":
        return "MIRROR_STAGE_SECURITY: strict asks everybody for a credential, and this version has none yet"
    exposed = [address for address in addresses if not is_loopback(_host_of(address))]
    if not exposed:
        return None
    return (
        f"MIRROR_STAGE_BIND: {exposed[0]} can be reached from the network. A command is a shell on every host, and "
        "credentials come later: keep 127.0.0.1, or reach it through a tunnel (ssh -L), or say "
        "MIRROR_STAGE_SECURITY=open if everybody who reaches it may do that"
    )


def workers_note(wanted: int) -> str | None:
    """Why there is one worker although more were asked for, or None if one was."""
    if wanted == 1:
        return None
    return (
        f"WEB_CONCURRENCY is {wanted}, but there stays one worker: the twin lives in one process, and sharing it over "
        "Redis and PostgreSQL is not there yet"
    )


def _host_of(address: str) -> str:
    return address if address.startswith("unix:") else address.rpartition(":")[0]


class JsonLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own messages in the form of all others; its access log is off."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(logs.JsonLines())


# gunicorn's hooks, in the order in which they are called


def on_starting(server: Any) -> None:
    """In the master, before it listens: refuse what is unsafe, say what differs from what was asked for."""
    settings = settings_or_exit()
    files.keep_private()
    addresses = [_text_of(address) for address in server.cfg.address]
    _refuse_exposure(addresses, settings)
    if settings.security == "open":
        reached = " or ".join(addresses)
        server.log.warning("MIRROR_STAGE_SECURITY=open: whoever reaches %s can run commands on every host", reached)
    note = workers_note(max(settings.workers, server.num_workers))
    if note:
        server.log.warning("%s", note)
        server.cfg.set("workers", 1)
        server.num_workers = 1
    _raise_open_file_limit()


def when_ready(server: Any) -> None:
    """In the master, before it forks: a socket that systemd handed over is judged like any other."""
    _refuse_exposure([_text_of(listener.getsockname()) for listener in server.LISTENERS], settings_or_exit())


def post_fork(_server: Any, _worker: Any) -> None:
    """In the worker, first: a signal ends it at once until it has its own handlers. The master's would swallow it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """In the worker, patched, before it accepts: start EGO, and watch for the signal that ends it."""
    from flask import Flask

    from mirror_stage.runtime.lifecycle import start

    _log_greenlet_errors(worker)
    _bound_draining()
    files.keep_private()  # plain gunicorn --preload or another server's master may have asked for less
    app = worker.wsgi
    if not isinstance(app, Flask):  # with --reload gunicorn serves the traceback of a module that does not parse
        worker.log.error("%r is not EGO's application; nothing is started", app)
        return
    from mirror_stage.web.refusals import Refusals

    services = app.extensions["mirror_stage"]
    refusals: Refusals = services[Refusals]
    util.write_error = partial(_write_problem, refusals)
    worker.stopper = _Stopper(worker, walls.Rules(services[Config]), refusals)
    gevent.spawn(worker.stopper.watch)
    starting = gevent.spawn(start, app)
    while worker.alive and not starting.ready():
        starting.join(timeout=0.1)
    if starting.ready():
        starting.get()  # an error of the start ends this worker
    else:
        starting.kill(block=False)


def worker_exit(_server: Any, worker: Any) -> None:
    """In the worker, last: wait until what the watcher began is done; on a shorter way out, do it here."""
    if hasattr(worker, "stopper"):
        worker.stopper.stop()


def _refuse_exposure(addresses: list[str], settings: Config) -> None:
    reason = exposure_refusal(addresses, settings)
    if reason:
        print(f"mirror-stage: {reason}", file=sys.stderr)
        sys.exit(2)


def _text_of(address: Any) -> str:
    """One listen address as text: gunicorn has (host, port) for TCP and a path for a Unix socket."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"


def _raise_open_file_limit() -> None:
    """Each connection is an open file: take all that the system grants, not only what it grants unasked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems grant less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_greenlet_errors(worker: Any) -> None:
    """An error that nobody catches in a greenlet is one line of the log, not a traceback beside it."""

    def print_exception(context: Any, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(context, tuple):
            return  # work in a native thread: whoever waits for it gets the error
        if issubclass(kind, SystemExit):
            return  # gunicorn's way of leaving
        worker.log.error("%s ended by an error", context, exc_info=(kind, error, trace))

    gevent.get_hub().print_exception = print_exception


def _bound_draining() -> None:
    """The rest of a body that was refused is read for DRAIN_SECONDS or DRAIN_BYTES, then the connection is closed.

    Closing at once could take the refusal away from a client that is still sending; gunicorn by itself reads for ever.
    """
    drain = Parser.finish_body

    def finish_body(self: Any, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        return bool(drain(self, deadline or time.monotonic() + DRAIN_SECONDS, max_bytes or DRAIN_BYTES))

    Parser.finish_body = finish_body


def _write_problem(refusals: Refusals, client: Any, status: int, reason: str, detail: str) -> None:
    """gunicorn's answer to what is no HTTP request, in the form of all our refusals; its own is HTML."""
    from mirror_stage.web.problem_json import problem_json

    with contextlib.suppress(OSError):  # it is gone already
        refusals.note(_peer_of(client.getpeername()), status, detail or reason)
    body = problem_json(status, detail or reason)
    headers = [*walls.SECURITY_HEADERS, ("Content-Type", "application/problem+json"), ("Connection", "close")]
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    util.write_nonblock(client, "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    _linger(client)


def _linger(client: Any) -> None:
    """Read on for LINGER_SECONDS: closing on bytes that nobody read resets the connection, and the answer with it."""
    with contextlib.suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):
        client.shutdown(socket.SHUT_WR)
        while client.recv(_PIECE):
            pass


def _peer_of(address: Any) -> str:
    """Who is at the other end of a connection, for people."""
    return (normalise_address(address[0]) if isinstance(address, tuple) else None) or "a program of this machine"


class _Stopper:
    """Ends one worker: the application first, then whatever a client keeps open.

    Without it an open websocket or an idle browser holds gunicorn for all of its graceful_timeout. While the worker runs
    it keeps one peer from taking every connection, and one connection from taking every turn.
    """

    def __init__(self, worker: Any, rules: walls.Rules, refusals: Refusals):
        self._worker, self._serve, self._answer = worker, worker.handle, worker.handle_request
        self._rules, self._refusals = rules, refusals
        self._clients: set[Any] = set()
        self._counts: Counter[str] = Counter()  # of connections, by peer
        self._once, self._stopped = BoundedSemaphore(), False
        worker.handle, worker.handle_request = self._handle, self._handle_request

    def _handle(self, listener: Any, client: Any, address: Any) -> None:
        """gunicorn's way of one connection, remembered while it lasts."""
        peer = _peer_of(address)
        if self._stopped or self._has_too_many(peer):
            client.close()
            return
        self._clients.add(client)
        self._counts[peer] += 1
        try:
            self._serve(listener, client, address)
        finally:
            self._clients.discard(client)
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]

    def _has_too_many(self, peer: str) -> bool:
        if self._counts[peer] < CONNECTIONS_OF_PEER_MAX:
            return False
        address = normalise_address(peer)
        if address is None or is_loopback(address) or self._rules.is_proxy(address):
            return False
        self._refusals.note(peer, 429, f"more than {CONNECTIONS_OF_PEER_MAX} connections at once")
        return True

    def _handle_request(self, *request: Any) -> Any:
        """gunicorn's way of one request. Whoever sends the next one already lets the others have a turn first."""
        try:
            return self._answer(*request)
        finally:
            gevent.sleep(0)

    def watch(self) -> None:
        """Wait for the signal, then stop."""
        while self._worker.alive:
            gevent.sleep(0.1)
        self.stop()

    def stop(self) -> None:
        """Stop the application and end every connection's reading: an idle one closes, an answer still goes out."""
        from mirror_stage.runtime.lifecycle import stop

        with self._once:  # who comes second waits for the first and finds nothing left to do
            if self._stopped:
                return
            try:
                with gevent.Timeout(STOP_SECONDS, False):
                    stop(self._worker.wsgi)
            except Exception:
                self._worker.log.exception("stopping was not clean; what was acknowledged is stored")
            self._stopped = True
            for client in list(self._clients):
                with contextlib.suppress(OSError):  # it is gone already
                    _end_reading(client.fileno())


def _end_reading(descriptor: int) -> None:
    """Whoever reads from this connection sees its end. gevent's own shutdown would throw an error at the reader."""
    with monkey.get_original("socket", "socket")(fileno=os.dup(descriptor)) as same_connection:
        same_connection.shutdown(socket.SHUT_RD)
