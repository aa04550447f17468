"""`mirror-stage silences …`: keep alerts quiet for some time, also while nobody can sign in. It works on the database itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mirror_stage.core.instants import to_text
from mirror_stage.core.selector import BadSelector, parse
from mirror_stage.runtime.steps import command, group, lasting, on_services, print_rows, with_json

NOTE_MAX = 500  # as in quiet.domain, which the agent's wheel does not have
SEVERITIES = ("info", "warning", "critical")

if TYPE_CHECKING:
    from mirror_stage.access.domain import Actor
    from mirror_stage.quiet.service import Quiet

Step = Callable[["Quiet", "Actor", int], None]  # the service, who runs the command, EGO's time


def add_to(commands: Any) -> None:
    """Add `silences` and its subcommands to a parser's commands."""
    steps = group(
        commands,
        "silences",
        "keep alerts quiet for some time",
        "Silences: nobody is told of some alerts for some time. A running EGO knows of a change within a second.",
    )
    add = command(steps, "add", "make one", "Make a silence. It prints the id with which you can end it.", _add)
    add.add_argument(
        "--where",
        required=True,
        type=_selector,
        metavar="SELECTOR",
        help="which hosts: 'rack:R1 -tag:env=lab'; '*' is all",
    )
    add.add_argument("--rule", help="the name of one rule; default: every rule")
    add.add_argument(
        "--lasts", required=True, type=lasting, metavar="2h", help="how long, from now: 45m, 2h, 3d; at most 30d"
    )
    add.add_argument(
        "--up-to",
        choices=SEVERITIES,
        default="critical",
        help="the severity that it covers; a worse one is told; default %(default)s",
    )
    add.add_argument("--note", type=_note, default="", help="why, for everybody who sees it")
    add.add_argument("--confirm", action="store_true", help="also where that is more than 30 %% of the fleet")
    with_json(command(steps, "list", "show those that are not over", "Print the silences that are not over.", _list))
    end = command(steps, "end", "end one now", "End a silence. What is still wrong is told at once.", _end)
    end.add_argument("id", help="the id that `silences list` prints")


def _selector(text: str) -> str:
    try:
        return parse(text).text
    except BadSelector as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _note(text: str) -> str:
    if not text.isprintable() or len(text) > NOTE_MAX:
        raise argparse.ArgumentTypeError(f"must be one line of at most {NOTE_MAX} characters")
    return text


def _add(chosen: argparse.Namespace) -> int:
    from mirror_stage.quiet.domain import SILENCE, Silence

    def step(quiet: Quiet, actor: Actor, now: int) -> None:
        ends_at = now + chosen.lasts
        wanted = Silence(parse(chosen.where), chosen.rule, None, None, chosen.up_to, now, ends_at, chosen.note)
        made = quiet.create(SILENCE, wanted, actor, is_confirmed=chosen.confirm)
        print(f"{made.id} until {to_text(ends_at)}")

    return _with_quiet(step)


def _list(chosen: argparse.Namespace) -> int:
    from mirror_stage.quiet.domain import SILENCE
    from mirror_stage.quiet.schemas import on_wire

    def step(quiet: Quiet, _actor: Actor, now: int) -> None:
        rows = [on_wire(one, now, quiet.grace) for one in quiet.listed(SILENCE, None)]
        print_rows(rows, as_json=chosen.json)

    return _with_quiet(step)


def _end(chosen: argparse.Namespace) -> int:
    from mirror_stage.quiet.domain import SILENCE

    def step(quiet: Quiet, actor: Actor, _now: int) -> None:
        quiet.end(SILENCE, chosen.id, actor)

    return _with_quiet(step)


def _with_quiet(step: Step) -> int:
    """Run `step` on the silences of the database. Returns the exit status."""

    def with_quiet(ego: Any, actor: Actor) -> None:
        from mirror_stage.core.clock import Clock
        from mirror_stage.quiet.service import Quiet

        step(ego[Quiet], actor, ego[Clock].now())

    return on_services(with_quiet)
