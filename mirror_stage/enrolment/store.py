"""All SQL of agents and codes, as functions of a transaction. Their tokens are rows of `credentials`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, func, insert, or_, select, text, update

from mirror_stage.access import store as access
from mirror_stage.access.attempts import network_of
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import REPORTER, Actor, job
from mirror_stage.access.models import Credential
from mirror_stage.access.people import CredentialRow
from mirror_stage.access.tokens import Token, sha256
from mirror_stage.commands import store as commands
from mirror_stage.commands.domain import Command
from mirror_stage.core.instants import DAY, Instant
from mirror_stage.core.problems import Conflict, Forbidden, Invalid, NotFound, Refused, Unauthorized
from mirror_stage.core.signed import Recipient
from mirror_stage.enrolment import domain
from mirror_stage.enrolment.domain import (
    ENROLLED,
    FIELD,
    REFLECTOR,
    REVOKED,
    SUSPENDED,
    WAITING,
    AgentRow,
    Asked,
    CodeRow,
)
from mirror_stage.enrolment.models import Agent, EnrolCode

_RENEWS = ("agent-enrolled", "agent-rotated")  # each ends the tokens before it
REVOKES = frozenset({"agent-revoked", "agent-suspended", "enrol-code-ended", *_RENEWS})  # for `revoke_again`
AGENTS_KEPT: Instant = 90 * DAY  # after they were refused or revoked
CODES_KEPT: Instant = 30 * DAY  # after their end

_AGENTS: Table = Agent.__table__  # type: ignore[assignment]
_CODES: Table = EnrolCode.__table__  # type: ignore[assignment]
_CREDENTIALS: Table = Credential.__table__  # type: ignore[assignment]
_A, _K, _C = _AGENTS.c, _CODES.c, _CREDENTIALS.c
_AGENT = tuple(_A[field.name] for field in fields(AgentRow) if field.name != "last_used_at")
_CODE = tuple(_K[field.name] for field in fields(CodeRow))
_IS_LIVE = or_(_A.state == ENROLLED, _A.state == SUSPENDED)
_TURN_OF_HOST, _TURN_OF_WAITING = 4, 5  # the kinds 1 to 3 of advisory locks are the commands' and the audit's


class SpentCode(Unauthorized):
    """A host has shown a used-up code that did not enrol this host."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An agent that has just enrolled, its new token, and the cancelled commands that waited for a former agent."""

    agent: AgentRow
    token: Token
    cancelled: Sequence[Command] = ()


# ------------------------------------------------------------------ enrolling


def enrol(
    tx: Connection, asked: Asked, code: Token | None, fresh: Token, id: str, actor: Actor, now: Instant
) -> Enrolled | None:
    """The agent of a host that asks to be enrolled, with `fresh` as its token; None if the host has to wait for an admin.

    `id` is for a new agent. Raises Unauthorized for a code that does not count, Conflict if the name is taken, Forbidden if
    an admin has refused this host, Refused if too many wait.
    """
    _take_turns(tx, asked.hostname)
    agent = live(tx, asked.hostname)
    if agent is not None:
        return _again(tx, agent, asked, code, fresh, actor, now)
    cancelled: list[Command] = []
    if code is not None:
        used = _use(tx, code, asked.hostname, now)
        if asked.hostname not in {used.host_pattern, actor.hostname}:
            _refuse_to_share(tx, asked.hostname, now)
        cancelled = _cancel_former(tx, asked.hostname, actor, now)
        agent = _added(tx, asked, id, ENROLLED, now, by=used.created_by, code=used.id, labels=used.labels)
    elif actor.hostname == asked.hostname:  # with a token that an admin has made for this host
        agent = _added(tx, asked, id, ENROLLED, now, by=actor.recorded_as)
    else:
        _wait(tx, asked, id, now)
        return None
    how = f"with code {code.id}" if code is not None else "with a token"
    event = Event("agent-enrolled", agent.hostname, f"{agent.id} {how}")
    return replace(_issue(tx, agent, asked, fresh, actor, now, event), cancelled=cancelled)


