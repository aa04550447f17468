"""`mirror-stage enroll | agents`: which hosts may take part, without asking EGO."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mirror_stage.access.domain import Actor
from mirror_stage.core.addresses import lone_address
from mirror_stage.core.instants import SECOND
from mirror_stage.enrolment import domain
from mirror_stage.enrolment.domain import CODE_LASTS, CODE_SECONDS_MAX, USES_MAX
from mirror_stage.runtime.steps import address_for, command, group, host, lasting, on_services, print_rows, with_json

if TYPE_CHECKING:
    from mirror_stage.enrolment.service import Enrolment
    from mirror_stage.web.services import Services

Step = Callable[["Enrolment", Actor], object]


def add_to(commands: Any) -> None:
    """Add these commands to a parser's commands."""
    _add_enroll(commands)
    _add_agents(commands)


def _add_enroll(commands: Any) -> None:
    steps = group(commands, "enroll", "let hosts in", "Let hosts take part: make codes with which they enrol.")
    code = command(
        steps,
        "code",
        "print the line that enrols a host",
        "Make a code, and print the line to paste on a host, which enrols it. EGO stores only the code's hash, so nobody can "
        "print it again.",
        _code,
    )
    code.add_argument(
        "--uses", type=_uses, default=1, metavar="N", help="how many hosts may enrol with it; default %(default)s"
    )
    code.add_argument(
        "--for",
        dest="lasts",
        type=_code_lasting,
        default=CODE_LASTS,
        metavar="1h",
        help="how long it is valid: minutes (m), hours (h) or days (d), at most 30d; default 1h",
    )
    code.add_argument(
        "--host", dest="pattern", type=_pattern, default="*", metavar="'db-*'", help="for hosts of these names only"
    )
    _add_labels(code)
    code.add_argument("--url", help="how hosts reach EGO, such as https://10.0.0.100:3000; default: by the settings")
    with_json(code)
    with_json(
        command(steps, "codes", "print the codes", "Print the codes that have not ended, without secrets.", _codes)
    )
    end = command(steps, "end", "end a code", "End a code: no host enrols with it any more.", _end)
    end.add_argument("id", help="the id that `enroll codes` prints")
    field = command(
        steps,
        "field",
        "admit an agent of another make",
        "Admit the agent of another make, which has no credential, by the name of its host and its address. It needs "
        "MIRROR_STAGE_FIELD_BIND, and its host is marked as unverified.",
        _field,
    )
    field.add_argument("name", type=host, help="the name of its host")
    field.add_argument(
        "--address", type=_address, required=True, metavar="10.0.0.10", help="where its requests come from"
    )
    field.add_argument("--commands", action="store_true", help="let it take commands, too: unsigned, and in the clear")
    with_json(field)


def _add_agents(commands: Any) -> None:
    steps = group(commands, "agents", "the hosts that take part", "Look after the agents of hosts.")
    with_json(
        command(
            steps, "list", "print them", "Print every agent with its state, and the hosts that wait for you.", _list
        )
    )
    approve = command(
        steps,
        "approve",
        "let a host in that waits",
        "Let a host in that waits without a code. Compare the fingerprint with the one that the host prints.",
        _approve,
    )
    _add_labels(approve)
    label = command(
        steps,
        "label",
        "change what is pinned to a host",
        "Change the labels that are pinned to an enrolled host. Those that you do not name stay. They are in force from the next sample.",
        _relabel,
    )
    revoke = command(
        steps,
        "revoke",
        "keep one out",
        "Revoke an agent, or refuse a host that waits. Its tokens end, its pending commands are cancelled, and its name is free.",
        _revoke,
    )
    unlock = command(
        steps,
        "unlock",
        "let a suspended one in again",
        "Let an agent in again that was suspended because two machines have used its token.",
        _unlock,
    )
    for each in (approve, label, revoke, unlock):
        each.add_argument("name", help="the name of the host, or the id that `agents list` prints")
    label.add_argument(
        "labels",
        type=_change,
        nargs="+",
        metavar="rack=R2",
        help="a label and its value: rack, room, tier, role or another tag; without a value (room=) it is taken away",
    )


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label",
        dest="labels",
        type=_label,
        action="append",
        default=[],
        metavar="rack=R1",
        help="pin this to the host, whatever its agent says: rack, room, tier or another tag; may be repeated",
    )


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    trouble = domain.labels_trouble({name: value})
    if trouble is not None:
        raise argparse.ArgumentTypeError(trouble)
    return name, value


def _change(text: str) -> tuple[str, str | None]:
    name, separator, value = text.partition("=")
    changes = {name: value or None}
    trouble = domain.changes_trouble(changes) if separator else "must be a name and a value, such as rack=R2"
    if trouble is not None:
        raise argparse.ArgumentTypeError(trouble)
    return name, changes[name]


