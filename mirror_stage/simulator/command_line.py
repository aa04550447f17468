"""The command line of the simulator: `mirror-stage simulate` and its options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.interrupts import let_ctrl_c_end_this
from mirror_stage.core.trust import Trust, checked_pin, is_private, read_token
from mirror_stage.simulator.scenarios import SCENARIOS


def add_to(commands: Any) -> None:
    """Add `simulate` to a parser's commands."""
    simulate = commands.add_parser(
        "simulate",
        help="send samples of a simulated fleet to EGO",
        description="Report a synthetic fleet to an EGO over the same HTTP as real agents, and answer its commands.",
        epilog="scenarios:\n" + "\n".join(f"  {each.name:16}{each.summary}" for each in SCENARIOS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = simulate.add_argument
    option("--ego", default="http://127.0.0.1:3000", metavar="URL", help="default %(default)s")
    add_access(simulate)
    option("--hosts", type=host_count, default=200, metavar="N", help="switches included; default %(default)s")
    option("--interval", type=_seconds, default=1.0, metavar="S", help="seconds between samples; default %(default)g")
    option("--seed", type=int, default=7, metavar="N", help="the same seed, the same fleet; default %(default)s")
    option("--scenario", choices=list(SCENARIOS), default="calm", metavar="NAME", help="see below; default %(default)s")
    option("--batch", type=_batch, metavar="N", help="hosts in a request; default a tenth, at most 100")
    option("--concurrency", type=_connections, default=16, metavar="N", help="requests at once; default %(default)s")
    option("--rate", type=_rate, metavar="N|max", help="samples a second, instead of --interval")
    option("--seconds", type=_seconds, metavar="S", help="end after so long; default never")
    option("--no-commands", action="store_true", help="fetch no commands; the hosts report policy off")
    option("--json", action="store_true", help="end with one line of JSON on stdout")
    simulate.set_defaults(run=_simulate)


def _simulate(chosen: argparse.Namespace) -> int:
    """Run the simulator, with gevent patched in."""
    let_ctrl_c_end_this()  # there is nothing to tidy up until it sends samples
    from gevent import monkey

    monkey.patch_all()
    from mirror_stage.simulator.console import simulate
    from mirror_stage.simulator.engine import Options

    trust, token = access_of(chosen)
    options = Options(
        ego=chosen.ego,
        hosts=chosen.hosts,
        interval_seconds=chosen.interval,
        seed=chosen.seed,
        scenario=chosen.scenario,
        batch=chosen.batch,
        connections=chosen.concurrency,
        rate=chosen.rate,
        seconds=chosen.seconds,
        answers_commands=not chosen.no_commands,
        trust=trust,
        token=token,
    )
    return simulate(options, as_json=chosen.json)


def add_access(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks an EGO: whom it trusts over https, and its token."""
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificates (PEM) to trust for https, such as EGO's root"
    )
    parser.add_argument("--pin", metavar="PIN", help="sha256//... of EGO's root or server key, instead of --ca")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with a token, readable by its owner only")


def access_of(chosen: argparse.Namespace) -> tuple[Trust, str | None]:
    """Whom to trust, and the token, by the options of `add_access`. Raises BadSetting."""
    try:
        pin = None if chosen.pin is None else checked_pin(chosen.pin)
    except ValueError as error:
        raise BadSetting(f"--pin: {error}") from error
    trust = Trust(chosen.ca, pin)
    if chosen.token_file is None:
        return trust, None
    if not is_private(chosen.ego if "://" in chosen.ego else f"http://{chosen.ego}"):
        raise BadSetting("--token-file: over plain http everybody on the way could read the token; use https in --ego")
    return trust, read_token(chosen.token_file)


def host_count(text: str) -> int:
    """The number of hosts in a text. Raises ArgumentTypeError."""
    return int(_bounded(text, int, 1, 100_000))


def _batch(text: str) -> int:
    return int(_bounded(text, int, 1, 1_000))


def _connections(text: str) -> int:
    return int(_bounded(text, int, 1, 10_000))


def _seconds(text: str) -> float:
    return _bounded(text, float, 0.01, 31_536_000)


def _rate(text: str) -> float:
    return math.inf if text == "max" else _bounded(text, float, 0.01, 1_000_000)


def _bounded(text: str, kind: Callable[[str], float], least: float, most: float) -> float:
    """The number in a text. Raises ArgumentTypeError, whose text argparse prints."""
    try:
        value = kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' if kind is int else ''}number") from error
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text} is not within {least:,} to {most:,}")
    return value
