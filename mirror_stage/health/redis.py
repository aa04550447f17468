"""Checks whether Redis answers. It may be broken or hostile: everything has one deadline, and lines must be short."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

from redis.connection import parse_url

from mirror_stage.core import sentinels
from mirror_stage.core.clock import elapsed_seconds

SECONDS = 0.5
_LINE_MAX = 512


def redis_trouble(url: str, seconds: float = SECONDS) -> str | None:
    """Why Redis does not answer at this URL within `seconds`, in one line; None if it does. Of sentinels, one has to answer."""
    if url.startswith(sentinels.SCHEME):
        places = [{"host": host, "port": port} for host, port in sentinels.parse_sentinels(url).addresses]
        troubles = [_trouble_at(place, seconds) for place in places]
        return None if None in troubles else troubles[0]
    try:
        return _trouble_at(parse_url(url), seconds)
    except (ValueError, TypeError) as error:  # a URL may have unknown options
        return _in_a_line(error)


def _trouble_at(options: dict[str, Any], seconds: float) -> str | None:
    deadline = elapsed_seconds() + seconds
    try:
        with contextlib.closing(_connected(options, deadline)) as connection:
            secret = [text for text in (options.get("username"), options.get("password")) if text]
            for words in ([["AUTH", *secret]] if options.get("password") else []) + [["PING"]]:
                connection.settimeout(_left(deadline))
                connection.sendall(_request(words))
                answer = _line(connection, deadline)
                if answer not in {b"+OK", b"+PONG"}:
                    return f"it answers {words[0]} with {answer[:100]!a}"
        return None
    except TimeoutError:
        return f"no whole answer within {seconds:g} s"
    except (OSError, ValueError, TypeError) as error:
        return _in_a_line(error)


def _in_a_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _connected(options: dict[str, Any], deadline: float) -> socket.socket:
    if "path" in options:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_left(deadline))
        connection.connect(options["path"])
        return connection
    name = options.get("host", "localhost")
    connection = socket.create_connection((name, options.get("port", 6379)), timeout=_left(deadline))
    if options.get("connection_class") is None:
        return connection
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    connection.settimeout(_left(deadline))
    return context.wrap_socket(connection, server_hostname=name)


def _request(words: list[str]) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _line(connection: socket.socket, deadline: float) -> bytes:
    """The first line of an answer. Whatever follows it is ignored."""
    line = b""
    while b"\r\n" not in line:
        if len(line) >= _LINE_MAX:
            if line.startswith(b"-"):  # an error, such as that of the protected mode: its beginning says what is wrong
                return line
            raise ValueError(f"its answer has no end within {_LINE_MAX} bytes")
        connection.settimeout(_left(deadline))
        part = connection.recv(_LINE_MAX - len(line))
        if not part:
            raise ValueError("it closed the connection")
        line += part
    return line.partition(b"\r\n")[0]


def _left(deadline: float) -> float:
    left = deadline - elapsed_seconds()
    if left <= 0:
        raise TimeoutError
    return left
