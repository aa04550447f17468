"""What the commands share that look after people and agents: they work on the database itself, without asking EGO.

So whoever may write the database needs no credential. Each use is a row of the audit.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mirror_stage.access.domain import ADMIN, LOCAL, Actor
from mirror_stage.access.people import duration
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.names import BadField, normalise_hostname, printable
from mirror_stage.core.urls import url_trouble
from mirror_stage.runtime.db_commands import on_database

if TYPE_CHECKING:
    from mirror_stage.core.config import Config
    from mirror_stage.web.services import Services


def group(commands: Any, name: str, help: str, description: str) -> Any:
    """Add a command that has commands of its own. Returns these, to add to."""
    parser = commands.add_parser(name, help=help, description=description)
    parser.set_defaults(of_service=True)
    return parser.add_subparsers(title="commands", metavar="command", required=True)


def command(steps: Any, name: str, help: str, description: str, run: Any) -> argparse.ArgumentParser:
    """Add a command of a group, which calls `run`. Returns its parser."""
    parser: argparse.ArgumentParser = steps.add_parser(name, help=help, description=description)
    parser.set_defaults(run=run)
    return parser


def with_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the option --json."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


def host(text: str) -> str:
    """A hostname as an argument."""
    try:
        return normalise_hostname(text)
    except BadField as error:
        raise argparse.ArgumentTypeError(error.message) from error


def address_for(settings: Config, given: str | None) -> str:
    """EGO's address as others reach it: what --url says, else by the settings. Raises BadSetting."""
    if given is None:
        return settings.page_address
    trouble = url_trouble(given, ("http", "https"), may_hold_password=False, needs_host=True)
    if trouble is None and set(given) & set("?#"):
        trouble = "has a ? or a #"
    if trouble:
        raise BadSetting(f"--url: {trouble}; it must be like https://ego.example.org")
    return given.rstrip("/")


def lasting(text: str) -> int:
    """A duration as an argument, in ms."""
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def on_services(work: Callable[[Services, Actor], object]) -> int:
    """Run `work` with the services of an EGO whose database is open, and the actor of this command. Returns the exit status."""
    from mirror_stage.access.revocations import Revocations
    from mirror_stage.core.problems import Conflict, Invalid, NotFound, Refused
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.storage import revision
    from mirror_stage.storage.db import Storage, db

    actor = Actor(LOCAL, f"command-line:{_account()}", role=ADMIN)

    def opened(app: Any) -> None:
        ego = app.extensions["mirror_stage"]
        revision.require_newest(read_settings())
        with app.app_context():
            ego[Storage].open(db.engine)
            revocations = ego[Revocations]
            if revocations.is_here:
                revocations.enforce()
            try:
                work(ego, actor)
            except (Invalid, NotFound, Refused) as why:
                raise Conflict(why.detail) from why
            finally:
                if revocations.is_here:
                    revocations.note()

    return on_database(opened)


def _account() -> str:
    """The name of the account that runs this command, or its uid."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def print_json(value: Any) -> None:
    """Print a value as JSON that is safe in a terminal: it may have texts of hosts."""
    print("\n".join(map(printable, json.dumps(value, indent=2, ensure_ascii=False).split("\n"))))


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as JSON, or as a table."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        print("none")
        return
    shown = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(shown[0]))]
    for row in shown:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return printable(" ".join(f"{name}={inner}" for name, inner in value.items())) or "-"
    return "-" if value is None else printable(str(value))
