"""What EGO signs: commands, cancels, and heads of the audit.

An EGO whose keys cannot be used goes on, but signs nothing. Then agents that pin its root key refuse its commands, and the
others work as before. The readiness check `signing` says so.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirror_stage.core import signed
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, MINUTE, Instant, to_text
from mirror_stage.core.problems import Unavailable
from mirror_stage.core.signed import Recipient, for_recipient

if TYPE_CHECKING:
    from mirror_stage.signing.keys import KeyFolder, Keys

log = logging.getLogger(__name__)

WARNED_BEFORE: Instant = 20 * DAY  # before the online key ends
RESERVED = MINUTE  # numbers that are reserved at once: they rise by one, or to the milliseconds of the clock
CANCEL_LASTS: Instant = HOUR
AHEAD_MAX: Instant = DAY  # of the numbers of another worker, whose clock may be ahead


class Signer:
    """Signs with the keys of one EGO. `open` before anything is signed; `look` again and again.

    Every command gets a larger number than all commands before it, also after a backup of the database was restored. The
    number rises with the clock, and a file outside of the database has the highest number that may be in use. So the numbers
    go on rising if the file is lost, and also if the clock is set back.
    """

    def __init__(self, config: Config, clock: Clock, recipient: Callable[[Any, str], Recipient | None]):
        self._config, self._clock, self.recipient = config, clock, recipient
        self._keys: Keys | None = None
        self._folder: KeyFolder | None = None  # None: the keys are in memory, as the database is
        self._taking = threading.Lock()
        self._seq = self._reserved = 0
        self.trouble: str | None = None

    def open(self) -> None:
        """Load the keys; make them if there are none. Call it once this process owns the database."""
        from mirror_stage.signing import keys
        from mirror_stage.signing.private_keys import PrivateKey

        if self._config.testing:
            self._keys = keys.made(PrivateKey.new(), self._clock.now())
            return
        self._folder = keys.KeyFolder(self._config.authority_folder)
        self.look()

    def look(self) -> None:
        """Load keys that were changed, and renew an online key that is due. Logs a trouble once; it never raises."""
        if self._folder is None:
            return
        before = self.trouble
        try:
            if self._keys is None:
                self._seq = self._reserved = self._folder.read_seq()
            found = self._folder.ensure(self._clock.now())
            if self._keys is not None and found.about != self._keys.about:
                log.info("EGO signs with another online key, which ends on %s", to_text(found.about.ends))
            self._keys, self.trouble = found, trouble_of(found, self._clock.now(), str(self._folder.folder))
        except BadSetting as error:
            self.trouble = str(error)
        except Exception as error:
            log.exception("the signing keys were not looked at; EGO tries again")
            self.trouble = f"the signing keys were not looked at: {type(error).__name__}; the log has the details"
        if self.trouble and self.trouble != before:
            log.warning("signing: %s", self.trouble)

    def check(self) -> dict[str, Any]:
        """The readiness check."""
        if self.trouble or self._keys is None:
            return {"ok": False, "detail": self.trouble or "no keys are loaded"}
        where = "in memory" if self._folder is None else f"ends on {to_text(self._keys.about.ends)}"
        return {"ok": True, "detail": f"online key, {where}"}

    @property
    def root(self) -> str | None:
        """The root key that agents pin (`ego_signing_key`), base64; None if EGO cannot sign."""
        return None if self._keys is None else signed.to_text64(self._keys.root)

    def command(
        self,
        recipient: Recipient | None,
        id: str,
        command: str,
        timeout_seconds: float,
        issued_at: Instant,
        expires_at: Instant,
        *,
        after: str | None = None,
    ) -> str | None:
        """The signed form of a new command, as JSON; None without a recipient or keys. Raises Unavailable if the disk takes no number.

        Its number is above that of `after`, the signed form of the host's last command.

        Call it in the transaction that creates the command. Commands of one host must be created one after the other, in the order
        in which they are handed out.
        """
        if self._keys is None or recipient is None:
            return None
        return self._signed(
            signed.COMMAND, recipient, issued_at, expires_at,
            {"seq": self._next_seq(_number(after, issued_at + AHEAD_MAX)), "id": id, "command": command, "timeout": timeout_seconds},
        )  # fmt: skip

    def cancel(self, recipient: Recipient | None, id: str, issued_at: Instant) -> str | None:
        """The signed order to stop a command, as JSON; None without a recipient or keys."""
        return self._signed(signed.CANCEL, recipient, issued_at, issued_at + CANCEL_LASTS, {"id": id})

    def _signed(
        self,
        purpose: str,
        recipient: Recipient | None,
        issued_at: Instant,
        expires_at: Instant,
        members: dict[str, Any],
    ) -> str | None:
        if self._keys is None or recipient is None:
            return None
        times = {"issuedAt": issued_at, "expiresAt": expires_at}
        return json.dumps(self._keys.envelope(purpose, {**for_recipient(recipient), **members, **times}))

    def _next_seq(self, above: int) -> int:
        with self._taking:
            seq = max(self._seq + 1, self._clock.now(), above + 1)
            if seq > self._reserved and self._folder is not None:
                try:
                    self._folder.reserve_seq(seq + RESERVED)
                except BadSetting as error:
                    raise Unavailable(f"the command cannot get a number: {error}") from error
                self._reserved = seq + RESERVED
            self._seq = seq
            return seq

    def keep_head(self, seq: int, hash: str) -> None:
        """Sign the newest row of the audit, and store that outside of the database: in the log, and in a file."""
        if self._keys is None or self._folder is None:
            return
        head = self._keys.envelope(signed.AUDIT_HEAD, {"at": self._clock.now(), "seq": seq, "hash": hash})
        try:
            self._folder.append_head(json.dumps(head))
        except BadSetting as error:
            log.error("the head of the audit is in this log only: %s", error)
        log.info("audit: row %d has the hash %s, signed %s", seq, hash, head["signature"])


def _number(signed_form: str | None, most: int) -> int:
    """The number of a signed command; 0 if there is none, or if it is above `most`, so that EGO cannot have signed it."""
    try:
        envelope = json.loads(signed_form or "{}")
        number = int(json.loads(signed.from_text64(envelope["payload"]))["seq"])
    except (ValueError, TypeError, KeyError):
        return 0
    return number if number <= most else 0


def kept_heads(folder: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The signed heads of the audit that a folder keeps, oldest first, and what is wrong with them (None: nothing).

    Each has `at`, `seq` and `hash`. Raises BadSetting.
    """
    from mirror_stage.signing.keys import HEADS, KeyFolder

    kept = KeyFolder(folder)
    root, found = kept.root(), []
    for number, line in enumerate(kept.heads() if root is not None else (), start=1):
        try:
            found.append(signed.statement_of(json.loads(line), root or b"", signed.AUDIT_HEAD, None))
        except ValueError:
            return found, f"line {number} of {folder / HEADS} is not as EGO has signed it"
    return found, None


def trouble_of(keys: Keys, now: Instant, folder: str) -> str | None:
    """What is wrong with the online key, and what to do; None if nothing is."""
    if now <= keys.about.ends - WARNED_BEFORE:
        return None
    when = "ends" if now < keys.about.ends else "ended"
    return (
        f"the online key that signs commands {when} on {to_text(keys.about.ends)}, and agents refuse what it signs after that; put "
        f"signing-root.key back into {folder}, run mirror-stage signing rotate, and take the key away again"
    )
