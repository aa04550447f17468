"""Sends the samples of a fleet to EGO, at an interval or as fast as EGO answers, and answers EGO's commands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import gevent
from gevent.event import Event

from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.trust import Trust
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.client import Client, Unanswered
from mirror_stage.simulator.fleet import make_fleet
from mirror_stage.simulator.responder import Responder
from mirror_stage.simulator.scenarios import AS_USUAL, SCENARIOS
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.tally import Tally
from mirror_stage.simulator.wire import Encoder, batch

BATCH_PATH = "/api/metrics/batch"
REQUESTS_A_BEAT, BATCH_MOST = 10, 100  # for the default batch size: 10 requests per interval, at most 100 hosts each
REACH_SECONDS = 10.0  # EGO's first answer must come within this, or within `seconds` if that is less
PAUSE_SECONDS = 0.5  # after a request without an answer
STOP_SECONDS = 5.0
MAX = math.inf


class NotReached(Exception):
    """EGO did not answer at the start."""


@dataclass(frozen=True)
class Options:
    """What a fleet should do. `rate` is samples per second, MAX: as fast as EGO answers. `seconds` None means for ever."""

    ego: str
    hosts: int = 200
    interval_seconds: float = 1.0
    seed: int = 7
    scenario: str = "calm"
    batch: int | None = None
    connections: int = 16
    rate: float | None = None
    seconds: float | None = None
    answers_commands: bool = True
    trust: Trust | None = None
    token: str | None = None

    def client(self) -> Client:
        """A connection to EGO."""
        return Client(self.ego, self.trust, self.token)

    @property
    def batch_size(self) -> int:
        """How many hosts report in one request."""
        return self.batch or min(BATCH_MOST, -(-self.hosts // REQUESTS_A_BEAT))

    @property
    def beat_seconds(self) -> float:
        """Seconds between two samples of a host; 0 if only EGO's answers set the pace."""
        if self.rate is None:
            return self.interval_seconds
        return 0.0 if self.rate == MAX else self.hosts / self.rate


class Group:
    """The hosts that report in one request."""

    def __init__(self, encoders: Sequence[Encoder]):
        self._encoders = encoders
        self._sent_at: Instant = 0

    def __len__(self) -> int:
        return len(self._encoders)

    def body(self, at: Instant) -> tuple[bytes, int]:
        """A request's body and the number of samples in it. They are taken at `at`, but always later than the last ones.

        Silent hosts are left out.
        """
        self._sent_at = at = max(at, self._sent_at + 1)
        moment = Moment(at)
        samples = [encoder.sample(moment) for encoder in self._encoders if not encoder.behaviour.is_silent(at)]
        return batch(samples), len(samples)


class Engine:
    """One run of a fleet. `tally` holds its results so far."""

    def __init__(self, options: Options, clock: Clock | None = None):
        self.options, self.tally = options, Tally()
        self._clock = clock or Clock()
        self._stopping = Event()
        self._turns = itertools.count()
        self._began_at: Instant = 0
        self._began = 0.0
        self._groups: list[Group] = []
        self._behaviours: list[Behaviour] = []

    @property
    def seconds(self) -> float:
        """How long the fleet has been running."""
        return elapsed_seconds() - self._began if self._began else 0.0

    def prepare(self) -> None:
        """Wait until EGO answers, and make the fleet, which can take seconds of CPU. Raises NotReached, BadAddress."""
        self._reach()
        options = self.options
        began_at = self._clock.now()
        fleet = make_fleet(options.hosts, options.seed)
        changes = SCENARIOS[options.scenario].changes(fleet)
        self._behaviours = [Behaviour(m, changes.get(m.hostname, AS_USUAL), began_at) for m in fleet.machines]
        policy = "all" if options.answers_commands else "off"
        encoders = [Encoder(behaviour, policy) for behaviour in self._behaviours]
        size = options.batch_size
        self._groups = [Group(encoders[start : start + size]) for start in range(0, len(encoders), size)]

    def run(self) -> None:
        """Run the prepared fleet until `stop`, or until the chosen seconds are over."""
        options = self.options
        self._began_at, self._began = self._clock.now(), elapsed_seconds()
        senders = [gevent.spawn(self._send) for _ in range(options.connections)]
        responder = (
            Responder(options.client, self._behaviours, self._clock, self.tally) if options.answers_commands else None
        )
        if responder is not None:
            responder.start()
        self._stopping.wait(options.seconds)
        self._stopping.set()
        gevent.joinall(senders, timeout=STOP_SECONDS)
        if responder is not None:
            responder.stop()

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopping.set()

    def _reach(self) -> None:
        """Wait until EGO answers. Raises NotReached."""
        client = self.options.client()
        until = elapsed_seconds() + min(REACH_SECONDS, self.options.seconds or REACH_SECONDS)
        while True:
            try:
                answer = client.get("/api/health", seconds=PAUSE_SECONDS * 4)
                if answer.status == 200:
                    break
                reason = answer.reason
            except Unanswered as why:
                reason = str(why)
            if elapsed_seconds() > until:
                raise NotReached(reason)
            gevent.sleep(PAUSE_SECONDS)
        client.close()

    def _send(self) -> None:
        """The loop of one connection: take the next turn, wait until it is due, send that group's samples."""
        client, beat, tally = self.options.client(), self.options.beat_seconds, self.tally
        for turn in self._turns:
            group = self._groups[turn % len(self._groups)]
            due = self._began + turn * beat / len(self._groups) if beat else elapsed_seconds()
            if self._stopping.wait(max(0.0, due - elapsed_seconds())):
                break
            if 0 < beat < elapsed_seconds() - due:
                tally.skipped += len(group)
                continue
            body, count = group.body(self._began_at + int((due - self._began) * SECOND))
            if not count:
                continue
            try:
                answer = client.post(BATCH_PATH, body)
            except Unanswered as why:
                tally.no_answer(count, str(why))
                self._stopping.wait(PAUSE_SECONDS)
                continue
            tally.answered(count, answer, elapsed_seconds() - due)
            if answer.wait_seconds:
                self._stopping.wait(answer.wait_seconds)
        client.close()
