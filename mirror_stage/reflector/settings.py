"""All settings of an agent. A flag wins over a `REFLECTOR_*` variable, a variable over the TOML file, the file over a default.

The error of a bad value is one line that names the setting and where its value stands.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.core.signed import key_of
from mirror_stage.core.trust import checked_pin
from mirror_stage.core.urls import url_trouble
from mirror_stage.core.variables import nearest, quotes_trouble, unknown_variable
from mirror_stage.reflector.state import default_state_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the same module, under the name that it had before

FILE: Final = Path("/etc/mirror-stage/reflector.toml")
FILE_VARIABLE: Final = "REFLECTOR_CONFIG"

OFF: Final = "off"
ALLOW_LIST: Final = "allow_list"
ALL: Final = "all"
POLICIES = (OFF, ALLOW_LIST, ALL)
LOG_LEVELS = ("debug", "info", "warning", "error")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}")  # what systemd takes as a name


@dataclass(frozen=True)
class Settings:
    """The settings of one agent. `config/reflector.toml` explains each."""

    ego: str | None = None
    ego_ca: Path | None = None
    ego_pin: str | None = None
    ego_signing_key: str | None = None
    token_file: Path | None = None
    allow_plain: bool = False
    hostname: str = field(default_factory=socket.gethostname)
    is_named: bool = False  # whether `hostname` was set; if not, it is the machine's name, which may change
    ip: str | None = None
    rack: str | None = None
    position: Mapping[str, float] | None = None
    uplink: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    interval_seconds: float = 5.0
    state_dir: Path = field(default_factory=default_state_dir)
    spool_max_mib: int = 64
    spool_max_hours: float = 24.0
    log_level: str = "info"
    command_policy: str = OFF
    command_allow: tuple[str, ...] = ()
    command_shell: bool = False
    command_concurrency: int = 4
    command_user: str | None = None

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags of every sample, with the uplink, which EGO reads from the tags."""
        return {**self.tags, **({"uplink": self.uplink} if self.uplink else {})}


class _Bad(ValueError):
    """What is wrong with a value. The caller puts the setting's name and place before it."""


# ---------------------------------------------------------------- readers: check a value from TOML, or from a text


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _Bad(f"must be a text, not {value!r}")
    return value.strip()