def _refuse_to_share(tx: Connection, hostname: str, now: Instant) -> None:
    """Raises Conflict if an admin has made a token for this host: whoever has a code for many names must not get its commands."""
    if _has_token_of_admin(tx, hostname, now):
        raise Conflict(
            f"an admin has made a token for {hostname}, so a code for many names does not count for it: use one that is for this "
            f"name alone (mirror-stage enroll code --host {shlex.quote(hostname)}), or end the token (mirror-stage tokens revoke)"
        )


def _cancel_former(tx: Connection, hostname: str, actor: Actor, now: Instant) -> list[Command]:
    """Cancel what waits for a host: it was queued for whoever was there before, and the new agent must not read it."""
    return commands.cancel_pending_of(tx, hostname, "another agent was enrolled", actor, now)


def _again(
    tx: Connection, agent: AgentRow, asked: Asked, code: Token | None, fresh: Token, actor: Actor, now: Instant
) -> Enrolled:
    """The new token of an agent that has enrolled before: it shows its token, or the same host has lost the answer."""
    if agent.state == SUSPENDED:
        raise Conflict(f"the agent of {agent.hostname} is suspended; an admin has to unlock or revoke it")
    if agent.kind == FIELD:
        raise Conflict(
            f"{agent.hostname} is admitted without a credential: run mirror-stage agents revoke "
            f"{shlex.quote(agent.hostname)} first"
        )
    if actor.hostname == asked.hostname:
        event = Event("agent-enrolled", agent.hostname, f"{agent.id} again, with its token")
        return _issue(tx, agent, asked, fresh, actor, now, event)
    is_same = agent.key_sha256 == asked.key_sha256
    if is_same and (_newest_is_unused(tx, agent) or (code is not None and _is_valid(tx, code, agent.code, now))):
        _end_tokens(tx, agent, now)
        is_first = agent.generation == 0
        event = Event(
            "agent-enrolled", agent.hostname, f"{agent.id} {'approved' if is_first else 'again, the answer was lost'}"
        )
        return _issue(tx, agent, asked, fresh, actor, now, event)
    raise Conflict(
        f"{agent.hostname} is enrolled already, with another key or with a token that is in use: let its agent ask with its "
        f"token, or run mirror-stage agents revoke {shlex.quote(agent.hostname)} on EGO's machine and enrol it anew"
    )


def _newest_is_unused(tx: Connection, agent: AgentRow) -> bool:
    """Whether the newest token of this agent was never used, so the answer that had it may be lost."""
    newest = and_(*_of(agent), _C.generation == agent.generation)
    used = tx.execute(select(_C.last_used_at).where(newest)).first()
    return agent.generation == 0 or (used is not None and used.last_used_at is None)


def _is_valid(tx: Connection, code: Token, id: str | None, now: Instant) -> bool:
    """Whether this is the code of this id, and it has not ended."""
    is_it = and_(_K.id == code.id, _K.sha256 == sha256(code.text), _K.expires_at > now)
    return code.id == id and tx.execute(select(_K.id).where(is_it)).first() is not None


def _use(tx: Connection, code: Token, hostname: str, now: Instant) -> CodeRow:
    """The code after one more use. Raises Unauthorized, SpentCode."""
    is_it = and_(_K.id == code.id, _K.sha256 == sha256(code.text))
    row = tx.execute(select(*_CODE).where(is_it)).first()
    if row is None:
        raise Unauthorized(f"EGO does not know this code; {domain.ENROL_ANEW}")
    found = _code(row)
    if found.uses_left > 0:
        trouble = found.trouble(hostname, now)
        if trouble is not None:
            raise Unauthorized(trouble)
        take = update(_CODES).where(is_it, _K.uses_left > 0, _K.expires_at > now).values(uses_left=_K.uses_left - 1)
        if tx.execute(take).rowcount:
            return found
    raise SpentCode(
        f"this code was used as often as it may be, and {hostname} is not a host that it has enrolled; {domain.ENROL_ANEW}"
    )


