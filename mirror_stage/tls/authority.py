"""EGO's own certificate authority: a folder with a root, and the server certificate that the root issues.

| file | |
|---|---|
| `root.pem` | what clients trust; 10 years |
| `root.key` | needed for a renewal only, so it may be kept elsewhere |
| `server.pem` | what EGO shows: the server certificate, and the root after it; 90 days |
| `server.key` | stays the same at a renewal, so that a client may pin it |
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.clock import is_plausible
from mirror_stage.core.instants import day
from mirror_stage.storage import files
from mirror_stage.storage.private_folder import PrivateFolder
from mirror_stage.tls import certificates
from mirror_stage.tls.certificates import Certificate, Unusable

LOCK_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Issued:
    """What lies in the folder."""

    root_pem: bytes
    root: Certificate
    has_root_key: bool
    chain_pem: bytes
    server: Certificate


class Authority(PrivateFolder):
    """The authority in a folder. Each step reads the folder anew, because a command line may change it."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.chain, self.key = folder / "server.pem", folder / "server.key"

    def root_pem(self) -> bytes | None:
        """The root's certificate, None if there is no authority yet. Raises BadSetting."""
        with self.as_owner():
            return self.read("root.pem") if self.folder.exists() else None

    def issued(self) -> Issued | None:
        """What there is; None if the authority is not complete. Raises BadSetting."""
        with self.as_owner():
            return self._issued() if self.folder.exists() else None

    def ensure(
        self, names: tuple[str, ...], now: float, *, anew: bool = False, patience: float = LOCK_SECONDS
    ) -> Issued:
        """A server certificate for `names` that is not due for renewal, if the root's key is here.

        Makes what is missing; `anew` renews in any case. Raises BadSetting, also if another process works on it longer
        than `patience`.
        """
        with self.as_owner(), self._locked(patience):
            root_pem, root_key = self._root(now)
            found = self._issued()
            if found is not None and not anew and not is_due(found, names, now):
                return found
            if root_key is None:
                if found is None or anew:
                    raise BadSetting(
                        f"MIRROR_STAGE_TLS_DIR: {self.folder / 'root.key'} is not there; put it back for the moment of a "
                        "renewal, then run: mirror-stage tls renew"
                    )
                return found
            self._check_clock(now)
            if not certificates.read(root_pem).is_valid(now):
                raise BadSetting(
                    f"MIRROR_STAGE_TLS_DIR: the authority in {self.folder} has expired; move the folder away to begin with a "
                    "new one, which clients have to trust anew"
                )
            key = self.read("server.key")
            if key is None or found is None:
                key = certificates.new_key()
                self.write("server.key", key)
            server = certificates.make_server(key, names, root_pem, root_key, now)
            self.write("server.pem", server + root_pem)
            issued = self._issued()
            assert issued is not None
            return issued

    def _root(self, now: float) -> tuple[bytes, bytes | None]:
        """The root's certificate and key. Makes them if the folder holds none. The key may be elsewhere."""
        pem, key = self.read("root.pem"), self.read("root.key")
        if pem is not None:
            if key is not None:
                self._usable("root.key", partial(certificates.check_key, key, pem))
            return pem, key
        if self.read("server.pem") is not None:
            raise BadSetting(
                f"MIRROR_STAGE_TLS_DIR: {self.folder / 'root.pem'} is not there, although clients trust it; put it back, or "
                "move the whole folder away to begin with a new authority that clients have to trust anew"
            )
        self._check_clock(now)
        if key is None:
            key = certificates.new_key()
            self.write("root.key", key)
        host = os.uname().nodename
        pem = certificates.make_root(key, f"EGO of {host}, {day(now)}", now)
        self.write("root.pem", pem)
        return pem, key

    def _issued(self) -> Issued | None:
        root_pem, chain, key = self.read("root.pem"), self.read("server.pem"), self.read("server.key")
        if root_pem is None or chain is None or key is None:
            return None
        root = self._usable("root.pem", partial(certificates.read, root_pem))
        try:
            certificates.check_key(key, chain)
            server = certificates.read(chain)
        except Unusable:
            return None  # torn by a kill between two files, or foreign: it is made anew
        if not certificates.is_issued_by(chain, root_pem):
            return None
        return Issued(root_pem, root, (self.folder / "root.key").exists(), chain, server)

    def _check_clock(self, now: float) -> None:
        if not is_plausible(now):
            raise BadSetting(
                f"MIRROR_STAGE_TLS: this machine's clock says {day(now)}, and a certificate "
                "made now would be wrong; set the clock, then start again"
            )

    def _usable(self, name: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except Unusable as error:
            raise BadSetting(f"MIRROR_STAGE_TLS_DIR: {self.folder / name} {error}; restore it from a copy") from error

    @contextlib.contextmanager
    def _locked(self, patience: float) -> Iterator[None]:
        """One process at a time changes the folder."""
        files.make_folder(self.folder)
        descriptor = files.open_own(self.folder / "lock", os.O_RDWR)
        try:
            deadline = time.monotonic() + patience
            while not _took(descriptor):
                if time.monotonic() > deadline:
                    raise BadSetting(f"MIRROR_STAGE_TLS_DIR: another process is changing {self.folder}; try again")
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def is_due(found: Issued, names: tuple[str, ...], now: float) -> bool:
    """Whether the server certificate has to be renewed: by its age, or because it lacks a name or an address."""
    server = found.server
    return not server.begins <= now < server.renewed_from or not set(names) <= set(server.names)


def _took(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
