"""`mirror-stage alerts …`: channels and routes of a running EGO as a file, over its REST."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.runtime.db_commands import say
from mirror_stage.simulator import command_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the same module, under the name that it had before

if TYPE_CHECKING:
    from mirror_stage.simulator.client import Answer, Client

HEAD = """\
# Who is told of alerts. Written by: mirror-stage alerts export
# Secrets are not in it. `kept:` is the secret that EGO has; or write env:NOTIFY_NAME or file:/run/secrets/NAME.
"""


def add_to(commands: Any) -> None:
    """Add `alerts` and its subcommands to a parser's commands."""
    alerts = commands.add_parser(
        "alerts",
        help="who is told of alerts, as a file",
        description="Keep the channels and routes of a running EGO in a file (TOML).",
    )
    steps = alerts.add_subparsers(title="commands", metavar="command", required=True)
    export = steps.add_parser(
        "export", help="print what EGO has", description="Print channels and routes as a file, without any secret."
    )
    _add_ego(export)
    export.set_defaults(run=_export)
    plan = steps.add_parser(
        "plan", help="say what a file would change", description="Say what `apply` would change. Nothing is changed."
    )
    _add_file(plan)
    plan.set_defaults(run=_plan)
    apply = steps.add_parser(
        "apply",
        help="make EGO as a file says",
        description=(
            "Make channels and routes as a file says, all or nothing. They can then be changed in the file only. Channels that "
            "are not in the file stay, unless --prune is given."
        ),
    )
    _add_file(apply)
    apply.set_defaults(run=_apply)
    test = steps.add_parser(
        "test",
        help="send a trial message",
        description="Send a trial message to a channel, and say what the receiver answered.",
    )
    test.add_argument("channel", metavar="CHANNEL", help="the name of the channel")
    _add_ego(test)
    test.set_defaults(run=_test)


def _add_ego(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ego", default="http://127.0.0.1:3000", metavar="URL", help="default %(default)s")
    command_line.add_access(parser)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a file as `export` writes it")
    parser.add_argument("--prune", action="store_true", help="remove channels that are not in the file")
    parser.add_argument("--json", action="store_true", help="print the changes as JSON")
    _add_ego(parser)


def _client(chosen: argparse.Namespace) -> Client:
    from mirror_stage.simulator.client import BadAddress, Client

    trust, token = command_line.access_of(chosen)
    try:
        return Client(chosen.ego, trust, token)
    except BadAddress as error:
        raise BadSetting(str(error)) from error


def _ask(chosen: argparse.Namespace, path: str, body: Any = None) -> Answer | None:
    """EGO's answer: a GET, or a POST of `body`; None if there is none, which is said."""
    from mirror_stage.simulator.client import Unanswered

    client = _client(chosen)
    try:
        return client.get(path) if body is None else client.post(path, json.dumps(body).encode())
    except Unanswered as why:
        say(f"{chosen.ego} does not answer ({why}); is EGO running there?", 1)
        return None
    finally:
        client.close()


def _export(chosen: argparse.Namespace) -> int:
    import tomli_w

    answer = _ask(chosen, "/api/alerting")
    if answer is None:
        return 1
    if answer.status != 200:
        return say(f"{chosen.ego} does not tell: {answer.reason}", 1)
    print(HEAD + "\n" + tomli_w.dumps(_without_null(answer.json), multiline_strings=True), end="")
    return 0


def _without_null(value: Any) -> Any:
    """TOML has no null: what is null is left out."""
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(one) for one in value] if isinstance(value, list) else value


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{file}: is no TOML: {error}") from error


def _plan(chosen: argparse.Namespace) -> int:
    return _changes(chosen, "/api/alerting/plan", "would be")


def _apply(chosen: argparse.Namespace) -> int:
    return _changes(chosen, "/api/alerting/apply", "is")


def _changes(chosen: argparse.Namespace, path: str, verb: str) -> int:
    """Ask EGO to plan or to apply a file, and print the changes. Returns the exit status."""
    answer = _ask(chosen, path, {"document": _document(chosen.file), "prune": chosen.prune})
    if answer is None:
        return 1
    if answer.status != 200:
        return say(f"{chosen.file}: {answer.reason}", 1)
    changes = answer.json["changes"]
    if chosen.json:
        print(json.dumps(changes, indent=2, ensure_ascii=False))
        return 0
    for one in changes:
        print(
            f"{one['what']} {one['name']} {verb} {one['change']}"
            if one["what"] == "channel"
            else f"the routes {'are' if verb == 'is' else verb} changed"
        )
    if not changes:
        print("no change")
    return 0


def _test(chosen: argparse.Namespace) -> int:
    answer = _ask(chosen, f"/api/channels/{quote(chosen.channel, safe='')}/test", {})
    if answer is None:
        return 1
    if answer.status != 200:
        return say(f"{chosen.channel}: {answer.reason}", 1)
    found = answer.json
    if not found["accepted"]:
        return say(f"{chosen.channel}: {found['detail']}", 1)
    status = "" if found["status"] is None else f" ({found['status']})"
    print(f"{chosen.channel} accepted a trial message{status} after {found['latencyMs']} ms")
    return 0
