"""The rules in force, made ready for each host: which of them are for it, with which figures, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from mirror_stage.alerts.domain import ALERT, PATIENCE, Alert, Key, Rule, Transition
from mirror_stage.alerts.evaluation import NOTHING, Moment, evaluate, evaluate_minute, is_meant, patience_in_minutes
from mirror_stage.alerts.measures import CUT_OFF, RULE_MEASURES, SILENCE
from mirror_stage.alerts.minutes import Whole
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.selector import Labels
from mirror_stage.twin.domain import Host, Status

HOSTS_MAX = 20_000  # whose plans are kept

Identity = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule as it is in force for a host. `why` is the selector of the override that gave it its figures; None: none did."""

    rule: Rule
    why: str | None = None


class Plan:
    """The rules of some hosts. `is_quiet` is what nearly every sample is asked, so it looks at the first steps only."""

    def __init__(self, applied: Iterable[Applied]):
        self.applied = tuple(applied)
        rules = [one.rule for one in self.applied]
        self.silence = tuple(rule for rule in rules if rule.measure == SILENCE)
        self.cut_off = tuple(rule for rule in rules if rule.measure == CUT_OFF)
        self.by_minute = tuple(rule for rule in rules if rule.is_by_minute)
        self.rules = tuple(rule for rule in rules if rule.measure not in {SILENCE, CUT_OFF} and not rule.is_by_minute)
        least: dict[str, float] = {}
        most: dict[str, float] = {}
        for rule in self.rules:
            if rule.is_above:
                least[rule.measure] = min(rule.fire_at, least.get(rule.measure, rule.fire_at))
            else:
                most[rule.measure] = max(rule.fire_at, most.get(rule.measure, rule.fire_at))
        of_sample = {name: field for name in least if (field := RULE_MEASURES[name].field) is not None}
        self._limits = tuple(least[name] for name in of_sample)
        self._of_sample = _read(tuple(of_sample.values()))
        self._others = tuple((_extreme(name, max), limit) for name, limit in least.items() if name not in of_sample)
        self._below = tuple((_extreme(name, min), limit) for name, limit in most.items())
        self._needed = tuple(_extreme(rule.measure, max) for rule in self.rules if rule.no_data == ALERT)

    def is_quiet(self, host: Host) -> bool:
        """Whether no value of the host breaches a rule, and none is missing that a rule tells of."""
        if host.sample is None:
            return False
        for value, limit in zip(self._of_sample(host.sample), self._limits, strict=True):
            if value is not None and value >= limit:
                return False
        for read, limit in self._others:
            value = read(host)
            if value is not None and value >= limit:
                return False
        for read, limit in self._below:
            value = read(host)
            if value is not None and value <= limit:
                return False
        return not any(read(host) is None for read in self._needed)


def _extreme(name: str, extreme: Callable[..., Any]) -> Callable[[Host], float | None]:
    """A function that reads the value of a host, or the highest or lowest of its values."""
    measure = RULE_MEASURES[name]
    if measure.value is not None:
        return measure.value
    quick = measure.highest if extreme is max else measure.lowest
    if quick is not None:
        return quick
    values_of = measure.values
    assert values_of is not None
    return lambda host: extreme((values_of(host) or {}).values(), default=None)


def _read(fields: tuple[str, ...]) -> Callable[[Any], tuple[float | None, ...]]:
    """A function that reads these fields of a sample."""
    if not fields:
        return lambda _sample: ()
    if len(fields) == 1:
        read = attrgetter(*fields)
        return lambda sample: (read(sample),)
    return attrgetter(*fields)


