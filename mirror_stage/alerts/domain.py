"""Rules with hysteresis, and what a host's newest values do to its open alerts. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.twin.domain import Host

TOLD_EVERY: Instant = 10 * SECOND  # an `updated` at most so often per alert
SEVERITIES_KEPT = 20  # changes of one alert that wait for a database which is away
SEVERITIES = ("info", "warning", "critical")
HOST_OFFLINE = "host_offline"
_ALERT_IDS = uuid.UUID("8c8d7a58-6f0e-4f63-9b0c-0b1f7f9f5a11")


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires at or above `fire_at`, resolves at or below `resolve_at`; in between nothing happens.

    Where `critical_at` is set the alert is critical from there until its value is below `critical_below`.
    """

    name: str
    unit: str
    fire_at: float
    resolve_at: float | None
    severity: str
    critical_at: float | None = None
    critical_below: float | None = None


RULES: tuple[Rule, ...] = (
    Rule("cpu_load_high", "%", 80, 70, "warning"),
    Rule("memory_high", "%", 90, 80, "warning"),
    Rule("cpu_temperature_high", "°C", 85, 75, "warning"),
    Rule("gpu_temperature_high", "°C", 80, 70, "warning"),
    Rule("link_congestion", "ratio", 0.9, 0.7, "warning", critical_at=1.0, critical_below=0.95),
    Rule("clock_skew", "s", 300, 240, "info"),
    Rule(HOST_OFFLINE, "s", 60, None, "critical"),
)


def _clock_skew(host: Host) -> float | None:
    sample = host.sample
    return abs(sample.clock_offset_seconds) if sample is not None and sample.is_newest_of_request else None


VALUES: Mapping[str, Callable[[Host], float | None]] = {
    "cpu_load_high": lambda host: host.sample.cpu_load if host.sample else None,
    "memory_high": lambda host: host.sample.memory_used_percent if host.sample else None,
    "cpu_temperature_high": lambda host: host.sample.cpu_temperature if host.sample else None,
    "gpu_temperature_high": lambda host: host.sample.gpu_temperature if host.sample else None,
    "link_congestion": lambda host: host.utilization,
    "clock_skew": _clock_skew,
}

