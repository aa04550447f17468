"""The twin at a moment, the difference of two moments, and time cut into buckets. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from mirror_stage.alerts.domain import Alert, silent_since, worst
from mirror_stage.alerts.measures import SILENCE, VALUES
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.history.domain import Reading
from mirror_stage.metrics.domain import Sample
from mirror_stage.metrics.measures import MEASURES, OF_SAMPLE
from mirror_stage.twin.domain import (
    Host,
    Identity,
    Role,
    Status,
    clamped,
    impostors,
    sum_of_links,
    uplinks,
    without_rates,
)
from mirror_stage.twin.geometry import ORIGIN, Place
from mirror_stage.twin.throughput import LinkRates, utilization_ratio

# ------------------------------------------------------------------ one moment


@dataclass(frozen=True, slots=True)
class Known:
    """A host as the tables have it at a moment; `reading` is None if its samples are pruned."""

    hostname: str
    place: Place
    identity: Identity
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What is the same at every moment: the name of the hub, the roles, and the limits of silence."""

    hub: str
    hub_ip: str
    role_of: Callable[[str], Role]
    status_after: Callable[[Instant, Instant, Instant | None], Status]  # last seen, at, the host's interval


@dataclass(frozen=True, slots=True)
class Moment:
    """The twin at an instant: the hosts, the hub first, the active alerts, and the tier that they were read from."""

    at: Instant
    resolution: str
    hosts: Sequence[Host]
    alerts: Sequence[Alert]


def host_as_it_was(known: Known, offline: Alert | None, uplink: str | None, scene: Scene, at: Instant) -> Host:
    """The host at an instant. `offline` is its `host_offline` alert, if that was active then."""
    identity, reading = known.identity, known.reading
    sample = _sample(known)
    rates = LinkRates(*reading.rates_gbps) if reading is not None and reading.rates_gbps is not None else None
    utilization = utilization_ratio(rates, sample.net_capacity_gbps)
    if reading is not None and reading.utilization is not None:
        utilization = reading.utilization
    last_seen_at = _last_seen_at(known, offline, at)
    host = Host(
        id=identity.host_id,
        hostname=known.hostname,
        role=scene.role_of(known.hostname),
        place=known.place,
        ip=identity.ip,
        sample=sample,
        last_seen_at=last_seen_at,
        rates=rates,
        utilization=utilization,
        status=Status.OFFLINE if last_seen_at is None else scene.status_after(last_seen_at, at, identity.interval),
        uplink=uplink,
    )
    return without_rates(host, Status.OFFLINE) if host.status is Status.OFFLINE else host


def _sample(known: Known) -> Sample:
    """The host's newest sample. Fields that the history does not store come from the identity; others are None."""
    identity = known.identity
    values = known.reading.values if known.reading is not None else {}
    described: dict[str, Any] = {
        "hostname": known.hostname,
        "reported_at": None,
        "agent_version": identity.agent_version,
        "platform": identity.platform,
        "ip": identity.ip,
        "tags": identity.tags,
        "rack": identity.rack,
        "position": identity.position,
        "memory_total_bytes": identity.memory_total_bytes,
        "net_capacity_gbps": identity.net_capacity_gbps,
    }
    knows_clock = "reported_at" in values  # False for a bucket, whose sample must not be used to judge the clock
    return Sample(**(described | dict(values)), is_newest_of_request=knows_clock)


def _last_seen_at(known: Known, offline: Alert | None, at: Instant) -> Instant | None:
    """When the host was last seen: by its offline alert, else by its newest sample, else by the end of its bucket."""
    reading = known.reading
    if reading is None:
        return None
    if offline is not None:
        return min(at, silent_since(offline))
    if reading.last_seen_at is not None:
        return reading.last_seen_at
    return min(at, reading.until - known.identity.clock_offset)


def alert_as_it_was(alert: Alert, host: Host | None, at: Instant) -> Alert:
    """The alert at an instant at which it was active. The table has only its last value, so the host gives the value then."""
    value: float | None
    if alert.measure == SILENCE:
        value = max(0, at - silent_since(alert)) / SECOND
    else:
        value_of = VALUES.get(alert.measure)
        value = value_of(host) if value_of is not None and host is not None and host.sample is not None else None
    moved_at = host.last_seen_at if host is not None and alert.measure != SILENCE else at
    if value is None:  # the host does not have the value then: show the last one that is stored
        value, moved_at = alert.current_value, alert.updated_at
    return replace(
        alert,
        status="active",
        current_value=value,
        peak_value=None,  # the table has the highest value until now, which may have come later
        updated_at=min(at, max(alert.created_at, moved_at or 0)),
        resolved_at=None,
        resolved_reason=None,
    )


def uplinks_of(hosts: Iterable[Known], hub: str) -> dict[str, str]:
    """The uplink of each host at that moment."""
    return uplinks({one.hostname: (one.identity.tags or {}).get("uplink") for one in hosts if one.hostname != hub}, hub)


def with_names(hosts: Sequence[Host]) -> list[Host]:
    """The hosts, with those marked whose display name is the name of another host."""
    wrong = impostors({host.hostname: host.tags.get("display_name") for host in hosts})
    return [replace(host, is_impostor=True) if host.hostname in wrong else host for host in hosts]


def with_severities(hosts: Iterable[Host], alerts: Iterable[Alert]) -> list[Host]:
    """The hosts, each with the worst severity of its alerts."""
    by_host: dict[str, list[Alert]] = {}
    for alert in alerts:
        by_host.setdefault(alert.hostname, []).append(alert)
    return [
        replace(host, severity=worst(iter(by_host[host.hostname]))) if host.hostname in by_host else host
        for host in hosts
    ]


