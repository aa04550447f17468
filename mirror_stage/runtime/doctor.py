"""`mirror-stage doctor`: finds what prevents EGO from running on this machine, and says how to correct it."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import ssl
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from mirror_stage.core import config
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.clock import is_plausible
from mirror_stage.core.config import Config
from mirror_stage.core.findings import Finding
from mirror_stage.core.instants import day
from mirror_stage.core.signed import to_text64
from mirror_stage.runtime import serving
from mirror_stage.signing.keys import KeyFolder
from mirror_stage.signing.service import trouble_of
from mirror_stage.storage import files
from mirror_stage.tls.service import ServerCertificate

NETWORK_FILESYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p"})
FREE_BYTES_PROBLEM, FREE_BYTES_WARNING = 100 * 2**20, 2 * 2**30
OPEN_FILES_WANTED = 10_240  # gunicorn's worker_connections (10,000), and some for EGO itself
ANSWER_SECONDS = 2.0
WAITS_SECONDS_WARNING = 300  # a message that is due for so long


def examine() -> list[Finding]:
    """The findings of all checks, in the order of CHECKS."""
    python = Finding("python", "ok", f"{sys.version.split()[0]}, {sys.executable}")
    try:
        settings = serving.read_settings()
    except BadSetting as error:
        return [python, Finding("settings", "problem", str(error), "correct it in the environment or in .env")]
    return [python, *(check(settings) for check in CHECKS)]


def listener(settings: Config) -> Finding:
    """Whether one of the settings, which are all valid, deserves a second look."""
    if settings.security == "open":
        advice = "keep MIRROR_STAGE_SECURITY=open only if everybody who can reach EGO may run commands on every host that allows them"
        return Finding("settings", "warning", "MIRROR_STAGE_SECURITY=open: all access checks are off", advice)
    note = serving.workers_note(settings.workers, settings)
    if note:
        return Finding("settings", "warning", note, "or unset WEB_CONCURRENCY")
    doubts = config.doubts()
    if doubts:
        return Finding(
            "settings", "warning", " ".join(doubts), "correct the name; if it is another program's, leave it"
        )
    return Finding("settings", "ok", "all variables are valid")


def port(settings: Config) -> Finding:
    """Whether EGO can listen on its port, or an EGO already does."""
    address = serving.listen_address(settings)
    reason = taken(settings)
    if reason is None:
        return Finding("port", "ok", f"{address} is free")
    if _ego_answers(settings):
        return Finding("port", "ok", f"an EGO answers on {address}")
    if at_fault(settings) == "MIRROR_STAGE_BIND":
        return Finding("port", "problem", f"{address}: {reason}", "choose another MIRROR_STAGE_BIND")
    return Finding("port", "problem", f"{address}: {reason}", "stop the other program, or choose another PORT")


def field(settings: Config) -> Finding:
    """Whether EGO listens for agents of another make, and what that means."""
    if settings.field_bind is None:
        return Finding("field", "ok", "off: every agent needs a token")
    reason = field_taken(settings)
    if reason is not None and not _ego_answers(_field_alone(settings)):
        advice = "stop the other program, or choose another port in MIRROR_STAGE_FIELD_BIND"
        return Finding("field", "problem", f"{settings.field_bind}: {reason}", advice)
    advice = "unset MIRROR_STAGE_FIELD_BIND when no agent of another make is left"
    return Finding("field", "warning", serving.field_note(settings.field_bind), advice)


def tls(settings: Config) -> Finding:
    """Whether EGO speaks https, with whose certificate, until when, and what clients have to trust."""
    if not settings.has_tls:
        for note in serving.exposure_notes([serving.listen_address(settings)], replace(settings, security="auto")):
            if note.startswith("MIRROR_STAGE_TLS"):
                return Finding("tls", "warning", note, "see MIRROR_STAGE_TLS in config/ego.env.example")
        return Finding("tls", "ok", "off: EGO speaks plain HTTP")
    certificate = ServerCertificate(settings)
    try:
        shown = certificate.existing()
        trouble = shown and certificate.trouble_of(shown)
    except BadSetting as error:
        return Finding("tls", "problem", str(error), "the message names the file and says what to do")
    if shown is None:
        return Finding("tls", "ok", f"on: the first start makes EGO's own authority in {settings.authority_folder}")
    whose = "your own certificate" if shown.root is None else "certificate of EGO's own authority"
    seen = f"on: {whose}, until {day(shown.certificate.ends)}, fingerprint {shown.certificate.fingerprint}"
    if trouble:
        level = "warning" if shown.certificate.is_valid(time.time()) else "problem"
        return Finding("tls", level, seen, trouble)
    return Finding("tls", "ok", seen, f"a client has to trust {shown.trusted_by}")


def signing(settings: Config) -> Finding:
    """Whether EGO can sign commands, and until when."""
    kept = KeyFolder(settings.authority_folder)
    try:
        keys = kept.existing()
    except BadSetting as error:
        return Finding("signing", "problem", str(error), "agents with ego_signing_key refuse commands until then")
    if keys is None:
        return Finding("signing", "ok", f"the first start makes the keys that sign commands, in {kept.folder}")
    seen = f"commands are signed; online key until {day(keys.about.ends / 1000)}"
    trouble = trouble_of(keys, int(time.time() * 1000), str(kept.folder))
    return Finding("signing", "warning" if trouble else "ok", seen, trouble or f"agents pin {to_text64(keys.root)}")


def folder(settings: Config) -> Finding:
    """Whether SQLite's files can be written, and are on a local disk."""
    if settings.is_postgresql:
        return Finding("folder", "ok", "not needed: the database is PostgreSQL")
    path = settings.sqlite_path.absolute()
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
            return Finding("folder", "problem", f"{path} is not a writable file", "see MIRROR_STAGE_SQLITE_PATH")
    except OSError as error:
        seen = f"cannot write in {path.parent}: {error.strerror}"
        return Finding("folder", "problem", seen, "change its owner, or set MIRROR_STAGE_SQLITE_PATH")
    kind = _filesystem(path.parent)
    if kind in NETWORK_FILESYSTEMS:
        advice = "put MIRROR_STAGE_SQLITE_PATH on a local disk: SQLite's write-ahead log does not work over a network"
        return Finding("folder", "problem", f"{path.parent} is on {kind}", advice)
    return Finding("folder", "ok", f"{path.parent} can be written")


