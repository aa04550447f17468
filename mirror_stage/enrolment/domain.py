"""Agents, the codes with which hosts enrol, and the rules for both. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from mirror_stage.core.instants import HOUR, MINUTE, Instant

REFLECTOR: Final = "reflector"
FIELD: Final = "field"  # an agent of another make, which has no credential
KINDS = (REFLECTOR, FIELD)

WAITING: Final = "waiting"  # until an admin approves or refuses it
ENROLLED: Final = "enrolled"
SUSPENDED: Final = "suspended"  # until an admin unlocks or revokes it
REVOKED: Final = "revoked"  # also: refused
STATES = (WAITING, ENROLLED, SUSPENDED, REVOKED)

WAITING_MAX, WAITING_OF_ADDRESS_MAX = 100, 10
WAITING_SILENT: Final[Instant] = HOUR  # a waiting host that has not asked for so long leaves the list
ASK_AGAIN_SECONDS = 5
ASKED_NOTED: Final[Instant] = MINUTE
CODE_LASTS: Final[Instant] = HOUR
CODE_SECONDS_MAX, USES_MAX, CODES_MAX = 30 * 86_400.0, 1_000, 1_000
PATTERN_MAX = 120
LABELS_MAX, LABEL_NAME_MAX, LABEL_VALUE_MAX = 32, 64, 200
RACK, RACK_MAX = "rack", 64
UNUSED_MAX = 3  # unused tokens of one agent that are valid: an answer with a token may be lost, even twice
RETURNS_MAX, RETURNS_WITHIN = 3, 10 * MINUTE  # so many returns in this time show two instances that are alive

ENROL_ANEW: Final = "make a code with mirror-stage enroll code on EGO's machine"
_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class AgentRow:
    """The agent of a host. `generation` is that of its newest token; 0: none was made yet."""

    id: str
    hostname: str
    kind: str
    state: str
    key_sha256: str | None
    address: str | None
    instance: str | None
    labels: Mapping[str, str]
    generation: int
    code: str | None
    created_at: Instant
    asked_at: Instant
    changed_at: Instant
    enrolled_at: Instant | None = None
    enrolled_by: str | None = None
    ended_at: Instant | None = None
    takes_commands: bool = True  # False: an admin has admitted it for samples only
    last_used_at: Instant | None = None


@dataclass(frozen=True)
class CodeRow:
    """A code, without its secret."""

    id: str
    uses_left: int
    expires_at: Instant
    host_pattern: str
    labels: Mapping[str, str]
    created_at: Instant
    created_by: str

    def trouble(self, hostname: str, now: Instant) -> str | None:
        """Why a host cannot enrol with it; None if it can."""
        if self.expires_at <= now:
            return f"this code has ended; {ENROL_ANEW}"
        if not fnmatchcase(hostname, self.host_pattern):
            return f"this code is for hosts named {self.host_pattern}, and not for {hostname}; {ENROL_ANEW}"
        return None


@dataclass(frozen=True)
class Asked:
    """What a host sends when it asks to be enrolled."""

    hostname: str
    key_sha256: str
    address: str | None
    instance: str | None


def key_trouble(key: str) -> str | None:
    """Why this is no key of a host; None if it is one."""
    return None if _KEY.fullmatch(key) else "must be 32 random bytes as 43 characters of base64url"


def sha256(text: str) -> str:
    """What EGO stores of a host's key."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(key_sha256: str | None) -> str | None:
    """What people compare of a host's key, `ABCD-EFGH-…`: the first 100 bits of its SHA-256."""
    if key_sha256 is None:
        return None
    text = base64.b32encode(bytes.fromhex(key_sha256)).decode()[:20]
    return "-".join(text[at : at + 4] for at in range(0, 20, 4))


def labels_trouble(labels: Mapping[str, str]) -> str | None:
    """Why these cannot be the labels of a host; None if they can."""
    if len(labels) > LABELS_MAX:
        return f"at most {LABELS_MAX} labels, and these are {len(labels)}"
    for name, value in labels.items():
        if len(name) > LABEL_NAME_MAX or not _LABEL_NAME.fullmatch(name):
            return f"the name {name[:LABEL_NAME_MAX]!r} must have 1 to {LABEL_NAME_MAX} letters, digits, and . _ - (not first)"
        most = RACK_MAX if name == RACK else LABEL_VALUE_MAX
        if not (1 <= len(value) <= most and value.isprintable() and value == value.strip()):
            return f"{name}: must have 1 to {most} printable characters, and no space at its ends"
    return None


def changes_trouble(changes: Mapping[str, str | None]) -> str | None:
    """Why the labels of a host cannot be changed like this; None if they can. A label that becomes None is taken away."""
    return labels_trouble({name: "-" if value is None else value for name, value in changes.items()})


def changed_labels(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The labels after these changes; a label that becomes None is taken away."""
    return {name: value for name, value in {**labels, **changes}.items() if value is not None}


def pattern_trouble(pattern: str) -> str | None:
    """Why this is no pattern of hostnames; None if it is one."""
    if 1 <= len(pattern) <= PATTERN_MAX and pattern.isprintable():
        return None
    return f"must have 1 to {PATTERN_MAX} printable characters, such as db-*"


def waiting_trouble(networks: Sequence[str], network: str) -> str | None:
    """Why one more host may not wait; None if it may. `networks` are those of the hosts that wait, `network` is the new host's."""
    if networks.count(network) >= WAITING_OF_ADDRESS_MAX:
        return f"{WAITING_OF_ADDRESS_MAX} hosts of this address wait already"
    return f"{WAITING_MAX} hosts wait already" if len(networks) >= WAITING_MAX else None


def line_to_paste(url: str, pin: str | None, code: str) -> str:
    """The line that enrols a host. The code is never among the arguments of a process, where other accounts could read it."""
    trusted = f"curl -fsSk --pinnedpubkey {shlex.quote(pin)}" if pin is not None else "curl -fsS"
    script = shlex.quote(f"{url.rstrip('/')}/enroll.sh")
    return f"{{ echo {shlex.quote(f'code={code}')}; {trusted} {script}; }} | sudo sh"


@dataclass
class Instances:
    """The instances that use one token, to notice two that are both alive."""

    current: str
    former: str | None = None
    returned_at: list[Instant] = field(default_factory=list)

    def alternate(self, instance: str, now: Instant) -> bool:
        """Note a use of the token. Returns whether it shows that two instances are alive, because they take turns.

        One change of the instance is normal: the agent was installed anew. Then one or two requests of the former instance
        may still be on their way.
        """
        if instance == self.current:
            return False
        if instance == self.former:
            self.returned_at = [at for at in self.returned_at if at > now - RETURNS_WITHIN] + [now]
        self.former, self.current = self.current, instance
        return len(self.returned_at) >= RETURNS_MAX
