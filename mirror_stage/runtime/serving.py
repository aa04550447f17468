"""gunicorn's hooks for EGO: the listen address, refusal of an unsafe start, start of a worker, its stop in under 3 s.

gunicorn's master imports this module before it forks, without gevent's patches. So only the worker imports Flask and the
application.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

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
from mirror_stage.runtime.handshakes import Connection, Handshakes, linger
from mirror_stage.storage import files
from mirror_stage.tls.service import ServerCertificate
from mirror_stage.web import walls

if TYPE_CHECKING:
    from mirror_stage.web.refusals import Refusals

DRAIN_SECONDS, DRAIN_BYTES = 5.0, 8 * 2**20
SEND_SECONDS, SENT_PIECE = 10.0, 64 * 1024
CONNECTIONS_OF_PEER_MAX = 5_000  # half of worker_connections; no limit for programs of this machine and trusted proxies
WORKER_CLASSES = frozenset({"gevent", "gunicorn.workers.ggevent.GeventWorker"})  # two names of one class
STOP_SECONDS = (
    15.0  # for the services to save, mostly under one; gunicorn waits 20. Acknowledged writes are durable already
)

LAST_REQUEST_SECONDS = 0.7  # so long a connection may still bring a request after EGO has stopped; the answer is 503

T = TypeVar("T")


def read_settings() -> Config:
    """The settings, after a check of all of them and of the alert rules file. Raises BadSetting with a one-line message."""
    settings = config.from_environment()
    walls.Rules(settings)
    alert_rules.load(settings)
    if settings.has_tls and settings.tls_cert is not None:
        ServerCertificate(settings).prepare()
    return settings


def settings_or_exit() -> Config:
    """The settings. A bad one ends this process with exit status 2 and a one-line message."""
    return _or_exit(read_settings)


def _or_exit(work: Callable[[], T]) -> T:
    try:
        return work()
    except BadSetting as error:
        print(f"mirror-stage: {error}", file=sys.stderr)
        sys.exit(2)


def listen_address(settings: Config) -> str:
    """The listen address in gunicorn's form: `127.0.0.1:3000`, `[::1]:3000` or `unix:/path`."""
    if settings.bind.startswith("unix:"):
        return settings.bind
    name = settings.bind.strip("[]")
    return f"[{name}]:{settings.port}" if ":" in name else f"{name}:{settings.port}"


def listen_addresses(settings: Config) -> list[str]:
    """All listen addresses in gunicorn's form: EGO's own, and that for agents of another make, if there is one."""
    return [listen_address(settings), *([settings.field_bind] if settings.field_bind else [])]


def exposure_refusal(addresses: Iterable[str], settings: Config) -> str | None:
    """The reason why EGO must not start on these listen addresses, or None if it may.

    gunicorn and systemd can pass other addresses than MIRROR_STAGE_BIND, which decides about TLS.
    """
    exposed = [address for address in _own(addresses, settings) if not is_loopback(_host_of(address))]
    if not exposed or settings.has_tls or settings.tls == "off" or settings.security == "open":
        return None
    return (
        f"MIRROR_STAGE_BIND: {exposed[0]} can be reached from the network, but MIRROR_STAGE_BIND is {settings.bind}, so EGO "
        "would speak plain HTTP there; set MIRROR_STAGE_BIND to the address, or set MIRROR_STAGE_TLS=on"
    )


def exposure_notes(addresses: Iterable[str], settings: Config) -> Iterator[str]:
    """What an operator has to know of these listen addresses at every start."""
    reached = " or ".join(address for address in _own(addresses, settings) if not is_loopback(_host_of(address)))
    if settings.security == "open":
        yield f"MIRROR_STAGE_SECURITY=open: everybody who can reach {reached or settings.bind} can run commands on every host"
    elif reached:
        yield f"{reached} can be reached from the network: everybody needs a credential: mirror-stage admin link"
    if reached and settings.tls == "off":
        yield (
            f"MIRROR_STAGE_TLS=off: whoever can read the network before {reached} can read and change what is sent, commands and "
            "credentials too"
        )
    if settings.tls_cert is not None and not settings.has_tls:
        yield "MIRROR_STAGE_TLS_CERT: is not used, because EGO speaks plain HTTP here; set MIRROR_STAGE_TLS=on"
    if settings.field_bind is not None:
        yield field_note(settings.field_bind)


def field_note(address: str) -> str:
    """What the listener for agents of another make means."""
    return (
        f"MIRROR_STAGE_FIELD_BIND: {address} is for agents of another make, in plain HTTP and without credentials: whoever can "
        "read and change the network there can read and forge the samples, the commands and the results of the hosts that "
        "are admitted (mirror-stage enroll field)"
    )


