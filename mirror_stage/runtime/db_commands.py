"""`mirror-stage db …`: the schema, backups, a copy into another database, figures; and what `serve` needs of these."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.names import printable

if TYPE_CHECKING:
    from flask import Flask

    from mirror_stage.core.config import Config


def add_to(commands: Any) -> None:
    """Add `db` and its subcommands to a parser's commands."""
    database = commands.add_parser(
        "db",
        help="the database: schema, backups, figures",
        description="Look after the database that the settings name. Where EGO runs as a service by this program, its settings count.",
    )
    database.set_defaults(of_service=True)
    steps = database.add_subparsers(title="commands", metavar="command", required=True)
    upgrade = steps.add_parser(
        "upgrade",
        help="bring the schema up to date",
        description="Bring the schema of the database to this version's. `serve` does that by itself.",
    )
    upgrade.set_defaults(run=_upgrade)
    downgrade = steps.add_parser(
        "downgrade",
        help="bring the schema to an older revision",
        description=(
            "Bring the schema to an older revision. No EGO may use the database meanwhile. Data that the older schema cannot "
            "hold are lost."
        ),
    )
    downgrade.add_argument("revision", help="a revision, -1 for one step, base for an empty database")
    downgrade.add_argument("--force", action="store_true", help="confirm that data may be lost")
    downgrade.set_defaults(run=_downgrade)
    current = steps.add_parser(
        "current", help="print the schema's revision", description="Print the revision of the schema, or `empty`."
    )
    current.set_defaults(run=_current)

    backup = steps.add_parser(
        "backup",
        help="write the database into a file",
        description="Write the whole database into a file, while EGO runs. The file is checked before it gets its name.",
    )
    backup.add_argument("file", type=Path, help="the file to write")
    backup.add_argument("--force", action="store_true", help="replace the file if it is there")
    backup.set_defaults(run=_backup)
    restore = steps.add_parser(
        "restore",
        help="replace the database by a backup",
        description="Check a backup and put it in the place of the database. No EGO may use the database meanwhile.",
    )
    restore.add_argument("file", type=Path, help="a file that `backup` has written")
    restore.add_argument("--force", action="store_true", help="replace the data that are there: they are lost")
    restore.set_defaults(run=_restore)
    copy = steps.add_parser(
        "copy",
        help="copy everything into another database",
        description=(
            "Copy everything into another database, such as from SQLite into PostgreSQL, and compare count and checksum of each table. No EGO may "
            "use either of them meanwhile. A copy that was interrupted goes on when the same command runs again."
        ),
    )
    copy.add_argument(
        "--to", required=True, metavar="URL", help="postgresql://… or sqlite:///FILE: an empty database, or none yet"
    )
    copy.add_argument("--json", action="store_true", help="print what was copied as JSON")
    copy.set_defaults(run=_copy)
    stats = steps.add_parser(
        "stats",
        help="print sizes, rows and time ranges",
        description="Print the size and the rows of each table, the time range of each tier of the history, and the free space.",
    )
    stats.add_argument("--json", action="store_true", help="print them as JSON")
    stats.set_defaults(run=_stats)


def bring_up_to_date(settings: Config) -> int:
    """Migrate the database to the newest schema, if it has another one. Returns the exit status.

    The quick look comes first: a migration imports the application, which takes seconds, and gunicorn's worker has to
    import it again. It runs as this user, because what `serve` starts does so too.
    """
    from mirror_stage.storage import revision

    if revision.is_newest(settings):
        return 0

    def step(app: Flask) -> None:
        from mirror_stage.storage import migrate

        migrate.upgrade(app)

    return on_database(step, as_owner=False)


def _upgrade(_chosen: argparse.Namespace) -> int:
    from mirror_stage.storage import migrate

    def step(app: Flask) -> None:
        migrate.upgrade(app)
        print(f"schema {migrate.current(app)}")

    return on_database(step)


def _downgrade(chosen: argparse.Namespace) -> int:
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

    return on_database(step)


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


def _current(_chosen: argparse.Namespace) -> int:
    from mirror_stage.storage import migrate

    return on_database(lambda app: print(migrate.current(app) or "empty"))


