"""`mirror-stage alerts …`: all that decides who is told of which alerts, of a running EGO, as a file; what a rule would have said."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.runtime import asking
from mirror_stage.runtime.db_commands import say

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the same module, under the name that it had before

if TYPE_CHECKING:
    from mirror_stage.simulator.client import Client

ADMIN = "admin"
HEAD = """\
# When alerts fire, and who is told of them. Written by: mirror-stage alerts export
# Secrets are not in it. `kept:` is the secret that EGO has; or write env:NOTIFY_NAME or file:/run/secrets/NAME.
"""


def add_to(commands: Any) -> None:
    """Add `alerts` and its subcommands to a parser's commands."""
    alerts = commands.add_parser(
        "alerts",
        help="who is told of alerts, as a file; what a rule would have said",
        description="Keep rules, channels, routes, silences, maintenance and mute times of a running EGO in a file (TOML), and test rules "
        "against its history.",
    )
    steps = alerts.add_subparsers(title="commands", metavar="command", required=True)
    export = steps.add_parser(
        "export", help="print what EGO has", description="Print what EGO has as a file, without any secret."
    )
    asking.add_to(export)
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
            "Make EGO as a file says, all or nothing. What it changes can then be changed in the file only. What is not in the "
            "file stays, unless --prune is given."
        ),
    )
    apply.add_argument("--plan-id", metavar="ID", help="only if nothing has changed since `plan` printed this id")
    _add_file(apply)
    apply.set_defaults(run=_apply)
    test = steps.add_parser(
        "test",
        help="send a trial message",
        description="Send a trial message to a channel, and say what the receiver answered.",
    )
    test.add_argument("channel", metavar="CHANNEL", help="the name of the channel")
    asking.add_to(test)
    test.set_defaults(run=_test)
    backtest = steps.add_parser(
        "backtest",
        help="say how often a rule would have fired",
        description="Say how often a rule would have fired in the last days, by the history of EGO. Nothing is changed.",
    )
    backtest.add_argument(
        "rule",
        metavar="FILE|NAME",
        help="a file with the rule, as [rules.NAME] or as its keys alone; or the name of a rule of EGO",
    )
    backtest.add_argument("--days", type=int, default=30, metavar="N", help="1 to 30, default %(default)s")
    backtest.add_argument("--json", action="store_true", help="print EGO's answer as JSON")
    asking.add_to(backtest)
    backtest.set_defaults(run=_backtest)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a file as `export` writes it")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove what is not in the file, but for silences and maintenance of other origin",
    )
    parser.add_argument("--json", action="store_true", help="print the changes as JSON")
    asking.add_to(parser)


def _export(chosen: argparse.Namespace) -> int:
    return asking.ask(chosen, ADMIN, _exported)


def _exported(client: Client) -> int:
    import tomli_w

    answer = client.get("/api/alerting")
    if answer.status != 200:
        return say(f"EGO does not tell: {answer.reason}", 1)
    print(HEAD + "\n" + tomli_w.dumps(_without_null(answer.json), multiline_strings=True), end="")
    return 0


def _without_null(value: Any) -> Any:
    """TOML has no null: what is null is left out."""
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(one) for one in value] if isinstance(value, list) else value