def disk(settings: Config) -> Finding:
    """How much space is free on the disk of the database."""
    if settings.is_postgresql:
        return Finding("disk", "ok", "not checked: the database is PostgreSQL")
    place = next(parent for parent in settings.sqlite_path.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    seen = f"{free / 2**30:.1f} GiB free at {place}"
    if free < FREE_BYTES_PROBLEM:
        return Finding("disk", "problem", seen, "free some space: EGO will soon be unable to store samples")
    if free < FREE_BYTES_WARNING:
        return Finding("disk", "warning", seen, "free some space: 1,000 hosts at 5 s write 2.5 GB a day")
    return Finding("disk", "ok", seen)


def database(settings: Config) -> Finding:
    """Whether the database answers, and whether its schema is this version's."""
    from mirror_stage.storage import foreign, migrate

    try:
        trouble = None if settings.is_postgresql else foreign.trouble_of_file(settings.sqlite_path)
        if trouble is None and not settings.is_postgresql and not settings.sqlite_path.exists():
            return Finding("database", "ok", "none yet: the first start creates it")
        if trouble is None:
            with _connected(settings) as connection:
                trouble = foreign.trouble_of_server(connection) if settings.is_postgresql else None
                revision = migrate.revision_of(connection)
    except Exception as error:
        advice = "check that it runs, and check address, user and password in MIRROR_STAGE_DB_URL"
        if not settings.is_postgresql:
            advice = "move the file away and start again, or restore a backup"
            if "unable to open" in str(error) or "readonly" in str(error):
                advice = "EGO must be able to write the file and its folder: see the finding about the folder"
        return Finding("database", "problem", f"it does not answer: {_first_line(error)}", advice)
    if trouble is not None:
        seen, advice = trouble.split(": ", 1)
        return Finding("database", "problem", seen, advice)
    kind = "PostgreSQL" if settings.is_postgresql else f"SQLite, {settings.sqlite_path}"
    head = migrate.head()
    if revision == head:
        return Finding("database", "ok", f"{kind}, schema {revision}")
    seen = f"{kind}, schema {revision or 'empty'}, this version needs {head}"
    return Finding("database", "warning", seen, "`mirror-stage serve` or `mirror-stage db upgrade` upgrades it")


def redis(settings: Config) -> Finding:
    """Whether Redis answers, if MIRROR_STAGE_REDIS_URL is set."""
    if settings.redis_url is None:
        return Finding("redis", "ok", "not used")
    from mirror_stage.health.redis import redis_trouble

    trouble = redis_trouble(settings.redis_url, ANSWER_SECONDS)
    if trouble is None:
        return Finding("redis", "ok", "answers")
    advice = "start it, or unset MIRROR_STAGE_REDIS_URL; until then EGO runs without Redis"
    return Finding("redis", "problem", f"it cannot be used: {trouble}", advice)


def notifications(settings: Config) -> Finding:
    """Whether people are told of alerts: messages of the last day that were given up, and the one that waits longest."""
    import sqlalchemy

    if settings.notify != "on":
        said = f"MIRROR_STAGE_NOTIFY={settings.notify}: nobody is told of alerts"
        return Finding("notifications", "warning", said, "unset it to tell people")
    if not settings.is_postgresql and not settings.sqlite_path.exists():
        return Finding("notifications", "ok", "no channels yet")
    now = round(time.time() * 1000)
    asked = {
        "channels": "SELECT count(*) FROM channels",
        "dead": f"SELECT count(*) FROM deliveries WHERE state = 'dead' AND ended_at >= {now - 86_400_000}",
        "oldest": "SELECT min(due_since) FROM deliveries WHERE state IN ('queued', 'retry', 'leased')",
    }
    try:
        with _connected(settings) as connection:
            found = {name: connection.execute(sqlalchemy.text(sql)).scalar() for name, sql in asked.items()}
    except Exception:
        return Finding("notifications", "ok", "unknown: see the finding about the database")
    if not found["channels"]:
        return Finding("notifications", "ok", "no channels: nobody is told of alerts")
    seconds = 0 if found["oldest"] is None else max(0, now - found["oldest"]) // 1000
    seen = f"{found['channels']} channels, {found['dead']} messages given up in a day, the oldest waits for {seconds} s"
    if found["dead"] or seconds > WAITS_SECONDS_WARNING:
        return Finding("notifications", "warning", seen, "GET /api/deliveries says what the receivers answered")
    return Finding("notifications", "ok", seen)


def clock(_settings: Config) -> Finding:
    """Whether the machine's clock is plausible."""
    now = time.time()
    seen = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if not is_plausible(now):
        return Finding("clock", "problem", f"it is set to {seen}", "set it, and switch time synchronisation on")
    return Finding("clock", "ok", seen)


def open_files(_settings: Config) -> Finding:
    """Whether the limit of open files is high enough for all connections that gunicorn allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_WANTED:
        advice = f"raise it to {OPEN_FILES_WANTED} (LimitNOFILE= in the unit, or ulimit -Hn) for thousands of agents"
        return Finding("open files", "warning", f"at most {hard}", advice)
    return Finding("open files", "ok", "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard}")


CHECKS: tuple[Callable[[Config], Finding], ...] = (
    listener,
    port,
    field,
    tls,
    signing,
    folder,
    disk,
    database,
    redis,
    notifications,
    clock,
    open_files,
)


def taken(settings: Config) -> str | None:
    """The reason why EGO cannot listen at its address, or None if it can.

    The reason names the process that listens there, if this user may see that process.
    """
    if settings.bind.startswith("unix:"):
        return _who_answers_at(settings.bind.removeprefix("unix:"))
    name = settings.bind.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(name, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        who = _who_listens(settings.port)
        return f"taken by {who}" if who else (error.strerror or str(error)).lower()
    return None


def at_fault(settings: Config) -> str:
    """The setting to change where EGO cannot listen: the address, if no port of it can be listened on."""
    is_address = settings.bind.startswith("unix:") or taken(replace(settings, port=0)) is not None
    return "MIRROR_STAGE_BIND" if is_address else "PORT"


def field_taken(settings: Config) -> str | None:
    """The reason why EGO cannot listen for agents of another make; None if it can, or if it shall not."""
    return None if settings.field_bind is None else taken(_field_alone(settings))


def _field_alone(settings: Config) -> Config:
    """The settings of an EGO that would listen for agents of another make only."""
    name, _, number = (settings.field_bind or "").rpartition(":")
    return replace(settings, bind=name, port=int(number), tls="off")


def _who_answers_at(path: str) -> str | None:
    """The reason why a Unix socket is taken or cannot be; None if it can: gunicorn replaces a socket file that nobody answers at."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
        return "that is no socket"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not write in {folder}"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return None
    return "taken by a server that answers there"


def _who_listens(port: int) -> str | None:
    """Name and id of the process that listens on a port, or None if this user may not see that process."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass  # this user may not see the processes of others
    return None


def _ego_answers(settings: Config) -> bool:
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind.strip("[]"), settings.bind.strip("[]"))
    scheme = "https" if settings.has_tls else "http"
    url = f"{scheme}://{f'[{name}]' if ':' in name else name}:{settings.port}/api/health"
    unchecked = ssl._create_unverified_context()  # it is asked only whether it is there
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )  # EGO is on this machine: ignore the proxy settings
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.read(16) == b"ok")
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _filesystem(path: Path) -> str:
    """The type of the filesystem that holds a path, empty if unknown."""
    found = ("", "")
    for mount in psutil.disk_partitions(all=True):
        if path.resolve().is_relative_to(mount.mountpoint) and len(mount.mountpoint) >= len(found[0]):
            found = (mount.mountpoint, mount.fstype)
    return found[1]


@contextmanager
def _connected(settings: Config) -> Iterator[Any]:
    import sqlalchemy

    from mirror_stage.storage.db import engine_options

    engine = sqlalchemy.create_engine(settings.database_url, **engine_options(settings))
    folder = Path("/") if settings.is_postgresql else settings.sqlite_path.absolute().parent
    with files.as_owner_of(folder):  # EGO's user could not open a write-ahead log that root has created
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