class Judge:
    """Judges hosts by the rules. `patience` says how long a gap between two samples of a host may be."""

    def __init__(self, rules: Iterable[Rule], patience: Callable[[Host], Instant] = lambda _host: PATIENCE):
        self.rules = tuple(rule for rule in rules if rule.is_enabled)
        self._patience = patience
        self._plans: dict[tuple[Applied, ...], Plan] = {}
        self._plan_by_host: dict[str, tuple[Identity, Plan]] = {}
        is_same = all(not rule.where.terms and not rule.overrides for rule in self.rules)
        self._for_all = Plan(Applied(rule) for rule in self.rules) if is_same else None

    def plan_of(self, host: Host) -> Plan:
        """The rules that are for a host, as they are in force for it."""
        if self._for_all is not None:
            return self._for_all
        sample = host.sample
        identity = (host.ip, host.role, sample and (sample.tags, sample.rack, sample.platform))
        known = self._plan_by_host.get(host.hostname)
        if known is not None and known[0] == identity:
            return known[1]
        plan = self._plan_for(labels_of(host))
        if len(self._plan_by_host) >= HOSTS_MAX:
            self._plan_by_host.clear()
        self._plan_by_host[host.hostname] = identity, plan
        return plan

    def _plan_for(self, labels: Labels) -> Plan:
        applied = tuple(one for rule in self.rules if (one := applied_to(rule, labels)) is not None)
        if applied not in self._plans:
            self._plans[applied] = Plan(applied)
        return self._plans[applied]

    def judge(
        self, host: Host, open_alerts: Mapping[Key, Alert], now: Instant, pending: Mapping[Key, Alert] = NOTHING
    ) -> list[Transition]:
        """The transitions that follow from the host's newest sample."""
        plan = self.plan_of(host)
        if not open_alerts and not pending and plan.is_quiet(host):
            return []
        return evaluate(plan.rules, host, open_alerts, now, pending, self._patience(host))

    def judge_minute(
        self,
        host: Host,
        minute: Whole,
        open_alerts: Mapping[Key, Alert],
        now: Instant,
        pending: Mapping[Key, Alert] = NOTHING,
    ) -> list[Transition]:
        """The transitions that follow from a whole minute of the host. A minute after which it was silent does not count."""
        rules, patience = self.plan_of(host).by_minute, patience_in_minutes(self._patience(host))
        if not rules or minute.next_at - minute.at > patience:
            return []
        when = Moment(now, minute.end, patience, minute.end)
        return evaluate_minute(rules, host.hostname, minute.means, open_alerts, pending, when)


def applied_to(rule: Rule, labels: Labels) -> Applied | None:
    """The rule as it is in force for a host: the first override that is for it counts. None: it is not for this host."""
    if not rule.where.matches(labels):
        return None
    for override in rule.overrides:
        if override.where.matches(labels):
            return Applied(override.rule, override.where.text) if override.rule.is_enabled else None
    return Applied(rule)


def labels_of(host: Host) -> Labels:
    """What a selector sees of a host."""
    sample, tags = host.sample, host.tags
    return Labels(
        host.hostname,
        host.ip,
        sample.rack if sample is not None else None,
        tags.get("room"),
        str(host.role),
        tags.get("tier"),
        sample.platform if sample is not None else None,
        tags,
    )


@dataclass(frozen=True, slots=True)
class Breach:
    """A value that is beyond a limit now, and the severity of the last step that it is beyond."""

    hostname: str
    subject: str | None
    value: float
    severity: str


def breaches(rule: Rule, host: Host, now: Instant, minute: float | None = None) -> list[Breach] | None:
    """The values of a host that are beyond a rule now, whatever it waits for. None: the host has no value, or is silent.

    `minute` is the mean of its last whole minute, for a rule that judges minutes.
    """
    measure, sample = RULE_MEASURES[rule.measure], host.sample
    values: Mapping[str | None, float | None]
    if sample is None or host.last_seen_at is None:
        return None
    if rule.measure == SILENCE:
        values = {None: (now - host.last_seen_at) / SECOND}
    elif host.status == Status.OFFLINE:
        return None
    elif measure.value is not None:
        values = {None: minute if rule.is_by_minute else measure.value(host)}
    else:
        found = (measure.values(host) if measure.values is not None else None) or {}
        values = {subject: value for subject, value in found.items() if is_meant(rule.subjects, subject)}
    known = {subject: value for subject, value in values.items() if value is not None}
    if not known:
        return None
    sign = 1 if rule.is_above else -1
    return [
        Breach(
            host.hostname, subject, value, [step.severity for step in rule.steps if sign * (value - step.fire) >= 0][-1]
        )
        for subject, value in known.items()
        if rule.is_breached(value)
    ]
