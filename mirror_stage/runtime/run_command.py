"""`mirror-stage run HOST COMMAND`: runs a command on a host, over the REST of a running EGO."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from mirror_stage.core.names import printable
from mirror_stage.runtime import asking
from mirror_stage.runtime.db_commands import say, tell
from mirror_stage.runtime.steps import host, print_json

if TYPE_CHECKING:
    from mirror_stage.simulator.client import Client

ASKED_EVERY_SECONDS = 0.3
RESTART_SECONDS = 60  # EGO may be away for so long while it starts again
FINAL = {"succeeded", "failed", "timeout"}


def add_to(commands: Any) -> None:
    """Add `run` to a parser's commands."""
    run = commands.add_parser(
        "run",
        help="run a command on a host",
        description=(
            "Run a command on a host: queue it, wait for its end, and print its output. The host's agent decides whether it may "
            "run. Several words are passed on as they are; one text in quotes is split by the agent. Ctrl-C cancels the command."
        ),
    )
    run.add_argument(
        "--timeout", type=int, default=30, metavar="S", help="seconds it may run, at most 600; default %(default)s"
    )
    run.add_argument(
        "--wait", type=int, default=60, metavar="S", help="seconds until its agent must fetch it; default %(default)s"
    )
    run.add_argument("--json", action="store_true", help="print the command as JSON, with its output")
    asking.add_to(run)
    run.add_argument("hostname", type=host, metavar="HOST", help="the name of a host")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, such as: df -h")
    run.set_defaults(run=partial(_run, run))


def _run(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    words = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
    if not words:
        parser.error("say what to run")
    order = {
        "hostname": chosen.hostname,
        "command": words[0] if len(words) == 1 else shlex.join(words),
        "timeoutSeconds": chosen.timeout,
        "expiresInSeconds": chosen.wait,
    }
    return asking.ask(chosen, "operator", lambda client: _ended(client, order, as_json=chosen.json))


def _ended(client: Client, order: dict[str, Any], *, as_json: bool) -> int:
    """Queue the command, wait for its end, and print it. Returns 0 if it succeeded."""
    queued = client.post("/api/commands", json.dumps(order).encode())
    if queued.status != 201:
        return say(f"EGO does not take the command: {queued.reason}", 1)
    command = queued.json
    if not command["deliverable"]:
        say(
            f"{order['hostname']} takes no commands now: its command_policy is off, or its agent is away; Ctrl-C cancels",
            0,
        )
    from mirror_stage.simulator.client import Unanswered

    path, began = f"/api/commands/{command['id']}", time.monotonic()
    given_up_at = began + order["expiresInSeconds"] + order["timeoutSeconds"] + RESTART_SECONDS
    try:
        while command["status"] not in FINAL:
            tell(f"{command['status']}, {time.monotonic() - began:.0f} s")
            time.sleep(ASKED_EVERY_SECONDS)
            try:
                answer = client.get(path)
            except Unanswered:  # EGO may be starting again; the command goes on meanwhile
                if time.monotonic() > given_up_at:
                    raise
                continue
            if answer.status == 200:
                command = answer.json
            elif answer.status not in {429, 503}:
                return say(f"EGO does not say how the command ended: {answer.reason}", 1)
    except KeyboardInterrupt:
        tell("")
        answer = client.post(f"{path}/cancel", b"{}")
        return say("the command is cancelled" if answer.status < 300 else f"the command goes on: {answer.reason}", 1)
    tell("")
    if as_json:
        print_json(command)
    else:
        _show(command)
    return 0 if command["status"] == "succeeded" else 1


def _show(command: dict[str, Any]) -> None:
    """Print the output of a command as it came, and how it ended unless it succeeded."""
    for text, file in ((command["stdout"], sys.stdout), (command["stderr"], sys.stderr)):
        if text:
            shown = "\n".join(map(printable, text.replace("\r\n", "\n").split("\n"))) if file.isatty() else text
            print(shown, end="" if shown.endswith("\n") else "\n", file=file)
    if command["status"] != "succeeded":
        ends = [command["reason"], command["signal"] and f"killed by {command['signal']}"]
        if command["exitCode"] is not None and not command["signal"]:
            ends.append(f"exit code {command['exitCode']}")
        say(f"{command['hostname']}: {command['status']} ({', '.join(filter(None, ends))})", 1)
