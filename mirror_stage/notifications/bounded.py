"""Receivers that send more than they should: what is read of an answer is counted, and then the connection is cut.

A receiver that never stops (`100 Continue`, lines of an SMTP reply, a body of gigabytes) would else fill memory. And while bytes are
always there, gevent gives nobody else a turn, so that not even a deadline ends it.
"""

from __future__ import annotations

import io
import smtplib
from http import client
from typing import Any

import requests
import urllib3
from requests import adapters

ANSWER_BYTES_MAX = 256 * 1024  # of one connection: heads and bodies


class TooLong(OSError):
    """A receiver has sent more than ANSWER_BYTES_MAX."""


class _Counted(io.RawIOBase):
    """What arrives of a connection, as long as it is not too much."""

    def __init__(self, raw: io.RawIOBase):
        self._raw, self._left = raw, ANSWER_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise TooLong(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _counted(file: Any) -> io.BufferedReader:
    return io.BufferedReader(_Counted(file.detach()))


class _Response(client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fp = _counted(self.fp)


class _Plain(urllib3.connection.HTTPConnection):
    response_class = _Response


class _Tls(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Tls


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class Adapter(adapters.HTTPAdapter):
    """Requests whose answers are bounded. They are taken as they are: a few packed bytes could be very many."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.headers["Accept-Encoding"] = "identity"
        answer = super().send(request, *args, **kwargs)
        answer.raw.headers.pop("Content-Encoding", None)
        return answer


def bound_all_requests() -> None:
    """Bound what every session of requests in this process is answered, also the sessions that Apprise makes."""
    requests.sessions.HTTPAdapter = Adapter  # type: ignore[misc,attr-defined]


def is_too_long(error: BaseException | None) -> bool:
    """Whether an error began with a TooLong."""
    while error is not None and not isinstance(error, TooLong):
        error = error.__context__
    return error is not None


class _BoundedReplies(smtplib.SMTP):
    file: Any

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _counted(self.sock.makefile("rb"))
        return super().getreply()


class Smtp(_BoundedReplies):
    """SMTP whose replies are bounded."""


class SmtpOverTls(_BoundedReplies, smtplib.SMTP_SSL):
    """The same over TLS."""
