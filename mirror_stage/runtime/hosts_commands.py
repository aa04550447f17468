"""`mirror-stage hosts forget`: takes many hosts out of a running EGO, such as those of a simulation."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.urls import url_trouble
from mirror_stage.runtime.db_commands import say

FIELDS = ("hostname", "rack", "room", "tier", "platform", "agentVersion", "status")
ANSWER_SECONDS = 30.0
SHOWN_MAX = 20
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # as agents ask: without a proxy


def add_to(commands: Any) -> None:
    """Add `hosts` and its subcommands to a parser's commands."""
    hosts = commands.add_parser(
        "hosts", help="the hosts of a running EGO", description="Look after the hosts of a running EGO."
    )
    steps = hosts.add_subparsers(title="commands", metavar="command", required=True)
    forget = steps.add_parser(
        "forget",
        help="take hosts out of the twin",
        description="Take every host out of the twin that all --where fit. Its history stays until its retention is over.",
        epilog=f"fields: {', '.join(FIELDS)}. The hosts of a simulation: --where 'agentVersion=*+simulated'",
    )
    forget.add_argument("--ego", default="http://127.0.0.1:3000", metavar="URL", help="default %(default)s")
    forget.add_argument(
        "--where",
        type=_condition,
        action="append",
        required=True,
        metavar="FIELD=PATTERN",
        help="* and ? are wildcards",
    )
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.set_defaults(run=_forget)


def _condition(text: str) -> tuple[str, str]:
    field, equals, pattern = text.partition("=")
    if not equals or field not in FIELDS:
        raise argparse.ArgumentTypeError(f"must be FIELD=PATTERN, and the field one of {', '.join(FIELDS)}")
    return field, pattern


def _forget(chosen: argparse.Namespace) -> int:
    """Show the hosts, ask, and delete them one by one. Returns the exit status."""
    trouble = url_trouble(chosen.ego, ("http", "https"), may_hold_password=False, needs_host=True)
    if trouble:
        raise BadSetting(f"--ego: {trouble}")
    ego = chosen.ego.rstrip("/")
    try:
        names = [host["hostname"] for host in _ask(f"{ego}/api/twin/state")["hosts"] if _fits(host, chosen.where)]
        if not names:
            return say("no host fits", 1)
        print(
            "\n".join([*names[:SHOWN_MAX], *([f"and {len(names) - SHOWN_MAX} more"] if len(names) > SHOWN_MAX else [])])
        )
        if not chosen.yes and not _is_confirmed(len(names)):
            return say("nothing was changed; --yes does not ask", 1)
        refused = [why for why in (_delete(ego, name) for name in names) if why]
    except urllib.error.HTTPError as error:
        return say(f"{ego}: {_detail(error)}", 1)
    except OSError as error:
        return say(f"{ego}: {error}", 1)
    for why in refused:
        say(why, 1)
    print(f"{len(names) - len(refused)} hosts are forgotten")
    return 1 if refused else 0


def _fits(host: dict[str, Any], conditions: list[tuple[str, str]]) -> bool:
    return all(fnmatchcase(str(host.get(field) or ""), pattern) for field, pattern in conditions)


def _is_confirmed(count: int) -> bool:
    return sys.stdin.isatty() and input(f"Forget these {count} hosts? [y/N] ").strip().lower() in {"y", "yes"}


def _delete(ego: str, name: str) -> str | None:
    """Why EGO keeps this host; None if it has forgotten it."""
    try:
        _ask(f"{ego}/api/hosts/{quote(name, safe='')}", "DELETE")
    except urllib.error.HTTPError as error:
        return f"{name}: {_detail(error)}"
    return None


def _ask(url: str, method: str = "GET") -> Any:
    """The decoded answer. Raises OSError, and HTTPError if EGO refuses."""
    request = urllib.request.Request(url, method=method, headers={"Accept": "application/json"})
    with _DIRECTLY.open(request, timeout=ANSWER_SECONDS) as answer:
        body = answer.read()
    try:
        return json.loads(body) if body else None
    except ValueError as error:
        raise OSError("the answer is not EGO's: is the address right?") from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
