"""How a client knows over https that it talks to EGO, and the token by which EGO knows the client.

Standard library only: the agent and the commands that talk to an EGO share it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import os
import re
import socket
import ssl
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.clock import is_plausible, machine_seconds
from mirror_stage.core.instants import day

PIN_PREFIX = "sha256//"
ROOT_PATH = "/api/tls/root.pem"
ROOT_SECONDS, ROOT_BYTES_MAX = 5.0, 64 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64  # X509_V_ERR_… of OpenSSL
_PARTIAL_CHAIN = ssl.VerifyFlags(0x80000)  # ssl.VERIFY_X509_PARTIAL_CHAIN, which Python knows from 3.10 on
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}


class Untrusted(OSError):
    """The server is not shown to be EGO. The text says what differs, and what to do."""


class Trust:
    """The servers that a client accepts over https: by the system's authorities, by a PEM file, or by a pinned key.

    A pin is that of the server's key, or that of the root's of EGO's own authority. In the second case the root is asked
    of the server itself, because the pin proves it; from then on the root decides. Raises BadSetting.
    """

    def __init__(self, ca_file: Path | None = None, pin: str | None = None):
        if ca_file is not None and pin is not None:
            raise BadSetting("a file of certificates and a pin are two ways to trust EGO: give one of them")
        self._pin = pin
        self._context = None if ca_file is None else _context_of(ca_file)

    def secured(self, connect: Callable[[], socket.socket], host: str, prefix: str = "") -> ssl.SSLSocket:
        """A TLS connection to the trusted server `host`. `connect` opens a plain one. Raises Untrusted and OSError.

        `prefix` is the path under which EGO is served.
        """
        if self._context is None and self._pin is not None:
            connection = _wrapped(_unchecked(), connect(), host)
            if pin_of(connection.getpeercert(True) or b"") == self._pin:
                return connection
            with connection:
                self._context = self._pinned(_root_from(connection, host, prefix))
        if self._context is None:
            self._context = ssl.create_default_context()
        return _wrapped(self._context, connect(), host)

    def _pinned(self, pem: str) -> ssl.SSLContext:
        """A context that trusts the root whose key is pinned, and nobody else. Raises Untrusted."""
        for text in re.findall("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.DOTALL):
            try:
                if pin_of(ssl.PEM_cert_to_DER_cert(text)) == self._pin:
                    return ssl.create_default_context(cadata=text)
            except (ValueError, ssl.SSLError):
                continue
        raise Untrusted(
            "it has another key than the pin says: it is not the EGO that you pinned, or its authority was made anew; on EGO's "
            "machine mirror-stage tls show prints the pin"
        )


def pin_of(der: bytes) -> str | None:
    """The pin of a certificate's public key, as curl's --pinnedpubkey takes it; None if it is no certificate."""
    try:
        at = _inside(der, _inside(der, 0))  # Certificate, then tbsCertificate
        if der[at] == 0xA0:  # the version
            at = _after(der, at)
        for _ in ("serial number", "algorithm", "issuer", "validity", "subject"):
            at = _after(der, at)
        return PIN_PREFIX + base64.b64encode(hashlib.sha256(der[at : _after(der, at)]).digest()).decode()
    except IndexError:
        return None


def pin_of_pem(pem: str) -> str | None:
    """The pin of the first certificate in a PEM text; None if there is none."""
    try:
        return pin_of(ssl.PEM_cert_to_DER_cert(pem.strip()))
    except ValueError:
        return None


def checked_pin(text: str) -> str:
    """A pin as it is written. Raises ValueError with what is wrong."""
    try:
        digest = base64.b64decode(text.removeprefix(PIN_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if not text.startswith(PIN_PREFIX) or len(digest) != 32:
        raise ValueError(f"must be {PIN_PREFIX} and 44 characters of base64, as mirror-stage tls show prints it")
    return text


def is_token(text: object) -> bool:
    """Whether this may be a token: printable characters without a space."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def read_token(file: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The token in a file that only its owner can read, or that systemd has loaded. Raises BadSetting."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            loaded_into = environment.get(
                "CREDENTIALS_DIRECTORY"
            )  # systemd may grant the right by an ACL, in the group's bits
            is_loaded = loaded_into is not None and file.is_relative_to(loaded_into)
            if not stat.S_ISREG(found.st_mode):
                raise BadSetting(f"token_file: {file} is not a file")
            if found.st_mode & 0o077 and not is_loaded:
                raise BadSetting(f"token_file: {file} can be read by other users; run: chmod 600 {file}")
            text = os.read(descriptor, 4096).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadSetting(
            f"token_file: {file} cannot be read: {error.strerror}; the agent's service gets it from systemd if you run "
            "mirror-stage reflector install again"
        ) from error
    if not is_token(text):
        raise BadSetting(f"token_file: {file} must hold one token and nothing else")
    return text


