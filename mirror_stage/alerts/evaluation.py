"""How the newest values of a host change its open alerts: the state machine of a rule. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import lru_cache
from re import Pattern, compile
from uuid import UUID, uuid5

from mirror_stage.alerts.cause import Cause
from mirror_stage.alerts.domain import (
    ACTIVE,
    ALERT,
    HOST_OFFLINE,
    MISSING_SAMPLES,
    NO_DATA,
    NO_DATA_OF,
    PATIENCE,
    PENDING,
    RESOLVE,
    SEVERITIES,
    TOLD_EVERY,
    UNKNOWN_MAX,
    Alert,
    Key,
    Rule,
    Step,
    Transition,
    end_ack,
    resolve,
)
from mirror_stage.alerts.measures import IS_MISSING, RULE_MEASURES, SILENCE, RuleMeasure
from mirror_stage.core.instants import MINUTE, SECOND, Instant
from mirror_stage.twin.domain import Host

_ALERT_IDS = UUID("8c8d7a58-6f0e-4f63-9b0c-0b1f7f9f5a11")
NOTHING: Mapping[Key, Alert] = {}


@dataclass(frozen=True, slots=True)
class Moment:
    """When a sample is judged: `now` by EGO's clock, `at` by the sample's own time, which a replay repeats.

    What waits begins anew after a gap between two samples of more than `patience`.
    """

    now: Instant
    at: Instant
    patience: Instant
    cause: Instant


def evaluate(
    rules: Sequence[Rule],
    host: Host,
    open_alerts: Mapping[Key, Alert],
    now: Instant,
    pending: Mapping[Key, Alert] = NOTHING,
    patience: Instant = PATIENCE,
) -> list[Transition]:
    """The transitions that follow from the host's newest values, by the rules that are in force for it.

    A value that stays missing ends its alert, or leaves it unknown, as its rule says.
    """
    sample = host.sample
    when = Moment(now, now, patience, now) if sample is None else Moment(now, sample.order[0], patience, sample.at)
    found: list[Transition] = []
    for rule in rules:
        measure = RULE_MEASURES[rule.measure]
        if measure.value is not None:
            value = measure.value(host)
            alert = open_alerts.get((rule.name, None)) or pending.get((rule.name, None))
            if alert is not None or (value is not None and rule.is_breached(value)):
                found += _judge(rule, host.hostname, None, value, alert, when)
            if rule.no_data == ALERT:
                found += _judge_missing(rule, host.hostname, {rule.measure: value is None}, open_alerts, pending, when)
        elif measure.values is not None and (sample is None or sample.is_whole):
            found += _judge_subjects(rule, measure, host, open_alerts, pending, when)
    return found


def _judge_subjects(
    rule: Rule,
    measure: RuleMeasure,
    host: Host,
    open_alerts: Mapping[Key, Alert],
    pending: Mapping[Key, Alert],
    when: Moment,
) -> list[Transition]:
    """The transitions of one rule, for each subject that the host has and for those that have gone."""
    quick = measure.highest if rule.is_above else measure.lowest
    if not open_alerts and not pending and rule.no_data != ALERT and quick is not None:
        worst_value = quick(host)
        if worst_value is None or not rule.is_breached(worst_value):
            return []
    assert measure.values is not None
    values = measure.values(host)
    if values is None:
        return []
    found: list[Transition] = []
    for subject, value in values.items():
        alert = open_alerts.get((rule.name, subject)) or pending.get((rule.name, subject))
        if alert is not None or (rule.is_breached(value) and is_meant(rule.subjects, subject)):
            found += _judge(rule, host.hostname, subject, value, alert, when)
    gone = [
        alert
        for alerts in (open_alerts, pending)
        for alert in alerts.values()
        if alert.metric == rule.name and alert.subject not in values
    ]
    for alert in gone:
        found += _judge(rule, host.hostname, alert.subject, None, alert, when)
    if rule.no_data == ALERT:
        kept = {alert.subject for alert in gone if alert.status == ACTIVE}
        told = {
            alert.subject
            for alerts in (open_alerts, pending)
            for alert in alerts.values()
            if alert.metric == rule.name + NO_DATA_OF
        }
        missing = {subject: subject in kept for subject in kept | told if subject is not None}
        found += _judge_missing(rule, host.hostname, missing | {rule.measure: not values}, open_alerts, pending, when)
    return found


def evaluate_minute(
    rules: Sequence[Rule],
    hostname: str,
    means: Mapping[str, float | None],
    open_alerts: Mapping[Key, Alert],
    pending: Mapping[Key, Alert],
    when: Moment,
) -> list[Transition]:
    """The transitions that follow from the means of a whole minute, by measure. `when.at` is its end."""
    found: list[Transition] = []
    for rule in rules:
        if rule.measure not in means:
            continue  # it was not summed up from the beginning of the minute
        value = means[rule.measure]
        alert = open_alerts.get((rule.name, None)) or pending.get((rule.name, None))
        if alert is not None or (value is not None and rule.is_breached(value)):
            found += _judge(rule, hostname, None, value, alert, when)
        if rule.no_data == ALERT:
            found += _judge_missing(rule, hostname, {rule.measure: value is None}, open_alerts, pending, when)
    return found


def patience_in_minutes(patience: Instant) -> Instant:
    """How far apart the minutes of a host may be, as one waits `patience` for its samples: at least one minute follows another."""
    return MINUTE * max(1, -(-patience // MINUTE))


def _judge_missing(
    rule: Rule,
    hostname: str,
    missing: Mapping[str, bool],
    open_alerts: Mapping[Key, Alert],
    pending: Mapping[Key, Alert],
    when: Moment,
) -> list[Transition]:
    """What values do that are missing, or there again, to the warnings that they are missing. `missing` is by subject."""
    name = rule.name + NO_DATA_OF
    found: list[Transition] = []
    for subject, is_missing in missing.items():
        alert = open_alerts.get((name, subject)) or pending.get((name, subject))
        if is_missing or alert is not None:
            found += _judge(missing_rule(rule), hostname, subject, float(is_missing), alert, when)
    return found


@lru_cache(maxsize=1024)
def missing_rule(rule: Rule) -> Rule:
    """The rule that warns that a value of `rule` is missing."""
    return Rule(rule.name + NO_DATA_OF, IS_MISSING, (Step("warning", 1, 0),), fire_after=rule.no_data_after)


def _judge(
    rule: Rule, hostname: str, subject: str | None, value: float | None, alert: Alert | None, when: Moment
) -> list[Transition]:
    """What one value does to its alert, pending or active, or the alert that it fires: at most one transition."""
    if value is None:
        return _miss(rule, alert, when) if alert is not None else []
    if alert is None or alert.status == PENDING:
        return _rise(rule, hostname, subject, value, alert, when)
    level = level_of(rule, alert.severity)
    reached, waits = _waited(rule, value, level, alert, when)
    if not reached:
        return [resolve(alert, when.now, "value", value)]
    is_same = value == alert.current_value and not alert.missing and round(value, 1) == alert.told_value
    if is_same and reached == level and not any(waits) and not any(alert.waits) and alert.unknown_since is None:
        return []
    waiting = replace(alert, waits=waits, judged_at=when.at)
    return move(rule, waiting, value, when.now, rule.steps[reached - 1].severity)


def _rise(
    rule: Rule, hostname: str, subject: str | None, value: float, alert: Alert | None, when: Moment
) -> list[Transition]:
    """What a value does where nothing has fired yet: it fires, waits, or passes."""
    reached, waits = _waited(rule, value, 0, alert, when)
    if reached:
        return [fire(rule, hostname, subject, value, when, reached, since=_begun(alert, when), waits=waits)]
    if any(waits):
        return [Transition(PENDING, _pending(rule, hostname, subject, value, waits, alert, when))]
    return [Transition("passed", alert)] if alert is not None else []


def level_of(rule: Rule, severity: str) -> int:
    """How many steps of a rule an alert of this severity has reached: at least one, also if the rule was changed since."""
    worst = SEVERITIES.index(severity)
    return max(1, sum(SEVERITIES.index(step.severity) <= worst for step in rule.steps))


def _waited(rule: Rule, value: float, level: int, alert: Alert | None, when: Moment) -> tuple[int, tuple[Instant, ...]]:
    """How many steps the alert has reached after this value, and since when the others wait to begin or to end."""
    return advance(rule, value, level, _waits_of(alert, rule, when), when.at)


def advance(
    rule: Rule, value: float, level: int, before: Sequence[Instant], at: Instant
) -> tuple[int, tuple[Instant, ...]]:
    """The state machine of a rule: (steps reached, waits) after one more value, from `level` steps and the waits `before`.

    The back-test asks it, too.
    """
    sign = 1 if rule.is_above else -1
    reached, waits = 0, []
    for n, step in enumerate(rule.steps):
        is_on = n < level
        if is_on:
            over = None if step.resolve is None else sign * (value - step.resolve)
            changes = over is not None and (over <= 0 if n == 0 else over < 0)
        else:
            changes = sign * (value - step.fire) >= 0
        since = (before[n] or at) if changes else 0
        if changes and at - since >= (rule.resolve_after if is_on else rule.fire_after):
            is_on, since = not is_on, 0
        if is_on and reached == n:
            reached = n + 1
        waits.append(since)
    return reached, tuple(waits)


def _waits_of(alert: Alert | None, rule: Rule, when: Moment) -> Sequence[Instant]:
    if alert is None or len(alert.waits) != len(rule.steps) or not 0 <= when.at - alert.judged_at <= when.patience:
        return (0,) * len(rule.steps)
    return alert.waits


def _begun(alert: Alert | None, when: Moment) -> Instant:
    """Since when an alert that fires now was pending."""
    return min((since for since in alert.waits if since), default=when.at) if alert is not None else when.at


def _pending(
    rule: Rule,
    hostname: str,
    subject: str | None,
    value: float,
    waits: tuple[Instant, ...],
    alert: Alert | None,
    when: Moment,
) -> Alert:
    if alert is not None:
        return replace(alert, waits=waits, judged_at=when.at, current_value=value, updated_at=when.now)
    return Alert(
        id="",
        hostname=hostname,
        metric=rule.name,
        measure=rule.measure,
        severity=rule.severity,
        threshold=rule.fire_at,
        current_value=value,
        created_at=when.now,
        updated_at=when.now,
        subject=subject,
        status=PENDING,
        waits=waits,
        judged_at=when.at,
    )


@lru_cache(maxsize=16_384)
def is_meant(patterns: tuple[str, ...], subject: str) -> bool:
    """Whether a rule is for a subject: a pattern finds it, and none of those that begin with `!`. `*` and `?` are wild."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")] or ["*"]
    spared = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return any(_glob(one).match(subject) for one in wanted) and not any(_glob(one).match(subject) for one in spared)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> Pattern[str]:
    return compile(translate(pattern.replace("[", "[[]")))