def _uses(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= USES_MAX:
        raise argparse.ArgumentTypeError(f"must be 1 to {USES_MAX}")
    return int(text)


def _code_lasting(text: str) -> int:
    lasts = lasting(text)
    if lasts > CODE_SECONDS_MAX * SECOND:
        raise argparse.ArgumentTypeError("must be at most 30d")
    return lasts


def _pattern(text: str) -> str:
    trouble = domain.pattern_trouble(text)
    if trouble is not None:
        raise argparse.ArgumentTypeError(trouble)
    return text


def _address(text: str) -> str:
    try:
        return lone_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


# ------------------------------------------------------------------ what they do


def _code(chosen: argparse.Namespace) -> int:
    from mirror_stage.core.problems import Conflict, Unavailable
    from mirror_stage.enrolment.schemas import code_on_wire
    from mirror_stage.enrolment.service import Enrolment
    from mirror_stage.installer.wheels import WHEELS
    from mirror_stage.runtime import serving
    from mirror_stage.tls.service import ServerCertificate

    settings = serving.read_settings()
    url = address_for(settings, chosen.url)

    def make(ego: Services, actor: Actor) -> None:
        shown = ego[ServerCertificate].existing() if settings.has_tls else None
        if shown is None and settings.has_tls:
            raise Conflict(
                "there is no certificate yet, which hosts have to know: start EGO once, or run mirror-stage tls renew"
            )
        pin = None if shown is None else shown.certificate.pin
        code, row = ego[Enrolment].create_code(
            actor, uses=chosen.uses, lasts=chosen.lasts, host_pattern=chosen.pattern, labels=dict(chosen.labels)
        )
        line = domain.line_to_paste(url, pin, code)
        if chosen.json:
            print(json.dumps(code_on_wire(row) | {"code": code, "line": line}, ensure_ascii=False))
        else:
            hosts = "one host enrols" if chosen.uses == 1 else f"{chosen.uses} hosts enrol"
            print(line)
            print(f"{hosts} with it (names: {chosen.pattern}), until {code_on_wire(row)['expiresAt']}", file=sys.stderr)

    status = on_services(make)
    try:
        WHEELS.ready()  # in a checkout this builds them, so that the host need not wait for it
    except Unavailable as error:
        print(f"hosts cannot install the agent yet: {error.detail}", file=sys.stderr)
    return status


def _codes(chosen: argparse.Namespace) -> int:
    from mirror_stage.enrolment.schemas import code_on_wire

    def step(enrolment: Enrolment, actor: Actor) -> None:
        enrolment.note_reading("enroll codes", actor)
        print_rows([code_on_wire(each) for each in enrolment.codes()], as_json=chosen.json)

    return _with_enrolment(step)


def _end(chosen: argparse.Namespace) -> int:
    return _with_enrolment(lambda enrolment, actor: enrolment.end_code(chosen.id, actor))


def _field(chosen: argparse.Namespace) -> int:
    from mirror_stage.enrolment.schemas import agent_on_wire

    def step(enrolment: Enrolment, actor: Actor) -> None:
        agent = enrolment.admit_field(chosen.name, chosen.address, actor, takes_commands=chosen.commands)
        if chosen.json:
            print(json.dumps(agent_on_wire(agent), ensure_ascii=False))

    return _with_enrolment(step)


def _list(chosen: argparse.Namespace) -> int:
    from mirror_stage.enrolment.schemas import agent_on_wire

    def step(enrolment: Enrolment, actor: Actor) -> None:
        enrolment.note_reading("agents list", actor)
        print_rows([agent_on_wire(each) for each in enrolment.agents()], as_json=chosen.json)

    return _with_enrolment(step)


def _approve(chosen: argparse.Namespace) -> int:
    return _with_enrolment(lambda enrolment, actor: enrolment.approve(chosen.name, dict(chosen.labels), actor))


def _relabel(chosen: argparse.Namespace) -> int:
    return _with_enrolment(lambda enrolment, actor: enrolment.label(chosen.name, dict(chosen.labels), actor))


def _revoke(chosen: argparse.Namespace) -> int:
    return _with_enrolment(lambda enrolment, actor: enrolment.revoke(chosen.name, actor))


def _unlock(chosen: argparse.Namespace) -> int:
    return _with_enrolment(lambda enrolment, actor: enrolment.unlock(chosen.name, actor))


def _with_enrolment(step: Step) -> int:
    """Run `step` on the agents of the database. Returns the exit status."""

    def with_enrolment(ego: Services, actor: Actor) -> None:
        from mirror_stage.enrolment.service import Enrolment

        step(ego[Enrolment], actor)

    return on_services(with_enrolment)
