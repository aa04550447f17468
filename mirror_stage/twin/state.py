"""The only live copy of the twin, in memory. Only the owner (pipeline) changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.names import seen_as
from mirror_stage.disks.domain import Forecasts, soonest_full
from mirror_stage.metrics.domain import Sample
from mirror_stage.twin.domain import (
    STATUS_CODES,
    Allowance,
    Arrival,
    Host,
    Identity,
    Limits,
    Role,
    Status,
    clock_was_set,
    fold,
    identity_of,
    impostors,
    learn_interval,
    same_description,
    status_of,
    sum_of_links,
    uplinks,
    without_rates,
)
from mirror_stage.twin.geometry import Place

_SETTLED_TAGS = ("uplink", "display_name")  # their meaning depends on the other hosts


@dataclass(slots=True)
class Changes:
    """The changes since the last tick: slots with new values, slots with a new description, slots of hosts that left."""

    touched: dict[int, Host] = field(default_factory=dict)
    upserted: set[int] = field(default_factory=set)
    removed: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.touched or self.removed)


class Twin:
    """The twin: every known host by name."""

    def __init__(self, *, hub: str, hub_ip: str, ego: str, stale_after_seconds: float, offline_after_seconds: float):
        self.hub, self.hub_ip, self.ego = hub, hub_ip, ego
        self.limits = Limits(int(stale_after_seconds * SECOND), int(offline_after_seconds * SECOND))
        self._usual_gap = self.limits.stale_after * 4 // 5
        self.hosts_by_name: dict[str, Host] = {}
        self._names_by_look: dict[str, list[str]] = {}
        self._changes = Changes()
        self._dirty: set[str] = set()
        self._identities: dict[int, Identity] = {}  # the present ones, by host id
        self._new_identities: dict[int, Identity] = {}  # those of them that are not saved yet
        self._allowances: dict[int, Allowance] = {}  # by host id: how many more may be saved
        self._links_are_stale = False

    def role_of(self, hostname: str) -> Role:
        return Role.of(hostname, self.hub, self.ego)

    def add(self, host_id: int, hostname: str, place: Place, last_poll_at: Instant | None = None) -> None:
        """Add a host that has no sample yet."""
        role = self.role_of(hostname)
        ip = self.hub_ip if role is Role.HUB else None
        self.restore(Host(host_id, hostname, role, place, ip=ip, last_poll_at=last_poll_at))

    def restore(self, host: Host, identity: Identity | None = None) -> None:
        """Add a host as it was saved."""
        self.hosts_by_name[host.hostname] = host
        if identity is not None:
            self._identities[host.id] = identity
        self._touch(host, upserted=True)
        self._links_are_stale = True
        alike = self._names_by_look.setdefault(seen_as(host.hostname), [])
        if host.hostname not in alike:
            alike.append(host.hostname)
        self._pair(alike)

    def fold(self, sample: Sample) -> tuple[Host, Arrival]:
        """Take one sample into the twin. Returns the host after it, and how it counted. The host must be known."""
        before = self.hosts_by_name[sample.hostname]
        after, kind = fold(before, sample)
        if after is before:
            return after, kind
        self.hosts_by_name[sample.hostname] = after
        self._dirty.add(sample.hostname)
        if kind is Arrival.FRESH or kind is Arrival.REANCHORED:
            after.status = Status.ONLINE  # no frame has this object yet, so it may still be changed
            gap = sample.received_at - before.sample.received_at if before.sample is not None else 0
            if gap > self._usual_gap or after.gaps or after.interval is not None or sample.interval_seconds is not None:
                learn_interval(after, sample.interval_seconds, gap, self.limits)
            if before.sample is None or (
                before.tags != after.tags and any(before.tags.get(tag) != after.tags.get(tag) for tag in _SETTLED_TAGS)
            ):
                self._links_are_stale = True
            is_described = same_description(before, after)
            self._touch(after, upserted=not is_described or (before.rates is None) != (after.rates is None))
            self._identify(after, sample, is_described=is_described, is_reanchored=kind is Arrival.REANCHORED)
        elif after.last_seen_at != before.last_seen_at:
            self._touch(after, upserted=False)
        return after, kind

    def _identify(self, host: Host, sample: Sample, *, is_described: bool, is_reanchored: bool) -> None:
        """Keep a new identity of the host, if its description or clock changed."""
        known = self._identities.get(host.id)
        if known is None or not is_described or is_reanchored or clock_was_set(known, sample):
            identity = identity_of(host, sample, None if is_reanchored else known)
            self._identities[host.id] = self._new_identities[host.id] = identity

    def polled(self, hostname: str, at: Instant) -> None:
        """Note that a host's agent asked for commands. A host that is not in the twin is ignored."""
        host = self.hosts_by_name.get(hostname)
        if host is not None:
            after = self.hosts_by_name[hostname] = replace(host, last_poll_at=at)
            self._dirty.add(hostname)
            if host.last_poll_at is None:
                self._touch(after, upserted=False)  # REST says from now on that it takes commands

    def _pair(self, alike: list[str]) -> None:
        """Set `namesake` of hosts whose names look the same."""
        for hostname in alike:
            namesake = next((other for other in alike if other != hostname), None)
            if self.hosts_by_name[hostname].namesake != namesake:
                self.hosts_by_name[hostname] = replace(self.hosts_by_name[hostname], namesake=namesake)

    def forget(self, hostname: str) -> Host | None:
        """Remove a host from the twin. Returns it, or None if it is not there."""
        host = self.hosts_by_name.pop(hostname, None)
        if host is not None:
            alike = self._names_by_look[seen_as(hostname)]
            alike.remove(hostname)
            self._pair(alike)
            if not alike:
                del self._names_by_look[seen_as(hostname)]
            self._dirty.discard(hostname)
            self._identities.pop(host.id, None)
            self._new_identities.pop(host.id, None)
            self._allowances.pop(host.id, None)
            self._changes.touched.pop(host.id, None)
            self._changes.upserted.discard(host.id)
            self._changes.removed.append(host.id)
            self._links_are_stale = True
        return host

    def set_severity(self, hostname: str, severity: str | None) -> None:
        """Set the worst severity of a host's active alerts."""
        host = self.hosts_by_name.get(hostname)
        if host is not None and host.severity != severity:
            self._change(replace(host, severity=severity), upserted=True)

    def set_forecasts(self, forecasts_by_hostname: Mapping[str, Forecasts]) -> None:
        """Set when the disks of some hosts will be full. Clients are told of a host when its number of days changes."""
        for hostname, forecasts in forecasts_by_hostname.items():
            host = self.hosts_by_name.get(hostname)
            if host is not None:
                days = soonest_full(host.sample.disk_levels, forecasts) if host.sample is not None else None
                told = replace(host, forecasts=forecasts, days_to_full=days)
                if days != host.days_to_full:
                    self._change(told, upserted=True)
                else:
                    self.hosts_by_name[hostname] = told

    def sweep(self, now: Instant, listening_since: Instant = 0, breathe: Callable[[], None] = lambda: None) -> None:
        """Update the status of every host by its silence.

        EGO did not listen before `listening_since`: silence before that does not make a status worse. `breathe` is called between two
        hosts; meanwhile hosts may change or leave.
        """
        for hostname in list(self.hosts_by_name):
            breathe()
            host = self.hosts_by_name.get(hostname)
            if host is None or host.last_seen_at is None or host.sample is None:
                continue
            status = self.status_after(host.last_seen_at, now, host.interval)
            if STATUS_CODES[status] > STATUS_CODES[host.status] and host.last_seen_at < listening_since:
                worse = self.status_after(listening_since, now, host.interval)
                status = max(Status(host.status), worse, key=STATUS_CODES.__getitem__)
            if status != host.status:
                silent = status is Status.OFFLINE  # an old rate is not a rate of now
                self._change(without_rates(host, status) if silent else replace(host, status=status), upserted=silent)

    def status_after(self, last_seen_at: Instant, now: Instant, interval: Instant | None = None) -> Status:
        """The status of a host with this interval that was last seen then, by the limits of this EGO."""
        limits = self.limits.of(interval)
        return status_of(last_seen_at, now, limits.stale_after, limits.offline_after)

    def take_changes(self) -> Changes:
        """The changes since the last call, after uplinks and display names were brought up to date."""
        if self._links_are_stale:
            self._settle_links()
        self._touch_synthetic_hub()
        changes, self._changes = self._changes, Changes()
        return changes

    def present(self, names: Iterable[str]) -> list[Host]:
        """Those of these hosts that are in the twin, as they are now."""
        return [self.hosts_by_name[name] for name in names if name in self.hosts_by_name]

    def take_dirty(self) -> list[str]:
        """The names of the hosts that changed since their row was saved."""
        dirty, self._dirty = self._dirty, set()
        return list(dirty)

    def mark_dirty(self, names: Iterable[str]) -> None:
        """Mark hosts that could not be saved, so that the next save takes them again."""
        self._dirty.update(names)

    def has_new_identities(self, now: Instant, *, is_last: bool = False) -> bool:
        """Whether `take_identities` would return something."""
        return any(is_last or self._allowance(host_id, now).spent(now)[1] for host_id in self._new_identities)

    def take_identities(self, now: Instant, *, is_last: bool = False) -> list[Identity]:
        """The identities that changed since the last call: the newest of each host.

        Hosts that used up their allowance are left out. Their newest identity is saved later, or when EGO stops
        (`is_last`).
        """
        taken = [one for one in self._new_identities.values() if is_last or self._is_allowed(one.host_id, now)]
        for identity in taken:
            del self._new_identities[identity.host_id]
        return taken

    def _is_allowed(self, host_id: int, now: Instant) -> bool:
        allowance, is_allowed = self._allowance(host_id, now).spent(now)
        self._allowances[host_id] = allowance
        return is_allowed

    def _allowance(self, host_id: int, now: Instant) -> Allowance:
        return self._allowances.get(host_id, Allowance(at=now))

    def mark_identities(self, identities: list[Identity]) -> None:
        """Mark identities that could not be saved, to try again, unless they changed since or the host left."""
        for identity in identities:
            if self._identities.get(identity.host_id) is identity:
                self._new_identities[identity.host_id] = identity

    def _settle_links(self) -> None:
        self._links_are_stale = False
        hosts = [host for host in self.hosts_by_name.values() if host.role != Role.HUB]
        settled = uplinks({host.hostname: host.tags.get("uplink") for host in hosts}, self.hub)
        for host in hosts:
            if host.uplink != settled[host.hostname]:
                self._change(replace(host, uplink=settled[host.hostname]), upserted=True)
        wrong = impostors({host.hostname: host.tags.get("display_name") for host in self.hosts_by_name.values()})
        for host in list(self.hosts_by_name.values()):
            if host.is_impostor != (host.hostname in wrong):
                self._change(replace(host, is_impostor=host.hostname in wrong), upserted=True)

    def _touch_synthetic_hub(self) -> None:
        """A hub that nobody reports shows the sum of its links."""
        hub = self.hosts_by_name.get(self.hub)
        if hub is None or hub.sample is not None or not self._changes:
            return
        sums = sum_of_links(host for host in self.hosts_by_name.values() if host.uplink == self.hub)
        if sums != hub.rates:
            self._change(replace(hub, rates=sums), upserted=False)

    def _change(self, host: Host, *, upserted: bool) -> None:
        self.hosts_by_name[host.hostname] = host
        self._touch(host, upserted=upserted)

    def _touch(self, host: Host, *, upserted: bool) -> None:
        self._changes.touched[host.id] = host
        if upserted:
            self._changes.upserted.add(host.id)
