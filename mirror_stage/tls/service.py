"""The certificate that EGO shows: where it comes from, whether it is still good, and when it has to be renewed.

An EGO without TLS does not load the part of `cryptography` for certificates: what needs it is imported when it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.clock import machine_seconds
from mirror_stage.core.config import Config
from mirror_stage.core.instants import day
from mirror_stage.tls import names

if TYPE_CHECKING:
    from mirror_stage.tls.authority import Authority, Issued
    from mirror_stage.tls.certificates import Certificate

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400
WARNED_SECONDS = 20 * _DAY_SECONDS  # before the certificate ends
ROOT_WARNED_SECONDS = 180 * _DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Shown:
    """What EGO shows to clients, and where the files are. There is no root with a certificate of the operator's own."""

    certificate: Certificate
    chain: Path
    key: Path
    root: Certificate | None = None
    root_pem: bytes | None = None

    @property
    def trusted_by(self) -> str:
        """What a client has to trust, in words."""
        if self.root is None:
            return f"whoever issued {self.chain}, or the pin {self.certificate.pin}"
        return f"the root (mirror-stage tls root > ego-root.pem), or its pin {self.root.pin}"


class ServerCertificate:
    """Keeps the certificate of one EGO valid. `look` is called again and again; it never raises."""

    def __init__(self, config: Config, now: Callable[[], float] = machine_seconds):
        self._config, self._now = config, now
        self.shown: Shown | None = None
        self.trouble: str | None = None

    @cached_property
    def _authority(self) -> Authority:
        from mirror_stage.tls.authority import Authority

        return Authority(self._config.authority_folder)

    @property
    def is_own_files(self) -> bool:
        """Whether the operator brings the certificate."""
        return self._config.tls_cert is not None

    def prepare(self) -> Shown:
        """Load the certificate; make or renew it where that is due. Raises BadSetting."""
        self.shown = self._current()
        self.trouble = self.trouble_of(self.shown)
        return self.shown

    def look(self) -> None:
        """Load a certificate that was changed, and renew one that is due. Log a trouble once, and keep what there is."""
        before = self.trouble
        try:
            found = self._current(patience=0)
            if self.shown is not None and found != self.shown:
                log.info("TLS: new connections get another certificate, which ends on %s", day(found.certificate.ends))
            self.shown = found
            self.trouble = self.trouble_of(found)
        except BadSetting as error:
            self.trouble = str(error)
        except Exception as error:
            log.exception("the certificate was not looked at; EGO tries again")
            self.trouble = f"the certificate was not looked at: {type(error).__name__}; the log has the details"
        if self.trouble and self.trouble != before:
            log.warning("TLS: %s", self.trouble)

    def check(self) -> dict[str, Any]:
        """The readiness check."""
        if not self._config.has_tls:
            return {"ok": True, "detail": "off: EGO speaks plain HTTP"}
        if self.trouble or self.shown is None:
            return {"ok": False, "detail": self.trouble or "no certificate is loaded"}
        whose = "your own certificate" if self.is_own_files else "certificate of EGO's own authority"
        return {"ok": True, "detail": f"{whose}, ends on {day(self.shown.certificate.ends)}"}

    @property
    def pin_shown(self) -> str | None:
        """The pin of the key that EGO shows, as curl takes it; None without TLS."""
        return None if self.shown is None else self.shown.certificate.pin

    @property
    def authority_shown(self) -> str | None:
        """The root (PEM) that clients have to trust; None if it is not EGO's own, or without TLS."""
        return None if self.shown is None or self.shown.root_pem is None else self.shown.root_pem.decode()

    def root_pem(self) -> bytes | None:
        """The certificate of EGO's own authority, None if EGO has none. Raises BadSetting."""
        return None if self.is_own_files else self._authority.root_pem()

    def existing(self) -> Shown | None:
        """What EGO shows, without making anything. Raises BadSetting."""
        if self.is_own_files:
            return self._current()
        issued = self._authority.issued()
        return None if issued is None else self._as_shown(issued)

    def renew(self) -> Shown:
        """Issue a new server certificate now. Raises BadSetting."""
        if self.is_own_files:
            raise BadSetting(
                "MIRROR_STAGE_TLS_CERT: EGO cannot renew a certificate of your own; replace the files, EGO notices it"
            )
        return self._as_shown(self._authority.ensure(names.of_this_machine(self._config), self._now(), anew=True))

    def _current(self, **how: Any) -> Shown:
        chain, key = self._config.tls_cert, self._config.tls_key
        if chain is not None and key is not None:
            from mirror_stage.tls.own_files import read_pair

            return Shown(read_pair(chain, key, self._now()), chain, key)
        return self._as_shown(self._authority.ensure(names.of_this_machine(self._config), self._now(), **how))

    def _as_shown(self, issued: Issued) -> Shown:
        return Shown(issued.server, self._authority.chain, self._authority.key, issued.root, issued.root_pem)

    def trouble_of(self, shown: Shown) -> str | None:
        """What is wrong with a certificate, and what to do; None if nothing is."""
        now, ends = self._now(), shown.certificate.ends
        if now > ends - WARNED_SECONDS:
            when = (
                f"the server certificate ends on {day(ends)}"
                if now < ends
                else f"the server certificate ended on {day(ends)}"
            )
            if shown.root is None:
                return f"{when}; renew it and replace the files, EGO notices it"
            folder = self._authority.folder
            return f"{when}; put root.key back into {folder}, run mirror-stage tls renew, and take the key away again"
        if shown.root is not None and now > shown.root.ends - ROOT_WARNED_SECONDS:
            return (
                f"EGO's own authority ends on {day(shown.root.ends)}; before that, move {self._authority.folder} away and start "
                "again, then give the new root to every client"
            )
        lacking = shown.root and [
            name for name in names.of_this_machine(self._config) if name not in shown.certificate.names
        ]
        if lacking:
            return (
                f"the server certificate lacks {', '.join(lacking[:5])}, and root.key is not in {self._authority.folder}; put it "
                "back, run mirror-stage tls renew, and take the key away again"
            )
        return None
