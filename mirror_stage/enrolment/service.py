"""What hosts and admins can do with agents and codes. Also notices when two machines use the token of one agent."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gevent

from mirror_stage.access import store as access
from mirror_stage.access import tokens
from mirror_stage.access.attempts import Attempts, Failures
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import ANONYMOUS, REFLECTOR, Actor, actor_of_field
from mirror_stage.access.people import REPLACED_LASTS, Known, suspended
from mirror_stage.access.service import People
from mirror_stage.commands.domain import Command
from mirror_stage.core.budget import Budget
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import MINUTE, Instant
from mirror_stage.core.problems import Conflict, Forbidden, Refused, Unauthorized
from mirror_stage.enrolment import domain, store
from mirror_stage.enrolment.domain import (
    ENROLLED,
    FIELD,
    REVOKED,
    SUSPENDED,
    WAITING,
    AgentRow,
    Asked,
    CodeRow,
    Instances,
)
from mirror_stage.enrolment.store import Enrolled, SpentCode
from mirror_stage.storage.db import Storage

OF_ADDRESS = (10 / 60, 10.0)  # tries a second, and at once; one that succeeds does not count
ASKED_OF_ADDRESS = (5.0, 50.0)  # all of them
OF_ALL = (50.0, 200.0)
ROTATIONS = (1 / 600, 10.0)  # of one host
WARNED_SECONDS = 3_600.0  # how long readiness reports that a spent code was shown
LOOKED_BACK: Instant = MINUTE  # a change of another process may be committed late
AGENTS_AT_ONCE = 500
PRUNE_AT_ONCE = 200
WATCHED_MAX = 30_000  # tokens

log = logging.getLogger(__name__)


class Enrolment:
    """The agents that take part.

    `tell_cancelled` is given the commands that a revoke or a new agent has cancelled. `signing_root`
    returns EGO's public key for commands.
    `wake` wakes the waiting poll of a host whose agent is no longer admitted, so that it is refused.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        people: People,
        *,
        tell_cancelled: Callable[[Sequence[Command]], None],
        signing_root: Callable[[], str | None],
        wake: Callable[[str], None] = lambda _hostname: None,
    ):
        self._storage, self._clock, self._people = storage, clock, people
        self._tell_cancelled, self.signing_root, self._wake = tell_cancelled, signing_root, wake
        self._asked = Attempts("to enrol", ASKED_OF_ADDRESS, OF_ALL)
        self._attempts, self._failures = Attempts("to enrol", OF_ADDRESS, OF_ALL), Failures()
        self._rotations: dict[str, Budget] = {}  # by hostname
        self._instances: dict[str, Instances] = {}
        self._labels: dict[str, Mapping[str, str]] = {}  # by hostname
        self._admitted: dict[str, AgentRow] = {}  # the agents of another make, by address
        self._suspended: set[str] = set()
        self._waiting = 0
        self._seen: Instant = 0  # the newest change that is in `_labels` and `_suspended`
        self._warning: tuple[float, str] | None = None
        people.watch_agents(self.used)

    # ------------------------------------------------------------------ hosts

    def enrol(self, asked: Asked, code: str | None, actor: Actor) -> Enrolled | None:
        """The agent of a host that asks, with its new token; None if the host has to wait for an admin.

        Raises Refused after too many tries, Unauthorized for a code that does not count, Conflict if the name is taken,
        Forbidden if an admin has refused this host.
        """
        for limit in (self._asked, self._attempts):
            limit.take(elapsed_seconds(), asked.address, None)
        if actor.hostname == asked.hostname:
            self._take_token(asked.hostname)
        now, fresh = self._clock.now(), tokens.make(tokens.AGENT, secrets.choice)
        try:
            shown = None if code is None else _parsed(code)
            enrolled = self._storage.write(lambda tx: store.enrol(tx, asked, shown, fresh, _new_id(), actor, now))
        except (Unauthorized, Conflict, Forbidden) as why:
            self._failed(asked, actor, why)
            raise
        if enrolled is None or enrolled.agent.generation == 1:
            self._attempts.succeeded(asked.address, None)
        if enrolled is not None:
            self._tell_cancelled(enrolled.cancelled)
            self._heard_of(enrolled.agent)
        return enrolled

    def _take_token(self, hostname: str) -> None:
        """Count a token for a host that has one. Raises Refused after too many."""
        budget = self._rotations.setdefault(hostname, Budget(*ROTATIONS))
        if not budget.take(elapsed_seconds()):
            raise Refused(f"{hostname} has asked for too many tokens", retry_after=600)

    def _failed(self, asked: Asked, actor: Actor, why: Unauthorized | Conflict | Forbidden) -> None:
        if isinstance(why, SpentCode):
            log.warning("%s has shown a code that was spent, as %s", asked.address, asked.hostname)
            warning = f"{asked.address} has shown a code that was spent, as {asked.hostname}"
            self._warning = (elapsed_seconds(), warning)
        report = self._failures.note(
            elapsed_seconds(), asked.address, f"{asked.hostname}: {why.detail.partition(';')[0]}"
        )
        if report is not None:
            self._record_failure(actor.peer, report)

    def _record_failure(self, peer: str | None, report: str) -> None:
        now, who = self._clock.now(), Actor(ANONYMOUS, peer=peer)
        self._storage.write(lambda tx: access.record(tx, who, Event("enrol-refused", None, report), now))

    def rotate(self, actor: Actor) -> tuple[str, int]:
        """A token of the next generation for the agent that asks, and that generation. Raises Conflict, Refused."""
        (kind, _, id), hostname = (actor.credential or "").partition(":"), actor.hostname
        if kind != "token" or hostname is None:
            raise Conflict("only the agent of an enrolled host has a token that changes")
        self._take_token(hostname)
        now, fresh = self._clock.now(), tokens.make(tokens.AGENT, secrets.choice)
        generation = self._storage.write(lambda tx: store.rotate(tx, id, hostname, fresh, actor, now))
        return fresh.text, generation

    # ------------------------------------------------------------------ the watch on tokens

    def used(self, key: str, known: Known, peer: str | None, instance: str | None) -> str | None:
        """Note that a token of an enrolled agent was used. Returns why the agent is suspended, None if it is not.

        Raises Unavailable if that cannot be stored.
        """
        if known.agent is None or known.hostname is None or known.suspended_at is not None:
            return None
        now = self._clock.now()
        if known.revoked_at is not None:
            is_old = known.replaced_by is not None and now >= known.revoked_at + REPLACED_LASTS
            why = f"generation {known.generation} of its token was used after generation {known.replaced_by}"
            return self._suspend(known, peer, why, now) if is_old else None
        if known.last_used_at is None:
            id, agent, hostname, generation = key.partition(":")[2], known.agent, known.hostname, known.generation or 0
            self._storage.write(lambda tx: store.note_first_use(tx, id, agent, hostname, generation, now))
            self._people.forget()
        if instance is not None and self._alternate(key, instance[:64], now):
            del self._instances[key]
            return self._suspend(known, peer, "two machines use its token at the same time", now)
        return None

    def _alternate(self, key: str, instance: str, now: Instant) -> bool:
        instances = self._instances.pop(key, None) or Instances(instance)
        self._instances[key] = instances  # the token used last is at the end
        if len(self._instances) > WATCHED_MAX:
            del self._instances[next(iter(self._instances))]
        return instances.alternate(instance, now)

    def _suspend(self, known: Known, peer: str | None, why: str, now: Instant) -> str | None:
        agent, hostname = known.agent or "", known.hostname or ""
        who = Actor(REFLECTOR, f"agent:{hostname}", peer)
        if not self._storage.write(lambda tx: store.suspend(tx, agent, hostname, why, who, now)):
            return None
        log.warning("the agent of %s is suspended: %s (last from %s)", hostname, why, peer)
        self._suspended.add(hostname)
        self._people.forget()
        return suspended(hostname)

    # ------------------------------------------------------------------ admins

    def agents(self, state: str | None = None) -> list[AgentRow]:
        """Every agent, or those in this state, newest first."""
        return self._storage.read(lambda tx: store.agents(tx, state))

    def approve(self, wanted: str, labels: Mapping[str, str], actor: Actor) -> AgentRow:
        """The agent of a host that waited; `labels` are pinned. Raises NotFound, Conflict."""
        agent, cancelled = self._storage.write(lambda tx: store.approve(tx, wanted, labels, actor, self._clock.now()))
        self._tell_cancelled(cancelled)
        return self._heard_of(agent)

    def revoke(self, wanted: str, actor: Actor) -> AgentRow:
        """The agent, refused or revoked: its tokens and the commands that wait for it are ended. Raises NotFound, Conflict."""
        agent, cancelled = self._storage.write(lambda tx: store.revoke(tx, wanted, actor, self._clock.now()))
        self._tell_cancelled(cancelled)
        return self._heard_of(agent)

    def unlock(self, wanted: str, actor: Actor) -> AgentRow:
        """The agent, which was suspended, enrolled again. Raises NotFound, Conflict."""
        return self._heard_of(self._storage.write(lambda tx: store.unlock(tx, wanted, actor, self._clock.now())))

    def label(self, wanted: str, changes: Mapping[str, str | None], actor: Actor) -> AgentRow:
        """The agent with other pinned labels; None takes one away. Raises NotFound, Conflict, Invalid."""
        return self._heard_of(
            self._storage.write(lambda tx: store.label(tx, wanted, changes, actor, self._clock.now()))
        )

    def admit_field(self, hostname: str, address: str, actor: Actor, *, takes_commands: bool) -> AgentRow:
        """The agent of another make, admitted by name and address. Raises Conflict if one of the two is taken."""
        now, id = self._clock.now(), _new_id()
        return self._heard_of(
            self._storage.write(lambda tx: store.admit_field(tx, id, hostname, address, takes_commands, actor, now))
        )

    def note_reading(self, what: str, actor: Actor) -> None:
        """Record that somebody has read something at the command line."""
        self._people.note_reading(what, actor)

    def codes(self) -> list[CodeRow]:
        """The codes that have not ended, newest first."""
        now = self._clock.now()
        return self._storage.read(lambda tx: store.codes(tx, now))

    def create_code(
        self, actor: Actor, *, uses: int, lasts: Instant, host_pattern: str, labels: Mapping[str, str]
    ) -> tuple[str, CodeRow]:
        """The text of a new code, which nobody can see again, and its row. Raises Refused if there are too many."""
        now, code = self._clock.now(), tokens.make(tokens.ENROL, secrets.choice)
        new = CodeRow(code.id, uses, now + lasts, host_pattern, labels, now, actor.recorded_as)
        self._storage.write(lambda tx: store.add_code(tx, new, tokens.sha256(code.text), actor, now))
        return code.text, new

    def end_code(self, id: str, actor: Actor) -> None:
        """End a code. Raises NotFound."""
        now = self._clock.now()
        self._storage.write(lambda tx: store.end_code(tx, id, actor, now))

    # ------------------------------------------------------------------ what others ask

    def labels_of(self, hostname: str) -> Mapping[str, str]:
        """The labels of a host that an admin has pinned."""
        return self._labels.get(hostname, {})

    def field_actor_at(self, address: str | None) -> Actor:
        """The actor for a request from this address on the listener for agents of another make."""
        agent = self._admitted.get(address or "")
        if agent is None:
            return actor_of_field(None, address)
        return actor_of_field(agent.hostname, address, takes_commands=agent.takes_commands)

    def unverified(self) -> set[str]:
        """The hosts whose agents are of another make, so that EGO knows them only by their addresses."""
        return {agent.hostname for agent in self._admitted.values()}

    def check(self) -> dict[str, Any]:
        """The readiness check: ok unless an agent is suspended, or a used-up code was shown in the last hour."""
        troubles = []
        if self._suspended:
            names = sorted(self._suspended)
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            troubles.append(f"suspended: {', '.join(names[:5])}{more} (mirror-stage agents unlock)")
        if self._warning is not None and elapsed_seconds() - self._warning[0] < WARNED_SECONDS:
            troubles.append(self._warning[1])
        return {"ok": not troubles, "detail": "; ".join(troubles) or f"waiting for approval: {self._waiting}"}

    # ------------------------------------------------------------------ jobs

    def look(self) -> None:
        """Learn what another process has changed, remove silent hosts from the waiting list, store reports of refusals."""
        now = self._clock.now()
        for peer, report in self._failures.due(elapsed_seconds()):
            self._record_failure(peer, report)
        waiting = self._storage.own.read(store.count_waiting)
        self._waiting = waiting - (self._storage.own.write(lambda tx: store.forget_silent(tx, now)) if waiting else 0)
        at, id = self._seen - LOOKED_BACK, ""
        while changed := self._storage.own.read(partial(store.changed_since, at=at, id=id, most=AGENTS_AT_ONCE)):
            for agent in changed:
                self._learn(agent)
            at, id = changed[-1].changed_at, changed[-1].id
        self._seen = max(at, self._seen)

    def prune(self, now: Instant) -> None:
        """Remove agents and codes that are past their time, in small steps."""
        while self._storage.own.write(lambda tx: store.prune(tx, now, PRUNE_AT_ONCE)):
            gevent.sleep(0)

    def _heard_of(self, agent: AgentRow) -> AgentRow:
        """Note an agent that has just changed, and read its tokens anew. Returns the agent."""
        self._learn(agent)
        self._people.forget()
        return agent

    def _learn(self, agent: AgentRow) -> None:
        if agent.state == WAITING:
            return
        if agent.kind == FIELD and agent.address is not None:
            self._learn_field(agent, agent.address)
        self._labels[agent.hostname] = agent.labels if agent.state != REVOKED else {}
        if agent.state == SUSPENDED:
            self._suspended.add(agent.hostname)
        else:
            self._suspended.discard(agent.hostname)

    def _learn_field(self, agent: AgentRow, address: str) -> None:
        if agent.state == ENROLLED:
            self._admitted[address] = agent
        elif address in self._admitted and self._admitted[address].id == agent.id:
            del self._admitted[address]
            self._wake(agent.hostname)


def _parsed(code: str) -> tokens.Token:
    """The code that a host shows. Raises Unauthorized if it is none."""
    try:
        token = tokens.parse(code)
    except tokens.Mistyped as why:
        raise Unauthorized(f"the code is mistyped or cut: copy the whole line again, or {domain.ENROL_ANEW}") from why
    if token.kind != tokens.ENROL:
        raise Unauthorized(f"this is a token, and no code with which a host enrols; {domain.ENROL_ANEW}")
    return token


def _new_id() -> str:
    return "a" + tokens.random_text(tokens.ID_LENGTH, secrets.choice)
