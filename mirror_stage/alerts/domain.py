"""Rules, alerts, and what people and causes do to an alert. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mirror_stage.alerts.cause import EGO, EGO_ISOLATED, HOST, Cause
from mirror_stage.alerts.measures import (
    CUT_OFF,
    DISK_DAYS,
    DISK_USED,
    INTERFACE_DOWN,
    MACHINES,
    RULE_MEASURES,
    SILENCE,
)
from mirror_stage.core.instants import DAY, HOUR, SECOND, Instant
from mirror_stage.core.selector import EVERY_HOST, Selector, parse

TOLD_EVERY: Instant = 10 * SECOND  # at most one `updated` per alert in this time, unless its severity changes
MISSING_SAMPLES, MISSING_FOR = 3, 30 * SECOND  # a value is missing after at least 3 samples and 30 s without it
UNKNOWN_MAX: Instant = DAY  # an alert whose value is missing for so long ends, whatever its rule says
ACK_FOR, ACK_MAX = 4 * HOUR, 7 * DAY  # how long an acknowledgement holds, and may hold
PATIENCE: Instant = 15 * SECOND  # what waits begins anew after a longer gap between two samples
SEVERITIES = ("info", "warning", "critical")
HOST_OFFLINE = "host_offline"
NO_DATA = "no-data"
NO_DATA_OF = ":no-data"  # the end of the name under which a rule tells that a value is missing
RESOLVE, KEEP, ALERT = "resolve", "keep", "alert"  # what a rule does when its value is missing
SAMPLE, BY_MINUTE = "sample", "minute"  # what a rule judges: each sample, or the mean of each whole minute
BUILT_IN, FILE, HUD = "built-in", "file", "hud"  # where a rule comes from
ACTIVE, RESOLVED, PENDING = "active", "resolved", "pending"
_NO_ACK: Mapping[str, Any] = dict.fromkeys(("ack_by", "ack_note", "ack_at", "ack_until"))
FLAGS = ("severity", "unknown", "known", "acknowledged", "ack-ended", "cause")  # events that change a flag of an alert
ROOT_BACK = "root-back"  # why an alert has another cause

Key = tuple[str, str | None]  # (name of the rule, subject): identifies an alert among those of its host
OFFLINE: Key = (HOST_OFFLINE, None)
EVERYBODY = parse(EVERY_HOST)


@dataclass(frozen=True, slots=True)
class Step:
    """A severity: from `fire` on. It ends at `resolve` (the first step of a rule), or beyond it (the others)."""

    severity: str
    fire: float
    resolve: float | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """What holds instead for the hosts of `where`: `rule`, which differs from the rule around it in `keys`."""

    where: Selector
    keys: tuple[str, ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires at or above the `fire` of its first step, resolves at or below its `resolve`; in between nothing happens.

    With `is_above` False it is the other way round: fires at or below, resolves at or above. `measure` says which value it
    judges. A step begins once the value has called for it in each sample for `fire_after`, and ends in the same way after
    `resolve_after`. `where` says for which hosts it is, `subjects` for which of their disks, interfaces, ...
    """

    name: str
    measure: str
    steps: tuple[Step, ...]
    unit: str = ""
    where: Selector = EVERYBODY
    is_above: bool = True
    fire_after: Instant = 0
    resolve_after: Instant = 0
    subjects: tuple[str, ...] = ("*",)
    no_data: str = RESOLVE
    no_data_after: Instant = MISSING_FOR
    overrides: tuple[Override, ...] = ()
    is_enabled: bool = True
    every: str = SAMPLE
    source: str = field(default=BUILT_IN, compare=False)

    @property
    def is_by_minute(self) -> bool:
        return self.every == BY_MINUTE

    @property
    def fire_at(self) -> float:
        return self.steps[0].fire

    @property
    def resolve_at(self) -> float | None:
        return self.steps[0].resolve

    @property
    def severity(self) -> str:
        return self.steps[0].severity

    @property
    def critical_at(self) -> float | None:
        """From where on the alert is critical, if it is not from the beginning."""
        last = self.steps[-1]
        return last.fire if len(self.steps) > 1 and last.severity == "critical" else None

    def beginning_at(self, least: float) -> Rule:
        """The rule, with no step that begins below `least`."""
        return replace(self, steps=tuple(replace(step, fire=max(step.fire, least)) for step in self.steps))

    def is_breached(self, value: float) -> bool:
        """Whether a value is at or beyond the first step."""
        return value >= self.steps[0].fire if self.is_above else value <= self.steps[0].fire


