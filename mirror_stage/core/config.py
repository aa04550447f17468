"""All settings of EGO. They are read once, from the environment and then from `.env`; a bad value stops the start."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from dotenv.parser import parse_stream
from environs import Env, EnvError, validate

from mirror_stage.core import sentinels
from mirror_stage.core.addresses import address_for_others
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.instants import DAY, HOUR, Instant
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.core.urls import database_url_trouble, redis_url_trouble, url_trouble
from mirror_stage.core.variables import doubtful_variables, quotes_trouble, unknown_variable

_ACCOUNT = re.compile(r"[0-9]{1,10}\Z|[A-Za-z_][A-Za-z0-9_.@-]*\$?\Z")
_LISTENER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_LISTED = re.compile(r"\['(.*)'\]")  # a message of marshmallow
PREFIX, FAMILY = "MIRROR_STAGE_", "EGO_"  # of our variables; other programs have some that begin with EGO_, too
DOTENV = Path(".env")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


class _Retention(NamedTuple):
    """The setting that says how long a tier of the history is kept."""

    name: str
    field: str
    variable: str
    unit: Instant


_RETENTIONS = (  # finest first
    _Retention("raw", "retention_raw_hours", "MIRROR_STAGE_RETENTION_RAW_HOURS", HOUR),
    _Retention("1m", "retention_1m_days", "MIRROR_STAGE_RETENTION_1M_DAYS", DAY),
    _Retention("15m", "retention_15m_days", "MIRROR_STAGE_RETENTION_15M_DAYS", DAY),
)


@dataclass(frozen=True)
class Config:
    """The settings of one EGO. The defaults are those of `docs/contract.md` section 5."""

    port: int = 3000
    bind: str = "127.0.0.1"
    field_bind: str | None = None
    socket_mode: int = 0o600
    db_url: str | None = None
    db_ssl: bool = False
    sqlite_path: Path = Path("mirror_stage.db")
    redis_url: str | None = None
    workers: int = 1
    ego_monitor_enabled: bool = True
    ego_monitor_interval_ms: int = 5000
    stale_after_seconds: float = 15
    offline_after_seconds: float = 60
    ego_hostname: str = field(default_factory=socket.gethostname)
    ego_display_name: str | None = None
    ego_primary_ip: str | None = None
    ego_rack: str | None = None
    ego_uplink: str | None = None
    hub_hostname: str = "core-switch"
    hub_ip: str = "10.0.0.1"
    alert_rules: Path | None = None
    twin_diagnostics: bool = False
    security: str = "auto"
    tls: str = "auto"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_dir: Path | None = None
    local_users: tuple[str, ...] = ()
    local_agents: tuple[str, ...] = ("mirror-stage-reflector",)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    log_level: str = "info"
    max_hosts: int = 10_000
    retention_raw_hours: float = 24
    retention_1m_days: float = 30
    retention_15m_days: float = 730
    retention_alerts_days: float = 90
    public_url: str | None = None
    notify: str = "on"
    secrets_key_file: Path | None = None
    heartbeat_url: str | None = None
    heartbeat_seconds: float = 60
    testing: bool = False

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL; `testing` is in-memory SQLite unless a database is named."""
        if self.db_url:
            return "postgresql+psycopg://" + self.db_url.split("://", 1)[1]
        return "sqlite://" if self.testing else f"sqlite:///{self.sqlite_path.absolute()}"

    @property
    def is_postgresql(self) -> bool:
        return self.db_url is not None

    @property
    def is_clustered(self) -> bool:
        """Whether several workers may share the twin: with PostgreSQL and Redis, on this machine and on others."""
        return self.is_postgresql and self.redis_url is not None and not self.testing

    @cached_property
    def kept_by_resolution(self) -> dict[str, Instant]:
        """The retention of each tier of the history, in ms, by the tier's name."""
        return {tier.name: int(getattr(self, tier.field) * tier.unit) for tier in _RETENTIONS}

    @property
    def longest_retention(self) -> Instant:
        """The longest retention of all tiers, in ms: older history does not exist."""
        return max(self.kept_by_resolution.values())

    @property
    def alerts_kept(self) -> Instant:
        """How long an alert that ended is kept."""
        return int(self.retention_alerts_days * DAY)

    @cached_property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach EGO's port."""
        return is_loopback(self.bind)

    @cached_property
    def field_port(self) -> int | None:
        """The port of the listener for agents of another make; None without one."""
        return None if self.field_bind is None else int(self.field_bind.rpartition(":")[2])

    @property
    def page_address(self) -> str:
        """Where browsers and agents find EGO: `http://127.0.0.1:3000`. An address: few networks know the machine's name."""
        if self.bind.startswith("unix:"):
            return f"http://{self.ego_hostname}"
        name = self.bind.strip("[]")
        if name in {"0.0.0.0", "::"}:
            name = self.ego_primary_ip or address_for_others() or self.ego_hostname
        return f"{'https' if self.has_tls else 'http'}://{f'[{name}]' if ':' in name else name}:{self.port}"

    @cached_property
    def has_locks(self) -> bool:
        """Whether EGO trusts nobody without a credential."""
        return self.security == "strict" or (self.security == "auto" and not self.is_loopback)

    @cached_property
    def has_tls(self) -> bool:
        """Whether EGO speaks https."""
        return self.tls == "on" or (self.tls == "auto" and self.security != "open" and not self.is_loopback)

    @property
    def authority_folder(self) -> Path:
        """The folder of EGO's own certificate authority."""
        return (self.tls_dir or self.sqlite_path.with_suffix(".tls")).absolute()

    @property
    def revocations_file(self) -> Path | None:
        """The file of what was revoked; None for a database in memory. With PostgreSQL it stands where SQLite's file would."""
        return None if self.testing else self.sqlite_path.with_suffix(".revoked").absolute()


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a listen address. True for a Unix socket."""
    if address.startswith("unix:") or address in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def from_environment(*, read_dotenv: bool = True) -> Config:
    """The Config that the environment describes. Raises BadSetting with one line that names the variable."""
    env = Env()
    in_file = _read_dotenv(DOTENV) if read_dotenv else {}
    unknown = unknown_variable(in_file, VARIABLES, PREFIX, FAMILY) or unknown_variable(os.environ, VARIABLES, PREFIX)
    if unknown:
        raise BadSetting(f"{unknown} (config/ego.env.example has all of them)")
    if in_file:
        env.read_env(DOTENV, recurse=False)
    values: dict[str, Any] = {}
    for name, variable, read in _VARIABLES:
        if not _is_given(env, variable):
            continue
        try:
            value = read(env, variable)
        except EnvError as error:
            raise BadSetting(_one_line(variable, error)) from error
        if value is not None:
            values[name] = value
    config = Config(**values)
    if config.offline_after_seconds <= config.stale_after_seconds:
        raise BadSetting(
            f"MIRROR_STAGE_OFFLINE_AFTER_SECONDS: {config.offline_after_seconds:g} must be more than "
            f"MIRROR_STAGE_STALE_AFTER_SECONDS ({config.stale_after_seconds:g})"
        )
    for finer, coarser in zip(_RETENTIONS, _RETENTIONS[1:]):
        if getattr(config, coarser.field) * coarser.unit < getattr(config, finer.field) * finer.unit:
            raise BadSetting(
                f"{coarser.variable}: {getattr(config, coarser.field):g} is too short: it must last at least as long as "
                f"{finer.variable} ({getattr(config, finer.field):g})"
            )
    if (config.tls_cert is None) != (config.tls_key is None):
        lacking = "MIRROR_STAGE_TLS_KEY" if config.tls_key is None else "MIRROR_STAGE_TLS_CERT"
        raise BadSetting(
            f"{lacking}: is not set; a certificate of your own needs both MIRROR_STAGE_TLS_CERT and MIRROR_STAGE_TLS_KEY"
        )
    if config.field_port == config.port and not config.bind.startswith("unix:"):
        raise BadSetting(
            f"MIRROR_STAGE_FIELD_BIND: {config.port} is the port of EGO itself (PORT); agents of another make need a port of their own"
        )
    if config.tls == "on" and config.bind.startswith("unix:"):
        raise BadSetting(
            "MIRROR_STAGE_TLS: on needs an address and a port; no network reaches a Unix socket, so leave it at auto"
        )
    return config


def _is_given(env: Env, variable: str) -> bool:
    """Whether a variable has a value. compose.yaml and shells pass on what is not set as an empty text."""
    text = env.str(variable, "").strip()
    trouble = quotes_trouble(text)
    if trouble:
        raise BadSetting(f"{variable}: {trouble}")
    return bool(text)


def doubts() -> list[str]:
    """The variables that may be misspelt settings or are set twice, each in one line. They are no reason to refuse the start."""
    twice: list[str] = []
    in_file = _read_dotenv(DOTENV, twice.append)
    elsewhere = {name: value for name, value in os.environ.items() if name not in in_file}
    return [
        *twice,
        *doubtful_variables(in_file, VARIABLES, prefix=PREFIX, family=""),
        *doubtful_variables(elsewhere, VARIABLES, prefix=PREFIX, family=FAMILY),
    ]


def _read_dotenv(file: Path, doubt: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """What a file says; nothing if it is not there. Calls `doubt` with what it says twice. Raises BadSetting with file and line."""
    found: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8") as lines:
            for binding in parse_stream(lines):
                if binding.key and binding.value is not None:
                    if found.get(binding.key, binding.value) != binding.value:
                        doubt(set_twice(file, binding.original.line, binding.key))
                    found[binding.key] = binding.value
                elif binding.key or binding.error:
                    text = binding.original.string
                    line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
                    raise BadSetting(f"{file}, line {line}: must be NAME=value, with a = between the two")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file}: cannot be read: {error}") from error
    return found


def set_twice(file: Path, line: int, name: str) -> str:
    """What an operator has to know of a variable that a file sets to two values."""
    return f"{file}, line {line}: {name} was set above to another value; this line counts"


def _one_line(variable: str, error: EnvError) -> str:
    text = " ".join(str(error).split()).removeprefix(f'Environment variable "{variable}" ').removeprefix("invalid: ")
    listed = _LISTED.fullmatch(text)
    return f"{variable}: {listed[1] if listed else text}"


Reader = Callable[[Env, str], Any]


def _text(env: Env, variable: str) -> str | None:
    return env.str(variable, None) or None


def _address(env: Env, variable: str) -> str | None:
    text = _text(env, variable)
    name = (text or "localhost").removeprefix("unix:").strip("[]")
    if not name or not name.isprintable() or set(name) & set(" ,;@#?*"):
        raise EnvError(f"must be an address, a name or unix:/path to listen on, not {text!r}")
    if (text or "").startswith("[") != (text or "").endswith("]"):
        raise EnvError(f"has one bracket only: {text!r}; write an IPv6 address like ::1 or [::1]")
    if name.count(":") == 1 and not (text or "").startswith("unix:"):
        raise EnvError(f"is the address alone, not {text!r}; the port goes into PORT")
    return text


def _listener(env: Env, variable: str) -> str | None:
    text = _text(env, variable)
    if text is None:
        return None
    match = _LISTENER.fullmatch(text)
    try:
        name = str(
            ipaddress.IPv6Address(match[1]) if match and match[1] else ipaddress.IPv4Address(match[2] if match else "")
        )
    except ValueError as error:
        raise EnvError(
            f"must be an address and a port, such as 10.0.0.100:3001 or [::]:3001, not {text!r}; it cannot be a Unix socket"
        ) from error
    port = int(match[3]) if match else 0
    if not 1 <= port <= 65_535:
        raise EnvError(f"must have a port from 1 to 65535, not {text!r}")
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _ipv4(env: Env, variable: str) -> str | None:
    text = _text(env, variable)
    try:
        return None if text is None else str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise EnvError(f"must be an IPv4 address, not {text!r}") from error


def _hostname(env: Env, variable: str) -> str | None:
    text = _text(env, variable)
    try:
        return None if text is None else normalise_hostname(text)
    except BadField as error:
        raise EnvError(error.message) from error


def _path(env: Env, variable: str) -> Path | None:
    text = _text(env, variable)
    if text and "://" in text:
        raise EnvError("is a URL: write the path of a file or a folder")
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError as error:
        raise EnvError("begins with ~, and this user has no home folder: write the whole path") from error


def _names(env: Env, variable: str) -> tuple[str, ...] | None:
    names: list[str] = env.list(variable, [])
    return tuple(name.strip() for name in names if name.strip()) or None


def _accounts(env: Env, variable: str) -> tuple[str, ...] | None:
    names = _names(env, variable)
    for name in names or ():
        if not _ACCOUNT.match(name):
            raise EnvError(f"must be names or numbers (uids) of accounts of this machine, not {name!r}")
    return names


def _switch(env: Env, variable: str) -> bool | None:
    return env.bool(variable, None)


def _whole(least: int, most: int) -> Reader:
    return lambda env, variable: env.int(variable, None, validate=validate.Range(least, most))


def _between(least: float, most: float) -> Reader:
    return lambda env, variable: env.float(variable, None, validate=validate.Range(least, most))


def _one_of(*choices: str) -> Reader:
    return lambda env, variable: env.str(variable, None, validate=validate.OneOf(choices))


def _socket_mode(env: Env, variable: str) -> int | None:
    text = _text(env, variable)
    if text is None:
        return None
    if text not in {"0600", "0660", "0666"}:
        raise EnvError(f"must be 0600 (EGO's user), 0660 (and its group) or 0666 (everybody here), not {text!r}")
    return int(text, 8)


def _url(trouble_of: Callable[[str], str | None]) -> Reader:
    def read(env: Env, variable: str) -> str | None:
        text = _text(env, variable)
        trouble = text and trouble_of(text)
        if trouble:
            raise EnvError(trouble)
        return text

    return read


def _redis_url_trouble(url: str) -> str | None:
    if url.startswith(sentinels.SCHEME):
        try:
            sentinels.parse_sentinels(url)
        except ValueError as why:
            return str(why)
        return None
    return redis_url_trouble(url)


_HTTP = ("http", "https")

_VARIABLES: tuple[tuple[str, str, Reader], ...] = (
    ("port", "PORT", _whole(1, 65535)),
    ("bind", "MIRROR_STAGE_BIND", _address),
    ("field_bind", "MIRROR_STAGE_FIELD_BIND", _listener),
    ("socket_mode", "MIRROR_STAGE_SOCKET_MODE", _socket_mode),
    ("db_url", "MIRROR_STAGE_DB_URL", _url(database_url_trouble)),
    ("db_ssl", "MIRROR_STAGE_DB_SSL", _switch),
    ("sqlite_path", "MIRROR_STAGE_SQLITE_PATH", _path),
    ("redis_url", "MIRROR_STAGE_REDIS_URL", _url(_redis_url_trouble)),
    ("workers", "WEB_CONCURRENCY", _whole(1, 64)),
    ("ego_monitor_enabled", "MIRROR_STAGE_EGO_MONITOR_ENABLED", _switch),
    ("ego_monitor_interval_ms", "MIRROR_STAGE_EGO_MONITOR_INTERVAL_MS", _whole(1000, 3_600_000)),
    ("stale_after_seconds", "MIRROR_STAGE_STALE_AFTER_SECONDS", _between(1, 86_400)),
    ("offline_after_seconds", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS", _between(1, 604_800)),
    ("ego_hostname", "EGO_HOSTNAME", _hostname),
    ("ego_display_name", "EGO_DISPLAY_NAME", _text),
    ("ego_primary_ip", "EGO_PRIMARY_IP", _ipv4),
    ("ego_rack", "EGO_RACK", _text),
    ("ego_uplink", "EGO_UPLINK", _hostname),
    ("hub_hostname", "MIRROR_STAGE_HUB_HOSTNAME", _hostname),
    ("hub_ip", "MIRROR_STAGE_HUB_IP", _ipv4),
    ("alert_rules", "MIRROR_STAGE_ALERT_RULES", _path),
    ("twin_diagnostics", "MIRROR_STAGE_TWIN_DIAGNOSTICS", _switch),
    ("security", "MIRROR_STAGE_SECURITY", _one_of("auto", "strict", "open")),
    ("tls", "MIRROR_STAGE_TLS", _one_of("auto", "on", "off")),
    ("tls_cert", "MIRROR_STAGE_TLS_CERT", _path),
    ("tls_key", "MIRROR_STAGE_TLS_KEY", _path),
    ("tls_dir", "MIRROR_STAGE_TLS_DIR", _path),
    ("local_users", "MIRROR_STAGE_LOCAL_USERS", _accounts),
    ("local_agents", "MIRROR_STAGE_LOCAL_AGENTS", _accounts),
    ("allowed_hosts", "MIRROR_STAGE_ALLOWED_HOSTS", _names),
    ("allowed_origins", "MIRROR_STAGE_ALLOWED_ORIGINS", _names),
    ("trusted_proxies", "MIRROR_STAGE_TRUSTED_PROXIES", _names),
    ("log_level", "MIRROR_STAGE_LOG_LEVEL", _one_of("debug", "info", "warning", "error")),
    ("max_hosts", "MIRROR_STAGE_MAX_HOSTS", _whole(1, 1_000_000)),
    ("retention_raw_hours", "MIRROR_STAGE_RETENTION_RAW_HOURS", _between(0.01, 8_760)),
    ("retention_1m_days", "MIRROR_STAGE_RETENTION_1M_DAYS", _between(0.001, 3_650)),
    ("retention_15m_days", "MIRROR_STAGE_RETENTION_15M_DAYS", _between(0.001, 36_500)),
    ("retention_alerts_days", "MIRROR_STAGE_RETENTION_ALERTS_DAYS", _between(0.001, 36_500)),
    (
        "public_url",
        "MIRROR_STAGE_PUBLIC_URL",
        _url(lambda url: url_trouble(url, _HTTP, may_hold_password=False, needs_host=True)),
    ),
    ("notify", "MIRROR_STAGE_NOTIFY", _one_of("on", "dry", "off")),
    ("secrets_key_file", "MIRROR_STAGE_SECRETS_KEY_FILE", _path),
    (
        "heartbeat_url",
        "MIRROR_STAGE_HEARTBEAT_URL",
        _url(lambda url: url_trouble(url, _HTTP, may_hold_password=True, needs_host=True)),
    ),
    ("heartbeat_seconds", "MIRROR_STAGE_HEARTBEAT_SECONDS", _between(1, 86_400)),
)

VARIABLES: tuple[str, ...] = tuple(variable for _, variable, _ in _VARIABLES)