def _url(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    trouble = url_trouble(text, ("http", "https"), may_hold_password=False, needs_host=True)
    if trouble is None and set(text) & set("?#"):
        trouble = "must not have a ? or a #"
    if trouble:
        raise _Bad(f"{trouble}; it must be like http://10.0.0.100:3000")
    return text.rstrip("/")


def _hostname(value: Any) -> str:
    try:
        return normalise_hostname(_text(value).rstrip("."))
    except BadField as error:
        raise _Bad(error.message) from error


def _ipv4(value: Any) -> str:
    try:
        return socket.inet_ntoa(socket.inet_pton(socket.AF_INET, _text(value)))
    except OSError as error:
        raise _Bad(f"must be an IPv4 address, not {value!r}") from error


def _path(value: Any) -> Path:
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError as error:
        raise _Bad("begins with ~, and this user has no home folder") from error


def _existing(value: Any) -> Path:
    path = _path(value)
    try:
        is_there = path.is_file()
    except OSError as error:
        raise _Bad(f"{path} cannot be read: {error.strerror}") from error
    if not is_there:
        raise _Bad(f"there is no file {path}")
    return path


def _number(least: float, most: float) -> Reader:
    def read(value: Any) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            number = math.nan
        if not least <= number <= most:
            raise _Bad(f"must be a number from {least:g} to {most:g}, not {value!r}")
        return number

    return read


def _whole(least: int, most: int) -> Reader:
    def read(value: Any) -> int:
        number = _number(least, most)(value)
        if number != int(number):
            raise _Bad(f"must be a whole number, not {value!r}")
        return int(number)

    return read


def _one_of(*choices: str) -> Reader:
    def read(value: Any) -> str:
        if value not in choices:
            raise _Bad(f"must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    return read


def _switch(value: Any) -> bool:
    """A truth value of TOML, or the text of a flag or a variable."""
    texts = {"true": True, "1": True, "false": False, "0": False}
    if not isinstance(value, bool) and value not in texts:
        raise _Bad(f"must be true or false, not {value!r}")
    return texts[value] if isinstance(value, str) else value


def _pin(value: Any) -> str:
    try:
        return checked_pin(_text(value))
    except ValueError as error:
        raise _Bad(str(error)) from error


def _signing_key(value: Any) -> str:
    try:
        key_of(_text(value))
    except ValueError as error:
        raise _Bad(str(error)) from error
    return _text(value)


def _account(value: Any) -> str:
    text = _text(value)
    if not _ACCOUNT.fullmatch(text):
        raise _Bad(f"must be the name of an account, not {value!r}")
    return text


def _short(most: int) -> Reader:
    def read(value: Any) -> str:
        text = _text(value)
        if len(text) > most:
            raise _Bad(f"has {len(text)} characters; at most {most}")
        return text

    return read


def _tags(value: Any) -> dict[str, str]:
    """A table, or `room=a,tier=db`."""
    pairs = value.items() if isinstance(value, Mapping) else [_pair(text) for text in _list(value)]
    tags = {_text(name): _text(text) for name, text in pairs}
    if len(tags) > 60:  # the contract's 64, less room for the tags that the agent adds
        raise _Bad(f"has {len(tags)} tags; at most 60")
    return tags


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise _Bad(f"must be name=value, not {text!r}")
    return name, value


def _position(value: Any) -> dict[str, float]:
    """A table `{x = 1, y = 2, z = 3}`, or `1,2,3`."""
    named = value if isinstance(value, Mapping) else dict(zip("xyz", _list(value)))
    if not named or set(named) - set("xyz"):
        raise _Bad(f"must have x, y and z, not {value!r}")
    return {axis: _number(-1e9, 1e9)(number) for axis, number in named.items()}


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
        raise _Bad(f"must be a list of texts, not {value!r}")
    return list(value)


def _patterns(value: Any) -> tuple[str, ...]:
    """The patterns of a list, or of a text with one pattern per line (a comma may be part of a command)."""
    lines = value.splitlines() if isinstance(value, str) else _list(value)
    return tuple(_text(line) for line in lines if line.strip())


# ---------------------------------------------------------------- the table

Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Setting:
    """One setting: its name in the file, how its value is read, and its `--help` text."""

    name: str
    read: Reader
    help: str
    only_in_file: bool = False
    formerly: str = ""  # an older name, which still works

    @property
    def names(self) -> tuple[str, ...]:
        """Its names in the file, the right one first."""
        return (self.name, self.formerly) if self.formerly else (self.name,)

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return self.variables[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """Its names in the environment, the right one first."""
        return tuple(f"REFLECTOR_{name.upper()}" for name in self.names)

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.flags[0]

    @property
    def flags(self) -> tuple[str, ...]:
        """Its names on the command line, the right one first."""
        return tuple("--" + name.replace("_", "-") for name in self.names)


SETTINGS: tuple[Setting, ...] = (
    Setting("ego", _url, "EGO's address, like http://10.0.0.100:3000"),
    Setting(
        "ego_ca", _existing, "certificates (PEM) to trust for https instead of the public ones", formerly="ca_file"
    ),
    Setting("ego_pin", _pin, "sha256//... of EGO's root or server key, instead of certificates to trust"),
    Setting(
        "ego_signing_key",
        _signing_key,
        "EGO's root key (base64), as mirror-stage signing show prints it: run only what EGO has signed",
    ),
    Setting("token_file", _existing, "file with this agent's token, readable by its owner only"),
    Setting("allow_plain", _switch, "true: send the token over http to another machine, too"),
    Setting("hostname", _hostname, "this host's name in the twin (the machine's own)"),
    Setting("ip", _ipv4, "this host's IPv4 address (that of the primary interface)"),
    Setting("rack", _short(64), "the rack it stands in"),
    Setting("position", _position, "its place in the twin: X,Y,Z"),
    Setting("uplink", _hostname, "the host it hangs from (the hub)"),
    Setting("tags", _tags, "NAME=VALUE,... shown with it; room, tier and display_name mean something to EGO"),
    Setting("interval_seconds", _number(1, 3600), "seconds between two samples (5)"),
    Setting("state_dir", _path, "folder of journal and spool; an agent needs one of its own"),
    Setting("spool_max_mib", _whole(1, 65_536), "MiB of samples that wait on disk while EGO is away (64)"),
    Setting("spool_max_hours", _number(0.01, 720), "hours that they wait (24)"),
    Setting("log_level", _one_of(*LOG_LEVELS), "debug, info, warning or error (info)"),
    Setting("command_policy", _one_of(*POLICIES), "off, allow_list or all: what EGO may have run here (off)"),
    Setting("command_allow", _patterns, "what an allow_list allows"),
    Setting("command_shell", _switch, "run commands through /bin/sh", only_in_file=True),
    Setting("command_concurrency", _whole(1, 64), "commands that run at a time (4)"),
    Setting("command_user", _account, "the account that commands run as, if not the agent's"),
)
VARIABLES: tuple[str, ...] = (
    FILE_VARIABLE,
    *(name for row in SETTINGS if not row.only_in_file for name in row.variables),
)


def settings_from(
    flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """The settings of an agent. `flags` holds values by setting name; None means not given. Raises BadSetting.

    Reads `file` if given, else the file that REFLECTOR_CONFIG names, else /etc/mirror-stage/reflector.toml if it exists.
    """
    names = [FILE_VARIABLE, *(name for row in SETTINGS for name in row.variables)]
    unknown = unknown_variable(environment, names, "REFLECTOR_")
    if unknown:
        raise BadSetting(f"{unknown} (config/reflector.toml has all of them)")
    path = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    in_file = _read_file(path or FILE, must_exist=path is not None)
    values: dict[str, Any] = {}
    for row in SETTINGS:
        found = _first_given(row, flags, environment, in_file, path or FILE)
        if found is not None:
            value, place = found
            try:
                values[row.name] = row.read(value)
            except _Bad as error:
                raise BadSetting(f"{place}: {error}") from error
    return _checked(values)


def _first_given(
    row: Setting, flags: Mapping[str, Any], environment: Mapping[str, str], in_file: Mapping[str, Any], path: Path
) -> tuple[Any, str] | None:
    """The value that wins, and where it stands (for the error message); None if it is set nowhere."""
    if row.only_in_file:
        if row.variable in environment:
            raise BadSetting(f"{row.variable}: only the file may set this: {row.name} in {path}")
        return (in_file[row.name], f"{row.name} in {path}") if row.name in in_file else None
    if flags.get(row.name) is not None:
        return flags[row.name], row.flag
    for variable in row.variables:
        if environment.get(variable):
            trouble = quotes_trouble(environment[variable])
            if trouble and row.name != "command_allow":  # a pattern may have quotes
                raise BadSetting(f"{variable}: {trouble}")
            return environment[variable], variable
    return next(((in_file[name], f"{name} in {path}") for name in row.names if name in in_file), None)


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        content = values_in(path.read_text(encoding="utf-8-sig"), path)
    except FileNotFoundError as error:
        if must_exist:
            raise BadSetting(f"{path}: there is no such file") from error
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    names = [name for row in SETTINGS for name in row.names]
    unknown = sorted(set(content) - set(names))
    if unknown:
        near = nearest(unknown[0], names)
        raise BadSetting(f"{path}: {', '.join(unknown)}: no such setting{near} (config/reflector.toml has all of them)")
    return content


def values_in(text: str, path: Path) -> dict[str, Any]:
    """The settings in the text of a file. Raises BadSetting if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _checked(values: dict[str, Any]) -> Settings:
    if values.get("command_policy") == ALLOW_LIST and not values.get("command_allow"):
        raise BadSetting("command_policy: allow_list needs patterns in command_allow")
    for pattern in values.get("command_allow", ()) if not values.get("command_shell") else ():
        try:
            shlex.split(pattern)
        except ValueError as error:
            raise BadSetting(f"command_allow: {pattern!r} cannot be split into words: {error}") from error
    if "ego_ca" in values and "ego_pin" in values:
        raise BadSetting("ego_pin: ego_ca is set, too, and both say whom to trust; give one of them")
    values["is_named"] = "hostname" in values
    if "hostname" not in values:
        try:
            values["hostname"] = normalise_hostname(socket.gethostname().rstrip("."))
        except BadField as error:
            raise BadSetting(f"hostname: this machine's own name cannot be used ({error.message}); set one") from error
    return Settings(**values)
