"""What is wrong with a URL, in words that never repeat it: a URL may hold a password."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import parse_qsl, quote

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_NOT_IN_HOSTS = re.compile(r'["<>\\^`{|}%]')
_OWN_PARAMETERS = {
    "autocommit",
    "context",
    "cursor_factory",
    "prepare_threshold",
    "row_factory",
}  # of psycopg, not of PostgreSQL
_SECONDS, _NUMBER, _TEXT = "[0-9]+([.][0-9]+)?", "[0-9]{1,9}", ".+"
_REDIS_PARAMETERS = {
    "db": _NUMBER, "username": _TEXT, "password": _TEXT, "client_name": _TEXT, "protocol": "[23]",
    "socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS, "health_check_interval": _NUMBER,
    "ssl_ca_certs": _TEXT, "ssl_certfile": _TEXT, "ssl_keyfile": _TEXT, "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "True|False|true|false",
}  # fmt: skip


def database_url_trouble(url: str) -> str | None:
    """What is wrong with the URL of a PostgreSQL; None if nothing is."""
    if "%00" in url:
        return "has %00, which stands for no character of a name or a password: leave it out"
    trouble = url_trouble(url, ("postgresql", "postgres"), may_hold_password=True, needs_host=False)
    return trouble or _parameter_trouble(url.partition("?")[2])


def redis_url_trouble(url: str) -> str | None:
    """What is wrong with the URL of a Redis; None if nothing is."""
    trouble = url_trouble(url, ("redis", "rediss", "unix"), may_hold_password=True, needs_host=False)
    before, _, query = url.partition("?")
    path = before.partition("://")[2].partition("/")[2]
    if trouble is None and not before.lower().startswith("unix") and not re.fullmatch("[0-9]{0,9}", path):
        return "has a database that is no number: write it like redis://HOST:PORT/0"
    return trouble or _redis_parameter_trouble(query)


def _redis_parameter_trouble(query: str) -> str | None:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _REDIS_PARAMETERS:
            return f"has a parameter that EGO does not know; it knows {', '.join(_REDIS_PARAMETERS)}"
        if not re.fullmatch(_REDIS_PARAMETERS[name], value):
            return f"has a parameter {name} with a value that cannot be"
    return None


def url_trouble(url: str, schemes: tuple[str, ...], *, may_hold_password: bool, needs_host: bool) -> str | None:
    """What is wrong with a URL, in one line without any of its values; None if nothing is."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in schemes:
        return f"must begin with {' or '.join(each + '://' for each in schemes)}"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, address = authority.rpartition("@")
    troubles = (
        (at and not may_hold_password, "must not hold a name or a password"),
        (not at and "@" in rest.partition("?")[0], _must_encode("/?#")),
        ("@" in login, _must_encode("@")),
        (set(login) & set("[]"), _must_encode("[]")),
        (_BLANK.search(url), "has a space or a control character: write a space as %20"),
        (_BAD_PERCENT.search(url), "has a % without two hexadecimal digits after it: write % as %25"),
    )
    return next((words for is_so, words in troubles if is_so), None) or _address_trouble(
        address, needs_host, may_hold_password
    )


def _address_trouble(address: str, needs_host: bool, may_hold_password: bool) -> str | None:
    """What is wrong with `host:port`. Where the @ was forgotten this is `name:password`, so it is not repeated."""
    host, colon, port = address, "", ""
    if not address.endswith("]"):
        before, colon, port = address.rpartition(":")
        host = before if colon else address
    if "," in host and ":" in host:
        return "names several hosts with ports: write them as parameters, like ?host=one:5432&host=two:5432"
    if set(host) & set("[]:") and not _is_ipv6_in_brackets(host):
        return "has a host that cannot be read: an IPv6 address stands in brackets, like [::1] or [::1]:3000"
    if _NOT_IN_HOSTS.search(host):
        return "has a host with a character that no name of a machine has"
    if colon and not _is_port(port):
        rather = f"; or it {_must_encode('/?#')}" if may_hold_password else ""
        return f"has no port from 1 to 65535 after the colon{rather}"
    if not all(map(_is_name, host.split(","))):
        return "has a host that is no name: each part between two dots has 1 to 63 characters"
    return "names no host" if needs_host and not host else None


def _parameter_trouble(query: str) -> str | None:
    given = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in given]
    own = next((name for name in names if name in _OWN_PARAMETERS), None)
    if own:
        return f"has the parameter {own}, which EGO sets itself: leave it out"
    if any(names.count(name) > 1 for name in names if name != "host"):
        return "has a parameter twice; only host may stand there several times"
    hosts = [host for name, value in given if name == "host" for host in value.split(",")]
    ports = [port for name, value in given if name == "port" and value for port in value.split(",")]
    if not all(map(_is_port, ports)) or (len(ports) > 1 and len(ports) != len(hosts)):
        return "has a parameter port that is not one port from 1 to 65535, or one for each host"
    return None


def _is_name(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _is_port(text: str) -> bool:
    return bool(re.fullmatch("[0-9]{1,5}", text)) and 1 <= int(text) <= 65_535


def _is_ipv6_in_brackets(host: str) -> bool:
    try:
        return host.startswith("[") and host.endswith("]") and bool(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        return False


def _must_encode(characters: str) -> str:
    ways = ", ".join(f"{character} as {quote(character, safe='')}" for character in characters)
    return f"has a name or a password with a character that must be percent-encoded: write {ways}"
