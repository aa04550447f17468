"""A certificate that the operator brings: MIRROR_STAGE_TLS_CERT and MIRROR_STAGE_TLS_KEY."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.instants import day
from mirror_stage.tls import certificates
from mirror_stage.tls.certificates import Certificate, Unusable

_READ_MAX = 2**20


def read_pair(chain: Path, key: Path, now: float) -> Certificate:
    """The certificate of the two files. Raises BadSetting, naming the variable, unless clients can accept it now."""
    chain_pem, key_pem = _read("MIRROR_STAGE_TLS_CERT", chain), _read("MIRROR_STAGE_TLS_KEY", key, _check_private)
    try:
        certificate = certificates.read(chain_pem)
    except Unusable as error:
        raise BadSetting(
            f"MIRROR_STAGE_TLS_CERT: {chain} {error}; name the file of the certificate and its chain"
        ) from error
    try:
        certificates.check_key(key_pem, chain_pem)
    except Unusable as error:
        raise BadSetting(f"MIRROR_STAGE_TLS_KEY: {key} {error}; name the key of {chain}, without a password") from error
    if now >= certificate.ends:
        raise BadSetting(
            f"MIRROR_STAGE_TLS_CERT: {chain} expired on {day(certificate.ends)}; renew it, or correct this clock"
        )
    if now < certificate.begins:
        raise BadSetting(
            f"MIRROR_STAGE_TLS_CERT: {chain} is valid from {day(certificate.begins)} only; correct this clock"
        )
    return certificate


def _read(variable: str, path: Path, check: Callable[[str, Path, os.stat_result], None] | None = None) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BadSetting(f"{variable}: {path} is not a file")
            if check is not None:
                check(variable, path, found)
            return os.read(descriptor, _READ_MAX)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadSetting(
            f"{variable}: {path} cannot be read: {error.strerror}; EGO's own user must be able to"
        ) from error


def _check_private(variable: str, path: Path, found: os.stat_result) -> None:
    """As PostgreSQL asks it: 0600, or 0640 where root owns it, as Debian's group ssl-cert has it."""
    allowed = 0o640 if found.st_uid == 0 else 0o600
    if stat.S_IMODE(found.st_mode) & ~(allowed | 0o111) & 0o077:
        raise BadSetting(f"{variable}: {path} can be read by other users; run: chmod {allowed:o} {path}")