def _wait(tx: Connection, asked: Asked, id: str, now: Instant) -> None:
    """Put a host on the list of those that wait, or note that it still waits. Raises Forbidden, Refused."""
    this = and_(_A.hostname == asked.hostname, _A.key_sha256 == asked.key_sha256)
    known = tx.execute(select(_A.id, _A.state).where(this).order_by(_A.changed_at.desc()).limit(1)).first()
    if known is not None and known.state == REVOKED:
        raise Forbidden(
            f"an admin has refused or revoked this agent of {asked.hostname}; to enrol it, {domain.ENROL_ANEW}"
        )
    if known is not None:
        is_due = _A.asked_at <= now - domain.ASKED_NOTED
        tx.execute(update(_AGENTS).where(_A.id == known.id, is_due).values(asked_at=now, address=asked.address))
        return
    _take_turns(tx)  # two that come at once must not both take the last place
    forget_silent(tx, now)
    networks = [network_of(row.address) for row in tx.execute(select(_A.address).where(_A.state == WAITING))]
    trouble = domain.waiting_trouble(networks, network_of(asked.address))
    if trouble is not None:
        raise Refused(f"{trouble}: approve or refuse some of them, or {domain.ENROL_ANEW}", retry_after=60)
    _added(tx, asked, id, WAITING, now)


def forget_silent(tx: Connection, now: Instant) -> int:
    """Remove the hosts that wait and have not asked for an hour. Returns how many."""
    silent = and_(_A.state == WAITING, _A.asked_at <= now - domain.WAITING_SILENT)
    return tx.execute(delete(_AGENTS).where(silent)).rowcount