def evaluate_silence(
    rule: Rule, hostname: str, silence: Instant, open_alerts: Mapping[Key, Alert], now: Instant
) -> list[Transition]:
    """The transitions after `silence` ms without a sample. When a host goes offline, its other alerts end."""
    alert, seconds = open_alerts.get((rule.name, None)), silence / SECOND
    if alert is not None:
        severity = _severity_of_silence(rule, seconds)
        if SEVERITIES.index(severity) > SEVERITIES.index(alert.severity):
            return move(rule, alert, seconds, now, severity)
        return [Transition("moved", replace(alert, current_value=seconds, peak_value=seconds, updated_at=now))]
    if seconds < rule.fire_at:
        return []
    ended = open_alerts.values() if rule.name == HOST_OFFLINE else ()
    others = [resolve(other, now, "host-offline") for other in ended if other.measure != SILENCE]
    level = sum(seconds >= step.fire for step in rule.steps)
    when = Moment(now, now - silence, 0, now - silence)
    return [fire(rule, hostname, None, seconds, when, level, since=when.at), *others]


def _severity_of_silence(rule: Rule, seconds: float) -> str:
    return rule.steps[max(1, sum(seconds >= step.fire for step in rule.steps)) - 1].severity


def evaluate_cut_off(
    rule: Rule,
    hostname: str,
    cause: Cause | None,
    hosts: int,
    open_alerts: Mapping[Key, Alert],
    pending: Mapping[Key, Alert],
    now: Instant,
) -> list[Transition]:
    """The transitions of EGO's own host, while so many hosts are silent because of `cause`: EGO is cut off. None: it is not."""
    when = Moment(now, now, PATIENCE, now if cause is None else cause.since)
    known = {one.subject: one for one in (*open_alerts.values(), *pending.values()) if one.metric == rule.name}
    values = dict.fromkeys(known, 0.0)
    if cause is not None and is_meant(rule.subjects, cause.name) and (cause.name in known or rule.is_breached(hosts)):
        values[cause.name] = float(hosts)
    found = [
        transition
        for subject, value in values.items()
        for transition in _judge(rule, hostname, subject, value, known.get(subject), when)
    ]
    return [replace(one, alert=replace(one.alert, cause=cause)) if one.kind == "fired" else one for one in found]


