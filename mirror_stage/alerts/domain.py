"""Rules with hysteresis, and how a host's newest values change its open alerts. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.twin.domain import Host

TOLD_EVERY: Instant = 10 * SECOND  # at most one `updated` per alert in this time, unless its severity changes
MISSING_SAMPLES, MISSING_FOR = 3, 30 * SECOND  # an alert ends after at least 3 samples and 30 s without its value
SEVERITIES = ("info", "warning", "critical")
HOST_OFFLINE = "host_offline"
SILENCE = "silenceSeconds"
DISK_USED = "diskUsedPercent"
MACHINES = "machinesOfName"
NO_DATA = "no-data"
_ALERT_IDS = UUID("8c8d7a58-6f0e-4f63-9b0c-0b1f7f9f5a11")

Key = tuple[str, str | None]  # (name of the rule, subject): identifies an alert among those of its host
OFFLINE: Key = (HOST_OFFLINE, None)


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires at or above `fire_at`, resolves at or below `resolve_at`; in between nothing happens.

    `measure` says which value it judges. Where `critical_at` is set the alert is critical from there until its value is
    below `critical_below`.
    """

    name: str
    measure: str
    unit: str
    fire_at: float
    resolve_at: float | None
    severity: str
    critical_at: float | None = None
    critical_below: float | None = None


RULES: tuple[Rule, ...] = (
    Rule("cpu_load_high", "cpuLoad", "%", 80, 70, "warning"),
    Rule("memory_high", "memoryUsedPercent", "%", 90, 80, "warning"),
    Rule("swap_full", "swapUsedPercent", "%", 90, 85, "warning", critical_at=97, critical_below=95),
    Rule("disk_full", DISK_USED, "%", 90, 85, "warning", critical_at=97, critical_below=95),
    Rule("cpu_temperature_high", "cpuTemperature", "°C", 85, 75, "warning"),
    Rule("gpu_temperature_high", "gpuTemperature", "°C", 80, 70, "warning"),
    Rule("link_congestion", "utilization", "ratio", 0.9, 0.7, "warning", critical_at=1.0, critical_below=0.95),
    Rule("clock_skew", "clockOffsetSeconds", "s", 300, 240, "info"),
    Rule("identity_conflict", MACHINES, "machines", 2, 1, "warning"),
    Rule(HOST_OFFLINE, SILENCE, "s", 60, None, "critical"),
)


def _clock_offset(host: Host) -> float | None:
    sample = host.sample
    return abs(sample.clock_offset_seconds) if sample is not None and sample.is_newest_of_request else None


# The measures of which a host has one value.
VALUES: Mapping[str, Callable[[Host], float | None]] = {
    "cpuLoad": lambda host: host.sample.cpu_load if host.sample else None,
    "memoryUsedPercent": lambda host: host.sample.memory_used_percent if host.sample else None,
    "swapUsedPercent": lambda host: host.sample.swap_used_percent if host.sample else None,
    "cpuTemperature": lambda host: host.sample.cpu_temperature if host.sample else None,
    "gpuTemperature": lambda host: host.sample.gpu_temperature if host.sample else None,
    "utilization": lambda host: host.utilization,
    "clockOffsetSeconds": _clock_offset,
}


@dataclass(frozen=True, slots=True)
class Several:
    """A measure of which a host may have several values: the highest, quick to find, and that of each subject."""

    highest: Callable[[Host], float | None]
    by_subject: Callable[[Host], Mapping[str, float]]


def _machines(host: Host) -> Mapping[str, float]:
    """`{"<both>": 2.0}`: two addresses that report under the host's name, and two names that a person takes for one."""
    found, rival = {}, host.rival
    if rival is not None and rival.since is not None:
        addresses = {sample.ip or "an unknown address" for sample in (host.sample, rival.sample) if sample is not None}
        found[" and ".join(sorted(addresses))] = 2.0
    if host.namesake is not None:
        found[" and ".join(sorted((host.hostname, host.namesake)))] = 2.0
    return found


