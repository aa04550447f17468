"""`mirror-stage admin | users | tokens | sessions | audit`: who may ask EGO, without asking EGO.

They work on the database itself, so whoever may write that needs no credential. Each use is a row of the audit.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mirror_stage.access.domain import ADMIN, ROLES_OF_PEOPLE, Actor
from mirror_stage.access.people import LINK_LASTS, TOKEN_LASTS, name_trouble, password_trouble
from mirror_stage.core.instants import MINUTE, to_optional_text, to_text
from mirror_stage.core.names import printable
from mirror_stage.runtime.steps import address_for, command, group, host, lasting, on_services, print_rows, with_json

if TYPE_CHECKING:
    from mirror_stage.access.service import People
    from mirror_stage.web.services import Services

Step = Callable[["People", Actor], object]


def add_to(commands: Any) -> None:
    """Add these commands to a parser's commands."""
    _add_admin(commands)
    _add_users(commands)
    _add_tokens(commands)
    _add_sessions(commands)
    _add_audit(commands)


def _add_admin(commands: Any) -> None:
    steps = group(
        commands, "admin", "get in", "Get into EGO from its own machine, when nobody has signed in yet or nobody can."
    )
    link = command(
        steps,
        "link",
        "print a link to sign in with",
        "Print a link with which somebody signs in once, within 15 minutes. A name that EGO does not know is added.",
        _link,
    )
    link.add_argument("--name", type=_name, default="admin", help="who signs in; default %(default)s")
    link.add_argument("--role", choices=ROLES_OF_PEOPLE, help=f"what a new name may do; default {ADMIN}")
    link.add_argument("--url", help="how browsers reach EGO, such as https://ego.example.org; default: by the settings")
    with_json(link)


def _add_users(commands: Any) -> None:
    steps = group(commands, "users", "people who may sign in", "Look after the people who may sign in.")
    with_json(command(steps, "list", "print them", "Print everybody, with role and state.", _list_users))
    add = command(
        steps,
        "add",
        "add somebody",
        "Add somebody. They sign in by a link, or by a password if you give one.",
        _add_user,
    )
    add.add_argument("name", type=_name, help="small letters, digits, and . _ @ -")
    add.add_argument("--role", choices=ROLES_OF_PEOPLE, required=True, help="what they may do")
    add.add_argument(
        "--password", action="store_true", help="ask for a password; without a terminal: the first line of stdin"
    )
    password = command(
        steps,
        "password",
        "set a password",
        "Ask for a new password, or read it from the first line of stdin. All sessions of that person end.",
        _set_password,
    )
    password.add_argument("name", type=_name, help="whose")
    disable = command(
        steps,
        "disable",
        "keep somebody out",
        "End the sessions and tokens of somebody, for good: the name is not used again.",
        _disable,
    )
    disable.add_argument("name", type=_name, help="who")


def _add_tokens(commands: Any) -> None:
    steps = group(commands, "tokens", "tokens of scripts and agents", "Look after the tokens of scripts and agents.")
    with_json(command(steps, "list", "print them", "Print every token without its secret.", _list_tokens))
    create = command(
        steps,
        "create",
        "make one",
        "Make a token and print it. EGO stores only its hash, so nobody can print it again.",
        _create_token,
    )
    whose = create.add_mutually_exclusive_group(required=True)
    whose.add_argument("--role", choices=ROLES_OF_PEOPLE, help="for a script: what it may do")
    whose.add_argument("--agent", type=host, metavar="HOST", help="for the agent of this host")
    create.add_argument(
        "--expires",
        type=lasting,
        metavar="90d",
        help="how long it is valid: minutes (m), hours (h) or days (d); default: 90d for a script, no end for an agent",
    )
    create.add_argument("--note", help="what it is for")
    with_json(create)
    revoke = command(steps, "revoke", "revoke one", "Revoke a token: its clients are cut within 5 s.", _revoke)
    revoke.add_argument("id", help="the id that `tokens list` prints")


def _add_sessions(commands: Any) -> None:
    steps = group(commands, "sessions", "who is signed in", "Look after the sessions of browsers.")
    with_json(
        command(steps, "list", "print them", "Print who is signed in, from where and since when.", _list_sessions)
    )
    end = command(
        steps, "end", "end one or all", "End one session, or all of them: their browsers are cut within 5 s.", _end
    )
    which = end.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="the id that `sessions list` prints")
    which.add_argument("--all", action="store_true", help="all of them")


def _add_audit(commands: Any) -> None:
    steps = group(commands, "audit", "who did what", "Read and check the record of who did what.")
    with_json(
        command(
            steps,
            "verify",
            "check the chain",
            "Check that no row of the audit was changed, removed or inserted.",
            _verify,
        )
    )
    listed = command(
        steps, "list", "print the newest rows", "Print the newest rows of the audit, newest first.", _list_audit
    )
    listed.add_argument("--rows", type=_rows, default=50, metavar="N", help="how many; default %(default)s")
    with_json(listed)
    command(steps, "export", "print all rows", "Print all rows as JSON lines, oldest first.", _export)


def _name(text: str) -> str:
    trouble = name_trouble(text.lower())
    if trouble is not None:
        raise argparse.ArgumentTypeError(trouble)
    return text.lower()


def _rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("must be 1 to 10000")
    return int(text)


# ------------------------------------------------------------------ what they do