def _without_dates(value: Any) -> Any:
    """Moments that stand in TOML without quotes, as texts."""
    if isinstance(value, dict):
        return {key: _without_dates(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_dates(one) for one in value]
    return value.isoformat() if isinstance(value, date | time) else value


def _document(file: Path) -> dict[str, Any]:
    try:
        return _without_dates(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{file}: is no TOML: {error}") from error


def _plan(chosen: argparse.Namespace) -> int:
    document = _document(chosen.file)
    return asking.ask(chosen, ADMIN, lambda client: _changes(client, chosen, document, is_plan=True))


def _apply(chosen: argparse.Namespace) -> int:
    document = _document(chosen.file)
    return asking.ask(chosen, ADMIN, lambda client: _changes(client, chosen, document, is_plan=False))


def _changes(client: Client, chosen: argparse.Namespace, document: dict[str, Any], *, is_plan: bool) -> int:
    """Ask EGO to plan or to apply a file, and print the changes. Returns the exit status."""
    body = {"document": document, "prune": chosen.prune} | ({} if is_plan else {"planId": chosen.plan_id})
    verb = "would be" if is_plan else "is"
    answer = client.post(f"/api/alerting/{'plan' if is_plan else 'apply'}", json.dumps(body).encode())
    if answer.status != 200:
        return say(f"{chosen.file}: {answer.reason}", 1)
    changes = answer.json["changes"]
    if chosen.json:
        print(json.dumps(changes, indent=2, ensure_ascii=False))
        return 0
    for one in changes:
        print(
            f"{one['what']} {one['name']} {verb} {one['change']}"
            if one["what"] != "routes"
            else f"the routes {'would be' if is_plan else 'are'} changed"
        )
    if not changes:
        print("no change")
    elif is_plan:
        print(f"to do just this: mirror-stage alerts apply {chosen.file} --plan-id {answer.json['planId']}")
    return 0


def _test(chosen: argparse.Namespace) -> int:
    return asking.ask(chosen, ADMIN, lambda client: _tried(client, chosen))


def _tried(client: Client, chosen: argparse.Namespace) -> int:
    answer = client.post(f"/api/channels/{quote(chosen.channel, safe='')}/test", b"{}")
    if answer.status != 200:
        return say(f"{chosen.channel}: {answer.reason}", 1)
    found = answer.json
    if not found["accepted"]:
        return say(f"{chosen.channel}: {found['detail']}", 1)
    status = "" if found["status"] is None else f" ({found['status']})"
    print(f"{chosen.channel} accepted a trial message{status} after {found['latencyMs']} ms")
    return 0


def _backtest(chosen: argparse.Namespace) -> int:
    rule = _rule_in_file(chosen.rule)
    return asking.ask(chosen, ADMIN, lambda client: _backtested(client, chosen, rule))


def _backtested(client: Client, chosen: argparse.Namespace, rule: dict[str, Any] | None) -> int:
    if rule is None:
        answer = client.get(f"/api/alert-rules/{quote(chosen.rule, safe='')}")
        if answer.status != 200:
            return say(f"{chosen.rule}: {answer.reason}", 1)
        rule = answer.json
    answer = client.post(f"/api/alert-rules/backtest?days={chosen.days}", json.dumps(rule).encode())
    if answer.status != 200:
        return say(f"{chosen.rule}: {answer.reason}", 1)
    found = answer.json
    if chosen.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0 if found["complete"] else 1
    print(f"{found['from'][:16]}Z to {found['to'][:16]}Z, {found['hosts']} hosts")
    for one in found["byFor"]:
        print(f"  for {one['for']:>4}: {_times(one)} on {one['hosts']} hosts, {one['brief']} shorter than 2 min")
    if found["messages"] is not None:
        print(f"  as it is: {found['messages']} messages")
    for mark in found["marks"]:
        end = "lasts" if mark["to"] is None else f"to {mark['to'][:16]}Z"
        print(f"  {mark['hostname']} from {mark['from'][:16]}Z {end}{'' if mark['isCertain'] else ', perhaps'}")
    if found["total"] > len(found["marks"]):
        print(f"  these are the newest {len(found['marks'])} of {found['total']}")
    for name in found["unknown"]:
        print(f"not known: {UNKNOWN.get(name, name)}")
    if not found["complete"]:
        return say(f"no time for {found['unreadTotal']} hosts: {', '.join(found['unread'])}", 1)
    return 0


UNKNOWN = {
    "order-within-minutes": "the order of the values within a minute",
    "which-disk": "which disk it was; the history has the fullest one",
    "tags-of-then": "the tags that some hosts had then; those of now count",
    "open-before": "what was open before the first day",
}


def _times(one: dict[str, Any]) -> str:
    """`14 to 16 times`."""
    if one["certain"] == one["possible"] == 1:
        return "1 time"
    return (
        f"{one['certain']} to {one['possible']} times"
        if one["certain"] != one["possible"]
        else f"{one['certain']} times"
    )


def _rule_in_file(named: str) -> dict[str, Any] | None:
    """The rule of a file, in the spelling of the wire; None if `named` is no file, but the name of a rule. Raises BadSetting."""
    from mirror_stage.alerts.rules import BadRule, respelt

    file = Path(named)
    if file.suffix != ".toml" and not file.exists():
        return None
    document = _document(file)
    if isinstance(document.get("rules"), dict):
        if len(document["rules"]) != 1:
            raise BadSetting(f"{file}: has {len(document['rules'])} rules; a back-test takes one")
        ((name, rule),) = document["rules"].items()
        document = {**rule, "name": name}
    try:
        return dict(respelt(document))
    except BadRule as why:
        raise BadSetting(f"{file}: {why}") from why