MESSAGES: Mapping[str, str] = {
    "cpu_load_high": "CPU load is {value} %",
    "memory_high": "memory is {value} % used",
    "cpu_temperature_high": "CPU temperature is {value} °C",
    "gpu_temperature_high": "GPU temperature is {value} °C",
    "link_congestion": "the link carries {value} of its capacity",
    "clock_skew": "the clock is {value} s away from EGO's",
    HOST_OFFLINE: "no sample for {value} s",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is or was wrong. `told_*` is what clients heard last; `version` counts what they heard.

    `severities_before` are those that it had in this process, each with the instant that ended it.
    """

    id: str
    hostname: str
    metric: str
    severity: str
    threshold: float
    current_value: float
    created_at: Instant
    updated_at: Instant
    subject: str | None = None
    status: str = "active"
    resolved_at: Instant | None = None
    resolved_reason: str | None = None
    version: int = 1
    told_value: float = 0.0
    told_at: Instant = 0
    severities_before: tuple[tuple[Instant, str], ...] = ()

    @property
    def message(self) -> str:
        value = f"{self.current_value:,.0f}" if abs(self.current_value) >= 1_000 else f"{self.current_value:.4g}"
        return f"{self.hostname}: {MESSAGES[self.metric].format(value=value)}"


@dataclass(frozen=True, slots=True)
class Transition:
    """What happened to an alert: `fired`, `updated`, `resolved`, or `moved` (its value, which nobody is told)."""

    kind: str
    alert: Alert


def evaluate(rules: Sequence[Rule], host: Host, open_alerts: Mapping[str, Alert], now: Instant) -> list[Transition]:
    """What the host's newest values do to its open alerts (by rule name). A missing value does nothing."""
    found: list[Transition] = []
    for rule in rules:
        value_of = VALUES.get(rule.name)
        value = value_of(host) if value_of is not None else None
        if value is None:
            continue
        alert = open_alerts.get(rule.name)
        if alert is None:
            if value >= rule.fire_at:
                found.append(fire(rule, host.hostname, value, now, host.sample.at if host.sample is not None else now))
        elif rule.resolve_at is not None and value <= rule.resolve_at:
            found.append(resolve(alert, now, "value", value))
        elif value != alert.current_value or round(value, 1) != alert.told_value:
            found.append(move(rule, alert, value, now))
    return found


def evaluate_silence(
    rule: Rule, hostname: str, silence: Instant, open_alerts: Mapping[str, Alert], now: Instant
) -> list[Transition]:
    """What `silence` ms without a sample do; when a host goes offline its other alerts end with it."""
    alert, seconds = open_alerts.get(HOST_OFFLINE), silence / SECOND
    if alert is not None:
        return [Transition("moved", replace(alert, current_value=seconds, updated_at=now))]
    if seconds < rule.fire_at:
        return []
    others = [resolve(other, now, "host-offline") for other in open_alerts.values()]
    return [fire(rule, hostname, seconds, now, now), *others]


def fire(rule: Rule, hostname: str, value: float, now: Instant, cause: Instant) -> Transition:
    """A new alert. Its id follows from the sample that fired it, so that folding the history again gives the same one."""
    identity = uuid.uuid5(_ALERT_IDS, f"{hostname}\n{rule.name}\n{cause}")
    alert = Alert(str(identity), hostname, rule.name, severity_of(rule, value, None), rule.fire_at, value, now, now)
    return Transition("fired", replace(alert, told_value=round(value, 1), told_at=now))


def move(rule: Rule, alert: Alert, value: float, now: Instant) -> Transition:
    """The alert with its new value; worth telling if its severity changed, or its rounded value did and 10 s passed."""
    severity = severity_of(rule, value, alert.severity)
    moved = replace(alert, current_value=value, severity=severity, updated_at=now)
    rounded = round(value, 1)
    if severity != alert.severity:
        moved = replace(moved, severities_before=_ended(alert, now))
    elif rounded == alert.told_value or now - alert.told_at < TOLD_EVERY:
        return Transition("moved", moved)
    return Transition("updated", replace(moved, told_value=rounded, told_at=now, version=alert.version + 1))


def _ended(alert: Alert, now: Instant) -> tuple[tuple[Instant, str], ...]:
    """The severities before, and today's that ends; of several in one instant the first is what had been."""
    before = alert.severities_before
    if before and before[-1][0] == now:
        return before
    return (*before, (now, alert.severity))[-SEVERITIES_KEPT:]


def silent_since(offline: Alert) -> Instant:
    """When the host of a `host_offline` alert, open or over, had been seen last: its value says how long before it was
    written, and its threshold how long before it fired at least.
    """
    told = offline.updated_at - round(offline.current_value * SECOND)
    return min(told, offline.created_at - round(offline.threshold * SECOND))


def resolve(alert: Alert, now: Instant, reason: str, value: float | None = None) -> Transition:
    """The alert, over."""
    if alert.metric == HOST_OFFLINE:
        value = max(0, now - silent_since(alert)) / SECOND  # EGO's clock may have been set back while it was down
    return Transition(
        "resolved",
        replace(
            alert,
            status="resolved",
            resolved_at=now,
            updated_at=now,
            resolved_reason=reason,
            current_value=alert.current_value if value is None else value,
            version=alert.version + 1,
        ),
    )


def severity_of(rule: Rule, value: float, current: str | None) -> str:
    """The severity at a value, with its own hysteresis."""
    if rule.critical_at is None or rule.critical_below is None:
        return rule.severity
    if value >= rule.critical_at or (current == "critical" and value >= rule.critical_below):
        return "critical"
    return rule.severity


def worst(alerts: Iterator[Alert]) -> str | None:
    """The worst severity among alerts, None without one."""
    return max((alert.severity for alert in alerts), key=SEVERITIES.index, default=None)