def _link(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime import serving

    address = address_for(serving.read_settings(), chosen.url)

    def step(people: People, actor: Actor) -> None:
        link = f"{address}/#k={people.create_link(chosen.name, chosen.role, actor)}"
        if chosen.json:
            print(json.dumps({"link": link, "name": chosen.name, "validSeconds": LINK_LASTS // 1000}))
        else:
            print(link)
            print(f"{chosen.name} signs in with it once, within {LINK_LASTS // MINUTE} minutes", file=sys.stderr)

    return _with_people(step)


def _list_users(chosen: argparse.Namespace) -> int:
    def step(people: People, actor: Actor) -> None:
        rows = [
            {
                "name": each.name,
                "role": each.role,
                "hasPassword": each.password_hash is not None,
                "createdAt": to_text(each.created_at),
                "disabledAt": to_optional_text(each.disabled_at),
            }
            for each in people.people(actor)
        ]
        print_rows(rows, as_json=chosen.json)

    return _with_people(step)


def _add_user(chosen: argparse.Namespace) -> int:
    password = _asked_password() if chosen.password else None
    return _with_people(lambda people, actor: people.add(chosen.name, chosen.role, password, actor))


def _set_password(chosen: argparse.Namespace) -> int:
    password = _asked_password()
    return _with_people(lambda people, actor: people.set_password(chosen.name, password, actor))


def _disable(chosen: argparse.Namespace) -> int:
    return _with_people(lambda people, actor: people.disable(chosen.name, actor))


def _list_tokens(chosen: argparse.Namespace) -> int:
    from mirror_stage.access.schemas import token_on_wire

    def step(people: People, actor: Actor) -> None:
        people.note_reading("tokens list", actor)
        print_rows([token_on_wire(each) for each in people.tokens()], as_json=chosen.json)

    return _with_people(step)


def _create_token(chosen: argparse.Namespace) -> int:
    from mirror_stage.access.schemas import token_on_wire

    lasts = chosen.expires or (TOKEN_LASTS if chosen.agent is None else None)

    def step(people: People, actor: Actor) -> None:
        token, row = people.create_token(actor, role=chosen.role, hostname=chosen.agent, note=chosen.note, lasts=lasts)
        print(json.dumps(token_on_wire(row) | {"token": token}) if chosen.json else token)

    return _with_people(step)


def _revoke(chosen: argparse.Namespace) -> int:
    return _with_people(lambda people, actor: people.revoke(chosen.id, actor))


def _list_sessions(chosen: argparse.Namespace) -> int:
    from mirror_stage.access.schemas import session_on_wire

    def step(people: People, actor: Actor) -> None:
        people.note_reading("sessions list", actor)
        rows = [session_on_wire(each, None) for each in people.sessions(actor)]
        for row in rows:
            del row["isThis"]
        print_rows(rows, as_json=chosen.json)

    return _with_people(step)


def _end(chosen: argparse.Namespace) -> int:
    def step(people: People, actor: Actor) -> None:
        if chosen.all:
            print(f"{people.end_other_sessions(actor)} sessions are ended")
        else:
            people.end_session(chosen.id, actor)

    return _with_people(step)


def _verify(chosen: argparse.Namespace) -> int:
    from mirror_stage.access.chain import SignedHead
    from mirror_stage.core.problems import Conflict
    from mirror_stage.runtime.serving import read_settings
    from mirror_stage.signing.service import kept_heads

    kept, trouble = kept_heads(read_settings().authority_folder)
    signed = [SignedHead(one["seq"], one["hash"], one["at"]) for one in kept]

    def step(people: People, actor: Actor) -> None:
        fault, head, count = people.verify_audit(actor, signed)
        fault = fault or trouble
        if chosen.json:
            about = {"isWhole": fault is None, "fault": fault, "rows": count, "seq": head.seq, "hash": head.hash}
            print(json.dumps(about | {"signedHeads": len(signed)}))
        elif fault is None:
            fits = f"they fit {len(signed):,} signed heads" if signed else "no head was signed yet"
            print(f"{count:,} rows are whole, and {fits}; row {head.seq} has the hash {head.hash}")
        if fault is not None:
            raise Conflict(f"the audit was tampered with: {fault}")

    return _with_people(step)


def _list_audit(chosen: argparse.Namespace) -> int:
    from mirror_stage.access.schemas import audit_on_wire

    def step(people: People, actor: Actor) -> None:
        people.note_reading("audit list", actor)
        rows, _ = people.audit(1, chosen.rows)
        shown = [audit_on_wire(row) for row in rows]
        if not chosen.json:
            shown = [
                {name: row[name] for name in ("at", "actor", "peer", "what", "subject", "detail")} for row in shown
            ]
        print_rows(shown, as_json=chosen.json)

    return _with_people(step)


def _export(_chosen: argparse.Namespace) -> int:
    from mirror_stage.access.schemas import audit_on_wire

    def step(people: People, actor: Actor) -> None:
        people.note_reading("audit export", actor)
        for row in people.whole_audit():
            print(printable(json.dumps(audit_on_wire(row), ensure_ascii=False)))

    return _with_people(step)


# ------------------------------------------------------------------ what they share


def _with_people(step: Step) -> int:
    """Run `step` on the people of the database. Returns the exit status."""

    def with_people(ego: Services, actor: Actor) -> None:
        from mirror_stage.access.service import People

        step(ego[People], actor)

    return on_services(with_people)


def _asked_password() -> str:
    """A password from the terminal, typed twice, or from the first line of stdin. Raises BadSetting if it is none."""
    from mirror_stage.core.bad_setting import BadSetting

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != password:
            raise BadSetting("the two passwords differ; nothing is changed")
    else:
        password = sys.stdin.readline().rstrip("\n")
    trouble = password_trouble(password)
    if trouble is not None:
        raise BadSetting(trouble)
    return password