def _has_another(host: Host) -> bool:
    return host.namesake is not None or (host.rival is not None and host.rival.since is not None)


VALUES_BY_SUBJECT: Mapping[str, Several] = {
    MACHINES: Several(lambda host: 2.0 if _has_another(host) else None, _machines),
    DISK_USED: Several(
        lambda host: host.sample.fullest_disk_percent if host.sample else None,
        lambda host: host.sample.disks_used_percent if host.sample else {},
    ),
}

MESSAGES: Mapping[str, str] = {
    "cpuLoad": "CPU load is {value} %",
    "memoryUsedPercent": "memory is {value} % used",
    "swapUsedPercent": "swap is {value} % used",
    DISK_USED: "disk {subject} is {value} % used",
    "cpuTemperature": "CPU temperature is {value} °C",
    "gpuTemperature": "GPU temperature is {value} °C",
    "utilization": "the link carries {value} of its capacity",
    "clockOffsetSeconds": "the clock is {value} s away from EGO's",
    MACHINES: "{value} machines report under this name: {subject}",
    SILENCE: "no sample for {value} s",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is or was wrong. Its key is (hostname, metric, subject); `metric` is the name of its rule.

    `peak_value` is the highest value so far, None if it was not recorded.
    `told_*` is what clients heard last; `version` counts what they heard. The last `missing` samples, since
    `missing_since`, did not have its value; these two are kept in memory only.
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
    status: str = "active"
    resolved_at: Instant | None = None
    resolved_reason: str | None = None
    version: int = 1
    peak_value: float | None = None
    told_value: float = 0.0
    told_at: Instant = 0
    missing: int = 0
    missing_since: Instant = 0

    @property
    def key(self) -> Key:
        return self.metric, self.subject

    @property
    def message(self) -> str:
        value = f"{self.current_value:,.0f}" if abs(self.current_value) >= 1_000 else f"{self.current_value:.4g}"
        return f"{self.hostname}: {MESSAGES[self.measure].format(value=value, subject=self.subject)}"


@dataclass(frozen=True, slots=True)
class Transition:
    """What happened to an alert: `fired`, `updated`, `resolved`, or `moved` (its value changed, clients are not told).

    `event` is what the table `alert_events` records of it: `fired`, `severity`, `resolved`, or nothing.
    """

    kind: str
    alert: Alert
    event: str | None = None


def evaluate(rules: Sequence[Rule], host: Host, open_alerts: Mapping[Key, Alert], now: Instant) -> list[Transition]:
    """The transitions that follow from the host's newest values. A value that stays missing ends its alert."""
    found: list[Transition] = []
    for rule in rules:
        value_of = VALUES.get(rule.measure)
        if value_of is None:
            several = VALUES_BY_SUBJECT.get(rule.measure)
            if several is not None:
                highest = several.highest(host)
                if open_alerts or (highest is not None and highest >= rule.fire_at):
                    found += _judge_subjects(rule, host, several.by_subject(host), open_alerts, now)
            continue
        value = value_of(host)
        if open_alerts:
            found += _judge(rule, host, None, value, open_alerts.get((rule.name, None)), now)
        elif value is not None and value >= rule.fire_at:
            found += _judge(rule, host, None, value, None, now)
    return found


def _judge_subjects(
    rule: Rule, host: Host, values: Mapping[str, float], open_alerts: Mapping[Key, Alert], now: Instant
) -> list[Transition]:
    """The transitions of one rule, for each subject that the host has and for those that have gone."""
    if host.sample is not None and not host.sample.is_whole:
        return []
    found: list[Transition] = []
    for subject, value in values.items():
        found += _judge(rule, host, subject, value, open_alerts.get((rule.name, subject)), now)
    gone = [alert for (name, subject), alert in open_alerts.items() if name == rule.name and subject not in values]
    return found + [miss(alert, now) for alert in gone]


def _judge(
    rule: Rule, host: Host, subject: str | None, value: float | None, alert: Alert | None, now: Instant
) -> list[Transition]:
    """What one value does to its alert, or the alert that it fires: at most one transition."""
    if value is None:
        return [miss(alert, now)] if alert is not None else []
    if alert is None:
        if value < rule.fire_at:
            return []
        return [fire(rule, host.hostname, subject, value, now, host.sample.at if host.sample is not None else now)]
    if rule.resolve_at is not None and value <= rule.resolve_at:
        return [resolve(alert, now, "value", value)]
    if value != alert.current_value or alert.missing or round(value, 1) != alert.told_value:
        return [move(rule, alert, value, now)]
    return []


def evaluate_silence(
    rule: Rule, hostname: str, silence: Instant, open_alerts: Mapping[Key, Alert], now: Instant
) -> list[Transition]:
    """The transitions after `silence` ms without a sample. When a host goes offline, its other alerts end."""
    alert, seconds = open_alerts.get((rule.name, None)), silence / SECOND
    if alert is not None:
        return [Transition("moved", replace(alert, current_value=seconds, peak_value=seconds, updated_at=now))]
    if seconds < rule.fire_at:
        return []
    others = [resolve(other, now, "host-offline") for other in open_alerts.values()]
    return [fire(rule, hostname, None, seconds, now, now - silence), *others]


def fire(rule: Rule, hostname: str, subject: str | None, value: float, now: Instant, cause: Instant) -> Transition:
    """A new alert. Its id is computed from its key and `cause`, so that a replay of the history gives the same id.

    `cause` is the instant of the sample that has the value; for a silence, when the host was last seen.
    """
    parts = (hostname, rule.name, str(cause)) if subject is None else (hostname, rule.name, subject, str(cause))
    alert = Alert(
        id=str(uuid5(_ALERT_IDS, "\n".join(parts))),
        hostname=hostname,
        metric=rule.name,
        measure=rule.measure,
        severity=severity_of(rule, value, None),
        threshold=rule.fire_at,
        current_value=value,
        created_at=now,
        updated_at=now,
        subject=subject,
        peak_value=value,
        told_value=round(value, 1),
        told_at=now,
    )
    return Transition("fired", alert, "fired")


def move(rule: Rule, alert: Alert, value: float, now: Instant) -> Transition:
    """The alert with its new value. Clients hear of a new severity at once, of a new rounded value every 10 s."""
    severity = severity_of(rule, value, alert.severity)
    peak = None if alert.peak_value is None else max(alert.peak_value, value)
    moved = replace(alert, current_value=value, peak_value=peak, severity=severity, updated_at=now, missing=0)
    rounded = round(value, 1)
    if severity == alert.severity and (rounded == alert.told_value or now - alert.told_at < TOLD_EVERY):
        return Transition("moved", moved)
    updated = replace(moved, told_value=rounded, told_at=now, version=alert.version + 1)
    return Transition("updated", updated, "severity" if severity != alert.severity else None)


def miss(alert: Alert, now: Instant) -> Transition:
    """The alert after one more sample without its value; resolved, if the value has been missing for long enough."""
    since = alert.missing_since if alert.missing else now
    if alert.missing + 1 >= MISSING_SAMPLES and now - since >= MISSING_FOR:
        return resolve(alert, now, NO_DATA)
    return Transition("moved", replace(alert, missing=alert.missing + 1, missing_since=since))


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
        status="resolved",
        resolved_at=now,
        updated_at=now,
        resolved_reason=reason,
        current_value=alert.current_value if value is None else value,
        peak_value=value if alert.measure == SILENCE else alert.peak_value,
        version=alert.version + 1,
    )
    return Transition("resolved", resolved, "resolved")


def severity_of(rule: Rule, value: float, current: str | None) -> str:
    """The severity at a value, with its own hysteresis."""
    if rule.critical_at is None or rule.critical_below is None:
        return rule.severity
    if value >= rule.critical_at or (current == "critical" and value >= rule.critical_below):
        return "critical"
    return rule.severity


def worst(alerts: Iterator[Alert]) -> str | None:
    """The worst severity among alerts; None if there are none."""
    return max((alert.severity for alert in alerts), key=SEVERITIES.index, default=None)