def _backup(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.storage import backup, migrate

    def step(_app: Flask) -> None:
        size = backup.backup(read_settings(), chosen.file, migrate.revisions(), force=chosen.force, tell=tell)
        tell("")
        print(f"{chosen.file}: {backup.size(size)}")

    return on_database(step)


def _restore(chosen: argparse.Namespace) -> int:
    """Check the file, own the database, replace it, bring its schema up to date, revoke again what was revoked since."""
    from mirror_stage.access.revocations import Revocations
    from mirror_stage.core.config import Config
    from mirror_stage.storage import backup, migrate
    from mirror_stage.storage.db import Storage, db

    def step(app: Flask) -> None:
        settings = app.extensions["mirror_stage"][Config]
        revision = backup.check(settings, chosen.file, migrate.revisions(), tell)
        with app.app_context(), _owned(app):
            revocations = app.extensions["mirror_stage"][Revocations]
            if chosen.force and backup.has_data(settings) and migrate.current(app) == migrate.head():
                revocations.enforce()  # the data that are replaced may hold what the file does not have yet
            app.extensions["mirror_stage"][Storage].close()
            empty = partial(migrate.downgrade, app, "base")
            backup.restore(settings, chosen.file, force=chosen.force, take_away=empty, tell=tell)
            tell(f"bringing the schema from {revision} to {migrate.head()}")
            migrate.upgrade(app)
            if not app.extensions["mirror_stage"][Storage].is_open:
                app.extensions["mirror_stage"][Storage].open(db.engine)
            done = revocations.enforce(is_restored=True)
        tell("")
        print(f"{chosen.file} is restored; schema {migrate.head()}; {done}")

    return on_database(step)


def _copy(chosen: argparse.Namespace) -> int:
    """Own both databases, bring an empty target to the newest schema, copy, compare."""
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
                copied, is_resumed = copying.copy(source, target, tell)
                to = db.engine.url.render_as_string()
        tell("")
        if chosen.json:
            tables = [asdict(each) for each in copied]
            print(json.dumps({"from": where, "to": to, "resumed": is_resumed, "tables": tables}, indent=2))
            return
        rows = sum(each.rows for each in copied)
        print(f"{where} is copied to {to}: {rows:,} rows in {len(copied)} tables, and the same on both sides")

    return on_database(step)


@contextmanager
def _target(url: str) -> Iterator[Flask]:
    """An application whose storage is the database of this URL, open. Raises BadSetting or Invalid if EGO cannot use it."""
    from mirror_stage.app import create_app
    from mirror_stage.core.problems import Conflict, Invalid, Unavailable
    from mirror_stage.core.urls import database_url_trouble
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.storage import files
    from mirror_stage.storage.db import Storage, db

    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        settings = replace(read_settings(), db_url=None, sqlite_path=Path(url.removeprefix("sqlite:///")).absolute())
        if not settings.sqlite_path.parent.is_dir():
            raise Invalid(f"--to: there is no folder {settings.sqlite_path.parent}")
    elif url.startswith(("postgresql://", "postgres://")):
        trouble = database_url_trouble(url)
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


def _stats(chosen: argparse.Namespace) -> int:
    from mirror_stage.core.config import Config
    from mirror_stage.core.problems import Invalid
    from mirror_stage.history.domain import RESOLUTIONS
    from mirror_stage.storage import migrate, stats
    from mirror_stage.storage.db import db, translated

    def step(app: Flask) -> None:
        settings = app.extensions["mirror_stage"][Config]
        if not settings.is_postgresql and not settings.sqlite_path.exists():
            raise Invalid(f"there is no database {settings.sqlite_path.absolute()} yet; see MIRROR_STAGE_SQLITE_PATH")
        revision = migrate.current(app)
        tiers = [(resolution.name, resolution.table) for resolution in RESOLUTIONS]
        tell("reading every table")
        with app.app_context(), translated(), db.engine.connect() as connection:
            reader = connection.execution_options(reading=True)  # EGO goes on writing
            found = stats.gather(reader, settings, revision, tiers)
        tell("")
        print(stats.to_json(found) if chosen.json else stats.to_text(found))

    return on_database(step)


def tell(progress: str) -> None:
    """Show the progress of a long task on one line of a terminal; write nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


def on_database(step: Callable[[Flask], object], *, as_owner: bool = True) -> int:
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
        return say(why.detail, 2)
    except Conflict as why:
        return say(why.detail, 1)
    except Problem as why:
        where = "MIRROR_STAGE_DB_URL" if settings.is_postgresql else f"MIRROR_STAGE_SQLITE_PATH: {settings.sqlite_path}"
        return say(f"{where}: {why.detail}; mirror-stage doctor may know more", 1)
    except OSError as why:
        return say(f"{why.filename}: {why.strerror}", 1)
    finally:
        app.extensions["mirror_stage"][Storage].close()
    return 0


def say(line: str, status: int) -> int:
    print(printable(f"mirror-stage: {line}"), file=sys.stderr)  # it may have a text of a host, or of a receiver
    return status
