"""TLS on the connections of clients: the handshake, in the greenlet of its connection, under a deadline.

gunicorn's own TLS has no deadline, and prints a traceback for each handshake that fails. Here a client that sends nothing,
or slowly, costs what an idle connection costs, and a client that fails is counted with the other refusals.
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket, ssl

from mirror_stage.tls.service import ServerCertificate, Shown

if TYPE_CHECKING:
    from mirror_stage.web.refusals import Refusals

HANDSHAKE_SECONDS = 10.0
LOOK_SECONDS = 10.0  # how often EGO looks whether its certificate is still right
LINGER_SECONDS = 0.5  # how long the rest of a refused request is read
_PIECE = 64 * 1024
_HANDSHAKE = b"\x16"  # the first byte of a TLS client
_PLAIN = b"EGO speaks https on this port: write https:// instead of http://\n"
_PLAIN_ANSWER = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nConnection: Upgrade, close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s" % (len(_PLAIN), _PLAIN)
)


class Connection(ssl.SSLSocket):  # type: ignore[misc]  # gevent has no types
    """A connection of a client. Broken records are a connection that broke, as without TLS."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return bytes(super().recv(buflen, flags))
        except ssl.SSLError as error:
            raise ConnectionResetError(errno.ECONNRESET, f"TLS: {error.reason}") from error

    def send(self, data: Any, flags: int = 0, timeout: Any = None) -> int:
        how = {} if timeout is None else {"timeout": timeout}
        try:
            return int(super().send(data, flags, **how))
        except ssl.SSLError as error:
            raise BrokenPipeError(errno.EPIPE, f"TLS: {error.reason}") from error

    def shutdown(self, how: int) -> None:
        """End the connection. Its reader finds an end of file; gevent's own version would raise an error there."""
        socket.socket.shutdown(self, how)


class Handshakes:
    """Makes a TLS connection of each connection, with the newest certificate.

    `takes_plain` lets clients that speak plain HTTP through as they are, so that an open EGO can move to https client by
    client.
    """

    def __init__(self, certificate: ServerCertificate, refusals: Refusals, *, takes_plain: bool):
        self._certificate, self._refusals, self._takes_plain = certificate, refusals, takes_plain
        self._context: ssl.SSLContext | None = None
        self._loaded: Shown | None = None
        self.look()

    def keep_up(self) -> None:
        """Look at the certificate for as long as this process runs."""
        while True:
            gevent.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Renew or load the certificate where that is due. Connections that are open keep theirs."""
        self._certificate.look()
        shown = self._certificate.shown
        if shown is None or shown == self._loaded:
            return
        try:
            self._context = context_of(shown.chain, shown.key)
            self._loaded = shown
        except (OSError, ValueError) as error:  # another process is replacing the files
            self._certificate.trouble = (
                f"{shown.chain} cannot be loaded: {error}; the certificate before it is still shown"
            )

    def accept(self, client: Any, peer: str) -> Any:
        """The `Connection` after its handshake, or the client itself if it may speak plain HTTP.

        None if there was no handshake; the client has its answer then, and is closed.
        """
        connection, is_open = client, False
        deadline = gevent.Timeout.start_new(HANDSHAKE_SECONDS)
        try:
            first = client.recv(1, socket.MSG_PEEK)
            if first == _HANDSHAKE and self._context is not None:
                connection = self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
                connection.do_handshake()
                is_open = True
                return connection
            if first.isalpha() and self._takes_plain:
                is_open = True
                return client
            if first.isalpha():
                self._refusals.note(
                    peer, 426, "it sends plain HTTP; EGO speaks https on this port: write https:// there"
                )
                client.sendall(_PLAIN_ANSWER)
                linger(client)
        except gevent.Timeout as expired:
            if expired is not deadline:
                raise
            if connection is not client:
                self._refusals.note(peer, 400, f"it began TLS, and did not finish within {HANDSHAKE_SECONDS:g} s")
        except ssl.SSLEOFError:
            pass  # the client is gone
        except ssl.SSLError as error:
            why = error.reason or type(error).__name__
            self._refusals.note(
                peer, 400, f"its TLS handshake failed ({why}); mirror-stage doctor says what it must trust"
            )
        except OSError:
            pass  # the client is gone
        finally:
            deadline.close()
            if not is_open:
                connection.close()
        return None


def context_of(chain: Path, key: Path) -> ssl.SSLContext:
    """How EGO speaks TLS: 1.2 or newer, with forward secrecy, HTTP/1.1. Raises OSError if the files do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain, key)
    context.sslsocket_class = Connection
    return context


def linger(client: Any) -> None:
    """Read on for LINGER_SECONDS. Closing with unread bytes would reset the connection, and the client would lose the answer."""
    with contextlib.suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):
        client.shutdown(socket.SHUT_WR)
        while client.recv(_PIECE):
            pass
