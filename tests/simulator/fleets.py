"""A fleet's samples as EGO decodes them, without a server."""

from __future__ import annotations

from collections import Counter
from functools import cache

from mirror_stage.alerts.domain import HOST_OFFLINE, OFFLINE, RULES, Transition, resolve
from mirror_stage.alerts.evaluation import evaluate, evaluate_silence
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.metrics.decoder import decode_batch
from mirror_stage.metrics.domain import Sample, stamp
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.fleet import Fleet, make_fleet
from mirror_stage.simulator.scenarios import AS_USUAL, SCENARIOS
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.wire import Encoder, batch
from mirror_stage.twin.domain import Host, Role, Status, fold, status_of
from mirror_stage.twin.geometry import ORIGIN
from mirror_stage.twin.throughput import set_rates

BEGAN_AT: Instant = 1_790_000_000_000
SILENCE = next(rule for rule in RULES if rule.name == HOST_OFFLINE)
fleet_of = cache(make_fleet)


def encoders(fleet: Fleet, scenario: str = "calm", began_at: Instant = BEGAN_AT) -> list[Encoder]:
    """The encoder of each machine of a fleet."""
    changes = SCENARIOS[scenario].changes(fleet)
    return [Encoder(Behaviour(m, changes.get(m.hostname, AS_USUAL), began_at)) for m in fleet.machines]


def samples_at(machines: list[Encoder], at: Instant) -> list[Sample]:
    """The samples of an instant as EGO decodes them."""
    moment = Moment(at)
    samples = [machine.sample(moment) for machine in machines if not machine.behaviour.is_silent(at)]
    if not samples:
        return []
    decoded = decode_batch(batch(samples))
    assert not decoded.errors, decoded.errors
    return stamp(decoded.samples, at)


class Watched:
    """A fleet under a scenario: its samples go through EGO's twin and alerts, without a server."""

    def __init__(self, scenario: str, hosts: int = 60, seed: int = 7):
        self.fleet = fleet_of(hosts, seed)
        self.hosts_by_name: dict[str, Host] = {}
        self.alerts = OpenAlerts()
        self.fired: set[tuple[str, str]] = set()  # hostname and rule
        self.without_rates: Counter[str] = Counter()  # samples by hostname, without the first one
        self._machines = encoders(self.fleet, scenario)

    def watch(self, begin: int, end: int, every: int = 10) -> None:
        """Process the samples from second `begin` to second `end` after the scenario began."""
        for second in range(begin, end, every):
            self._take_in(BEGAN_AT + second * SECOND)

    def hosts_with(self, rule: str) -> set[str]:
        """The hosts with an active alert of this rule."""
        return {alert.hostname for alert in self.alerts.all() if alert.metric == rule}

    def hosts_that_are(self, status: Status) -> set[str]:
        return {name for name, host in self.hosts_by_name.items() if host.status == status}

    def _take_in(self, at: Instant) -> None:
        for sample in samples_at(self._machines, at):
            known = self.hosts_by_name.get(sample.hostname)
            if known is not None and known.sample is not None:
                set_rates(sample, known.sample)
            host, _ = fold(known or Host(0, sample.hostname, Role.HOST, ORIGIN), sample)
            self.hosts_by_name[sample.hostname] = host
            self.without_rates[sample.hostname] += known is not None and host.rates is None
            self._apply(evaluate(RULES, host, self.alerts.of(host.hostname), at))
        for host in self.hosts_by_name.values():
            assert host.last_seen_at is not None
            host.status = status_of(host.last_seen_at, at, 15 * SECOND, 60 * SECOND)
            if host.status is Status.OFFLINE:
                silence = at - host.last_seen_at
                self._apply(evaluate_silence(SILENCE, host.hostname, silence, self.alerts.of(host.hostname), at))
            elif OFFLINE in (open_alerts := self.alerts.of(host.hostname)):
                self._apply([resolve(open_alerts[OFFLINE], at, "sample")])

    def _apply(self, transitions: list[Transition]) -> None:
        self.alerts.apply(transitions)
        self.fired |= {(each.alert.hostname, each.alert.metric) for each in transitions if each.kind == "fired"}