def _own(addresses: Iterable[str], settings: Config) -> list[str]:
    """The listen addresses but that for agents of another make."""
    if settings.field_bind is None:
        return list(addresses)
    return [address for address in addresses if address.startswith("unix:") or _port_of(address) != settings.field_port]


def workers_note(wanted: int, settings: Config) -> str | None:
    """The reason why EGO runs one worker although WEB_CONCURRENCY is higher, or None if it does not."""
    if wanted == 1 or settings.is_clustered:
        return None
    lacking = [
        name
        for name, value in (("MIRROR_STAGE_DB_URL", settings.db_url), ("MIRROR_STAGE_REDIS_URL", settings.redis_url))
        if value is None
    ]
    return (
        f"WEB_CONCURRENCY is {wanted}, but EGO runs one worker: several share one twin through PostgreSQL and Redis; set "
        f"{' and '.join(lacking)}"
    )


def worker_class_refusal(worker_class: str) -> str | None:
    """The reason why EGO must not run in a worker of another class than gunicorn.conf.py says, or None if it may."""
    if worker_class in WORKER_CLASSES:
        return None
    return f"EGO needs gunicorn's worker class gevent, not {worker_class}: leave out -k (--worker-class)"


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _host_of(address: str) -> str:
    return address if address.startswith("unix:") else address.rpartition(":")[0]


class JsonLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes gunicorn's own messages as JSON lines, like all others. The access log is off."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(logs.JsonLines())


# gunicorn's hooks, in the order in which they are called


def on_starting(server: Any) -> None:
    """In the master, before it listens: refuse an unsafe address and log which settings EGO does not follow."""
    settings = settings_or_exit()
    _refuse(worker_class_refusal(server.cfg.worker_class_str))
    files.keep_private()
    addresses = [_text_of(address) for address in server.cfg.address]
    _refuse_exposure(addresses, settings)
    if settings.has_tls:
        shown = _or_exit(ServerCertificate(settings).prepare)
        server.cfg.set("certfile", str(shown.chain))  # gunicorn then logs https; the worker takes it back
    for warning in [*config.doubts(), *exposure_notes(addresses, settings)]:
        server.log.warning("%s", warning)
    _set_workers(server, settings)
    server.handle_hup = partial(_reload, server, server.handle_hup)
    _raise_open_file_limit()


def on_reload(server: Any) -> None:
    """In the master, at SIGHUP: it has read the number of workers from its command line again."""
    _set_workers(server, settings_or_exit())


def nworkers_changed(server: Any, wanted: int, before: int | None) -> None:
    """In the master, when the number of workers has changed. SIGTTIN adds one, which one EGO alone cannot use."""
    if before is not None and wanted > 1 and not config.from_environment().is_clustered:
        server.num_workers = 1


def when_ready(server: Any) -> None:
    """In the master, before it forks: check the real sockets too, because systemd may have passed them."""
    _refuse_exposure([_text_of(listener.getsockname()) for listener in server.LISTENERS], settings_or_exit())


def post_fork(_server: Any, _worker: Any) -> None:
    """In the worker, first: let a signal end it at once until it sets its own handlers.

    The handlers that it inherits from the master would swallow the signal.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """In the worker, after gevent's patches and before it accepts connections: start EGO and watch for the stop signal."""
    from flask import Flask
    from gunicorn.workers import ggevent

    from mirror_stage.runtime.draining import DrainedServer
    from mirror_stage.runtime.lifecycle import start

    _log_greenlet_errors(worker)
    _bound_draining()
    ggevent.StreamServer = DrainedServer  # gunicorn makes its listeners after this hook
    _bound_sending()
    files.keep_private()  # with gunicorn --preload or another server, the master may have set a weaker umask
    app = worker.wsgi
    if not isinstance(app, Flask):  # with --reload, gunicorn serves the traceback of a module that fails to import
        worker.log.error("%r is not EGO's application; EGO does not start", app)
        return
    from mirror_stage.web.refusals import Refusals

    services = app.extensions["mirror_stage"]
    refusals: Refusals = services[Refusals]
    util.write_error = partial(_write_problem, refusals)
    handshakes = None
    if services[Config].has_tls:
        takes_plain = services[Config].security == "open"
        handshakes = Handshakes(services[ServerCertificate], refusals, takes_plain=takes_plain)
        gevent.spawn(handshakes.keep_up)
        worker.cfg.set("certfile", None)
    worker.stopper = _Stopper(worker, walls.Rules(services[Config]), refusals, handshakes, services[Config].field_port)
    gevent.spawn(worker.stopper.watch)
    starting = gevent.spawn(start, app)
    while worker.alive and not starting.ready():
        starting.join(timeout=0.1)
    if starting.ready():
        starting.get()  # raises an error of the start, which ends this worker
    else:
        starting.kill(block=False)