def built_in(
    name: str,
    measure: str,
    fire: float,
    resolve: float | None,
    severity: str,
    *,
    critical: tuple[float, float] | None = None,
    is_above: bool = True,
    is_enabled: bool = True,
) -> Rule:
    """A rule for every host. `critical` is where its alert becomes critical, and where it is that no more."""
    steps = [Step(severity, fire, resolve)]
    if critical is not None:
        steps.append(Step("critical", *critical))
    unit = RULE_MEASURES[measure].unit
    return Rule(name, measure, tuple(steps), unit, is_above=is_above, is_enabled=is_enabled)


RULES: tuple[Rule, ...] = (
    built_in("cpu_load_high", "cpuLoad", 80, 70, "warning"),
    built_in("memory_high", "memoryUsedPercent", 90, 80, "warning"),
    built_in("swap_full", "swapUsedPercent", 90, 85, "warning", critical=(97, 95)),
    built_in("disk_full", DISK_USED, 90, 85, "warning", critical=(97, 95)),
    built_in("disk_filling", DISK_DAYS, 3, 5, "warning", critical=(1, 1.5), is_above=False),
    built_in("interface_down", INTERFACE_DOWN, 1, 0, "warning", is_enabled=False),
    built_in("cpu_temperature_high", "cpuTemperature", 85, 75, "warning"),
    built_in("gpu_temperature_high", "gpuTemperature", 80, 70, "warning"),
    built_in("link_congestion", "utilization", 0.9, 0.7, "warning", critical=(1.0, 0.95)),
    built_in("clock_skew", "clockOffsetSeconds", 300, 240, "info"),
    built_in("identity_conflict", MACHINES, 2, 1, "warning"),
    built_in(EGO_ISOLATED, CUT_OFF, 3, 0, "critical"),
    built_in(HOST_OFFLINE, SILENCE, 60, None, "critical"),
)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why nobody is told of an alert: the silence or the maintenance, `until` when it holds, who made it, and their note."""

    kind: str
    id: str
    until: Instant
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is or was wrong. Its key is (hostname, metric, subject); `metric` is the name of its rule.

    `peak_value` is the worst value so far, None if it was not recorded. `unknown_since`: its value is missing, and its rule
    keeps it. `ack_*` is its acknowledgement.
    `told_*` is what clients heard last; `version` counts what they heard. The last `missing` samples, since
    `missing_since`, did not have its value.
    `waits` has an instant for each step of the rule: since when, without a break, the values call for it to begin, or to
    end; 0 if they do not. `judged_at` is the time of the sample that set it.
    An alert that is `pending` has fired for nobody yet: only its `waits` count.
    `cause` is what silenced its host, itself if nothing else did; None while that is not decided, and of other rules.
    `group_id` is the group in which it is told.
    `suppressed_by` and `hides`, how many hosts are silent because of the cause, are worked out for each answer.
    """

    id: str
    hostname: str
    metric: str
    measure: str
    severity: str
    threshold: float
    current_value: float
    created_at: Instant
    updated_at: Instant
    subject: str | None = None
    status: str = ACTIVE
    resolved_at: Instant | None = None
    resolved_reason: str | None = None
    version: int = 1
    peak_value: float | None = None
    unknown_since: Instant | None = None
    ack_by: str | None = None
    ack_note: str | None = None
    ack_at: Instant | None = None
    ack_until: Instant | None = None
    told_value: float = 0.0
    told_at: Instant = 0
    missing: int = 0
    missing_since: Instant = 0
    waits: tuple[Instant, ...] = ()
    judged_at: Instant = 0
    cause: Cause | None = None
    group_id: str | None = None
    suppressed_by: tuple[Suppression, ...] = ()
    hides: int = 0

    @property
    def key(self) -> Key:
        return self.metric, self.subject

    @property
    def rule(self) -> str:
        """The name of its rule, also where it tells that a value is missing."""
        return self.metric.removesuffix(NO_DATA_OF)

    @property
    def unit(self) -> str:
        found = RULE_MEASURES.get(self.measure)
        return found.unit if found is not None else ""

    @property
    def state(self) -> str:
        """`firing`, `unknown` or `resolved`."""
        if self.status == RESOLVED:
            return RESOLVED
        return "firing" if self.unknown_since is None else "unknown"

    @property
    def ack(self) -> dict[str, Any] | None:
        """Who has acknowledged it, with which note, since when, until when; None: nobody has."""
        if self.ack_at is None:
            return None
        return {"by": self.ack_by, "note": self.ack_note, "at": self.ack_at, "until": self.ack_until}

    @property
    def is_victim(self) -> bool:
        """Whether its host is silent because of something else."""
        return self.cause is not None and self.measure == SILENCE and not self.cause.is_of(self.hostname)

    @property
    def cause_shown(self) -> dict[str, Any] | None:
        """The cause as it is on the wire; None: it is not known."""
        cause = self.cause
        if cause is None:
            return None
        is_itself = cause.is_of(self.hostname) or self.measure == CUT_OFF
        why = "itself" if is_itself else {HOST: "uplink", EGO: "isolated"}.get(cause.kind, "together")
        return {"kind": cause.kind, "name": cause.name, "why": why, "since": cause.since, "hides": self.hides}

    @property
    def is_waiting(self) -> bool:
        """Whether something of it waits, so that a restart has to know it."""
        return self.missing > 0 or any(self.waits)

    @property
    def message(self) -> str:
        value = f"{self.current_value:,.0f}" if abs(self.current_value) >= 1_000 else f"{self.current_value:.4g}"
        words = RULE_MEASURES[self.measure].words if self.measure in RULE_MEASURES else "{value}"
        return f"{self.hostname}: {words.format(value=value, subject=self.subject)}"


