"""Backup of the whole database while EGO uses it, and restore. The file is an SQLite database or a pg_dump archive."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import conninfo

from mirror_stage.core.config import Config
from mirror_stage.core.problems import Conflict, Invalid, Unavailable
from mirror_stage.storage import files

SQLITE_HEADER, POSTGRESQL_HEADER = b"SQLite format 3\0", b"PGDMP"
PAGES_AT_ONCE = 2_000
REVISIONS, TIMESCALE = "alembic_version", "timescaledb"

Tell = Callable[[str], None]  # shows the progress to the person who started it


def backup(config: Config, file: Path, known_revisions: Sequence[str], *, force: bool, tell: Tell) -> int:
    """Write the whole database to `file`, readable by its owner only. Returns the size in bytes.

    The file has everything that EGO acknowledged before. It is checked as before a restore, and gets its name after that.
    If the backup fails, no file is left. If root runs it, it writes as the owner of the file's folder and reads as the
    owner of the database's folder. Raises Invalid if the file exists and `force` is not given, or if there is nothing to
    back up; Unavailable if the database or the disk fails, or if `restore` would refuse the file.
    """
    irregular = Invalid(f"{file} is no regular file: name one, which is checked before it counts as a backup")
    if file.name in {"", "-"}:
        raise irregular
    folder = file.absolute().parent
    if not folder.is_dir():
        raise Invalid(f"there is no folder {folder}")
    partial = file.with_name(f"{file.name}.partial")
    _must_be_another(config, file)
    if not has_data(config):
        if config.is_postgresql:
            raise Invalid("there is nothing to back up: no EGO has used this database yet; see MIRROR_STAGE_DB_URL")
        raise Invalid(f"there is no database {config.sqlite_path.absolute()} yet; see MIRROR_STAGE_SQLITE_PATH")
    with files.as_owner_of(folder):  # who may look into it
        if file.exists() and not file.is_file():
            raise irregular
        if file.exists() and not force:
            raise Invalid(f"{file} exists already; name another file, or use --force")
        try:
            os.close(files.make_new(partial))  # private from the start: it will hold every command and its output
            (_dump if config.is_postgresql else _copy)(config, partial, tell)
            try:
                _checked(config, partial, known_revisions, tell)
            except Invalid as why:
                raise Unavailable(f"the backup was not kept, because restore would refuse it: {why.detail}") from why
            files.put_in_place(partial, file)
            return file.stat().st_size
        except OSError as error:
            raise Unavailable(f"{file} cannot be written: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def check(config: Config, file: Path, known_revisions: Sequence[str], tell: Tell) -> str:
    """The schema revision of a backup. Raises Invalid if it is damaged, or not of the kind of database in the settings."""
    _must_be_another(config, file)
    with files.as_owner_of(file.absolute().parent):
        return _checked(config, file, known_revisions, tell)


def _checked(config: Config, file: Path, known_revisions: Sequence[str], tell: Tell) -> str:
    try:
        with file.open("rb") as opened:
            header = opened.read(len(SQLITE_HEADER))
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror or error}") from error
    is_dump, is_copy = header.startswith(POSTGRESQL_HEADER), header == SQLITE_HEADER
    if not (is_dump or is_copy):
        raise Invalid(f"{file} is no backup: it is neither an SQLite database nor a pg_dump archive in custom format")
    if is_dump != config.is_postgresql:
        kinds = ("PostgreSQL", "SQLite") if is_dump else ("SQLite", "PostgreSQL")
        raise Invalid(f"{file} is a backup of {kinds[0]}, and the settings name {kinds[1]}: see MIRROR_STAGE_DB_URL")
    tell(f"checking {file}")
    revision = _revision_of_dump(config, file) if is_dump else _revision_of_copy(file)
    if revision not in known_revisions:
        raise Invalid(f"{file} has schema {revision}, which this version does not know; restore it with a newer one")
    return revision


def _must_be_another(config: Config, file: Path) -> None:
    """Raise Invalid if the file is the database itself."""
    path = config.sqlite_path
    with files.as_owner_of(Path("/")):  # read-only
        if not config.is_postgresql and file.exists() and path.exists() and file.samefile(path):
            raise Invalid(f"{file} is the database itself; name another file")


def restore(config: Config, file: Path, *, force: bool, take_away: Callable[[], None], tell: Tell) -> None:
    """Replace the database with a checked backup. The caller holds the owner lock, so that no EGO uses the database.

    Raises Conflict if the database has data and `force` is not given; with `force` the data are deleted. `take_away`
    empties the schema.
    """
    if config.is_postgresql:
        _restore_dump(config, file, force, take_away, tell)
    else:
        _restore_copy(config, file, force, tell)


def has_data(config: Config) -> bool:
    """Whether an EGO has ever used the database."""
    if config.is_postgresql:
        with connected(config) as connection:
            return bool(connection.execute("SELECT to_regclass(%s) IS NOT NULL", (REVISIONS,)).fetchone()[0])  # type: ignore[index]
    path = config.sqlite_path.absolute()
    with files.as_owner_of(path.parent):
        return path.exists() and path.stat().st_size > 0


# ------------------------------------------------------------------ SQLite


def _copy(config: Config, partial: Path, tell: Tell) -> None:
    """Copy the database as one read transaction sees it, page by page. EGO goes on writing; later writes are not copied."""
    path = config.sqlite_path.absolute()

    def progress(_status: int, left: int, total: int) -> None:
        tell(f"{100 * (total - left) // max(1, total)} % of {size(total * page_bytes)}")

    with _sqlite(f"{path.as_uri()}?mode=rw", path.parent) as source, _sqlite(str(partial)) as target:
        # Without this transaction each commit of EGO would restart the copy, and under load it would never end.
        with files.as_owner_of(path.parent):  # SQLite opens its files at these statements
            page_bytes = source.execute("PRAGMA page_size").fetchone()[0]
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=PAGES_AT_ONCE, progress=progress)
        source.execute("ROLLBACK")
        target.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it


def _revision_of_copy(file: Path) -> str:
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size:
        raise Invalid(
            f"{file} has a write-ahead log beside it, so the file alone is not complete: make the copy with mirror-stage db backup"
        )
    try:
        with _sqlite(f"{file.absolute().as_uri()}?mode=ro&immutable=1") as copy:
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise Invalid(f"{file} is damaged: {found}")
            return str(copy.execute(f"SELECT version_num FROM {REVISIONS}").fetchone()[0])
    except (Unavailable, sqlite3.Error, TypeError) as error:
        raise Invalid(f"{file} is no backup of EGO: {error}") from error


def _restore_copy(config: Config, file: Path, force: bool, tell: Tell) -> None:
    path = config.sqlite_path.absolute()
    if has_data(config) and not force:
        raise Conflict(f"{path} has data already; move it away, or use --force to replace it")
    partial = path.with_name(f"{path.name}.restoring")
    try:
        with files.as_owner_of(file.absolute().parent):
            source = file.open("rb")
        with source, files.as_owner_of(path.parent):
            tell(f"copying {size(os.fstat(source.fileno()).st_size)}")
            with os.fdopen(files.make_new(partial), "wb") as target:
                shutil.copyfileobj(source, target)
            for log in ("-wal", "-shm"):  # first: SQLite would apply an old log to the new file
                path.with_name(path.name + log).unlink(missing_ok=True)
            files.put_in_place(partial, path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError), files.as_owner_of(path.parent):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _sqlite(name: str, folder: Path | None = None) -> Iterator[sqlite3.Connection]:
    """A connection, opened and closed as the owner of `folder`. Raises Unavailable for an error of SQLite."""
    owner = files.as_owner_of(folder) if folder is not None else contextlib.nullcontext()
    try:
        with owner:
            connection = sqlite3.connect(name, uri=name.startswith("file:"), isolation_level=None, timeout=10)
        try:
            yield connection
        finally:
            with files.as_owner_of(folder) if folder is not None else contextlib.nullcontext():
                connection.close()
    except sqlite3.Error as error:
        raise Unavailable(f"SQLite reports an error: {error}") from error


# ------------------------------------------------------------------ PostgreSQL


def _dump(config: Config, partial: Path, tell: Tell) -> None:
    _must_be_direct(config)
    with connected(config) as connection:
        major = connection.info.server_version // 10_000
    program = program_of("pg_dump", major)
    tell(f"pg_dump writes {partial}")
    _run(config, [program, "--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"])


def _revision_of_dump(config: Config, file: Path) -> str:
    """The schema revision of a dump. Reads the whole dump, so that damage is found before anything is replaced."""
    with connected(config) as connection:
        program = program_of("pg_restore", connection.info.server_version // 10_000)
    try:
        _run(config, [program, "--file=/dev/null", str(file)], connects=False)
        output = _run(config, [program, "--data-only", f"--table={REVISIONS}", "--file=-", str(file)], connects=False)
    except Unavailable as why:
        raise Invalid(f"{file} cannot be read: {why.detail}") from why
    lines = output.splitlines()
    copied = next((n for n, line in enumerate(lines) if line.startswith("COPY ")), None)
    if copied is None:
        raise Invalid(f"{file} is no backup of EGO: it has no schema revision")
    return lines[copied + 1].strip()


def _restore_dump(config: Config, file: Path, force: bool, take_away: Callable[[], None], tell: Tell) -> None:
    _must_be_direct(config)
    if has_data(config):
        if not force:
            raise Conflict("the database has data already; name an empty database, or use --force to replace the data")
        tell("removing the existing data")
        take_away()
    with connected(config) as connection:
        program = program_of("pg_restore", connection.info.server_version // 10_000)
        connection.execute(f"DROP TABLE IF EXISTS {REVISIONS}")  # type: ignore[call-overload]
    contents = _run(config, [program, "--list", str(file)], connects=False)
    into = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={_target(config)}"]
    with _timescale(config) if f" EXTENSION - {TIMESCALE}" in contents else contextlib.nullcontext():
        tell("pg_restore reads the backup")
        _run(config, [program, *into, str(file)])


@contextlib.contextmanager
def _timescale(config: Config) -> Iterator[None]:
    """Create the extension TimescaleDB again and keep it in restore mode, in which pg_restore may write its catalogue.

    Each step has its own connection, because a session does not accept a recreated extension.
    """
    steps = (
        f"DROP EXTENSION IF EXISTS {TIMESCALE} CASCADE",
        f"CREATE EXTENSION {TIMESCALE}",
        "SELECT timescaledb_pre_restore()",
    )
    for step in steps:
        with connected(config) as connection:
            connection.execute(step)  # type: ignore[call-overload]
    try:
        yield
    finally:
        with connected(config) as connection:
            connection.execute("SELECT timescaledb_post_restore()")


def _must_be_direct(config: Config) -> None:
    """Raise Unavailable behind a pooler in transaction mode: what pg_dump sets would stay with connections of EGO's."""
    with connected(config) as connection, connected(config) as another:
        before = _backend(connection)
        with another.transaction():
            others = _backend(another)
            after = _backend(connection)
    if others == before or after != before:
        raise Unavailable(
            "a pooler in transaction mode stands before the database, and pg_dump needs a connection of its own: "
            "name PostgreSQL itself in MIRROR_STAGE_DB_URL for this command"
        )


