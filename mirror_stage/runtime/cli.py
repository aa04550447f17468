"""The command line: `mirror-stage serve | reflector | simulate | demo | run | hosts | db | tls | signing | dispatch |
silences | enroll | agents | admin | users | tokens | sessions | audit | lock | doctor | completion`.

It imports neither Flask nor a database.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mirror_stage.core import findings, streams
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.version import VERSION
from mirror_stage.reflector import command_line as reflector
from mirror_stage.runtime import (
    agents_commands,
    alerts_commands,
    completion,
    db_commands,
    dispatch_commands,
    hosts_commands,
    lock,
    people_commands,
    run_command,
    signing_commands,
    silences_commands,
    tls_commands,
)
from mirror_stage.runtime.db_commands import say
from mirror_stage.simulator import command_line as simulator
from mirror_stage.simulator.scenarios import SCENARIOS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 not possible, 2 wrong arguments or a bad setting."""
    streams.prepare()
    chosen = _parser().parse_args(arguments)
    try:
        status = _run(chosen)
        streams.flush()
    except OSError as error:
        why = streams.why_unwritten(error)
        if why is None:
            raise
        return say(f"the output cannot be written: {why}", 1) if why else 0
    return status


def _run(chosen: argparse.Namespace) -> int:
    try:
        if getattr(chosen, "of_service", False):
            from mirror_stage.runtime import service_settings

            service_settings.adopt()
        return int(chosen.run(chosen))
    except BadSetting as error:
        return say(str(error), 2)
    except ImportError as error:  # an installation without EGO, or without its libraries
        if (error.name or "").startswith("mirror_stage") and find_spec("mirror_stage.app"):
            raise  # a fault of ours
        return say(
            f"this command needs EGO's libraries, and {error.name} is not installed: only the agent can run here. "
            f"Install EGO's own wheel, without --no-deps: {Path(sys.executable).with_name('pip')} install FILE.whl",
            1,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mirror-stage",
        description="MIRROR STAGE EGO: a live digital twin of a private network.",
        epilog="EGO's settings come from the environment, then from .env: config/ego.env.example has them all. "
        "The agent's are in config/reflector.toml.",
    )
    parser.add_argument("--version", action="version", version=f"mirror-stage {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)

    serve = commands.add_parser(
        "serve",
        help="start the server",
        description="Start EGO: check the settings, bring the schema of the database up to date, then serve until Ctrl-C or SIGTERM.",
    )
    serve.add_argument("--port", help="listen on this port instead of PORT")
    serve.add_argument("--bind", help="listen on this address instead of MIRROR_STAGE_BIND")
    serve.add_argument("--reload", action="store_true", help="start again when the code changes (development)")
    serve.set_defaults(run=_serve)

    reflector.add_to(commands)
    simulator.add_to(commands)

    demo = commands.add_parser(
        "demo",
        help="start a server with a simulated fleet",
        description=(
            "Start an EGO with a database of its own, a simulated fleet, and the agent of this machine. Ctrl-C ends all of it "
            "and removes its data. If PORT is taken, the demo takes the next free port and says which."
        ),
    )
    demo.add_argument(
        "--hosts", type=simulator.host_count, default=60, metavar="N", help="simulated hosts; default %(default)s"
    )
    demo.add_argument(
        "--scenario", choices=list(SCENARIOS), default="calm", help="what happens to them; default %(default)s"
    )
    demo.set_defaults(run=_demo)

    run_command.add_to(commands)
    hosts_commands.add_to(commands)
    db_commands.add_to(commands)
    agents_commands.add_to(commands)
    people_commands.add_to(commands)
    alerts_commands.add_to(commands)
    lock.add_to(commands)
    tls_commands.add_to(commands)
    signing_commands.add_to(commands)
    dispatch_commands.add_to(commands)
    silences_commands.add_to(commands)

    doctor = commands.add_parser(
        "doctor",
        help="say what keeps EGO from running here",
        description="Check settings, port, TLS, folder, disk, database, Redis, clock and limits, and say what to do about each problem.",
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor, of_service=True)

    complete = commands.add_parser(
        "completion",
        help="let the shell complete these commands",
        description='Print a script for the shell. In ~/.bashrc write: eval "$(mirror-stage completion bash)"; in ~/.zshrc the same with zsh.',
    )
    complete.add_argument("shell", choices=completion.SHELLS, help="the shell")
    complete.set_defaults(run=_completion)
    return parser


def _serve(chosen: argparse.Namespace) -> int:
    """Check the settings, upgrade the schema, then replace this process by gunicorn."""
    if chosen.port is not None:
        os.environ["PORT"] = chosen.port  # gunicorn.conf.py reads the settings again, in the process to come
    if chosen.bind is not None:
        os.environ["MIRROR_STAGE_BIND"] = chosen.bind
    from mirror_stage.core import logs
    from mirror_stage.core.shipped import path_of
    from mirror_stage.runtime import doctor, serving

    settings = serving.read_settings()
    address = serving.listen_address(settings)
    reason = doctor.taken(settings)
    if reason:
        name = doctor.at_fault(settings)
        return say(
            f"{name}: cannot listen on {address}: {reason}; choose another {name}, or try mirror-stage doctor", 1
        )
    reason = doctor.field_taken(settings)
    if reason:
        return say(f"MIRROR_STAGE_FIELD_BIND: cannot listen on {settings.field_bind}: {reason}; choose another port", 1)
    logs.configure(settings.log_level)
    if db_commands.bring_up_to_date(settings) != 0:
        if not settings.is_postgresql:
            return 1  # a server may come back; a file that cannot be written stays so
        say("EGO starts all the same, and goes on asking for its database", 0)
    scheme = "https" if settings.has_tls else "http"
    print(f"MIRROR STAGE EGO: {address if address.startswith('unix:') else f'{scheme}://{address}'} (Ctrl-C ends it)")
    # -P, because the folder where EGO runs is for its data: a cmd.py in it must not stand in for Python's.
    gunicorn = ["-P", "-m", "mirror_stage.runtime.serving_process", "--config", str(path_of("gunicorn.conf.py"))]
    gunicorn += ["--pythonpath", str(path_of("wsgi.py").parent), "wsgi:app"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *gunicorn, *(["--reload"] if chosen.reload else [])])


def _demo(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime import demo

    return demo.run(chosen.hosts, chosen.scenario)


def _doctor(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime import doctor

    return findings.show(doctor.examine(), as_json=chosen.json)


def _completion(chosen: argparse.Namespace) -> int:
    print(completion.script(_parser(), chosen.shell), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