def fire(
    rule: Rule,
    hostname: str,
    subject: str | None,
    value: float,
    when: Moment,
    level: int,
    *,
    since: Instant,
    waits: tuple[Instant, ...] = (),
) -> Transition:
    """A new alert that has reached `level` steps, pending since `since`.

    Its id is computed from its key and `when.cause`, so that a replay of the history gives the same id: the instant of the
    sample that has the value; for a silence, when the host was last seen.
    """
    cause = str(when.cause)
    parts = (hostname, rule.name, cause) if subject is None else (hostname, rule.name, subject, cause)
    alert = Alert(
        id=str(uuid5(_ALERT_IDS, "\n".join(parts))),
        hostname=hostname,
        metric=rule.name,
        measure=rule.measure,
        severity=rule.steps[level - 1].severity,
        threshold=rule.fire_at,
        current_value=value,
        created_at=when.now,
        updated_at=when.now,
        subject=subject,
        peak_value=value,
        told_value=round(value, 1),
        told_at=when.now,
        waits=waits,
        judged_at=when.at,
    )
    return Transition("fired", alert, "fired", since=when.now - (when.at - since) if rule.fire_after else None)


def move(rule: Rule, alert: Alert, value: float, now: Instant, severity: str) -> list[Transition]:
    """The alert with its new value. Clients hear of a new severity at once, of a new rounded value every 10 s.

    A worse severity ends the acknowledgement first: it was for less.
    """
    is_new = severity != alert.severity
    ended = []
    if alert.ack_at is not None and SEVERITIES.index(severity) > SEVERITIES.index(alert.severity):
        ended = [end_ack(alert, now, "severity")]
        alert = ended[0].alert
    peak = None if alert.peak_value is None else (max if rule.is_above else min)(alert.peak_value, value)
    moved = replace(
        alert, current_value=value, peak_value=peak, severity=severity, updated_at=now, missing=0, unknown_since=None
    )
    rounded, is_known = round(value, 1), alert.unknown_since is not None
    if not is_new and not is_known and (rounded == alert.told_value or now - alert.told_at < TOLD_EVERY):
        return [Transition("moved", moved)]
    updated = replace(moved, told_value=rounded, told_at=now, version=alert.version + 1)
    return [*ended, Transition("updated", updated, "severity" if is_new else "known" if is_known else None)]


def _miss(rule: Rule, alert: Alert, when: Moment) -> list[Transition]:
    """The alert after one more sample without its value: ended or unknown, if the value has been missing for long enough."""
    now = when.now
    if alert.status == PENDING:
        return [] if 0 <= when.at - alert.judged_at <= when.patience else [Transition("passed", alert)]
    if alert.unknown_since is not None:
        return [resolve(alert, now, NO_DATA)] if now - alert.unknown_since >= UNKNOWN_MAX else []
    since = alert.missing_since if alert.missing else now
    missed = replace(alert, missing=alert.missing + 1, missing_since=since)
    if missed.missing < MISSING_SAMPLES or now - since < rule.no_data_after:
        return [Transition("moved", missed)]
    if rule.no_data == RESOLVE:
        return [resolve(alert, now, NO_DATA)]
    return [
        Transition("updated", replace(missed, unknown_since=now, updated_at=now, version=alert.version + 1), "unknown")
    ]