def worker_exit(_server: Any, worker: Any) -> None:
    """In the worker, last: wait until the watcher has stopped the application, or stop it here if it has not begun."""
    if hasattr(worker, "stopper"):
        worker.stopper.stop()


def _reload(server: Any, reload: Callable[[], None]) -> None:
    """Reload as gunicorn does at SIGHUP, unless EGO could not start again: then the running one goes on as it is."""
    try:
        read_settings()
    except BadSetting as error:
        server.log.error("not reloaded, EGO goes on as before: %s", error)
    else:
        reload()


def _set_workers(server: Any, settings: Config) -> None:
    """Let gunicorn run as many workers as may share the twin, and log why they are fewer than somebody wants."""
    wanted = max(settings.workers, server.cfg.workers)
    if settings.is_clustered:
        os.environ["WEB_CONCURRENCY"] = str(wanted)  # gunicorn may have it from its command line; each worker reads it
    elif note := workers_note(wanted, settings):
        server.log.warning("%s", note)
        wanted = 1
    server.cfg.set("workers", wanted)
    server.num_workers = wanted


def _refuse_exposure(addresses: list[str], settings: Config) -> None:
    _refuse(exposure_refusal(addresses, settings))


def _refuse(reason: str | None) -> None:
    if reason:
        print(f"mirror-stage: {reason}", file=sys.stderr)
        sys.exit(2)


def _text_of(address: Any) -> str:
    """A listen address as text. gunicorn has a tuple (host, port) for TCP and a path for a Unix socket."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"


def _raise_open_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit, because each connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems refuse even their own hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_greenlet_errors(worker: Any) -> None:
    """Write an uncaught error of a greenlet as one log line. By default gevent prints a traceback to stderr."""

    def print_exception(context: Any, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(context, tuple):
            return  # from a native thread: the greenlet that waits for it gets the error
        if issubclass(kind, SystemExit):
            return  # gunicorn ends a worker in this way
        worker.log.error("%s ended with an error", context, exc_info=(kind, error, trace))

    gevent.get_hub().print_exception = print_exception


def _bound_draining() -> None:
    """Make gunicorn read the rest of a refused body for at most DRAIN_SECONDS and DRAIN_BYTES, then close the connection.

    If it closed at once, a client that is still sending might not see the refusal. By default gunicorn reads without limit.
    """
    drain = Parser.finish_body

    def finish_body(self: Any, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        return bool(drain(self, deadline or time.monotonic() + DRAIN_SECONDS, max_bytes or DRAIN_BYTES))

    Parser.finish_body = finish_body


def _bound_sending() -> None:
    """Let gunicorn send with `send`: by default it waits for ever, and with it the answer in memory, for a client that does not read."""

    def write(connection: Any, answer: bytes, chunked: bool = False) -> None:
        send(connection, b"%X\r\n%b\r\n" % (len(answer), answer) if chunked else answer)

    util.write = write


def send(connection: Any, answer: bytes) -> None:
    """Send all of an answer. Raises BrokenPipeError if the client takes less than SENT_PIECE of it in SEND_SECONDS."""
    rest = memoryview(answer)
    while rest:
        with gevent.Timeout(SEND_SECONDS, BrokenPipeError(errno.EPIPE, "the client does not read")):
            connection.sendall(rest[:SENT_PIECE])
        rest = rest[SENT_PIECE:]


def _write_problem(refusals: Refusals, client: Any, status: int, reason: str, detail: str) -> None:
    """Answer a request that is not valid HTTP with problem+json, like all other refusals. gunicorn's own answer is HTML."""
    with contextlib.suppress(OSError):  # the client is gone already
        refusals.note(_peer_of(client.getpeername()), status, detail or reason)
    util.write_nonblock(client, _problem(status, detail or reason))
    linger(client)


def _problem(status: int, detail: str, *more: tuple[str, str]) -> bytes:
    """A whole answer, after which the connection is closed."""
    from mirror_stage.web.problem_json import problem_json

    body = problem_json(status, detail)
    headers = [*walls.SECURITY_HEADERS, ("Content-Type", "application/problem+json"), ("Connection", "close"), *more]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def _peer_of(address: Any) -> str:
    """The client of a connection, for a message: its address, or that it is a program of this machine."""
    return (normalise_address(address[0]) if isinstance(address, tuple) else None) or "a program of this machine"


class _Named:
    """The name of a listener, also after it was closed: gunicorn asks for it before it reads the first request of a connection."""

    def __init__(self, name: Any):
        self._name = name

    def getsockname(self) -> Any:
        return self._name


