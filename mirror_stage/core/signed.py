"""What EGO signs, and how an agent checks it. Both sides use this module, and it needs the standard library only. Pure.

A statement is a JSON object. Its exact bytes are signed, as DSSE says (github.com/secure-systems-lab/dsse), so nobody has
to agree on how JSON is written. The root key certifies an online key for 90 days, and the online key signs everything
else. Each envelope carries that certificate, so whoever knows the root key needs nothing more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from mirror_stage.core import ed25519
from mirror_stage.core.instants import SECOND, Instant, to_text

TYPE: Final = "application/vnd.mirror-stage+json"
VERSION: Final = 1
COMMAND, CANCEL, AUDIT_HEAD, ONLINE_KEY = "command", "cancel", "audit-head", "online-key"  # the purposes
SLACK: Final[Instant] = 5 * SECOND  # two clocks differ a little, and a Date header has whole seconds
TEXT_MAX = 256 * 1024  # of one member of an envelope; a command of 8 KiB takes at most 64 KiB

_CHANGED = (
    "its signature does not fit: it was changed on the way or in EGO's database, or another EGO signed it (compare "
    "ego_signing_key with what mirror-stage signing show prints on EGO's machine)"
)


class Unproved(ValueError):
    """Why a signed statement does not count. The text is for the person who has to act."""


@dataclass(frozen=True)
class Recipient:
    """The agent that a statement is for. Without an `agent_id`, only the hostname counts.

    `generation` is that of its token when the statement was signed. It is not checked: an agent rotates its token by
    itself, and a command that waited meanwhile is still for it.
    """

    hostname: str
    agent_id: str | None = None
    generation: int = 0


def to_sign(payload: bytes) -> bytes:
    """The bytes that are signed for a payload: the pre-authentication encoding of DSSE."""
    kind = TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def to_text64(content: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(content).decode()


def from_text64(text: Any) -> bytes:
    """The bytes of a base64 text. Raises ValueError for anything else."""
    if not isinstance(text, str) or len(text) > TEXT_MAX:
        raise ValueError("no base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def key_of(text: str) -> bytes:
    """The public key of a base64 text. Raises ValueError with what is wrong."""
    try:
        key = from_text64(text)
    except ValueError:
        key = b""
    if not ed25519.is_key(key):
        raise ValueError("must be the 44 characters of base64 that mirror-stage signing show prints on EGO's machine")
    return key


def ego_of(root: bytes) -> str:
    """The name of an EGO in what it signs: it follows from its root key."""
    return hashlib.sha256(root).hexdigest()[:32]


def for_recipient(recipient: Recipient) -> dict[str, Any]:
    """The members of a statement that say whom it is for."""
    return {"host": recipient.hostname, "agentId": recipient.agent_id, "generation": recipient.generation}


def statement_of(signed: Any, root: bytes, purpose: str, now: Instant | None) -> dict[str, Any]:
    """The statement in an envelope that the EGO with this root key has signed for a purpose. Raises Unproved.

    `now` is the time by EGO's clock: the online key must be valid then. None: it does not matter when.
    """
    payload, signature = _envelope(signed)
    key = _certified(root, *_envelope(signed.get("keyCertificate")))
    if now is not None and not key.begins - SLACK <= now < key.ends + SLACK:
        raise Unproved(
            f"EGO's online key is valid from {to_text(key.begins)} to {to_text(key.ends)}, and it is {to_text(now)}: set the clock "
            "here, or look at mirror-stage signing show on EGO's machine"
        )
    return _statement(key.public, payload, signature, root, purpose)


def check_recipient(statement: Mapping[str, Any], me: Recipient) -> None:
    """Raises Unproved unless the statement is for this agent."""
    host = statement.get("host")
    if host != me.hostname:
        raise Unproved(f"it is for {str(host)[:120]}, and this host is {me.hostname}")
    if me.agent_id is not None and statement.get("agentId") != me.agent_id:
        raise Unproved("it is for another agent of this name: this host was enrolled anew since then; send it again")


def check_time(statement: Mapping[str, Any], now: Instant) -> None:
    """Raises Unproved if the statement has expired. `now` is the time by EGO's clock."""
    expires_at = _whole(statement, "expiresAt")
    if now > expires_at + SLACK:
        raise Unproved(
            f"it expired at {to_text(expires_at)}, and it is {to_text(now)}; if that is wrong, set the clock"
        )


def number_of(statement: Mapping[str, Any], highest: int) -> int:
    """The number of a command, which must be above the highest that this agent has seen. Raises Unproved."""
    number = _whole(statement, "seq")
    if number <= highest:
        raise Unproved("this agent was handed it, or a newer command, before: somebody repeats old ones; send it again")
    return number


@dataclass(frozen=True)
class OnlineKey:
    """A key that the root certifies, and how long it may sign."""

    public: bytes
    begins: Instant
    ends: Instant


def online_key_of(certificate: Any, root: bytes) -> OnlineKey:
    """The key of a certificate of this root. Raises Unproved. It does not look at the time."""
    return _certified(root, *_envelope(certificate))


@lru_cache(maxsize=16)  # each envelope carries it, and a check takes milliseconds
def _certified(root: bytes, payload: bytes, signature: bytes) -> OnlineKey:
    statement = _statement(root, payload, signature, root, ONLINE_KEY)
    return OnlineKey(from_text64(statement["key"]), _whole(statement, "begins"), _whole(statement, "ends"))


def _envelope(signed: Any) -> tuple[bytes, bytes]:
    """The payload and the signature of an envelope."""
    if not isinstance(signed, dict):
        raise Unproved("EGO has not signed it, and ego_signing_key says that everything must be signed")
    try:
        return from_text64(signed.get("payload")), from_text64(signed.get("signature"))
    except ValueError as error:
        raise Unproved(_CHANGED) from error


def _statement(key: bytes, payload: bytes, signature: bytes, root: bytes, purpose: str) -> dict[str, Any]:
    if not ed25519.is_signed(key, to_sign(payload), signature):
        raise Unproved(_CHANGED)
    statement = json.loads(payload)
    if not isinstance(statement, dict) or statement.get("v") != VERSION or statement.get("ego") != ego_of(root):
        raise Unproved(f"it is signed in another form than this agent knows (version {VERSION}): install a newer agent")
    if statement.get("purpose") != purpose:
        raise Unproved(f"EGO signed it as {str(statement.get('purpose'))[:40]!a}, not as {purpose!a}")
    return statement


def _whole(statement: Mapping[str, Any], name: str) -> int:
    value = statement.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unproved(f"what EGO signed lacks {name}: install a newer agent")
    return value
