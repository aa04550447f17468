"""`mirror-stage dispatch …`: the kill switch, also while nobody can sign in. It works on the database itself."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from mirror_stage.runtime.steps import on_services

REASON_MAX = 500  # as in commands.domain, which the agent's wheel does not have

if TYPE_CHECKING:
    from mirror_stage.access.domain import Actor
    from mirror_stage.web.services import Services


def add_to(commands: Any) -> None:
    """Add `dispatch` and its subcommands to a parser's commands."""
    dispatch = commands.add_parser(
        "dispatch",
        help="stop all commands at once",
        description="The kill switch: whether EGO takes commands and hands them out.",
    )
    dispatch.set_defaults(of_service=True)
    steps = dispatch.add_subparsers(title="commands", metavar="command", required=True)
    stop = steps.add_parser(
        "stop",
        help="hand out nothing, and end what runs",
        description=(
            "From now on EGO takes no command and hands out none. Within 5 s a running EGO cancels pending commands, and tells the "
            "agents to end running ones. It stays so until `resume`, also after a restart."
        ),
    )
    stop.add_argument("--reason", type=_reason, help="shown to everybody whose command is refused")
    stop.set_defaults(run=_stop)
    resume = steps.add_parser(
        "resume", help="take and hand out commands again", description="Take commands and hand them out again."
    )
    resume.set_defaults(run=_resume)
    status = steps.add_parser(
        "status", help="say whether commands are stopped", description="Print whether commands are handed out."
    )
    status.set_defaults(run=_status)
    for step in (stop, resume, status):
        step.add_argument("--json", action="store_true", help="print it as JSON")


def _reason(text: str) -> str:
    if not text.strip().isprintable() or not 1 <= len(text.strip()) <= REASON_MAX:
        raise argparse.ArgumentTypeError(f"must be one line of 1 to {REASON_MAX} characters")
    return text.strip()


def _stop(chosen: argparse.Namespace) -> int:
    from mirror_stage.commands.service import CommandService

    return _changed(chosen, lambda ego, actor: ego[CommandService].stop_dispatch(chosen.reason, actor))


def _resume(chosen: argparse.Namespace) -> int:
    from mirror_stage.commands.service import CommandService

    return _changed(chosen, lambda ego, actor: ego[CommandService].resume_dispatch(actor))


def _status(chosen: argparse.Namespace) -> int:
    from mirror_stage.commands.service import CommandService

    return _changed(chosen, lambda ego, _actor: ego[CommandService].dispatch())


def _changed(chosen: argparse.Namespace, change: Any) -> int:
    from mirror_stage.commands.schemas import dispatch_on_wire

    def step(ego: Services, actor: Actor) -> None:
        state = change(ego, actor)
        if chosen.json:
            print(json.dumps(dispatch_on_wire(state), ensure_ascii=False))
        else:
            print(state.refusal if state.stopped else "commands are handed out")

    return on_services(step)
