"""The command line: `mirror-stage serve | reflector | simulate | demo | db | doctor`. Flask is imported only by what needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirror_stage.core import findings
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.version import VERSION
from mirror_stage.reflector import command_line as reflector
from mirror_stage.simulator import command_line as simulator
from mirror_stage.simulator.scenarios import SCENARIOS

if TYPE_CHECKING:
    from flask import Flask


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 not possible, 2 wrong arguments or a bad setting."""
    chosen = _parser().parse_args(arguments)
    try:
        if getattr(chosen, "of_service", False):
            from mirror_stage.runtime import service_settings

            service_settings.adopt()
        return int(chosen.run(chosen))
    except BadSetting as error:
        return _say(str(error), 2)
    except ImportError as error:  # an installation without EGO, or without its libraries
        if (error.name or "").startswith("mirror_stage") and find_spec("mirror_stage.app"):
            raise  # a fault of ours
        return _say(
            f"this command needs EGO's libraries, and {error.name} is not installed: only the agent can run here. "
            "Install EGO with its libraries: pip install FILE.whl with EGO's own wheel, without --no-deps",
            1,
        )
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mirror-stage",
        description="MIRROR STAGE EGO: a live digital twin of a private network.",
        epilog="EGO's settings come from the environment, then from .env: config/ego.env.example has them all. "
        "The agent's are in config/reflector.toml.",
    )
    parser.add_argument("--version", action="version", version=f"mirror-stage {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)

    serve = _add(
        commands,
        "serve",
        "start the server",
        "Start EGO: check the settings, bring the schema of the database up to date, then serve until Ctrl-C or SIGTERM.",
    )
    serve.add_argument("--port", help="listen on this port instead of PORT")
    serve.add_argument("--bind", help="listen on this address instead of MIRROR_STAGE_BIND")
    serve.add_argument("--reload", action="store_true", help="start again when the code changes (development)")
    serve.set_defaults(run=_serve)

    reflector.add_to(commands)
    simulator.add_to(commands)

    demo = _add(
        commands,
        "demo",
        "start a server with a simulated fleet",
        "Start an EGO with a database of its own, a simulated fleet, and the agent of this machine. Ctrl-C ends all of it "
        "and removes its data. If PORT is taken, the demo takes the next free port and says which.",
    )
    demo.add_argument(
        "--hosts", type=simulator.host_count, default=60, metavar="N", help="simulated hosts; default %(default)s"
    )
    demo.add_argument(
        "--scenario", choices=list(SCENARIOS), default="calm", help="what happens to them; default %(default)s"
    )
    demo.set_defaults(run=_demo)

    schema = _add(
        commands,
        "db",
        "the database: schema, backups, figures",
        "Look after the database that the settings name. Where EGO runs as a service by this program, its settings count.",
    )
    schema.set_defaults(of_service=True)
    steps = schema.add_subparsers(title="commands", metavar="command", required=True)
    upgrade = _add(
        steps,
        "upgrade",
        "bring the schema up to date",
        "Bring the schema of the database to this version's. `serve` does that by itself.",
    )
    upgrade.set_defaults(run=_db_upgrade)
    downgrade = _add(
        steps,
        "downgrade",
        "bring the schema to an older revision",
        "Bring the schema to an older revision. No EGO may use the database meanwhile. Data that the older schema cannot "
        "hold are lost.",
    )
    downgrade.add_argument("revision", help="a revision, -1 for one step, base for an empty database")
    downgrade.add_argument("--force", action="store_true", help="confirm that data may be lost")
    downgrade.set_defaults(run=_db_downgrade)
    current = _add(steps, "current", "print the schema's revision", "Print the revision of the schema, or `empty`.")
    current.set_defaults(run=_db_current)

    backup = _add(
        steps,
        "backup",
        "write the database into a file",
        "Write the whole database into a file, while EGO runs. The file is checked before it gets its name.",
    )
    backup.add_argument("file", type=Path, help="the file to write")
    backup.add_argument("--force", action="store_true", help="replace the file if it is there")
    backup.set_defaults(run=_db_backup)
    restore = _add(
        steps,
        "restore",
        "replace the database by a backup",
        "Check a backup and put it in the place of the database. No EGO may use the database meanwhile.",
    )
    restore.add_argument("file", type=Path, help="a file that `backup` has written")
    restore.add_argument("--force", action="store_true", help="replace the data that are there: they are lost")
    restore.set_defaults(run=_db_restore)
    copy = _add(
        steps,
        "copy",
        "copy everything into another database",
        "Copy everything into another database, such as from SQLite into PostgreSQL, and compare both row by row. No EGO may "
        "use either of them meanwhile. A copy that was interrupted goes on when the same command runs again.",
    )
    copy.add_argument(
        "--to", required=True, metavar="URL", help="postgresql://… or sqlite:///FILE: an empty database, or none yet"
    )
    copy.add_argument("--json", action="store_true", help="print what was copied as JSON")
    copy.set_defaults(run=_db_copy)
    stats = _add(
        steps,
        "stats",
        "print sizes, rows and time ranges",
        "Print the size and the rows of each table, the time range of each tier of the history, and the free space.",
    )
    stats.add_argument("--json", action="store_true", help="print them as JSON")
    stats.set_defaults(run=_db_stats)

    doctor = _add(
        commands,
        "doctor",
        "say what keeps EGO from running here",
        "Check settings, port, folder, disk, database, Redis, clock and limits, and say what to do about each problem.",
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor, of_service=True)
    return parser


def _add(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    """A parser for one command: the summary stands in the list of commands, the description in its own --help."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=description)
    return parser


def _serve(chosen: argparse.Namespace) -> int:
    """Check the settings, upgrade the schema, then replace this process by gunicorn."""
    if chosen.port is not None:
        os.environ["PORT"] = chosen.port  # gunicorn.conf.py reads the settings again, in the process to come
    if chosen.bind is not None:
        os.environ["MIRROR_STAGE_BIND"] = chosen.bind
    from mirror_stage.core import logs
    from mirror_stage.core.shipped import path_of
    from mirror_stage.runtime import doctor, serving
    from mirror_stage.storage import revision

    settings = serving.read_settings()
    address = serving.listen_address(settings)
    refusal = serving.exposure_refusal([address], settings)
    if refusal:
        return _say(refusal, 2)
    reason = doctor.taken(settings)
    if reason:
        return _say(f"PORT: cannot listen on {address}: {reason}; choose another PORT, or try mirror-stage doctor", 1)
    logs.configure(settings.log_level)
    # Importing the application takes seconds, and gunicorn's worker does it again: only a migration is worth that.
    if (
        not revision.is_newest(settings) and _on_database(_upgrade, as_owner=False) != 0
    ):  # what follows runs as this user
        if not settings.is_postgresql:
            return 1  # a server may come back; a file that cannot be written stays so
        _say("EGO starts all the same, and goes on asking for its database", 0)
    print(f"MIRROR STAGE EGO: {address if address.startswith('unix:') else f'http://{address}'} (Ctrl-C ends it)")
    gunicorn = ["-m", "gunicorn", "--config", str(path_of("gunicorn.conf.py"))]
    gunicorn += ["--pythonpath", str(path_of("wsgi.py").parent), "wsgi:app"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *gunicorn, *(["--reload"] if chosen.reload else [])])


def _demo(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime import demo

    return demo.run(chosen.hosts, chosen.scenario)


def _upgrade(app: Flask) -> None:
    from mirror_stage.storage import migrate

    migrate.upgrade(app)


def _db_upgrade(_chosen: argparse.Namespace) -> int:
    from mirror_stage.storage import migrate

    def step(app: Flask) -> None:
        migrate.upgrade(app)
        print(f"schema {migrate.current(app)}")

    return _on_database(step)


def _db_downgrade(chosen: argparse.Namespace) -> int:
    from mirror_stage.core.problems import Invalid
    from mirror_stage.storage import migrate

    def step(app: Flask) -> None:
        if not chosen.force:
            raise Invalid(
                "what the older schema cannot hold is lost: `mirror-stage db backup FILE` first, then --force"
            )
        with app.app_context(), _owned(app):
            migrate.downgrade(app, chosen.revision)
        print(f"schema {migrate.current(app) or 'empty'}")

    return _on_database(step)


@contextmanager
def _owned(app: Flask, name: str = "this database") -> Iterator[None]:
    """Own the database inside the `with` block. Raises Conflict if an EGO uses it."""
    from mirror_stage.core.problems import Conflict
    from mirror_stage.storage.db import db
    from mirror_stage.storage.ownership import Ownership

    ownership = app.extensions["mirror_stage"][Ownership]
    if not ownership.take(db.engine):
        raise Conflict(f"an EGO uses {name}; stop it first, and every other one that waits for it")
    try:
        yield
    finally:
        ownership.release()


def _db_current(_chosen: argparse.Namespace) -> int:
    from mirror_stage.storage import migrate

    return _on_database(lambda app: print(migrate.current(app) or "empty"))


def _db_backup(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.storage import backup, migrate

    def step(_app: Flask) -> None:
        size = backup.backup(read_settings(), chosen.file, migrate.revisions(), force=chosen.force, tell=_tell)
        _tell("")
        print(f"{chosen.file}: {backup.size(size)}")

    return _on_database(step)


def _db_restore(chosen: argparse.Namespace) -> int:
    """Check the file, own the database, replace it, bring its schema up to date."""
    from mirror_stage.core.config import Config
    from mirror_stage.storage import backup, migrate

    def step(app: Flask) -> None:
        settings = app.extensions["mirror_stage"][Config]
        revision = backup.check(settings, chosen.file, migrate.revisions(), _tell)
        with app.app_context(), _owned(app):
            empty = partial(migrate.downgrade, app, "base")
            backup.restore(settings, chosen.file, force=chosen.force, take_away=empty, tell=_tell)
            _tell(f"bringing the schema from {revision} to {migrate.head()}")
            migrate.upgrade(app)
        _tell("")
        print(f"{chosen.file} is restored; schema {migrate.head()}")

    return _on_database(step)


def _db_copy(chosen: argparse.Namespace) -> int:
    """Own both databases, bring an empty target to the newest schema, copy, compare."""
    import json
    from dataclasses import asdict

    from mirror_stage.core.config import Config
    from mirror_stage.core.problems import Conflict, Invalid
    from mirror_stage.storage import backup, copying, migrate
    from mirror_stage.storage.db import Storage, db

    def step(app: Flask) -> None:
        source: Storage = app.extensions["mirror_stage"][Storage]
        if not backup.has_data(app.extensions["mirror_stage"][Config]):
            raise Invalid("there is nothing to copy yet; see MIRROR_STAGE_DB_URL and MIRROR_STAGE_SQLITE_PATH")
        revision = migrate.current(app)
        if revision != migrate.head():
            raise Conflict(f"the schema is {revision}, not {migrate.head()}: run mirror-stage db upgrade first")
        with app.app_context(), _owned(app):
            where = db.engine.url.render_as_string()
            with _target(chosen.to) as other, other.app_context(), _owned(other, "the target"):
                target: Storage = other.extensions["mirror_stage"][Storage]
                if not copying.is_begun(target):
                    copying.must_be_empty(target)
                    migrate.upgrade(other)
                elif migrate.current(other) != migrate.head():
                    raise Conflict("the target holds a copy by another version of EGO: name an empty database")
                copied, is_resumed = copying.copy(source, target, _tell)
                to = db.engine.url.render_as_string()
        _tell("")
        if chosen.json:
            tables = [asdict(each) for each in copied]
            print(json.dumps({"from": where, "to": to, "resumed": is_resumed, "tables": tables}, indent=2))
            return
        rows = sum(each.rows for each in copied)
        print(f"{where} is copied to {to}: {rows:,} rows in {len(copied)} tables, and the same on both sides")

    return _on_database(step)


@contextmanager
def _target(url: str) -> Iterator[Flask]:
    """An application whose storage is the database of this URL, open. Raises BadSetting or Invalid if EGO cannot use it."""
    from dataclasses import replace

    from mirror_stage.app import create_app
    from mirror_stage.core.problems import Conflict, Invalid, Unavailable
    from mirror_stage.core.urls import url_trouble
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.storage import files
    from mirror_stage.storage.db import Storage, db

    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        settings = replace(read_settings(), db_url=None, sqlite_path=Path(url.removeprefix("sqlite:///")).absolute())
        if not settings.sqlite_path.parent.is_dir():
            raise Invalid(f"--to: there is no folder {settings.sqlite_path.parent}")
    elif url.startswith(("postgresql://", "postgres://")):
        trouble = url_trouble(url, ("postgresql", "postgres"), may_hold_password=True, needs_host=False)
        if trouble:
            raise Invalid(f"--to: {trouble}")
        settings = replace(read_settings(), db_url=url)
    else:
        raise Invalid("--to: must begin with postgresql://, or with sqlite:/// and the path of a file")
    app = create_app(settings, with_storage=False)
    storage: Storage = app.extensions["mirror_stage"][Storage]
    with nullcontext() if settings.is_postgresql else files.as_owner_of(settings.sqlite_path.parent):
        try:
            with app.app_context():
                storage.open(db.engine, may_be_copying=True)
        except BadSetting as why:
            raise Invalid(f"--to: {str(why).partition(': set ')[0]}") from why
        except Unavailable as why:
            raise Conflict(f"--to: {why.detail}") from why
        try:
            yield app
        finally:
            storage.close()


def _db_stats(chosen: argparse.Namespace) -> int:
    from mirror_stage.core.config import Config
    from mirror_stage.core.problems import Invalid
    from mirror_stage.history.domain import RESOLUTIONS
    from mirror_stage.storage import migrate, stats
    from mirror_stage.storage.db import db, translated

    def step(app: Flask) -> None:
        settings = app.extensions["mirror_stage"][Config]
        if not settings.is_postgresql and not settings.sqlite_path.exists():
            raise Invalid(f"there is no database {settings.sqlite_path} yet; see MIRROR_STAGE_SQLITE_PATH")
        revision = migrate.current(app)
        tiers = [(resolution.name, resolution.table) for resolution in RESOLUTIONS]
        _tell("reading every table")
        with app.app_context(), translated(), db.engine.connect() as connection:
            reader = connection.execution_options(reading=True)  # EGO goes on writing
            found = stats.gather(reader, settings, revision, tiers)
        _tell("")
        print(stats.to_json(found) if chosen.json else stats.to_text(found))

    return _on_database(step)


def _tell(progress: str) -> None:
    """Show the progress of a long task on one line of a terminal; write nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


def _on_database(step: Callable[[Flask], object], *, as_owner: bool = True) -> int:
    """Run `step` with an application whose storage is closed. Returns the exit status.

    Root runs it as the owner of SQLite's folder, so that EGO can use the files that it makes.
    """
    from mirror_stage.app import create_app
    from mirror_stage.core.problems import Conflict, Invalid, Problem
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.storage import files
    from mirror_stage.storage.db import Storage

    files.keep_private()
    settings = read_settings()
    app = create_app(settings, with_storage=False)
    folder = settings.sqlite_path.absolute().parent
    try:
        with files.as_owner_of(folder) if as_owner and not settings.is_postgresql else nullcontext():
            step(app)
    except Invalid as why:
        return _say(why.detail, 2)
    except Conflict as why:
        return _say(why.detail, 1)
    except Problem as why:
        where = "MIRROR_STAGE_DB_URL" if settings.is_postgresql else f"MIRROR_STAGE_SQLITE_PATH: {settings.sqlite_path}"
        return _say(f"{where}: {why.detail}; mirror-stage doctor may know more", 1)
    except OSError as why:
        return _say(f"{why.filename}: {why.strerror}", 1)
    finally:
        app.extensions["mirror_stage"][Storage].close()
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime import doctor

    return findings.show(doctor.examine(), as_json=chosen.json)


def _say(line: str, status: int) -> int:
    print(f"mirror-stage: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
