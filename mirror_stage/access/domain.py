"""Who asks, and what they may do: actors, their roles, and the function that decides. Pure.

EGO has no credentials yet. It trusts its own account and root, because these two accounts can read its database anyway.
Everybody else is anonymous, except the accounts that the settings name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

OPEN: Final = "open"  # everybody
REPORT: Final = "report"  # an agent sends samples
AGENT: Final = "agent"  # an agent fetches commands and reports results
VIEW: Final = "view"  # read
OPERATE: Final = "operate"  # queue and cancel commands, delete hosts
PERMISSIONS = (OPEN, REPORT, AGENT, VIEW, OPERATE)

LOCAL: Final = "local"  # a program on this machine, run by an account that EGO trusts
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
    """Who asks. `name` is set if EGO has proof of it. `hostname` is set if the actor may touch only that host.

    `because` is the reason of a refusal: it says why the role allows no more, and what to do.
    """

    kind: str
    name: str | None = None
    peer: str | None = None
    role: str = NOBODY
    hostname: str | None = None
    because: str = "EGO does not know who asks"

    @property
    def recorded_as(self) -> str:
        """The name of this actor in `command_events`."""
        return self.name or self.kind


# Only recorded, like every job: `decide` is asked about requests and events, not about EGO's own work.
EGO = Actor(JOB, "ego")


def job(name: str) -> Actor:
    """The actor for one of EGO's periodic jobs."""
    return Actor(JOB, f"job:{name}")


def shown_name(recorded: str | None) -> str | None:
    """The name of a recorded actor that clients see: `ego` for each of EGO's jobs, None for `local` and `anonymous`."""
    if recorded is None or recorded in {LOCAL, ANONYMOUS}:
        return None
    return "ego" if recorded.startswith("job:") else recorded


def decide(actor: Actor, permission: str | None, host: str | None = None) -> str | None:
    """The reason why the actor may not do what needs `permission`, on `host` if that is given; None if it may.

    A `permission` of None means that the route or event has no row in the table: nobody may use it.
    """
    if permission is None:
        return "no permission is declared for this route or event, so EGO refuses everybody; this is an error in EGO"
    if permission == OPEN:
        return None
    if permission not in ROLES[actor.role]:
        return actor.because
    if actor.hostname is not None and host is not None and host != actor.hostname:
        return f"this credential is for {actor.hostname} only, not for {host[:120]}"
    return None


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom EGO trusts without a credential. Accounts of this machine are given as uids."""

    security: str
    is_loopback: bool
    own: frozenset[int]
    users: frozenset[int] = frozenset()
    agents: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection: the client's address, whether a proxy passed it on, and the account that opened it.

    `can_tell` is False if this machine cannot say of any connection which account opened it. `uid` is None if it cannot
    say it of this one.
    """

    peer: str | None
    is_proxied: bool
    can_tell: bool
    uid: int | None = None


@lru_cache(maxsize=1024)  # asked for each request, with the same few answers
def actor_of(connection: Connection, trust: Trust) -> Actor:
    """The actor that sends requests over this connection."""
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
    """The reason to refuse the connection whatever its account is; None if the account decides."""
    if trust.security == "strict":
        return "MIRROR_STAGE_SECURITY is strict: everybody needs a credential, and this version has none yet"
    if not trust.is_loopback:
        return "EGO can be reached from the network and has no credentials yet; bind it to 127.0.0.1"
    if connection.is_proxied:
        return (
            "the request came through a proxy, and EGO has no credentials yet; if the proxy asks for a password, "
            "set MIRROR_STAGE_SECURITY=open"
        )
    return None


def _not_trusted(uid: int | None, role: str, trust: Trust) -> str:
    if uid is None:
        return (
            "EGO cannot find the account that opened this connection: the client closed it already, or it comes from "
            "another machine or container; keep the connection open until you have the answer"
        )
    if role == REPORTER:
        return f"the account with uid {uid} may report samples and fetch commands, and nothing else (MIRROR_STAGE_LOCAL_AGENTS)"
    own = max(trust.own, default=0)
    return (
        f"the request came from another account of this machine (uid {uid}). EGO trusts its own (uid {own}) and root: "
        f"use one of them, or add {uid} to MIRROR_STAGE_LOCAL_USERS, or to MIRROR_STAGE_LOCAL_AGENTS if it only reports "
        "and fetches commands. Do not add a proxy's account, because everybody who reaches the proxy would be trusted; "
        "if the proxy itself asks for a password, set MIRROR_STAGE_SECURITY=open"
    )
