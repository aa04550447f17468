"""Real servers for tests: EGO under gunicorn, PostgreSQL, Redis. Each listens on a free port and is ended by its process id."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 40
PATIENCE = 4  # a busy machine may take this many times as long as an idle one

_ports = itertools.count(os.getpid())


def free_port() -> int:
    """A port that nobody listens on now, and that nobody gets by chance.

    It is below the ports that Linux gives to whoever asks for any, and each process of pytest has 2,000 of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 10_000 + 2_000 * (worker % 11) + next(_ports) % 2_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Any, seconds: float = 10, every: float = 0.02, what: str = "") -> Any:
    """The first true answer of `condition`. Fails after PATIENCE times the `seconds` that an idle machine may take.

    A test of a promised time measures that time itself.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE} s: {what or condition}")
        time.sleep(every)


def slowness() -> float:
    """How many times as long as on an idle machine a busy process takes now: 1 if it gets a core for itself."""
    began, computed = time.perf_counter(), time.thread_time()
    while time.thread_time() - computed < 0.05:
        pass
    return max(1.0, (time.perf_counter() - began) / (time.thread_time() - computed))


@dataclass
class EgoServer:
    """One EGO under a real gunicorn. `settings` are environment variables, `sources` the checkout that it runs from."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # a command to run it under, such as faketime
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    sources: Path = ROOT

    @property
    def url(self) -> str:
        return f"{'https' if self.has_tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def has_tls(self) -> bool:
        """Whether EGO speaks https, by its settings."""
        return self.settings.get("MIRROR_STAGE_TLS") == "on"

    @property
    def trusted(self) -> str:
        """The file of what a client has to trust over https."""
        own = Path(self.settings.get("MIRROR_STAGE_TLS_DIR", str(self.folder / "ego.tls")))
        return self.settings.get("MIRROR_STAGE_TLS_CERT") or str(own / "root.pem")

    @property
    def log(self) -> str:
        return (self.folder / "ego.log").read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIRROR_STAGE_", "EGO_"))}
        own = {
            "PORT": str(self.port),
            "MIRROR_STAGE_SQLITE_PATH": str(self.folder / "ego.db"),
            "MIRROR_STAGE_EGO_MONITOR_ENABLED": "false",
            "PYTHONPATH": str(self.sources),
        }
        return kept | own | self.settings

    def start(self, *, wait: bool = True) -> EgoServer:
        """Start EGO. With `wait`, wait until it is ready."""
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            str(self.sources / "gunicorn.conf.py"),
            "wsgi:app",
        ]
        with (self.folder / "ego.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = START_SECONDS) -> float:
        """Wait until EGO is ready. Returns how many seconds that took."""
        started = time.monotonic()
        wait_until(self.is_ready, seconds, what=f"EGO is ready; its log:\n{self.log[-3000:]}")
        return time.monotonic() - started

    def is_ready(self) -> bool:
        """Whether `/api/health/ready` answers 200."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"EGO ended with {self.process.returncode}:\n{self.log[-3000:]}")
        if not listens(self.port):  # much cheaper to ask than a request that is refused
            return False
        try:
            return self.get("/api/health/ready", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def pids(self) -> list[int]:
        """The process ids of gunicorn's master and of its workers."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def worker_pid(self) -> int:
        """The process id of the worker."""
        return int(wait_until(lambda: self.pids()[1:], what="gunicorn has a worker")[0])

    def rss_bytes(self) -> int:
        """Resident memory of the worker."""
        for line in Path(f"/proc/{self.worker_pid()}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def cpu_seconds(self) -> float:
        """The CPU time of master and workers since their start."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """The number of open file descriptors of the worker, connections included."""
        return len(os.listdir(f"/proc/{self.worker_pid()}/fd"))

    def stop(self) -> float:
        """Stop EGO with SIGTERM. Returns how many seconds that took."""
        started = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
        return time.monotonic() - started

    def kill(self) -> None:
        """Kill master and workers at once, as a power failure would."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    # ------------------------------------------------------------------ EGO's database

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL in EGO's database and return the rows; each `?` stands for one of `values`. Changes are committed."""
        url = self.settings.get("MIRROR_STAGE_DB_URL")
        if url:
            with psycopg.connect(url, autocommit=True) as connection:
                cursor = connection.execute(sql.replace("?", "%s"), values)  # type: ignore[arg-type]
                return cursor.fetchall() if cursor.description else []
        connection = sqlite3.connect(self.environment["MIRROR_STAGE_SQLITE_PATH"], timeout=10, isolation_level=None)
        with contextlib.closing(connection):
            return connection.execute(sql, values).fetchall()

    # ------------------------------------------------------------------ requests

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return requests.get(self.url + path, **self._how(kwargs))

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return requests.post(self.url + path, **self._how(kwargs))

    def _how(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"timeout": 30} | ({"verify": self.trusted} if self.has_tls else {}) | given

    def post_samples(self, *samples: dict[str, Any], **kwargs: Any) -> requests.Response:
        return self.post("/api/metrics/batch", json={"samples": list(samples)}, **kwargs)


@contextlib.contextmanager
def running_ego(
    folder: Path, settings: dict[str, str] | None = None, kind: type[EgoServer] = EgoServer, **kwargs: Any
) -> Iterator[EgoServer]:
    """A running EGO that is ready. It is stopped afterwards, also after an error."""
    server = kind(folder, settings or {}, **kwargs)
    try:
        yield server.start()
    finally:
        if server.process is not None and server.process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                server.kill()


class PostgresqlServer:
    """A PostgreSQL server in a temporary folder. `fsync` is off unless a test is about durability."""

    def __init__(self, *, fsync: bool = False):
        _postgresql_program("initdb")
        self.folder = Path(tempfile.mkdtemp(prefix="mirror-stage-pg-"))
        self.port = free_port()
        self._fsync = fsync
        self._databases = 0
        self._as_postgres = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        )
        if self._as_postgres:
            shutil.chown(self.folder, "postgres", "postgres")
            self.folder.chmod(0o700)
        self._run(
            "initdb",
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> PostgresqlServer:
        """Start the server, and wait until it answers."""
        options = [
            "-c",
            f"port={self.port}",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self.folder}",
        ]
        options += ["-c", "max_connections=100", "-c", f"fsync={'on' if self._fsync else 'off'}"]
        command = [*self._as_postgres, _postgresql_program("postgres"), "-D", str(self.folder / "data"), *options]
        self.process = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 30, what="PostgreSQL answers")
        return self

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as_postgres, _postgresql_program(program), *arguments], cwd="/", check=True, capture_output=True
        )

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        self._databases += 1
        name = f"ego_{os.getpid()}_{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast shutdown; SIGQUIT: immediate, as after a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each of its processes, for instance SIGSTOP."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running_pgbouncer(database: str, mode: str) -> Iterator[str]:
    """Start a PgBouncer; the URL of a database through it. `mode` is session, transaction or statement."""
    program = installed("pgbouncer", "pgbouncer")
    folder, port, server = Path(tempfile.mkdtemp(prefix="mirror-stage-pgbouncer-")), free_port(), urlsplit(database)
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={server.hostname} port={server.port} user={server.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\nserver_round_robin = 1\nlogfile = {folder}/log\n"  # round robin: connections change often
    )
    as_postgres = []
    if os.getuid() == 0:  # PgBouncer refuses to run as root
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        for path in (folder, folder / "pgbouncer.ini"):
            shutil.chown(path, "postgres", "postgres")
    command = [*as_postgres, program, "-q", str(folder / "pgbouncer.ini")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), what="PgBouncer listens")
        yield f"postgresql://{server.username}@127.0.0.1:{port}{server.path}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def installed(name: str, package: str) -> str:
    """The path of a program that the tests need. Where it is missing the test is skipped, or fails on CI (`$CI`)."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    return found or _missing(name, package)


def _missing(name: str, package: str) -> NoReturn:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed: apt install {package}")


def _postgresql_program(name: str) -> str:
    """A program of PostgreSQL's server, from MIRROR_STAGE_TEST_PG_BIN, the PATH or Debian's folder."""
    folder = os.environ.get("MIRROR_STAGE_TEST_PG_BIN")
    candidates = [Path(folder) / name] if folder else []
    found = shutil.which(name)
    candidates += [Path(found)] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return next((str(each) for each in candidates if each.exists()), None) or _missing(name, "postgresql")


class RedisServer:
    """A Redis without persistence. Use it in a `with` statement."""

    def __init__(self, folder: Path, *options: str):
        self.port, self._folder, self._options = free_port(), folder, options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> RedisServer:
        """Start it, empty, and wait until it listens."""
        own = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        command = [installed("redis-server", "redis-server"), *own, "--dir", str(self._folder), *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: listens(self.port), what="Redis listens")
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, for instance SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Start a Redis; its URL."""
    with RedisServer(folder) as server:
        yield server.url


def listens(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
