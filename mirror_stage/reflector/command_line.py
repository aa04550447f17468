"""The command line of the agent: `mirror-stage reflector run | check | install | uninstall`, with a flag for each setting."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mirror_stage.core import findings, logs
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.trust import read_token
from mirror_stage.reflector.settings import ALL, SETTINGS, Settings, settings_from


def add_to(commands: Any) -> None:
    """Add `reflector` and its subcommands to a parser's commands."""
    reflector = commands.add_parser(
        "reflector",
        help="the agent: watch this machine for an EGO",
        description="The agent. It sends samples of this machine to an EGO, and runs commands where they are allowed.",
    )
    subcommands = reflector.add_subparsers(title="commands", metavar="command", required=True)

    run = subcommands.add_parser(
        "run",
        help="send samples, and run commands where they are allowed",
        description="Send samples of this machine to EGO until Ctrl-C or SIGTERM. Run commands only as command_policy says.",
    )
    _with_settings(run).add_argument("--once", action="store_true", help="print one sample as JSON and end")
    run.set_defaults(run=_run)

    check = subcommands.add_parser(
        "check",
        help="say whether EGO is reached and what it may do here",
        description="Check the way to EGO, the clock, the commands that EGO may run, and the state folder. Change nothing.",
    )
    _with_settings(check).add_argument("--json", action="store_true", help="print the findings as JSON")
    check.set_defaults(run=_check)

    install = subcommands.add_parser(
        "install",
        help="make it a service of systemd, and start that",
        description="Write the settings file and the unit, then start the service now and at every boot. Needs root.",
    )
    _with_settings(install).set_defaults(run=_install)

    uninstall = subcommands.add_parser(
        "uninstall",
        help="stop the service and remove it",
        description="Stop the service and remove its unit. Settings and data stay, unless --purge is given. Needs root.",
    )
    uninstall.add_argument("--purge", action="store_true", help="remove its settings, journal and waiting samples too")
    uninstall.set_defaults(run=_uninstall)


def _with_settings(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser with a flag for each setting."""
    parser.add_argument("--config", type=Path, help="a file like config/reflector.toml")
    for row in SETTINGS:
        if not row.only_in_file:
            parser.add_argument(*row.flags, dest=row.name, help=row.help, metavar=row.name.rpartition("_")[2].upper())
    parser.add_argument(
        "--allow-commands",
        dest="command_policy",
        action="store_const",
        const=ALL,
        help="let EGO run any command here, with this agent's rights: --command-policy all",
    )
    return parser


def _settings(chosen: argparse.Namespace) -> Settings:
    return settings_from(vars(chosen), file=chosen.config)


def _with_ego(settings: Settings) -> str:
    """EGO's address. Raises BadSetting if it is not set."""
    if settings.ego is None:
        raise BadSetting("ego: say where EGO is, like --ego http://10.0.0.100:3000")
    return settings.ego


def _run(chosen: argparse.Namespace) -> int:
    from mirror_stage.reflector import agent

    settings = _settings(chosen)
    logs.configure(settings.log_level)
    if chosen.once:
        print(json.dumps(agent.collector(settings).sample(), indent=2, ensure_ascii=False))
        return 0
    return agent.run(settings, _with_ego(settings))


def _check(chosen: argparse.Namespace) -> int:
    from mirror_stage.reflector import check

    settings = _settings(chosen)
    return findings.show(check.examine(settings, _with_ego(settings)), as_json=chosen.json)


def _install(chosen: argparse.Namespace) -> int:
    from mirror_stage.reflector import service_unit

    settings = settings_from(vars(chosen), environment={}, file=chosen.config)  # the service reads its file only
    given = {row.name: getattr(settings, row.name) for row in SETTINGS if getattr(chosen, row.name, None) is not None}
    if settings.token_file is not None:
        read_token(settings.token_file)
    try:
        service_unit.check_machine()
        service_unit.install(
            given,
            program=service_unit.this_program(),
            systemctl=service_unit.run_systemctl,
            token_file=settings.token_file,
            say=print,
        )
    except (service_unit.NotPossible, OSError) as error:
        return _say(error)
    return 0


def _uninstall(chosen: argparse.Namespace) -> int:
    from mirror_stage.reflector import service_unit

    try:
        service_unit.check_machine()
        service_unit.uninstall(purge=chosen.purge, systemctl=service_unit.run_systemctl, say=print)
    except (service_unit.NotPossible, OSError) as error:
        return _say(error)
    return 0


def _say(error: Exception) -> int:
    print(f"mirror-stage: {error}", file=sys.stderr)
    return 1