class _Stopper:
    """Stops one worker: first the application, then the connections that clients keep open.

    Without it, gunicorn waits its whole graceful_timeout for an open websocket or an idle browser. While the worker runs,
    this class limits the connections of one peer, and lets other connections have a turn between two requests of one.
    """

    def __init__(
        self, worker: Any, rules: walls.Rules, refusals: Refusals, handshakes: Handshakes | None, plain_port: int | None
    ):
        self._worker, self._serve, self._answer = worker, worker.handle, worker.handle_request
        self._rules, self._refusals, self._handshakes, self._plain_port = rules, refusals, handshakes, plain_port
        self._descriptors: set[int] = set()  # of the connections; a TLS connection keeps that of its client
        self._counts: Counter[str] = Counter()  # of connections, by peer
        self._once, self._stopped = BoundedSemaphore(), False
        self._listeners = {listener: _Named(listener.getsockname()) for listener in worker.sockets}
        worker.handle, worker.handle_request = self._handle, self._handle_request

    def _handle(self, listener: Any, client: Any, address: Any) -> None:
        """Serve one connection as gunicorn does, and remember it while it is open. Close it if its peer has too many."""
        peer = _peer_of(address)
        if self._has_too_many(peer):
            client.close()
            return
        descriptor = client.fileno()
        self._descriptors.add(descriptor)
        self._counts[peer] += 1
        last = gevent.spawn_later(LAST_REQUEST_SECONDS, self._end_reading, descriptor) if self._stopped else None
        try:
            connection = client
            if self._handshakes is not None and not self._is_plain(client):
                connection = self._handshakes.accept(client, peer)
            if connection is not None:
                self._serve(self._listeners[listener], connection, address)
        finally:
            if last is not None:
                last.kill(block=False)
            self._descriptors.discard(descriptor)
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]

    def _is_plain(self, client: Any) -> bool:
        """Whether a connection has arrived at the listener that speaks plain HTTP always."""
        return self._plain_port is not None and client.getsockname()[1] == self._plain_port

    def _has_too_many(self, peer: str) -> bool:
        if self._counts[peer] < CONNECTIONS_OF_PEER_MAX:
            return False
        address = normalise_address(peer)
        if address is None or is_loopback(address) or self._rules.is_proxy(address):
            return False
        self._refusals.note(peer, 429, f"more than {CONNECTIONS_OF_PEER_MAX} connections at once")
        return True

    def _handle_request(self, listener: Any, request: Any, client: Any, address: Any) -> Any:
        """Answer one request as gunicorn does. Then let other connections have a turn, even if the next one has arrived."""
        if isinstance(client, Connection):
            request.scheme = "https"  # gunicorn knows only of TLS of its own
        try:
            if self._stopped and request.path not in walls.HEALTH_PATHS:  # health says itself what is missing
                util.write(client, _problem(503, "EGO is stopping; send it again", ("Retry-After", "1")))
                raise StopIteration  # as gunicorn says that this was the last answer on a connection
            return self._answer(listener, request, client, address)
        except StopIteration:
            if not self._worker.alive:
                linger(client)
            raise
        finally:
            gevent.sleep(0)

    def watch(self) -> None:
        """Wait until a signal ends the worker, then stop."""
        while self._worker.alive:
            gevent.sleep(0.1)
        self.stop()

    def stop(self) -> None:
        """Stop the application, then end reading on every connection: idle ones close, answers under way are still sent.

        A client that has been connected gets an answer: if it closed with a request on its way, it would be reset.
        """
        from mirror_stage.runtime.lifecycle import stop

        with self._once:  # a second caller waits for the first and then has nothing to do
            if self._stopped:
                return
            try:
                with gevent.Timeout(STOP_SECONDS):
                    stop(self._worker.wsgi)
            except gevent.Timeout:
                self._worker.log.warning(
                    "the twin could not be saved within %g s: the next start replays the last samples", STOP_SECONDS
                )
            except Exception:
                self._worker.log.exception("the stop failed; everything that was acknowledged is stored")
            self._stopped, until = True, time.monotonic() + LAST_REQUEST_SECONDS
            while self._descriptors and time.monotonic() < until:
                gevent.sleep(0.02)  # a request may be on its way on any of them
            for descriptor in list(self._descriptors):
                self._end_reading(descriptor)

    def _end_reading(self, descriptor: int) -> None:
        """Give the reader of a connection an end of file, after what has arrived. gevent's own shutdown would raise an error in the reader."""
        with (
            contextlib.suppress(OSError),  # the client is gone already
            monkey.get_original("socket", "socket")(fileno=os.dup(descriptor)) as same_connection,
        ):
            same_connection.shutdown(socket.SHUT_RD)