def _backend(connection: psycopg.Connection) -> int:
    """The process of the server that answers this connection now."""
    found = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert found is not None
    return int(found[0])


def program_of(name: str, major: int) -> str:
    """The path of a PostgreSQL program of the server's version or newer. Raises Unavailable with the package to install."""
    candidates = [f"/usr/lib/postgresql/{major}/bin/{name}", shutil.which(name)]
    seen = ""
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
            digits = "".join(part for part in said.split()[2:3]).partition(".")[0]
            if digits.isdigit() and int(digits) >= major:
                return candidate
            seen = f"; {candidate} is of version {digits or 'unknown'}"
    raise Unavailable(
        f"the server is PostgreSQL {major}, and this machine has no {name} of that version or newer{seen}: "
        f"apt install postgresql-client-{major}"
    )


def _run(config: Config, command: list[str], *, connects: bool = True) -> str:
    """The output of a PostgreSQL program. It gets the password in its environment, because others can read command lines."""
    environment = dict(os.environ)
    if connects:
        known = conninfo.conninfo_to_dict(_url(config))
        if known.get("password"):
            environment["PGPASSWORD"] = str(known["password"])
        if command[0].endswith("pg_dump"):
            command = [*command, f"--dbname={_target(config)}"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode != 0:
        lines = [line for line in ended.stderr.strip().splitlines() if line.strip()]
        raise Unavailable(f"{Path(command[0]).name} failed: {lines[0] if lines else f'status {ended.returncode}'}")
    return ended.stdout


def _url(config: Config) -> str:
    assert config.db_url is not None
    url = "postgresql://" + config.db_url.split("://", 1)[1]
    return conninfo.make_conninfo(url, **({"sslmode": "require"} if config.db_ssl else {}))


def _target(config: Config) -> str:
    """The connection string without the password."""
    known = conninfo.conninfo_to_dict(_url(config))
    return conninfo.make_conninfo("", **{name: value for name, value in known.items() if name != "password"})


@contextlib.contextmanager
def connected(config: Config) -> Iterator[psycopg.Connection]:
    """A connection to PostgreSQL, without SQLAlchemy. Raises Unavailable if it fails, or if a statement on it does."""
    try:
        with psycopg.connect(_url(config), autocommit=True, connect_timeout=5) as connection:
            yield connection
    except psycopg.Error as error:
        what = "does not answer" if isinstance(error, psycopg.OperationalError) else "refuses"
        raise Unavailable(f"the database {what}: {str(error).strip().splitlines()[0]}") from error


def size(count: int) -> str:
    """A number of bytes as people read it, such as "1.5 MiB"."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
