"""Who asks, and what they may do: an actor, its role, and the one decision. Pure.

There are no credentials yet. Whoever runs programs as EGO's own account or as root on this machine could read EGO's
database anyway, so these two are trusted; everybody else is anonymous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

OPEN: Final = "open"  # everybody
REPORT: Final = "report"  # an agent sends samples
AGENT: Final = "agent"  # an agent's queue: fetch commands, report how they ended
VIEW: Final = "view"  # reads
OPERATE: Final = "operate"  # changes, and commands
PERMISSIONS = (OPEN, REPORT, AGENT, VIEW, OPERATE)

LOCAL: Final = "local"  # a program of this machine, of an account that EGO trusts
ANONYMOUS: Final = "anonymous"  # anybody else
JOB: Final = "job"  # EGO itself

NOBODY: Final = "nobody"
REPORTER: Final = "agent"
ADMIN: Final = "admin"
ROLES: Mapping[str, frozenset[str]] = {
    NOBODY: frozenset(),
    REPORTER: frozenset({REPORT, AGENT}),
    ADMIN: frozenset({REPORT, AGENT, VIEW, OPERATE}),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `name` is set where it is proven, `hostname` where the actor may touch that one host only.

    `because` says why the role is not a larger one, to the person who has to act.
    """

    kind: str
    name: str | None = None
    peer: str | None = None
    role: str = NOBODY
    hostname: str | None = None
    because: str = "EGO does not know who asks"

    @property
    def recorded_as(self) -> str:
        """How the record of what happened names this actor."""
        return self.name or self.kind


EGO = Actor(JOB, "ego", role=ADMIN)


def job(name: str) -> Actor:
    """EGO, as it does one of its jobs."""
    return Actor(JOB, f"job:{name}", role=ADMIN)


def shown_name(recorded: str | None) -> str | None:
    """What clients are shown of a recorded actor: only a name, and `ego` for each of EGO's jobs."""
    if recorded is None or recorded in {LOCAL, ANONYMOUS}:
        return None
    return "ego" if recorded.startswith("job:") else recorded


def decide(actor: Actor, permission: str | None, host: str | None = None) -> str | None:
    """Why the actor may not do what needs `permission` (None: nobody declared one), to `host` if it names one.

    None if it may.
    """
    if permission is None:
        return "nobody has declared who may do this, so nobody may; this is an error in EGO"
    if permission == OPEN:
        return None
    if permission not in ROLES[actor.role]:
        return actor.because
    if actor.hostname is not None and host is not None and host != actor.hostname:
        return f"this credential is for {actor.hostname} only, not for {host[:120]}"
    return None


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom EGO trusts without a credential; accounts of this machine are numbers (uids)."""

    security: str
    is_loopback: bool
    own: frozenset[int]
    users: frozenset[int] = frozenset()
    agents: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of a connection: the client's address, whether a proxy passed it on, and who opened it.

    `can_tell` is whether this machine can say which account opened a connection at all; `uid` is None if it does not
    say it of this one.
    """

    peer: str | None
    is_proxied: bool
    can_tell: bool
    uid: int | None = None


def actor_of(connection: Connection, trust: Trust) -> Actor:
    """Who asks over this connection."""
    if trust.security == "open":
        return Actor(ANONYMOUS, peer=connection.peer, role=ADMIN)
    because = _not_from_here(connection, trust)
    if because is not None:
        return Actor(ANONYMOUS, peer=connection.peer, because=because)
    if not connection.can_tell or connection.uid in trust.own | trust.users:
        return Actor(LOCAL, peer=connection.peer, role=ADMIN)
    role = REPORTER if connection.uid in trust.agents else NOBODY
    kind = LOCAL if role == REPORTER else ANONYMOUS
    return Actor(kind, peer=connection.peer, role=role, because=_not_trusted(connection.uid, role, trust))


def _not_from_here(connection: Connection, trust: Trust) -> str | None:
    """Why it does not matter which account of this machine asks, or None if it does."""
    if trust.security == "strict":
        return "MIRROR_STAGE_SECURITY is strict, and this version has no credentials that could satisfy it"
    if not trust.is_loopback:
        return "EGO can be reached from the network and has no credentials yet; bind it to 127.0.0.1"
    if connection.is_proxied:
        return (
            "the request came through a proxy, and EGO has no credentials yet; if the proxy guards it, "
            "say MIRROR_STAGE_SECURITY=open"
        )
    return None


def _not_trusted(uid: int | None, role: str, trust: Trust) -> str:
    if uid is None:
        return (
            "EGO cannot see which account of this machine asks, because the connection is closed at its other end or "
            "begins elsewhere; keep the connection open until the answer is there"
        )
    if role == REPORTER:
        return (
            f"the account uid {uid} may report samples and fetch commands, and nothing else (MIRROR_STAGE_LOCAL_AGENTS)"
        )
    own = max(trust.own, default=0)
    return (
        f"the request came from another account of this machine (uid {uid}). EGO trusts its own (uid {own}) and root: "
        f"ask as one of them, or add {uid} to MIRROR_STAGE_LOCAL_USERS, or to MIRROR_STAGE_LOCAL_AGENTS if it only reports "
        "and fetches commands. Do not add a proxy's account, because everybody who reaches the proxy would be trusted; "
        "if the proxy itself asks for a password, say MIRROR_STAGE_SECURITY=open"
    )
