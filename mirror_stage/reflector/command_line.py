"""The command line of the agent: `mirror-stage reflector run | check | enroll | stop | resume | install | uninstall`.

Those that need the settings have a flag for each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Container
from functools import partial
from pathlib import Path
from typing import Any

from mirror_stage.core import findings, logs
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.trust import checked_pin, is_private, read_token
from mirror_stage.reflector.settings import ALL, FILE, OFF, SETTINGS, Settings, settings_from
from mirror_stage.reflector.stop_file import StopFile


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

    enroll = subcommands.add_parser(
        "enroll",
        help="make this host known to an EGO",
        description="Ask EGO for this host's credential, with a code or by waiting until an admin approves. Write the settings. "
        "Where this host is enrolled already, change nothing.",
    )
    enroll.add_argument("--config", type=Path, default=FILE, help="the settings file to write (%(default)s)")
    _with_some_settings(enroll, ("ego", "hostname", "state_dir", "allow_plain"))
    enroll.add_argument("--pin", metavar="PIN", help="sha256//... of EGO's root or server key")
    enroll.add_argument("--ca", type=Path, metavar="FILE", help="certificates (PEM) to trust for https")
    enroll.add_argument(
        "--code-file", metavar="FILE", help="the file of the code, - for stdin; without a code an admin approves"
    )
    enroll.set_defaults(run=_enroll)

    stop = subcommands.add_parser(
        "stop",
        help="let EGO run nothing here, from now on",
        description="End the commands that run on this host, and run no other, also after a restart. Samples go on.",
    )
    _with_state_dir(stop).add_argument(
        "--reason", default="stopped by hand", help="what EGO shows; default: %(default)s"
    )
    stop.set_defaults(run=_stop)

    resume = subcommands.add_parser(
        "resume", help="undo `stop`", description="Let EGO run commands here again, as far as command_policy allows."
    )
    _with_state_dir(resume).set_defaults(run=_resume)

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
    _with_some_settings(parser, [row.name for row in SETTINGS if not row.only_in_file])
    parser.add_argument(
        "--allow-commands",
        dest="command_policy",
        action="store_const",
        const=ALL,
        help="let EGO run any command here, with this agent's rights: --command-policy all",
    )
    return parser


def _with_state_dir(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser that finds the state folder of an agent."""
    parser.add_argument("--config", type=Path, help="a file like config/reflector.toml")
    parser.add_argument("--state-dir", help="the folder of the agent's journal")
    return parser


def _with_some_settings(parser: argparse.ArgumentParser, names: Container[str]) -> None:
    for row in SETTINGS:
        if row.name in names:
            parser.add_argument(*row.flags, dest=row.name, help=row.help, metavar=row.name.rpartition("_")[2].upper())


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


def _stop(chosen: argparse.Namespace) -> int:
    def step(file: StopFile) -> str:
        if file.write(chosen.reason):
            return "commands are stopped on this host; mirror-stage reflector resume lets them run again"
        return f"commands were stopped on this host already: {file.reason()}"

    return _with_stop_file(chosen, step)


def _resume(chosen: argparse.Namespace) -> int:
    def step(file: StopFile) -> str:
        return "commands run on this host again" if file.remove() else "commands were not stopped on this host"

    return _with_stop_file(chosen, step)


def _with_stop_file(chosen: argparse.Namespace, step: Callable[[StopFile], str]) -> int:
    folder = settings_from(vars(chosen), file=chosen.config).state_dir
    try:
        print(step(StopFile(folder)))
    except OSError as error:
        why = "no agent has run with it" if isinstance(error, FileNotFoundError) else error.strerror
        print(
            f"mirror-stage: {folder}: {why}; name the agent's folder with --state-dir, or run this with sudo",
            file=sys.stderr,
        )
        return 1
    return 0


def _enroll(chosen: argparse.Namespace) -> int:
    from mirror_stage.reflector import enrolling

    settings = settings_from(vars(chosen), environment={}, file=chosen.config if chosen.config.exists() else None)
    ego = _with_ego(settings)
    if not is_private(ego) and not settings.allow_plain:
        raise BadSetting(f"{ego}: everybody on the way can read the token over http: use https, or --allow-plain true")
    try:
        chosen.pin = None if chosen.pin is None else checked_pin(chosen.pin)
    except ValueError as error:
        raise BadSetting(f"--pin: {error}") from error
    is_given = chosen.pin is not None or chosen.ca is not None
    wish = enrolling.Wish(
        ego,
        settings.hostname,
        settings.state_dir,
        chosen.config,
        ca_file=chosen.ca if is_given else settings.ego_ca,
        pin=chosen.pin if is_given else settings.ego_pin,
        code=None if chosen.code_file is None else enrolling.read_code(chosen.code_file),
        allow_plain=settings.allow_plain,
    )
    try:
        enrolling.enroll(wish, partial(print, flush=True))
    except (enrolling.NotEnrolled, OSError) as error:
        return _say(error)
    return 0


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
            command_user=None if settings.command_policy == OFF else settings.command_user,
            add_account=service_unit.add_account,
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
