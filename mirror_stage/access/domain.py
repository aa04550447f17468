"""Who asks, and what they may do: actors, their roles, and the function that decides. Pure.

A credential says who somebody is: a token, or the session of a person who has signed in. On loopback EGO also trusts its
own account and root without one, because these two accounts can read its database anyway, and the accounts that the
settings name. Everybody else is anonymous.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

OPEN: Final = "open"  # everybody
REPORT: Final = "report"  # an agent sends samples
AGENT: Final = "agent"  # an agent fetches commands and reports results
VIEW: Final = "view"  # read the twin, alerts and history
READ_COMMANDS: Final = "read-commands"  # read commands, and what they print
OPERATE: Final = "operate"  # queue and cancel commands, delete hosts, acknowledge alerts
OWN_SESSIONS: Final = "own-sessions"  # see and end one's own sessions
MANAGE: Final = "manage"  # tokens, agents, the sessions of all, the audit, alert rules, channels, routes, mute times; let commands run again after a stop
PERMISSIONS = (OPEN, REPORT, AGENT, VIEW, READ_COMMANDS, OPERATE, OWN_SESSIONS, MANAGE)

USER: Final = "user"  # a person, or a script with a token
REFLECTOR: Final = "agent"  # an agent with a token
FIELD: Final = "field"  # an agent of another make, on the listener for such agents; known by its address only
LOCAL: Final = "local"  # a program on this machine, run by an account that EGO trusts
ANONYMOUS: Final = "anonymous"  # anybody else
JOB: Final = "job"  # EGO itself

# What somebody without a credential can do. The command runs on the machine of EGO.
SIGN_IN: Final = "sign in (`mirror-stage admin link` makes a link), or send a token (`mirror-stage tokens create`)"

NOBODY: Final = "nobody"
REPORTER: Final = "agent"
VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
ADMIN: Final = "admin"
ROLES: Mapping[str, frozenset[str]] = {
    NOBODY: frozenset(),
    REPORTER: frozenset({REPORT, AGENT}),
    VIEWER: frozenset({VIEW, OWN_SESSIONS}),
    OPERATOR: frozenset({VIEW, OWN_SESSIONS, READ_COMMANDS, OPERATE}),
    ADMIN: frozenset(PERMISSIONS) - {OPEN},
}
ROLES_OF_PEOPLE = (VIEWER, OPERATOR, ADMIN)  # smallest first


@dataclass(frozen=True)
class Actor:
    """Who asks. `name` is set if EGO has proof of it. `hostname` is set if the actor may touch only that host.

    `because` is the reason of a refusal: it says why the role allows no more, and what to do. `credential` is the id of the
    token or session that proves who it is; `principal` is the id of the person.
    """

    kind: str
    name: str | None = None
    peer: str | None = None
    role: str = NOBODY
    hostname: str | None = None
    because: str = "EGO does not know who asks"
    credential: str | None = None
    principal: int | None = None
    takes_commands: bool = True

    @property
    def is_unknown(self) -> bool:
        """Whether EGO does not know who asks, so that a credential, or an admission, would help."""
        return self.role == NOBODY or self.kind == FIELD

    @property
    def is_unverified(self) -> bool:
        """Whether EGO knows this agent only by its address."""
        return self.kind == FIELD

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
    if actor.kind == FIELD and (actor.hostname is None or host not in {None, actor.hostname}):
        return not_admitted(host, actor.peer)
    if permission not in ROLES[actor.role]:
        return actor.because
    if actor.hostname is not None and host is not None and host != actor.hostname:
        return f"this credential is for {actor.hostname} only, not for {host[:120]}"
    return None


def actor_of_person(name: str, role: str, peer: str | None, *, credential: str, principal: int | None) -> Actor:
    """The actor for somebody who has signed in, or for a script with a token of such a role."""
    because = f"{name} has the role {role}, which does not allow this; ask an admin for a larger one"
    return Actor(USER, name, peer, role, because=because, credential=credential, principal=principal)


def actor_of_agent(hostname: str, peer: str | None, *, credential: str) -> Actor:
    """The actor for an agent with a token of its host."""
    because = f"this token is for the agent of {hostname}: it may report samples and fetch commands, and nothing else"
    return Actor(REFLECTOR, f"agent:{hostname}", peer, REPORTER, hostname, because, credential)


def actor_of_field(hostname: str | None, peer: str | None, *, takes_commands: bool = False) -> Actor:
    """The actor for an agent of another make that is admitted as `hostname` at this address; None: nobody is admitted there."""
    if hostname is None:
        return Actor(FIELD, peer=peer, because=not_admitted(None, peer), takes_commands=False)
    because = f"the agent of {hostname} may report samples and fetch commands, and nothing else"
    return Actor(FIELD, f"agent:{hostname}", peer, REPORTER, hostname, because, takes_commands=takes_commands)


def not_admitted(hostname: str | None, peer: str | None) -> str:
    """Why an agent of another make is refused, and the command that admits it, safe to paste."""
    who, name = (hostname[:120], shlex.quote(hostname)) if hostname else ("this agent", "NAME")
    return f"{who} ({peer}) is not admitted: mirror-stage enroll field {name} --address {peer}"


@dataclass(frozen=True)
class Trust:
    """Whom EGO trusts without a credential. Accounts of this machine are given as uids."""

    security: str
    is_loopback: bool
    own: frozenset[int]
    users: frozenset[int] = frozenset()
    agents: frozenset[int] = frozenset()


@dataclass(frozen=True)
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
        return f"MIRROR_STAGE_SECURITY is strict: {SIGN_IN}"
    if not trust.is_loopback:
        return f"EGO can be reached from the network: {SIGN_IN}"
    if connection.is_proxied:
        return f"the request came through a proxy: {SIGN_IN}; or set MIRROR_STAGE_SECURITY=open if the proxy asks for a password"
    return None


def _not_trusted(uid: int | None, role: str, trust: Trust) -> str:
    if uid is None:
        return (
            "EGO cannot find the account that opened this connection: the client closed it already, or it comes from "
            f"another machine or container; keep the connection open until you have the answer, or {SIGN_IN}"
        )
    if role == REPORTER:
        return f"the account with uid {uid} may report samples and fetch commands, and nothing else (MIRROR_STAGE_LOCAL_AGENTS)"
    own = max(trust.own, default=0)
    return (
        f"the request came from another account of this machine (uid {uid}): {SIGN_IN}. EGO trusts its own (uid {own}) and "
        f"root: use one of them, or add {uid} to MIRROR_STAGE_LOCAL_USERS, or to MIRROR_STAGE_LOCAL_AGENTS if it only "
        "reports and fetches commands. Do not add a proxy's account, because everybody who reaches the proxy would be "
        "trusted; if the proxy itself asks for a password, set MIRROR_STAGE_SECURITY=open"
    )
