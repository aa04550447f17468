"""People, and what proves who they are: values and rules. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from mirror_stage.access.domain import ANONYMOUS, Actor, actor_of_agent, actor_of_person
from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND, Instant

LINK_LASTS: Final[Instant] = 15 * MINUTE
SESSION_LASTS: Final[Instant] = 7 * DAY
TOKEN_LASTS: Final[Instant] = 90 * DAY  # a token of a person, unless it says otherwise; an agent's has no end
TOKEN_SECONDS_MAX = 10 * 365 * 86_400.0
REPLACED_LASTS: Final[Instant] = 10 * SECOND  # requests with the former token may still be on their way
PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters
USER_AGENT_MAX = 200
NOTE_MAX = 200

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_RESERVED = frozenset({"local", "anonymous", "ego", "nobody", "agent", "token"})  # the audit names others so
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}
_CONTROL = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True)
class Person:
    """Somebody who may sign in, unless they are disabled."""

    id: int
    name: str
    role: str
    password_hash: str | None
    created_at: Instant
    disabled_at: Instant | None


@dataclass(frozen=True)
class CredentialRow:
    """A token or a link, without its secret. `name` is of the person that it belongs to, if there is one."""

    id: str
    kind: str
    principal: int | None
    hostname: str | None
    role: str
    created_at: Instant
    created_by: str
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None
    note: str | None
    agent: str | None = None
    generation: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class SessionRow:
    """A session, without its secrets."""

    id: str
    principal: int
    created_at: Instant
    last_seen_at: Instant
    expires_at: Instant
    address: str | None
    user_agent: str | None
    name: str
    role: str


@dataclass(frozen=True)
class Known:
    """What EGO knows of a token or session; `page_sha256` is of sessions only, `agent` and what follows of enrolled agents."""

    kind: str
    sha256: str
    page_sha256: str | None
    principal: int | None
    name: str | None
    role: str
    hostname: str | None
    expires_at: Instant | None
    revoked_at: Instant | None
    disabled_at: Instant | None
    agent: str | None = None
    generation: int | None = None
    replaced_by: int | None = None
    suspended_at: Instant | None = None
    last_used_at: Instant | None = None

    def trouble(self, now: Instant) -> str | None:
        """Why it is not valid at `now`; None if it is."""
        what = "session" if self.kind == "session" else "token"
        if self.disabled_at is not None:
            return f"the account {self.name} is disabled; ask an admin"
        if self.agent is not None:
            return self._trouble_of_agent(now)
        if self.revoked_at is not None:
            return f"this {what} was revoked; ask an admin for another one"
        if self.expires_at is not None and self.expires_at <= now:
            return (
                "this session has ended; sign in again"
                if what == "session"
                else "this token has expired; ask an admin for another one"
            )
        return None

    def _trouble_of_agent(self, now: Instant) -> str | None:
        """The same for the token of an enrolled agent, which never expires."""
        anew = "a code, which mirror-stage enroll code makes on EGO's machine"
        if self.suspended_at is not None:
            return suspended(self.hostname)
        if self.revoked_at is None or (self.replaced_by is not None and now < self.revoked_at + REPLACED_LASTS):
            return None
        if self.replaced_by is not None:
            return (
                f"this token of {self.hostname} was replaced by a newer one, which its agent has used; if the agent has lost "
                f"that one, run mirror-stage agents revoke {shlex.quote(self.hostname or '')} on EGO's machine, and enrol the host anew "
                f"with {anew}"
            )
        return f"this token of {self.hostname} was revoked; to enrol the host anew, an admin has to give you {anew}"

    def actor(self, key: str, peer: str | None) -> Actor:
        """Who asks with it."""
        if self.hostname is not None:
            return actor_of_agent(self.hostname, peer, credential=key)
        name = self.name or key
        return actor_of_person(name, self.role, peer, credential=key, principal=self.principal)


def suspended(hostname: str | None) -> str:
    """What a host is told whose agent is suspended."""
    return (
        f"the agent of {hostname} is suspended, because two machines have used its token: find out which one is {hostname}, "
        f"stop the other one, and run mirror-stage agents unlock {shlex.quote(hostname or '')} on EGO's machine"
    )


def key_of_token(id: str) -> str:
    """How an actor names the token that proves who it is."""
    return f"token:{id}"


def key_of_session(id: str) -> str:
    """How an actor names its session."""
    return f"session:{id}"


def session_of(actor: Actor) -> str | None:
    """The id of the session in which an actor asks; None if it asks in another way."""
    kind, _, id = (actor.credential or "").partition(":")
    return id if kind == "session" else None


def refused(because: str, peer: str | None) -> Actor:
    """The actor for somebody whose credential is not valid."""
    return Actor(ANONYMOUS, peer=peer, because=because)


def name_trouble(name: str) -> str | None:
    """Why a person cannot have this name; None if they can."""
    if not _NAME.fullmatch(name):
        return "a name has 1 to 64 small letters, digits, and . _ @ - (not first)"
    return f"EGO uses the name {name} itself; choose another one" if name in _RESERVED else None


def password_trouble(password: str) -> str | None:
    """Why this is no password; None if it is one."""
    if PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        return None
    return f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters, and this one has {len(password)}"


def duration(text: str) -> Instant:
    """The milliseconds of `30m`, `12h` or `90d`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"must be a number and m, h or d, such as 90d, not {text!r}")
    return int(match[1]) * _UNITS[match[2]]


def shortened(user_agent: str | None) -> str | None:
    """A browser's description of itself as it is stored."""
    return _CONTROL.sub("?", user_agent)[:USER_AGENT_MAX] if user_agent else None