def with_hub(hosts: Sequence[Host], scene: Scene) -> list[Host]:
    """The hosts with the hub first. A hub that nobody reported is added; it shows the sum of its links."""
    hub = next((host for host in hosts if host.role == Role.HUB), None)
    if hub is None:
        children = (host for host in hosts if host.uplink == scene.hub)
        hub = Host(0, scene.hub, Role.HUB, ORIGIN, ip=scene.hub_ip, rates=sum_of_links(children))
    return [hub, *(host for host in hosts if host is not hub)]


# ------------------------------------------------------------------ two moments

# A metric that changed by more than this is listed, in its own unit: more than it varies within a minute by chance.
THRESHOLDS: Mapping[str, float] = {one.wire: one.threshold for one in MEASURES if one.threshold is not None}
_COMPARED = tuple(one for one in OF_SAMPLE if one.threshold is not None)


def metrics_of(host: Host) -> dict[str, float | None]:
    """The metrics of a host by their names on the wire."""
    rates = host.rates
    return {one.wire: getattr(host.sample, one.name, None) for one in _COMPARED} | {
        "rxGbps": rates.rx_gbps if rates else None,
        "txGbps": rates.tx_gbps if rates else None,
        "utilization": clamped(host.utilization) if host.utilization is not None else None,
    }


def difference(before: Moment, after: Moment, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """The difference of two moments: hosts that came, went, moved, changed status, or a metric by over its threshold."""
    old, new = ({host.hostname: host for host in moment.hosts} for moment in (before, after))
    both = sorted(old.keys() & new.keys())
    return {
        "came": sorted(new.keys() - old.keys()),
        "went": sorted(old.keys() - new.keys()),
        "moved": [
            change for name in both if (change := _change(name, _whereabouts(old[name]), _whereabouts(new[name])))
        ],
        "status": [change for name in both if (change := _change(name, old[name].status, new[name].status))],
        "metrics": [change for name in both for change in _metric_changes(old[name], new[name], thresholds)],
    }


def _change(hostname: str, before: Any, after: Any) -> dict[str, Any] | None:
    return {"hostname": hostname, "before": before, "after": after} if before != after else None


def _whereabouts(host: Host) -> dict[str, Any]:
    x, y, z = host.position
    rack = host.sample.rack if host.sample is not None else None
    return {"rack": rack, "uplink": host.uplink, "position": {"x": x, "y": y, "z": z}}


def _metric_changes(old: Host, new: Host, thresholds: Mapping[str, float]) -> Iterable[dict[str, Any]]:
    """The metrics that are known at both moments and differ by more than their threshold."""
    before, after = metrics_of(old), metrics_of(new)
    for name, threshold in thresholds.items():
        was, now = before[name], after[name]
        if was is not None and now is not None and abs(now - was) > threshold:
            yield {"hostname": old.hostname, "metric": name, "before": was, "after": now, "change": now - was}


# ------------------------------------------------------------------ a time range


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time from `start` to before `end`, cut into equal buckets. Their width need not be whole milliseconds."""

    start: Instant
    end: Instant
    buckets: int

    @property
    def width_ms(self) -> float:
        return (self.end - self.start) / self.buckets

    def bucket_of(self, at: Instant) -> int:
        return (at - self.start) * self.buckets // (self.end - self.start)

    def starts(self) -> list[Instant]:
        """The first instant of each bucket."""
        return [self.start - (self.start - self.end) * n // self.buckets for n in range(self.buckets)]


class Level:
    """A number that steps up and down during a stretch, and its mean in each bucket, weighted by time."""

    def __init__(self, stretch: Stretch, at_start: int):
        self._stretch, self._at_start = stretch, at_start
        self._steps = [0] * stretch.buckets
        self._moments = [0.0] * stretch.buckets  # per bucket, the sum of step x ms since the start of the stretch

    def step(self, bucket: int, by: int, ms_since_start: float) -> None:
        """Add steps in a bucket: the sum of the steps, and the sum of step x ms since the start of the stretch."""
        self._steps[bucket] += by
        self._moments[bucket] += ms_since_start

    def means(self) -> list[float]:
        """The mean of each bucket: the level at its start, plus each step, weighted by the rest of the bucket after it."""
        width, found, level = self._stretch.width_ms, [], self._at_start
        for n, (step, moment) in enumerate(zip(self._steps, self._moments, strict=True)):
            found.append(level + (step * (n + 1) * width - moment) / width)
            level += step
        return found


def presence(there: set[int], turns: Iterable[tuple[int, Instant, bool]], stretch: Stretch) -> Level:
    """The number of hosts in the twin: `there` at the start, then changed by each (host, instant, is there from then on)."""
    level, here = Level(stretch, len(there)), set(there)
    for host_id, at, is_there in turns:
        if is_there != (host_id in here):
            level.step(stretch.bucket_of(at), 1 if is_there else -1, (1 if is_there else -1) * (at - stretch.start))
            (here.add if is_there else here.discard)(host_id)
    return level


def active_in_each(at_start: int, fired: Sequence[int], resolved: Sequence[int]) -> list[int]:
    """The number of alerts active at any time in each bucket: those open at its start plus those that fired in it."""
    steps = (up - down for up, down in zip(fired, resolved, strict=True))
    return [open_before + up for open_before, up in zip(accumulate(steps, initial=at_start), fired, strict=False)]
