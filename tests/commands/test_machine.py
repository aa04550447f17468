"""The command queue against a model of the contract's state table, through random steps with faults.

There are two hosts and three agents: two with a journal, and one without, which shares a host. Answers get lost.
Results come twice, with other contents, late or never. Commands are cancelled and expire. The clock advances, and EGO
restarts, after some time or with its clock set back.

`CONTRIBUTING.md` lists the invariants I1 to I12.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mirror_stage.commands.domain import OUTCOMES, Chunk, Command, Standing
from mirror_stage.core.problems import Conflict
from tests.commands.bench import AGENT, OPERATOR, CommandBench, outcome

TRANSITIONS = {
    "create", "claim", "claim again", "expire", "cancel", "ask to stop", "ask again", "start", "heartbeat", "output", "lose",
    "close", "same again", "different", "end late", "late same again", "too early", "too late", "cancel too late", "restart",
    "restart, clock set back", *(f"end {status}/{reason}" for status, reason in OUTCOMES),
}  # fmt: skip
seen: Counter[str] = Counter()
picks = st.integers(0, 10_000)
outcomes = st.sampled_from(sorted(OUTCOMES, key=str))


@dataclass
class Model:
    """What the contract says of one command."""

    id: str
    seq: int
    hostname: str
    timeout_ms: int
    expires_at: int
    status: str = "pending"
    reason: str | None = None
    is_closed: bool = False
    lease_until: int | None = None
    late: bool = False
    cancel_requested: bool = False
    version: int = 1
    started: bool = False
    claimed_by: str | None = None
    report: tuple[str, str | None, str] | None = None
    last_seq: int = -1

    @property
    def standing(self) -> Standing:
        if self.status in {"pending", "running"}:
            return Standing[self.status.upper()]
        return Standing.LOST if self.reason == "lost" and not self.is_closed else Standing.FINAL

    def become(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason, self.version = status, reason, self.version + 1
        if status != "running":
            self.lease_until = None


@dataclass
class Agent:
    """A REFLECTOR: the queue of commands that it has not run yet, and the ids in its journal."""

    hostname: str
    has_journal: bool
    instance: str = field(default_factory=lambda: str(uuid.uuid4()))
    journal: set[str] = field(default_factory=set)
    queue: list[str] = field(default_factory=list)

    def take(self, ids: list[str]) -> None:
        for id in ids:
            if id not in self.journal or not self.has_journal:
                self.journal.add(id)
                self.queue.append(id)


class CommandQueue(RuleBasedStateMachine):
    """The service and the model take every step; after each step they must agree."""

    @initialize()
    def begin(self) -> None:
        self.bench = CommandBench()
        self.models: dict[str, Model] = {}
        self.agents = [Agent("titan-01", True), Agent("titan-01", False), Agent("titan-02", True)]
        self.instances_by_id: dict[str, set[str]] = {}
        self.runs_by_id: Counter[str] = Counter()
        self.newest_claimed: dict[str, int] = {}
        self.finals: dict[str, dict[str, Any]] = {}
        self.unwatched_ms = 0
        self.watched_at = self.now
        self.bench.commands.watch_over(self.now)
        for agent in self.agents:
            self.create(host=agent.hostname, seconds=10, expires=86_400)

    @property
    def now(self) -> int:
        return self.bench.clock.now()

    def standing(self, *standings: Standing) -> list[Model]:
        return [model for model in self.models.values() if model.standing in standings]

    def pick(self, number: int, *standings: Standing) -> Model | None:
        found = self.standing(*standings or Standing)
        return found[number % len(found)] if found else None

    # -------------------------------------------------------------- the steps

    @rule(
        host=st.sampled_from(["titan-01", "titan-02"]),
        seconds=st.sampled_from([0.5, 10, 30]),
        expires=st.sampled_from([86_400, 3_600, 60, 4]),
    )
    def create(self, host: str, seconds: float, expires: int) -> None:
        command = self.bench.create(host=host, timeout_seconds=seconds, expires_in_seconds=expires)
        expires_at = self.now + expires * 1000
        self.models[command.id] = Model(command.id, command.seq, host, int(seconds * 1000), expires_at)
        seen["create"] += 1

    @precondition(lambda self: any(self.is_for(agent) for agent in self.agents))
    @rule(number=picks, limit=st.integers(1, 5), is_answer_lost=st.booleans())
    def poll(self, number: int, limit: int, is_answer_lost: bool) -> None:
        asking = [agent for agent in self.agents if self.is_for(agent)]
        agent = asking[number % len(asking)]
        instance = agent.instance if agent.has_journal else None
        expected = [model for model in self.models.values() if instance and self.is_served_again(model, instance)][
            :limit
        ]
        seen["claim again"] += len(expected)
        waiting = [model for model in self.standing(Standing.PENDING) if model.hostname == agent.hostname]
        fresh = [model for model in waiting if model.expires_at > self.now][: limit - len(expected)]
        for model in fresh:
            model.become("running")
            model.claimed_by = instance
            model.lease_until = self.lease_of(model)
            seen["claim"] += 1
        claimed = self.bench.commands.claim(agent.hostname, AGENT, limit=limit, instance=instance)
        assert [command.id for command in claimed] == [model.id for model in expected + fresh]
        for model in fresh:  # I6
            assert model.seq > self.newest_claimed.get(model.hostname, 0)
            self.newest_claimed[model.hostname] = model.seq
        for command in claimed:
            self.instances_by_id.setdefault(command.id, set()).add(agent.instance)
        if not is_answer_lost:
            agent.take([command.id for command in claimed])

    def is_for(self, agent: Agent) -> list[Model]:
        """The pending and running commands of the agent's host."""
        return [
            model for model in self.standing(Standing.PENDING, Standing.RUNNING) if model.hostname == agent.hostname
        ]

    def is_served_again(self, model: Model, instance: str) -> bool:
        served = model.status == "running" and model.claimed_by == instance and not model.started
        timely = model.expires_at > self.now and (model.lease_until or 0) > self.now
        return served and timely and not model.cancel_requested

    def lease_of(self, model: Model) -> int:
        unfinished = [m for m in self.standing(Standing.RUNNING) if m.hostname == model.hostname and m.seq <= model.seq]
        return self.now + sum(m.timeout_ms for m in unfinished) + 60_000

    @precondition(lambda self: any(agent.queue for agent in self.agents))
    @rule(number=picks)
    def start(self, number: int) -> None:
        busy = [agent for agent in self.agents if agent.queue]
        id = busy[number % len(busy)].queue.pop(0)
        self.runs_by_id[id] += 1
        self.extend_lease(self.models[id], lambda: self.bench.commands.heartbeat(id, AGENT), "start")

    @rule(number=picks)
    def heartbeat(self, number: int) -> None:
        if model := self.pick(number, Standing.RUNNING) or self.pick(number):
            self.extend_lease(model, lambda: self.bench.commands.heartbeat(model.id, AGENT), "heartbeat")

    @precondition(lambda self: self.standing(Standing.RUNNING))
    @rule(number=picks, seq=st.integers(0, 4))
    def output(self, number: int, seq: int) -> None:
        if model := self.pick(number, Standing.RUNNING):
            chunk = Chunk(seq, "stdout", "x")
            self.extend_lease(model, lambda: self.bench.commands.append_output(model.id, chunk, AGENT), "output")
            model.last_seq = max(model.last_seq, seq)

    def extend_lease(self, model: Model, send: Callable[[], Any], transition: str) -> None:
        if model.standing is not Standing.RUNNING:
            with pytest.raises(Conflict):
                send()
            return
        assert model.lease_until is not None
        model.lease_until = max(model.lease_until, self.lease_of(model))
        model.started = True
        lease = send()
        assert (lease.lease_until, lease.cancel_requested) == (model.lease_until, model.cancel_requested)
        seen[transition] += 1

    @precondition(lambda self: self.standing(Standing.RUNNING))
    @rule(number=picks, how=outcomes, text=st.sampled_from(["a", "b"]))
    def report(self, number: int, how: tuple[str, str | None], text: str) -> None:
        if model := self.pick(number, Standing.RUNNING):
            self.report_of(model, (*how, text))

    @precondition(lambda self: self.standing(Standing.LOST))
    @rule(number=picks, how=outcomes)
    def report_late(self, number: int, how: tuple[str, str | None]) -> None:
        if model := self.pick(number, Standing.LOST):
            self.report_of(model, (*how, "late"))

    @rule(number=picks, how=outcomes)
    def report_whatever_it_is(self, number: int, how: tuple[str, str | None]) -> None:
        if model := self.pick(number):
            self.report_of(model, (*how, "c"))

    @precondition(lambda self: any(model.report for model in self.models.values()))
    @rule(number=picks, is_same=st.booleans())
    def report_again(self, number: int, is_same: bool) -> None:
        reported = [model for model in self.models.values() if model.report]
        model = reported[number % len(reported)]
        assert model.report is not None
        self.report_of(model, model.report if is_same else (*model.report[:2], "other"))

    def report_of(self, model: Model, report: tuple[str, str | None, str]) -> None:
        status, reason, text = report

        def send() -> tuple[Command, bool]:
            return self.bench.commands.report(model.id, outcome(status, reason=reason, stdout=text), AGENT)

        if model.standing in {Standing.RUNNING, Standing.LOST}:
            model.late = model.standing is Standing.LOST
            model.become(status, reason)
            model.report = report
            assert send()[1]
            seen["end late" if model.late else f"end {status}/{reason}"] += 1
        elif model.report == report:
            assert not send()[1]
            seen["late same again" if model.late else "same again"] += 1
        else:
            with pytest.raises(Conflict):
                send()
            early = model.standing is Standing.PENDING
            seen["too early" if early else "different" if model.report else "too late"] += 1

    @rule(number=picks)
    def cancel(self, number: int) -> None:
        if model := self.pick(number):
            self.cancel_of(model)

    @precondition(lambda self: self.standing(Standing.LOST, Standing.RUNNING))
    @rule(number=picks)
    def cancel_what_was_handed_out(self, number: int) -> None:
        if model := self.pick(number, Standing.LOST, Standing.RUNNING):
            self.cancel_of(model)

    def cancel_of(self, model: Model) -> None:
        if model.standing is Standing.FINAL:
            with pytest.raises(Conflict):
                self.bench.commands.cancel(model.id, OPERATOR)
            seen["cancel too late"] += 1
            return
        if model.standing is Standing.PENDING:
            model.become("failed", "cancelled")
            seen["cancel"] += 1
        elif model.standing is Standing.LOST:
            model.become("timeout", "lost")
            model.is_closed = True
            seen["close"] += 1
        else:
            seen["ask again" if model.cancel_requested else "ask to stop"] += 1
            model.version += not model.cancel_requested
            model.cancel_requested = True
        self.bench.commands.cancel(model.id, OPERATOR)

    @rule(seconds=st.sampled_from([1, 4, 20, 70]))
    def let_time_pass(self, seconds: int) -> None:
        for _ in range(0, seconds, 4):
            self.bench.clock.advance(min(4, seconds))
            self.watch_over()

    @precondition(lambda self: self.standing(Standing.RUNNING))
    @rule()
    def let_the_next_lease_run_out(self) -> None:
        lease_until = min(model.lease_until or 0 for model in self.standing(Standing.RUNNING))
        while self.now < lease_until:
            self.bench.clock.instant = min(self.now + 5_000, lease_until)
            self.watch_over()

    @rule(ms=st.integers(0, 2_500))
    def let_time_pass_unwatched(self, ms: int) -> None:
        if self.unwatched_ms + ms > 5_000:
            self.watch_over()
        self.bench.clock.instant += ms
        self.unwatched_ms += ms

    @rule(down_seconds=st.sampled_from([-3600, -60, 2, 7, 120]))
    def restart(self, down_seconds: int) -> None:
        self.watch_over()
        self.bench.clock.advance(down_seconds)
        self.bench.restart()
        self.watch_over()
        seen["restart" if down_seconds > 0 else "restart, clock set back"] += 1

    def watch_over(self) -> None:
        paused = self.now - self.watched_at
        moved_by = 0 if 0 <= paused <= 5_000 else paused
        self.watched_at, self.unwatched_ms = self.now, 0
        for model in self.standing(Standing.RUNNING, Standing.PENDING):
            if model.lease_until is not None:
                model.lease_until += moved_by
                if model.lease_until <= self.now:
                    model.become("timeout", "lost")
                    seen["lose"] += 1
            elif model.expires_at <= self.now:
                model.become("timeout", "expired")
                seen["expire"] += 1
        self.bench.commands.watch_over(self.now)

    # -------------------------------------------------------------- what must hold after each

    @invariant()
    def service_and_model_agree(self) -> None:
        if not hasattr(self, "bench"):
            return
        commands, total = self.bench.commands.page({}, 1, 100, OPERATOR)
        assert total == len(self.models)  # I8
        for command in commands:
            model = self.models[command.id]
            assert (command.status, command.reason, command.standing) == (
                model.status,
                model.reason,
                model.standing,
            )  # I3
            assert (command.version, command.late) == (model.version, model.late)
            assert (command.cancel_requested, command.lease_until) == (model.cancel_requested, model.lease_until)
            self.its_times_are_in_order(command)
            if command.standing is Standing.FINAL:  # I4
                wire = self.bench.commands.on_wire(command) | {"deliverable": None}
                assert self.finals.setdefault(command.id, wire) == wire

    def its_times_are_in_order(self, command: Command) -> None:
        times = [command.requested_at, command.started_at, command.completed_at]
        known = [time for time in times if time is not None]
        assert known == sorted(known)  # I10
        if command.status == "running":  # I5
            assert command.lease_until is not None
            assert self.now <= command.lease_until + 5_000

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        for id, model in self.models.items():
            assert len(self.instances_by_id.get(id, ())) <= 1  # I1
            assert self.runs_by_id[id] <= 1  # I2
            if model.reason in {"expired", "cancelled"} and not model.report:
                assert id not in self.instances_by_id  # I7
            versions = list(range(1, model.version + 1))
            record = self.bench.commands.events_of(id, OPERATOR)
            assert [event.version for event in record] == versions  # I9
            assert [update["version"] for update in self.bench.updates() if update["id"] == id] == versions
            assert (record[-1].status, record[-1].reason) == (model.status, model.reason)  # I12
        self.bench.storage.close()


def live(runs: int, steps: int) -> None:
    limits = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    seen.clear()
    run_state_machine_as_test(CommandQueue, settings=limits)
    assert set(seen) <= TRANSITIONS
    assert {"create", "claim", "cancel", "restart"} <= set(seen)  # the long form sees every transition 20 times


def test_no_life_of_a_command_leaves_the_table() -> None:
    live(runs=15, steps=40)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_life_of_a_command_leaves_the_table_and_every_transition_is_seen() -> None:
    live(runs=500, steps=50)
    rare = {name: seen[name] for name in TRANSITIONS if seen[name] < 20}
    assert not rare, rare
