"""Installs the agent as a systemd service (unit, settings, start), and uninstalls it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mirror_stage.core.shipped import path_of
from mirror_stage.reflector.account import CAPABILITIES

UNIT = "mirror-stage-reflector.service"
UNIT_FILE = Path("etc/systemd/system") / UNIT
SETTINGS_FILE = Path("etc/mirror-stage/reflector.toml")
CA_FILE = "ego-root.pem"  # beside the settings; an enrolment writes it
KEPT = (  # without --purge
    SETTINGS_FILE,
    SETTINGS_FILE.with_name(CA_FILE),
    UNIT_FILE.with_name(f"{UNIT}.d"),  # `systemctl edit` writes it
    Path("var/lib/private/mirror-stage-reflector"),
    Path("var/lib/mirror-stage-reflector"),
)
HIDDEN = (
    "/home",
    "/root",
    "/tmp",
    "/var/tmp",
    "/run/user",
)  # folders that the unit, or its unprivileged user, cannot see

Systemctl = Callable[[Sequence[str]], None]


class NotPossible(Exception):
    """Why the service cannot be installed here; one line that says what to do."""


def install(
    given: Mapping[str, Any],
    *,
    program: Path,
    systemctl: Systemctl,
    token_file: Path | None = None,
    command_user: str | None = None,
    add_account: Callable[[str], None],
    root: Path = Path("/"),
    say: Callable[[str], None],
) -> None:
    """Write settings and unit, start the service, and `say` each step. `given` holds the settings given as flags.

    systemd reads the token as root and hands it to the service, whose account cannot read the file. With a `command_user`
    this account is added, if it is not there, and the service may start commands as any account.

    Raises NotPossible, where it can before the first step; else in the step that systemd refuses.
    """
    _check_program(program)
    settings, unit = root / SETTINGS_FILE, root / UNIT_FILE
    if settings.exists() and given:
        raise NotPossible(f"{settings} is there already: change it there and leave out the flags, or move it away")
    if not settings.exists() and "ego" not in given:
        raise NotPossible("say where EGO is, like --ego http://10.0.0.100:3000")
    if settings.exists():
        say(f"kept     {settings}")
    else:
        write(settings, with_values(path_of("config/reflector.toml").read_text(), given))
        say(f"wrote    {settings}")
    if command_user is not None:
        add_account(command_user)
        say(f"commands run as {command_user}")
    text = path_of(f"config/systemd/{UNIT}").read_text()
    write(unit, unit_text(text, program, token_file, may_switch=command_user is not None))
    say(f"wrote    {unit}")
    systemctl(["daemon-reload"])
    systemctl(["enable", UNIT])
    systemctl(["restart", UNIT])
    say(f"started  {UNIT}, and at every boot; its log: journalctl -u {UNIT.removesuffix('.service')}")


def uninstall(*, purge: bool, systemctl: Systemctl, root: Path = Path("/"), say: Callable[[str], None]) -> None:
    """Stop the service and remove its unit; with `purge` its settings, credential, journal and waiting samples too.

    Raises NotPossible.
    """
    unit = root / UNIT_FILE
    if unit.exists():
        systemctl(["disable", "--now", UNIT])
        unit.unlink()
        systemctl(["daemon-reload"])
        say(f"stopped and removed  {unit}")
    else:
        say(f"not there            {unit}")
    for path in (root / place for place in KEPT):
        if not path.exists() and not path.is_symlink():
            continue
        if not purge:
            say(f"kept                 {path}  (--purge removes it)")
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            say(f"removed              {path}")
        else:
            path.unlink()
            say(f"removed              {path}")
    if purge:
        with contextlib.suppress(OSError):  # EGO's own settings are there, too
            (root / SETTINGS_FILE).parent.rmdir()


def unit_text(template: str, program: Path, token_file: Path | None = None, *, may_switch: bool = False) -> str:
    """The text of the unit that starts this program, with the token as a credential of systemd.

    With `may_switch` the service may start and end processes of other accounts.
    """
    if token_file is not None:
        loaded = str(token_file.absolute()).replace("%", "%%")
        lines = f"LoadCredential=token:{loaded}\nEnvironment=REFLECTOR_TOKEN_FILE=%d/token\nRestart="
        template = template.replace("Restart=", lines, 1)
    if may_switch:
        for name in ("CapabilityBoundingSet", "AmbientCapabilities"):
            template = template.replace(f"\n{name}=\n", f"\n{name}={' '.join(CAPABILITIES)}\n")
    quoted = str(program).replace("%", "%%")
    return re.sub(r"^ExecStart=\S+", lambda _: f"ExecStart={quoted}", template, count=1, flags=re.MULTILINE)


def with_values(template: str, given: Mapping[str, Any]) -> str:
    """The text of a settings file in which these settings have values and the others stay comments."""
    for name, value in given.items():
        line = f"{name} = {to_toml(value)}"
        template = re.sub(rf"^# {name} = .*$", lambda _, line=line: line, template, count=1, flags=re.MULTILINE)  # type: ignore[misc]
    return template


def with_settings(text: str, values: Mapping[str, Any]) -> str:
    """The text of a settings file with other values; those that are None become comments. The rest stays.

    A value takes the place of the former one, else of the commented example, else of the file's first line.
    """
    for name, value in values.items():
        former = re.search(rf"^{name}[ \t]*=.*$", text, re.MULTILINE)
        place = former or re.search(rf"^# {name} = .*$", text, re.MULTILINE)
        if value is None:
            text = text if former is None else f"{text[: former.start()]}# {text[former.start() :]}"
        elif place is None:
            text = f"{name} = {to_toml(value)}\n{text}"
        else:
            text = f"{text[: place.start()]}{name} = {to_toml(value)}{text[place.end() :]}"
    return text


def to_toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {to_toml(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def this_program() -> Path:
    """The path of `mirror-stage`, as it was called; else the one in the folder of this Python."""
    called = Path(sys.argv[0])
    if called.name == "mirror-stage":
        return called.absolute()
    return Path(sys.executable).absolute().parent / "mirror-stage"


def run_systemctl(arguments: Sequence[str]) -> None:
    """Run systemctl. Raises NotPossible with its message if it fails."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
        raise NotPossible(f"systemctl {' '.join(arguments)}: {said}")


def add_account(name: str) -> None:
    """Add an account that owns nothing, where there is none of this name. Raises NotPossible."""
    words = ["systemd-sysusers", "--inline", f'u {name} - "Commands of MIRROR STAGE EGO"']
    try:
        pwd.getpwnam(name)
    except KeyError:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
            raise NotPossible(f"the account {name} cannot be added: {said}") from None


def check_machine() -> None:
    """Raises NotPossible if systemd does not run here, or if this user is not root."""
    if not Path("/run/systemd/system").is_dir():
        raise NotPossible("systemd does not run this machine: start `mirror-stage reflector run` by what does")
    if os.geteuid() != 0:
        raise NotPossible("only root may write a service: run it again with sudo")


def _check_program(program: Path) -> None:
    if not program.is_file():
        raise NotPossible(
            f"{program} is not there: install mirror-stage into a virtual environment such as /opt/mirror-stage"
        )
    if str(program.resolve()).startswith(HIDDEN) or str(program).startswith(HIDDEN):
        raise NotPossible(
            f"{program} lies where an unprivileged service cannot see it: install mirror-stage into /opt/mirror-stage"
        )


def write(path: Path, text: str) -> None:
    """Write a file that everybody may read. A crash leaves the former file or the new one."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)