def is_private(url: str) -> bool:
    """Whether nobody between can read what is sent to this URL: https, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "https" or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _context_of(ca_file: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise BadSetting(f"{ca_file}: holds no certificates (PEM) that can be read: {error}") from error
    context.verify_flags |= _PARTIAL_CHAIN  # the file may have EGO's own certificate instead of a root
    return context


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the pin is compared instead
    return context


def _wrapped(context: ssl.SSLContext, plain: socket.socket, host: str) -> ssl.SSLSocket:
    """The connection after the handshake. Raises Untrusted with what differs."""
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise Untrusted(_why_untrusted(error.verify_code, error.verify_message, host, machine_seconds())) from error
    except ssl.SSLError as error:
        plain.close()
        if error.reason in _NO_TLS:
            raise Untrusted(
                "it does not speak https there: write http://, or set MIRROR_STAGE_TLS on EGO's machine"
            ) from error
        raise Untrusted(f"the TLS handshake failed: {error.reason or error}") from error
    except BaseException:
        plain.close()
        raise


def _why_untrusted(code: int, message: str, host: str, now: float) -> str:
    """What differs between the certificate and what this client trusts, and what to do."""
    if not is_plausible(now):
        return (
            f"this machine's clock says {day(now)}, so no certificate can be judged: set it (timedatectl set-ntp true)"
        )
    if code == _EXPIRED:
        return (
            f"its certificate has expired, by this machine's clock, which says {day(now)}: if the clock is right, run "
            "mirror-stage tls renew on EGO's machine"
        )
    if code == _NOT_YET:
        return f"its certificate is not valid yet, by this machine's clock, which says {day(now)}: set the clock"
    if code in {_OTHER_NAME, _OTHER_ADDRESS}:
        return (
            f"its certificate does not name {host}: use an address or a name that mirror-stage tls show prints on EGO's machine, "
            f"or add {host} to MIRROR_STAGE_ALLOWED_HOSTS there"
        )
    return (
        f"its certificate comes from an authority that is not trusted here ({message}): on EGO's machine, mirror-stage tls root "
        "prints the certificate to trust, and mirror-stage tls show its pin"
    )


def _root_from(connection: ssl.SSLSocket, host: str, prefix: str) -> str:
    """What the server says its root is: up to ROOT_BYTES_MAX, within ROOT_SECONDS. Raises OSError."""
    deadline, content = time.monotonic() + ROOT_SECONDS, b""
    name = f"[{host}]" if ":" in host else host
    connection.sendall(f"GET {prefix}{ROOT_PATH} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
    while len(content) < ROOT_BYTES_MAX:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(ROOT_BYTES_MAX)
        if not part:
            break
        content += part
    return content.partition(b"\r\n\r\n")[2].decode(errors="replace")


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the DER element at this place begins and ends."""
    length, begins = der[at + 1], at + 2
    if length & 0x80:
        digits = length & 0x7F
        length, begins = int.from_bytes(der[begins : begins + digits], "big"), begins + digits
    if begins + length > len(der):
        raise IndexError
    return begins, begins + length


def _inside(der: bytes, at: int) -> int:
    return _element(der, at)[0]


def _after(der: bytes, at: int) -> int:
    return _element(der, at)[1]