def _added(
    tx: Connection,
    asked: Asked,
    id: str,
    state: str,
    now: Instant,
    *,
    by: str | None = None,
    code: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> AgentRow:
    """A new agent, stored."""
    agent = AgentRow(
        id, asked.hostname, REFLECTOR, state, asked.key_sha256, asked.address, asked.instance, labels or {}, 0, code,
        now, now, now, None if by is None else now, by,
    )  # fmt: skip
    _insert(tx, agent)
    return agent


def _insert(tx: Connection, agent: AgentRow) -> None:
    values = {column.name: value for column, value in zip(_AGENT, astuple(agent), strict=False)}
    values |= {"labels": json.dumps(dict(agent.labels), ensure_ascii=False), "changed_at": _stamp(tx, agent.changed_at)}
    tx.execute(insert(_AGENTS).values(values))


def _issue(
    tx: Connection, agent: AgentRow, asked: Asked, fresh: Token, actor: Actor, now: Instant, event: Event
) -> Enrolled:
    """Give an agent a token of the next generation, and remember the key that it has shown."""
    shown: dict[str, Any] = {"key_sha256": asked.key_sha256, "address": asked.address, "instance": asked.instance}
    generation = _next_token(tx, agent, fresh, now, shown | {"changed_at": _stamp(tx, now)})
    access.record(tx, actor, event, now)
    return Enrolled(replace(agent, generation=generation, **shown), fresh)


def _next_token(tx: Connection, agent: AgentRow, fresh: Token, now: Instant, values: dict[str, Any]) -> int:
    """Store a token of the next generation. Returns that generation."""
    changed = update(_AGENTS).where(_A.id == agent.id).values(values | {"generation": _A.generation + 1})
    generation: int = tx.execute(changed.returning(_A.generation)).scalar_one()
    new = CredentialRow(
        fresh.id, fresh.kind, None, agent.hostname, REPORTER, now, f"agent:{agent.hostname}", None, None, None, None, agent.id, generation
    )  # fmt: skip
    access.insert_credential(tx, new, sha256(fresh.text), now)
    is_left = and_(_C.generation <= generation - domain.UNUSED_MAX, _C.last_used_at.is_(None), _C.revoked_at.is_(None))
    tx.execute(update(_CREDENTIALS).where(*_of(agent), is_left).values(revoked_at=now, replaced_by=generation))
    return generation


def _stamp(tx: Connection, now: Instant) -> Instant:
    """The instant of a change: later than those before, although the clock of another process may be behind."""
    newest = tx.execute(select(func.max(_A.changed_at))).scalar_one()
    return now if newest is None else max(now, newest + 1)


def _take_turns(tx: Connection, hostname: str | None = None) -> None:
    """Let one transaction at a time change the agents of this host, or (None) the length of the waiting list."""
    if tx.dialect.name == "postgresql":
        turn = {"kind": _TURN_OF_WAITING if hostname is None else _TURN_OF_HOST, "name": hostname or ""}
        tx.execute(text("SELECT pg_advisory_xact_lock(:kind, hashtext(:name))"), turn)


# ------------------------------------------------------------------ tokens of agents


def rotate(tx: Connection, token: str, hostname: str, fresh: Token, actor: Actor, now: Instant) -> int:
    """Give the agent that shows this valid token one of the next generation. Returns that generation.

    The former token counts until the new one is used. Raises Conflict if the token was not made by an enrolment.
    """
    _take_turns(tx, hostname)
    id = tx.execute(select(_C.agent).where(_C.id == token)).scalar_one_or_none()
    agent = live(tx, hostname)
    if agent is None or agent.id != id or agent.state != ENROLLED:
        raise Conflict("this token was made by an admin, and does not change; enrol the host to get one that does")
    generation = _next_token(tx, agent, fresh, now, {})
    access.record(tx, actor, Event("agent-rotated", agent.hostname, f"generation {generation}"), now)
    return generation


def note_first_use(tx: Connection, id: str, agent: str, hostname: str, generation: int, now: Instant) -> None:
    """Note that a token was used for the first time. From now on the tokens of earlier generations do not count."""
    unused = and_(_C.id == id, _C.last_used_at.is_(None), _C.revoked_at.is_(None))
    if tx.execute(update(_CREDENTIALS).where(unused).values(last_used_at=now)).rowcount:
        former = and_(_C.hostname == hostname, _C.agent == agent, _C.generation < generation, _C.revoked_at.is_(None))
        tx.execute(update(_CREDENTIALS).where(former).values(revoked_at=now, replaced_by=generation))


def suspend(tx: Connection, id: str, hostname: str, why: str, actor: Actor, now: Instant) -> bool:
    """Suspend an enrolled agent: none of its tokens counts. Returns False if it was not enrolled any more."""
    _take_turns(tx, hostname)
    enrolled = (
        update(_AGENTS).where(_A.id == id, _A.state == ENROLLED).values(state=SUSPENDED, changed_at=_stamp(tx, now))
    )
    if not tx.execute(enrolled).rowcount:
        return False
    tx.execute(update(_CREDENTIALS).where(_C.hostname == hostname, _C.agent == id).values(suspended_at=now))
    access.record(tx, actor, Event("agent-suspended", hostname, why), now)
    return True


def _of(agent: AgentRow) -> Sequence[Any]:
    """The condition for the tokens of an agent. `hostname` is in it for the index."""
    return _C.hostname == agent.hostname, _C.agent == agent.id


def _end_tokens(tx: Connection, agent: AgentRow, now: Instant) -> int:
    """Revoke all tokens of an agent. Using one of them is no sign of a second machine any more. Returns how many were valid."""
    ended = tx.execute(update(_CREDENTIALS).where(*_of(agent), _C.revoked_at.is_(None)).values(revoked_at=now)).rowcount
    tx.execute(update(_CREDENTIALS).where(*_of(agent)).values(replaced_by=None, suspended_at=None))
    return ended


def _end_tokens_of(tx: Connection, hostnames: Sequence[str], now: Instant) -> int:
    """Revoke all tokens of the agents of these hosts. Returns how many were valid."""
    agents = select(_A.id).where(_A.hostname.in_(hostnames), _IS_LIVE).scalar_subquery()
    theirs = and_(_C.hostname.in_(hostnames), _C.agent.in_(agents), _C.revoked_at.is_(None))
    return tx.execute(update(_CREDENTIALS).where(theirs).values(revoked_at=now)).rowcount


# ------------------------------------------------------------------ what an admin does with agents


def approve(
    tx: Connection, wanted: str, labels: Mapping[str, str], actor: Actor, now: Instant
) -> tuple[AgentRow, list[Command]]:
    """The agent of a host that waited, and the commands that waited for a former one, which are cancelled.

    It gets its token when the host asks again. Raises NotFound, Conflict.
    """
    agent = _in_turn(tx, wanted)
    if agent.state != WAITING:
        raise Conflict(f"{agent.hostname} does not wait: it is {agent.state}")
    if live(tx, agent.hostname) is not None:
        raise Conflict(f"another agent of {agent.hostname} is enrolled: revoke that one first")
    enrolled: dict[str, Any] = {
        "state": ENROLLED,
        "enrolled_at": now,
        "enrolled_by": actor.recorded_as,
        "changed_at": _stamp(tx, now),
    }
    stored = enrolled | {"labels": json.dumps(dict(labels), ensure_ascii=False)}
    tx.execute(update(_AGENTS).where(_A.id == agent.id).values(stored))
    # Other hosts that wait under this name leave the list.
    tx.execute(delete(_AGENTS).where(_A.hostname == agent.hostname, _A.state == WAITING))
    cancelled = _cancel_former(tx, agent.hostname, actor, now)
    access.record(tx, actor, Event("agent-approved", agent.hostname, domain.fingerprint(agent.key_sha256)), now)
    return replace(agent, labels=labels, **enrolled), cancelled


def revoke(tx: Connection, wanted: str, actor: Actor, now: Instant) -> tuple[AgentRow, list[Command]]:
    """The agent, refused or revoked, and the pending commands that were cancelled. One that is revoked already stays so.

    All tokens of its host end, also one that an admin has made. Raises NotFound, Conflict.
    """
    agent = _in_turn(tx, wanted)
    if agent.state == REVOKED:
        return agent, []
    ended: dict[str, Any] = {"state": REVOKED, "ended_at": now, "changed_at": _stamp(tx, now)}
    tx.execute(update(_AGENTS).where(_A.id == agent.id).values(ended))
    if agent.state == WAITING:
        access.record(tx, actor, Event("agent-refused", agent.hostname, domain.fingerprint(agent.key_sha256)), now)
        return replace(agent, **ended), []
    _end_tokens(tx, agent, now)
    made_by_admin = and_(_C.hostname == agent.hostname, _C.agent.is_(None), _C.revoked_at.is_(None))
    tx.execute(update(_CREDENTIALS).where(made_by_admin).values(revoked_at=now))
    # Otherwise the next agent of this name would get them.
    cancelled = commands.cancel_pending_of(tx, agent.hostname, "agent revoked", actor, now)
    access.record(tx, actor, Event("agent-revoked", agent.hostname, agent.id), now)
    return replace(agent, **ended), cancelled


def admitted(tx: Connection) -> set[str]:
    """The names of the hosts whose agents of another make are admitted."""
    return set(tx.execute(select(_A.hostname).where(_A.state == ENROLLED, _A.kind == FIELD)).scalars())


def recipient(tx: Connection, hostname: str) -> Recipient | None:
    """The agent that a signed command for this host is for; None for one of another make, which checks no signature."""
    agent = live(tx, hostname)
    if agent is not None and agent.kind == FIELD:
        return None
    return Recipient(hostname) if agent is None else Recipient(hostname, agent.id, agent.generation)


def revoke_again(tx: Connection, hosts_by_what: Mapping[str, set[str]], now: Instant) -> dict[str, int]:
    """After a restore: revoke and suspend again the agents of these hosts, and end every code. Returns how many of what.

    Where an agent has got another token since the backup, the tokens that the backup knows are ended: nobody has them any more
    but a thief.
    """
    actor, counts = job("restore"), {"agents revoked": 0, "agents suspended": 0}
    for hostname in sorted(hosts_by_what.get("agent-revoked", ())):
        if live(tx, hostname) is not None:
            revoke(tx, hostname, actor, now)
            counts["agents revoked"] += 1
    for hostname in sorted(hosts_by_what.get("agent-suspended", ())):
        agent = live(tx, hostname)
        counts["agents suspended"] += agent is not None and suspend(
            tx, agent.id, hostname, "again, after a restore", actor, now
        )
    renewed = sorted(set().union(*(hosts_by_what.get(what, ()) for what in _RENEWS)))
    former = sum(_end_tokens_of(tx, renewed[n : n + 500], now) for n in range(0, len(renewed), 500))
    return counts | {"codes ended": end_all(tx, actor, now), "former tokens of agents ended": former}


def label(tx: Connection, wanted: str, changes: Mapping[str, str | None], actor: Actor, now: Instant) -> AgentRow:
    """The agent with other pinned labels: `changes` by name, None takes one away. Raises NotFound, Conflict, Invalid."""
    agent = _in_turn(tx, wanted)
    if agent.state not in {ENROLLED, SUSPENDED}:
        raise Conflict(f"the agent of {agent.hostname} is {agent.state}; only one that is enrolled has labels")
    labels = domain.changed_labels(agent.labels, changes)
    trouble = domain.labels_trouble(labels)
    if trouble is not None:
        raise Invalid(trouble)
    if labels == agent.labels:
        return agent
    changed: dict[str, Any] = {"changed_at": _stamp(tx, now)}
    stored = changed | {"labels": json.dumps(labels, ensure_ascii=False)}
    tx.execute(update(_AGENTS).where(_A.id == agent.id).values(stored))
    said = ", ".join(f"{name} {'taken away' if value is None else f'= {value}'}" for name, value in changes.items())
    access.record(tx, actor, Event("agent-labelled", agent.hostname, said), now)
    return replace(agent, labels=labels, **changed)


def unlock(tx: Connection, wanted: str, actor: Actor, now: Instant) -> AgentRow:
    """The agent, enrolled again: the token of the newest generation that was used counts, and those after it.

    Raises NotFound, and Conflict if it is not suspended.
    """
    agent = _in_turn(tx, wanted)
    if agent.state != SUSPENDED:
        raise Conflict(f"the agent of {agent.hostname} is {agent.state}, and not suspended")
    enrolled: dict[str, Any] = {"state": ENROLLED, "changed_at": _stamp(tx, now)}
    tx.execute(update(_AGENTS).where(_A.id == agent.id).values(enrolled))
    tx.execute(update(_CREDENTIALS).where(*_of(agent)).values(suspended_at=None, replaced_by=None))
    access.record(tx, actor, Event("agent-unlocked", agent.hostname, agent.id), now)
    return replace(agent, **enrolled)


def _in_turn(tx: Connection, wanted: str) -> AgentRow:
    """The agent, read while no other transaction can change the agents of its host. Raises NotFound, Conflict."""
    agent = find(tx, wanted)
    _take_turns(tx, agent.hostname)
    return find(tx, agent.id)


def admit_field(
    tx: Connection, id: str, hostname: str, address: str, takes_commands: bool, actor: Actor, now: Instant
) -> AgentRow:
    """The agent of another make that an admin admits by name and address. Raises Conflict if one of the two is taken."""
    _take_turns(tx, hostname)
    _take_turns(tx, address)
    former = live(tx, hostname)
    if former is not None:
        where = f"admitted at {former.address}" if former.kind == FIELD else former.state
        raise Conflict(f"{hostname} is {where} already: run mirror-stage agents revoke {shlex.quote(hostname)} first")
    is_there = and_(_A.state == ENROLLED, _A.kind == FIELD, _A.address == address)
    other = tx.execute(select(_A.hostname).where(is_there)).scalar_one_or_none()
    if other is not None:
        raise Conflict(
            f"{address} is admitted as {other} already, and an address has one name: run mirror-stage agents revoke "
            f"{shlex.quote(other)} first"
        )
    agent = AgentRow(
        id, hostname, FIELD, ENROLLED, None, address, None, {}, 0, None, now, now, now, now, actor.recorded_as,
        takes_commands=takes_commands,
    )  # fmt: skip
    _insert(tx, agent)
    what = "for samples and commands" if takes_commands else "for samples only"
    access.record(tx, actor, Event("agent-admitted", hostname, f"{agent.id} at {address}, {what}"), now)
    return agent


# ------------------------------------------------------------------ reading


def live(tx: Connection, hostname: str) -> AgentRow | None:
    """The agent that has this name, enrolled or suspended; None if the name is free."""
    row = tx.execute(select(*_AGENT).where(_A.hostname == hostname, _IS_LIVE)).first()
    return None if row is None else _agent(row)


def find(tx: Connection, wanted: str) -> AgentRow:
    """The agent with this id, or of this host: the live one, else one that waits, else the one that was revoked last.

    Raises NotFound, and Conflict if several hosts wait under the name.
    """
    row = tx.execute(select(*_AGENT).where(_A.id == wanted)).first()
    if row is not None:
        return _agent(row)
    agent = live(tx, wanted)
    if agent is not None:
        return agent
    others = tx.execute(select(*_AGENT).where(_A.hostname == wanted).order_by(_A.changed_at.desc(), _A.id)).all()
    waiting = [row for row in others if row.state == WAITING]
    if len(waiting) > 1:
        raise Conflict(
            f"{len(waiting)} hosts wait as {wanted}: compare the fingerprints, and name one of them by its id"
        )
    if not others:
        raise NotFound(f"there is no agent {wanted[:120]!a}; mirror-stage agents list shows all")
    return _agent((waiting or others)[0])


def agents(tx: Connection, state: str | None = None) -> list[AgentRow]:
    """The agents in this state, newest first; None: every agent, also those that were revoked and are not yet pruned."""
    used = (
        select(func.max(_C.last_used_at)).where(_C.hostname == _A.hostname, _C.agent == _A.id).correlate(_AGENTS)
    ).scalar_subquery()
    query = select(*_AGENT, used).order_by(_A.created_at.desc(), _A.id)
    rows = tx.execute(query if state is None else query.where(_A.state == state))
    return [_agent(row) for row in rows]


def stranger(tx: Connection, hostname: str, now: Instant, is_confirmed: bool = False) -> str | None:
    """Why no command may be queued for a host; None if one may.

    One may if the host is enrolled or has a valid token. An agent of another make must be admitted for commands, and the command
    must be confirmed.
    """
    agent = live(tx, hostname)
    if agent is not None and agent.state == SUSPENDED:
        return f"the agent of {hostname} is suspended; an admin has to unlock it first"
    if agent is not None and agent.kind == FIELD:
        return None if agent.takes_commands and is_confirmed else _unverified(agent)
    if agent is not None:
        return None
    if _has_token_of_admin(tx, hostname, now):
        return None
    return (
        f"no agent is enrolled as {hostname}, so the command would go to whoever enrols under this name: enrol it first "
        "(mirror-stage enroll code)"
    )


def _has_token_of_admin(tx: Connection, hostname: str, now: Instant) -> bool:
    """Whether there is a valid token that an admin has made for this host."""
    is_valid = and_(_C.revoked_at.is_(None), or_(_C.expires_at.is_(None), _C.expires_at > now))
    made_by_admin = and_(_C.hostname == hostname, _C.agent.is_(None), is_valid)
    return tx.execute(select(_C.id).where(made_by_admin).limit(1)).first() is not None


def _unverified(agent: AgentRow) -> str:
    if not agent.takes_commands:
        name = shlex.quote(agent.hostname)
        return (
            f"{agent.hostname} is admitted for samples only: to let it take commands, run mirror-stage agents revoke {name}, then "
            f"mirror-stage enroll field {name} --address {agent.address} --commands"
        )
    return (
        f"{agent.hostname} is unverified: only its address {agent.address} says who it is, and the command goes there unsigned and "
        'in the clear; send "confirmUnverified": true to queue it all the same'
    )


def changed_since(tx: Connection, at: Instant, id: str, most: int) -> list[AgentRow]:
    """The next agents that changed at or after an instant, oldest change first; among those of that instant, after `id`."""
    after = or_(_A.changed_at > at, and_(_A.changed_at == at, _A.id > id))
    query = select(*_AGENT).where(_A.changed_at >= at, after).order_by(_A.changed_at, _A.id).limit(most)
    return [_agent(row) for row in tx.execute(query)]


def count_waiting(tx: Connection) -> int:
    """How many hosts wait for an admin."""
    return tx.execute(select(func.count()).select_from(_AGENTS).where(_A.state == WAITING)).scalar_one()


def _agent(row: Any) -> AgentRow:
    return replace(AgentRow(*row), labels=json.loads(row.labels))


# ------------------------------------------------------------------ codes


def add_code(tx: Connection, new: CodeRow, code_sha256: str, actor: Actor, now: Instant) -> None:
    """Store a code. Raises Refused if there are too many."""
    count = select(func.count()).select_from(
        select(_K.id).where(_K.expires_at > now).limit(domain.CODES_MAX).subquery()
    )
    if tx.execute(count).scalar_one() >= domain.CODES_MAX:
        raise Refused(
            f"there are {domain.CODES_MAX} codes already; end those that nobody needs (mirror-stage enroll end ID)"
        )
    values = {column.name: value for column, value in zip(_CODE, astuple(new), strict=True)}
    stored = values | {"labels": json.dumps(dict(new.labels), ensure_ascii=False), "sha256": code_sha256}
    tx.execute(insert(_CODES).values(stored))
    detail = f"{new.uses_left} uses for {new.host_pattern}"
    access.record(tx, actor, Event("enrol-code-created", new.id, detail), now)


def codes(tx: Connection, now: Instant) -> list[CodeRow]:
    """The codes that have not ended, newest first."""
    query = select(*_CODE).where(_K.expires_at > now).order_by(_K.created_at.desc(), _K.id)
    return [_code(row) for row in tx.execute(query)]


def end_code(tx: Connection, id: str, actor: Actor, now: Instant) -> None:
    """End a code. One that has ended stays so. Raises NotFound."""
    if tx.execute(update(_CODES).where(_K.id == id, _K.expires_at > now).values(expires_at=now)).rowcount:
        access.record(tx, actor, Event("enrol-code-ended", id), now)
    elif not tx.execute(select(_K.id).where(_K.id == id)).first():
        raise NotFound(f"there is no code {id[:40]!a}")


def end_all(tx: Connection, actor: Actor, now: Instant) -> int:
    """End every code, after a restore: some of them may have been spent since the backup. Returns how many."""
    ended = tx.execute(update(_CODES).where(_K.expires_at > now).values(expires_at=now)).rowcount
    if ended:
        access.record(tx, actor, Event("enrol-code-ended", None, f"all {ended}, by a restore"), now)
    return ended


def _code(row: Any) -> CodeRow:
    return replace(CodeRow(*row), labels=json.loads(row.labels))


# ------------------------------------------------------------------ what is old


def prune(tx: Connection, now: Instant, most: int) -> int:
    """Remove at most `most` revoked agents and as many codes whose time is over. Returns how many."""
    old_agents = select(_A.id).where(_A.ended_at <= now - AGENTS_KEPT).order_by(_A.ended_at).limit(most)
    removed = tx.execute(delete(_AGENTS).where(_A.id.in_(old_agents.scalar_subquery()))).rowcount
    old_codes = select(_K.id).where(_K.expires_at <= now - CODES_KEPT).order_by(_K.expires_at).limit(most)
    return removed + tx.execute(delete(_CODES).where(_K.id.in_(old_codes.scalar_subquery()))).rowcount
