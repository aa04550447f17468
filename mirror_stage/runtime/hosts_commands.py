"""`mirror-stage hosts …`: removes hosts from a running EGO, over its REST."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mirror_stage.runtime import asking, host_search
from mirror_stage.runtime.db_commands import say, tell

if TYPE_CHECKING:
    from mirror_stage.simulator.client import Client

SHOWN = 20  # hostnames before the question
TRIES = 20  # of one host, while EGO is too busy


def add_to(commands: Any) -> None:
    """Add `hosts` and its subcommands to a parser's commands."""
    hosts = commands.add_parser(
        "hosts", help="the hosts of a running EGO", description="Look after the hosts of a running EGO."
    )
    steps = hosts.add_subparsers(title="commands", metavar="command", required=True)
    forget = steps.add_parser(
        "forget",
        help="remove the hosts that a search finds",
        description=(
            "Remove hosts from the twin, such as those of a simulation that is over. Their alerts resolve, their waiting commands "
            "are cancelled, their history stays until its retention ends. A host whose agent still reports comes back."
        ),
        epilog=host_search.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forget.add_argument("--where", required=True, metavar="SEARCH", help="which hosts: see below")
    asking.add_to(forget)
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.add_argument("--json", action="store_true", help="print what was done as JSON")
    forget.set_defaults(run=_forget)


def _forget(chosen: argparse.Namespace) -> int:
    """Find, show, ask, remove. Returns the exit status."""
    matches = host_search.parse(chosen.where)
    return asking.ask(chosen, "admin", lambda client: _forgotten(client, chosen, matches))


def _forgotten(client: Client, chosen: argparse.Namespace, matches: host_search.Matches) -> int:
    answer = client.get("/api/twin/state")
    if answer.status != 200:
        return say(f"EGO does not show its hosts: {answer.reason}", 1)
    found = host_search.hosts_of(answer.json)
    names = [entry["hostname"] for entry in found if matches(entry)]
    if not names:
        return say(f"no host matches {chosen.where!r}; nothing is removed", 1)
    removed: list[str] = []
    kept: dict[str, str] = {}
    if chosen.yes or _is_confirmed(names, len(found)):
        removed, kept = _remove(client, names)
    else:
        say("nothing is removed", 1)
    for hostname, reason in kept.items():
        say(f"{hostname} is not removed: {reason}", 1)
    if chosen.json:
        about = {"where": chosen.where, "matched": names, "removed": removed, "notRemoved": kept}
        print(json.dumps(about, indent=2, ensure_ascii=False))
    elif removed:
        print(f"{len(removed):,} of {len(names):,} hosts are removed")
    return 0 if len(removed) == len(names) else 1


def _is_confirmed(names: list[str], count: int) -> bool:
    """Show who would be removed, on stderr, and ask."""
    for hostname in names[:SHOWN]:
        print(f"  {hostname}", file=sys.stderr)
    if len(names) > SHOWN:
        print(f"  and {len(names) - SHOWN:,} more", file=sys.stderr)
    print(f"Remove these {len(names):,} of {count:,} hosts? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    except KeyboardInterrupt:
        return False


def _remove(client: Client, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Remove one host after the other. Returns who is gone, and who is not with the reason. It stops when EGO is away."""
    from mirror_stage.simulator.client import Unanswered

    removed: list[str] = []
    kept: dict[str, str] = {}
    try:
        for hostname in names:
            reason = _remove_one(client, hostname)
            if reason is None:
                removed.append(hostname)
            else:
                kept[hostname] = reason
            tell(f"{len(removed) + len(kept):,} of {len(names):,} hosts")
    except Unanswered as why:
        kept[hostname] = f"EGO does not answer ({why}); the hosts after it were not tried"
    except KeyboardInterrupt:
        kept[hostname] = "interrupted; the hosts after it were not tried"
    tell("")
    return removed, kept


def _remove_one(client: Client, hostname: str) -> str | None:
    """Why a host stays; None if it is gone. Raises Unanswered."""
    for _ in range(TRIES):
        answer = client.delete(f"/api/hosts/{quote(hostname, safe='')}")
        if answer.status in {204, 404}:  # 404: somebody else has removed it
            return None
        if answer.status not in {429, 503}:
            break
        time.sleep(answer.wait_seconds or 1.0)
    return answer.reason