@dataclass(frozen=True, slots=True)
class Transition:
    """What happened to an alert: `fired`, `updated`, `resolved`, or what clients are not told: `moved` (its value changed),
    `pending` (it waits to fire) and `passed` (it did not fire).

    `event` is what the table `alert_events` records of it: `fired`, `severity`, `unknown`, `known`, `acknowledged`,
    `ack-ended`, `cause`, `resolved`, or nothing. `reason` and `actor` go with it, where the alert does not say them. `since`: it was
    pending from then on, which is an event `pending`. `ack_at` is of the acknowledgement that ends with it.
    """

    kind: str
    alert: Alert
    event: str | None = None
    reason: str | None = None
    since: Instant | None = None
    actor: str | None = None
    ack_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """That somebody acknowledges an alert from `at` until then, unless they have withdrawn it."""

    alert_id: str
    by: str | None
    note: str | None
    at: Instant
    until: Instant
    withdrawn_at: Instant | None = None
    withdrawn_by: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An event of FLAGS, or one that brought the alert into a group, as it was recorded."""

    event: str
    at: Instant
    actor: str | None
    note: str | None
    until: Instant | None
    cause: Cause | None = None
    group_id: str | None = None


def as_of(alert: Alert, changes: Iterable[Change]) -> Alert:
    """The alert with the flags that it had after these changes, the oldest first. A new severity has a value, so it is known."""
    unknown_since, ack, cause, group_id = None, _NO_ACK, None, None
    for one in changes:
        group_id = one.group_id or group_id
        if one.event in {"unknown", "known", "severity"}:
            unknown_since = one.at if one.event == "unknown" else None
        elif one.event == "acknowledged":
            ack = {"ack_by": one.actor, "ack_note": one.note, "ack_at": one.at, "ack_until": one.until}
        elif one.event == "ack-ended":
            ack = _NO_ACK
        elif one.cause is not None:
            cause = one.cause
    return replace(alert, unknown_since=unknown_since, cause=cause, group_id=group_id, **ack)


def heed(alert: Alert, asked: Ack | None, now: Instant) -> Transition | None:
    """What the wish to acknowledge an open alert, or the time, does to it; None: nothing."""
    if asked is not None and asked.withdrawn_at is not None:
        is_over = alert.ack_at is not None and alert.ack_at <= asked.at
        return end_ack(alert, now, "withdrawn", asked.withdrawn_by) if is_over else None
    if asked is not None and asked.at != alert.ack_at and asked.until > now:
        return acknowledge(alert, asked, now)
    is_over = alert.ack_until is not None and alert.ack_until <= now
    return end_ack(alert, now, "expired") if is_over else None


def acknowledge(alert: Alert, ack: Ack, now: Instant) -> Transition:
    """The alert, acknowledged."""
    taken = replace(
        _at(alert, now),
        ack_by=ack.by,
        ack_note=ack.note,
        ack_at=ack.at,
        ack_until=ack.until,
        version=alert.version + 1,
    )
    return Transition("updated", taken, "acknowledged")


def end_ack(alert: Alert, now: Instant, reason: str, actor: str | None = None) -> Transition:
    """The alert without its acknowledgement, which ended for a reason: `severity`, `cause`, `expired` or `withdrawn`."""
    ended = replace(_at(alert, now), **_NO_ACK, version=alert.version + 1)
    return Transition("updated", ended, "ack-ended", reason, actor=actor, ack_at=alert.ack_at)


def caused(alert: Alert, cause: Cause, now: Instant) -> list[Transition]:
    """The alert with its cause. A new cause after another one ends the acknowledgement first: that was for the other."""
    is_new = alert.cause is not None
    ended = [end_ack(alert, now, "cause")] if is_new and alert.ack_at is not None else []
    before = ended[0].alert if ended else alert
    after = _at(before, now, cause=cause, version=before.version + 1)
    return [*ended, Transition("updated", after, "cause", ROOT_BACK if is_new else None)]


def victims(alerts: Iterable[Alert]) -> Counter[tuple[str, str]]:
    """How many of these alerts are open because of each cause, by its `key`; that of the cause itself does not count."""
    return Counter(one.cause.key for one in alerts if one.cause is not None and one.is_victim and one.status == ACTIVE)


def with_hides(alerts: Iterable[Alert], hidden: Mapping[tuple[str, str], int]) -> list[Alert]:
    """The alerts, each active one with how many hosts its cause hides; `hidden` as `victims` counts them."""
    return [
        replace(one, hides=hidden.get(one.cause.key, 0)) if one.cause is not None and one.status == ACTIVE else one
        for one in alerts
    ]


def _at(alert: Alert, now: Instant, **changes: Any) -> Alert:
    """The alert, updated now, with these changes. The value of a silence is that of now, because `silent_since` follows from the two."""
    if alert.measure != SILENCE:
        return replace(alert, updated_at=now, **changes)
    seconds = max(0, now - silent_since(alert)) / SECOND
    return replace(alert, updated_at=now, current_value=seconds, peak_value=seconds, **changes)


def silent_since(offline: Alert) -> Instant:
    """When the host of an offline alert, open or resolved, was last seen.

    The alert's value is the silence until its last update. It fired after at least `threshold` seconds of silence.
    """
    by_value = offline.updated_at - round(offline.current_value * SECOND)
    by_threshold = offline.created_at - round(offline.threshold * SECOND)
    return min(by_value, by_threshold)


def resolve(alert: Alert, now: Instant, reason: str, value: float | None = None) -> Transition:
    """The alert, resolved. It never ends before it began, even if the sample that ends it arrived earlier."""
    if alert.measure == SILENCE:
        value = max(0, now - silent_since(alert)) / SECOND  # EGO's clock may have been set back while it was down
    now = max(now, alert.created_at)
    resolved = replace(
        alert,
        status=RESOLVED,
        resolved_at=now,
        updated_at=now,
        resolved_reason=reason,
        current_value=alert.current_value if value is None else value,
        peak_value=value if alert.measure == SILENCE else alert.peak_value,
        unknown_since=None,
        **_NO_ACK,
        version=alert.version + 1,
    )
    return Transition("resolved", resolved, "resolved", ack_at=alert.ack_at)


def worst(alerts: Iterator[Alert]) -> str | None:
    """The worst severity among alerts; None if there are none."""
    return max((alert.severity for alert in alerts), key=SEVERITIES.index, default=None)
