"""A host of the twin, and how a sample changes it. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter

from mirror_stage.core.instants import HOUR, MINUTE, SECOND, Instant
from mirror_stage.core.names import seen_as
from mirror_stage.core.selector import Labels
from mirror_stage.disks.domain import Forecasts
from mirror_stage.metrics.domain import Sample
from mirror_stage.metrics.measures import OF_LINK, OF_SAMPLE, REPORTED, names_of, wires_of
from mirror_stage.twin.geometry import ORIGIN, Place
from mirror_stage.twin.throughput import UPTIME_SLACK_SECONDS, LinkRates, rates_of, uptime_fits, utilization_ratio

OWN_VERSIONS = "ego-"  # the agent_version of EGO's own monitor begins with this
REPLAY_AGE: Instant = 5 * MINUTE  # a sample that is further behind the newest one comes from a backlog
REANCHOR_AFTER = 3  # so many late samples in rising order mean that the host's clock was set back
REANCHOR_LEAD: Instant = 60 * SECOND  # between two samples of a live agent its clock gains at most this on EGO's
IDENTITIES_MAX, IDENTITY_EVERY = 10, HOUR  # a host may save so many identities at once, then one per so long
HOLDER_SILENT: Instant = MINUTE  # if the machine that holds a name is silent for so long, its rival takes the name
RIVAL_REMEMBERED: Instant = 5 * MINUTE  # a rival that is silent for so long is forgotten
STALE_INTERVALS, OFFLINE_INTERVALS = 3, 5  # for a host that reports seldom: stale and offline after so many intervals
STANDS_STILL_AFTER: Instant = (
    3 * SECOND
)  # two different samples with one time that arrive so far apart: the clock stands still
GAPS = 5  # so many newest gaps between arrivals are kept; their third largest counts as the interval
CLOCK_SLACK: Instant = 15 * SECOND  # a host's clock may drift so far before a new identity is written

# The columns of the delta stream: first the values of a sample, then the rates between two samples.
SAMPLE_GAUGES = tuple(one for one in OF_SAMPLE if one.decimals is not None)
LINK_GAUGES = tuple(one for one in OF_LINK if one.decimals is not None)
GAUGES = wires_of((*SAMPLE_GAUGES, *LINK_GAUGES))

Gauges = tuple[float | None, ...]

_of_sample = attrgetter(*names_of(SAMPLE_GAUGES))
_reported = attrgetter(*names_of(REPORTED))
# None rounds to a whole number, and is quicker than 0.
_DECIMALS = [one.decimals or None for one in SAMPLE_GAUGES]
_LINK_DECIMALS = [one.decimals for one in LINK_GAUGES]  # received, sent, utilization
_NO_SAMPLE: Gauges = (None,) * len(SAMPLE_GAUGES)
_UNMEASURED: Gauges = (None,) * len(LINK_GAUGES)


class Status(StrEnum):
    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"


STATUS_CODES: dict[str, int] = {Status.ONLINE: 0, Status.STALE: 1, Status.OFFLINE: 2}


class Role(StrEnum):
    HUB = "hub"
    EGO = "ego"
    HOST = "host"

    @classmethod
    def of(cls, hostname: str, hub: str, ego: str) -> Role:
        """The role of a host, by the names of the hub and of EGO."""
        return cls.HUB if hostname == hub else cls.EGO if hostname == ego else cls.HOST


@dataclass(frozen=True, slots=True)
class LateRun:
    """The late samples in rising order since the last fresh one: how many, and the last of them."""

    count: int
    last: Sample


@dataclass(frozen=True, slots=True)
class Rival:
    """A second machine that reports under the name of a host, with its newest sample.

    `since` is when it became clear that both machines report. None while the name may simply have moved to a new machine.
    """

    sample: Sample
    since: Instant | None = None


@dataclass(slots=True)
class Host:
    """A host as the twin shows it.

    Treat it as a value: a change makes a new Host, because frames keep the old one. `utilization` is not clamped to 0..1.
    The `rates` of a hub that nobody reports are the sums over its links.
    """

    id: int
    hostname: str
    role: str
    place: Place
    ip: str | None = None
    first_seen_at: Instant | None = None
    sample: Sample | None = None
    last_seen_at: Instant | None = None
    last_poll_at: Instant | None = None
    rates: LinkRates | None = None
    utilization: float | None = None
    status: str = Status.ONLINE
    severity: str | None = None
    uplink: str | None = None
    late: LateRun | None = None
    rival: Rival | None = None
    is_impostor: bool = False  # its display_name is the name of another host
    namesake: str | None = None  # another host, whose name differs only in case or in letters that look the same
    interval: Instant | None = None  # between its samples, if too long for the usual limits of silence
    gaps: tuple[Instant, ...] = ()  # between its newest arrivals, if some are too long for these limits
    interface_errors: Mapping[str, float] | None = (
        None  # a second, by interface, since the sample before; None: unknown
    )
    forecasts: Forecasts | None = None  # of its disks; None: not worked out since the start
    days_to_full: float | None = None  # of the disk that is full first, as of that forecast; None: none is

    @property
    def is_synthetic(self) -> bool:
        """Whether no agent reports this host. That is the hub, until an agent reports under its name."""
        return self.sample is None

    @property
    def tags(self) -> Mapping[str, str]:
        return (self.sample.tags if self.sample is not None else None) or {}

    @property
    def gauges(self) -> Gauges:
        """The values of GAUGES, rounded."""
        return gauges(self.sample, self.rates, self.utilization)

    @property
    def display_name(self) -> str:
        """The display name that the host asks for, unless that is the name of another host; else its hostname."""
        return self.hostname if self.is_impostor else self.tags.get("display_name") or self.hostname

    @property
    def position(self) -> Place:
        """The position that the sample reports, else the computed place. The hub is at the origin."""
        if self.role == Role.HUB:
            return ORIGIN
        return (self.sample.position if self.sample is not None else None) or self.place

    @property
    def position_source(self) -> str:
        is_own = self.role != Role.HUB and self.sample is not None and self.sample.position is not None
        return "sample" if is_own else "computed"


def labels_of(host: Host) -> Labels:
    """What a selector sees of a host."""
    sample, tags = host.sample, host.tags
    return Labels(
        host=host.hostname,
        ip=host.ip,
        rack=sample.rack if sample is not None else None,
        room=tags.get("room"),
        role=str(host.role),
        tier=tags.get("tier"),
        platform=sample.platform if sample is not None else None,
        tags=tags,
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """The description of a host (all but its numbers) from `since` on: a row of `host_identities`.

    `clock_offset` is the host's clock minus EGO's, within CLOCK_SLACK: a sample that arrived at t is stored at about
    t + `clock_offset`. Samples that arrived before `counts_from` cannot be the newest of the host: it was removed, or its
    clock was set, in between.
    """

    host_id: int
    since: Instant
    is_present: bool
    counts_from: Instant
    clock_offset: Instant
    ip: str | None = None
    tags: Mapping[str, str] | None = None
    rack: str | None = None
    position: Place | None = None
    agent_version: str | None = None
    platform: str | None = None
    memory_total_bytes: int | None = None
    net_capacity_gbps: float | None = None
    interval: Instant | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many identities of a host may still be saved: IDENTITIES_MAX at once, then one every IDENTITY_EVERY."""

    at: Instant
    left: float = float(IDENTITIES_MAX)

    def spent(self, now: Instant) -> tuple[Allowance, bool]:
        """The allowance after one more save, and whether that save is allowed."""
        left = min(float(IDENTITIES_MAX), self.left + (now - self.at) / IDENTITY_EVERY)
        return (Allowance(now, left - 1), True) if left >= 1 else (Allowance(now, left), False)


def identity_of(host: Host, sample: Sample, before: Identity | None) -> Identity:
    """The identity of a host from this sample on; `before` is its identity until now."""
    counts_from, offset = sample.received_at, sample.at - sample.received_at
    if before is not None and not clock_was_set(before, sample):
        counts_from, offset = before.counts_from, before.clock_offset
    return Identity(
        host_id=host.id,
        since=sample.received_at,
        is_present=True,
        counts_from=counts_from,
        clock_offset=offset,
        ip=host.ip,
        tags=sample.tags or None,
        rack=sample.rack,
        position=sample.position,
        agent_version=sample.agent_version,
        platform=sample.platform,
        memory_total_bytes=sample.memory_total_bytes,
        net_capacity_gbps=sample.net_capacity_gbps,
        interval=host.interval,
    )


def gone(host_id: int, since: Instant) -> Identity:
    """The identity of a removed host."""
    return Identity(host_id, since, is_present=False, counts_from=since, clock_offset=0)


def clock_was_set(identity: Identity, sample: Sample) -> bool:
    """Whether a host's clock has moved away from the offset of its identity. Judged by the newest sample of a request."""
    offset = sample.at - sample.received_at
    return sample.is_newest_of_request and abs(offset - identity.clock_offset) > CLOCK_SLACK


class Arrival(StrEnum):
    """What a sample means to the live twin, and why."""

    FRESH = "fresh"
    REANCHORED = "re-anchored: three late samples in rising order, the host's clock was set back"
    LATE = "late: history has it, the twin never moves back"
    REPLAYED = "replayed: history from long ago, no sign of life"
    REPEATED = "repeated: nothing new, but a sign of life"
    FOREIGN = "foreign: another machine reports under this name; history has it, the twin does not show it"


@dataclass(slots=True)
class Newest:
    """A host's newest sample, the late ones since then, and a rival. Treat it as a value.

    `after` is the only rule for which sample is newer. The edge uses it for rates, the owner for the twin.
    """

    sample: Sample | None = None
    late: LateRun | None = None
    rival: Rival | None = None

    def after(self, sample: Sample) -> tuple[Newest, Arrival]:
        """The state after one more sample, and how that sample counted."""
        newest = self.sample
        if newest is None:
            return Newest(sample), Arrival.FRESH
        if not is_same_machine(newest, sample):
            return self._after_another(newest, sample)
        rival = self.rival
        if rival is not None and sample.received_at - rival.sample.received_at > RIVAL_REMEMBERED:
            rival = None
        kind, late = arrival(newest, self.late, sample)
        if kind is Arrival.FRESH or kind is Arrival.REANCHORED:
            return Newest(sample, None, rival), kind
        return Newest(newest, late, rival), kind

    def _after_another(self, newest: Sample, sample: Sample) -> tuple[Newest, Arrival]:
        """The same for a sample of another machine. A new machine takes over the name; if two alternate, the first keeps it."""
        rival = self.rival
        if rival is None or (rival.since is None and not is_same_machine(rival.sample, sample)):
            return Newest(sample, None, Rival(newest)), Arrival.FRESH
        if rival.since is None:
            return Newest(sample, None, Rival(newest, sample.received_at)), Arrival.FRESH
        if sample.received_at - newest.received_at > HOLDER_SILENT:
            return Newest(sample, None, Rival(newest, rival.since)), Arrival.FRESH
        return Newest(newest, self.late, Rival(sample, rival.since)), Arrival.FOREIGN


def is_same_machine(one: Sample, other: Sample) -> bool:
    """Whether two samples of one name can come from one machine.

    The uptime of one machine moves with the clock, or the machine restarted in between; a clone has a different uptime.
    If both samples name their agent's instance, different instances are different machines.
    """
    if one.agent_instance and other.agent_instance and one.agent_instance != other.agent_instance:
        return False
    if uptime_fits(one, other):
        return True
    before, after = (one, other) if one.at <= other.at else (other, one)
    apart = max(after.at - before.at, after.received_at - before.received_at) / 1000
    assert after.uptime_seconds is not None  # else it would fit
    return after.uptime_seconds <= apart + UPTIME_SLACK_SECONDS


def arrival(newest: Sample, late: LateRun | None, sample: Sample) -> tuple[Arrival, LateRun | None]:
    """How `sample` counts beside the newest one of the same machine, and the run of late samples after it.

    A sample that was already stored never counts as newer, even if the host's clock is ahead. A late sample counts
    towards re-anchoring only if it was not stored before, is the newest of its host in its request, and its clock gained
    at most REANCHOR_LEAD on EGO's. Otherwise samples that an agent sends again, or its backlog, would move the twin back
    in time.
    """
    if sample.at > newest.at and sample.received_at >= newest.received_at and not sample.is_repeated:
        return Arrival.FRESH, None  # the usual case of a live agent, without working out the order
    if sample.at == newest.at:
        return Arrival.REPEATED, late
    if sample.order > newest.order and not sample.is_repeated:
        return Arrival.FRESH, None
    late = _late_run(late, sample)
    if late is not None and late.count >= REANCHOR_AFTER:
        return Arrival.REANCHORED, None
    return (Arrival.REPLAYED if sample.at < newest.at - REPLAY_AGE else Arrival.LATE), late


def _late_run(run: LateRun | None, sample: Sample) -> LateRun | None:
    if sample.is_repeated or not sample.is_newest_of_request or (run is not None and sample.at == run.last.at):
        return run
    if (
        run is None
        or sample.at <= run.last.at
        or sample.at - run.last.at - (sample.received_at - run.last.received_at) > REANCHOR_LEAD
    ):
        return LateRun(1, sample)
    return LateRun(run.count + 1, sample)


def correct_time(sample: Sample, known: Newest) -> None:
    """Set the time of a sample to its arrival, if the host's clock stands still.

    It does so if another sample with the same reported time arrived STANDS_STILL_AFTER ago, with other numbers. A sample
    with the same numbers was sent again: it keeps the time that it had, so it is recognised as a repeat.
    """
    for before in (known.sample, known.late.last if known.late is not None else None):
        if before is None or before.reported_at != sample.reported_at:
            continue
        if _reported(before) == _reported(sample):
            sample.at = before.at
        elif sample.received_at - before.received_at >= STANDS_STILL_AFTER:
            sample.at = sample.received_at
        return


def fold(host: Host, sample: Sample) -> tuple[Host, Arrival]:
    """The host after one more sample, and how the sample counted. The edge has set the sample's rates already."""
    newest, kind = Newest(host.sample, host.late, host.rival).after(sample)
    if kind is Arrival.FRESH or kind is Arrival.REANCHORED:
        rates = rates_of(sample) if kind is Arrival.FRESH else None
        utilization = utilization_ratio(rates, sample.net_capacity_gbps)
        return (
            Host(
                id=host.id,
                hostname=host.hostname,
                role=host.role,
                place=host.place,
                ip=sample.ip or host.ip,
                first_seen_at=host.first_seen_at or sample.received_at,
                sample=sample,
                last_seen_at=max(host.last_seen_at or 0, sample.received_at),
                last_poll_at=host.last_poll_at,
                rates=rates,
                utilization=utilization,
                status=host.status,
                severity=host.severity,
                uplink=host.uplink,
                rival=newest.rival,
                is_impostor=host.is_impostor,
                namesake=host.namesake,
                interval=host.interval,
                gaps=host.gaps,
                forecasts=host.forecasts,
                days_to_full=host.days_to_full,
            ),
            kind,
        )
    if kind is Arrival.FOREIGN:
        return replace(host, rival=newest.rival), kind
    seen = host.last_seen_at if kind is Arrival.REPLAYED else max(host.last_seen_at or 0, sample.received_at)
    if kind is Arrival.REPEATED and seen == host.last_seen_at:
        return host, kind  # a sample that the owner got before its commit, and after it
    return replace(host, late=newest.late, rival=newest.rival, last_seen_at=seen), kind


def gauges(sample: Sample | None, rates: LinkRates | None, utilization: float | None) -> Gauges:
    """The values of GAUGES, rounded."""
    told = (
        _NO_SAMPLE
        if sample is None
        else [
            None if value is None else round(value, decimals)
            for value, decimals in zip(_of_sample(sample), _DECIMALS, strict=True)
        ]
    )
    if rates is None:
        return (*told, *_UNMEASURED)
    rx, tx, share = _LINK_DECIMALS
    used = None if utilization is None else round(clamped(utilization), share)
    return (*told, round(rates.rx_gbps, rx), round(rates.tx_gbps, tx), used)


def without_rates(host: Host, status: Status) -> Host:
    """The host in this status, with unknown throughput."""
    return replace(host, status=status, rates=None, utilization=None)


def not_after(host: Host, now: Instant) -> Host:
    """The host, last seen at `now` at the latest: EGO's clock may have been set back while EGO was down."""
    if host.last_seen_at is None or host.sample is None or max(host.last_seen_at, host.sample.received_at) <= now:
        return host
    sample = replace(host.sample, received_at=min(host.sample.received_at, now))
    return replace(host, sample=sample, last_seen_at=min(host.last_seen_at, now))


def sum_of_links(children: Iterable[Host]) -> LinkRates | None:
    """The rates of a hub that nobody reports: the sums over the links of its children, rounded as they are shown."""
    rates = [host.rates for host in children if host.rates is not None]
    if not rates:
        return None
    rx, tx, _ = _LINK_DECIMALS
    sent, received = sum(rate.tx_gbps for rate in rates), sum(rate.rx_gbps for rate in rates)
    return LinkRates(tx_gbps=round(sent, tx), rx_gbps=round(received, rx))


def clamped(utilization: float) -> float:
    """A ratio between 0 and 1."""
    return min(1.0, max(0.0, utilization))


@dataclass(frozen=True, slots=True)
class Limits:
    """After how much silence a host is stale and offline, in ms. Hosts that report seldom get longer limits."""

    stale_after: Instant
    offline_after: Instant

    def are_too_short_for(self, interval: float) -> bool:
        """Whether a host that reports every `interval` ms could become stale by chance: above 4/5 of the stale limit."""
        return 5 * interval > 4 * self.stale_after

    def of(self, interval: Instant | None) -> Limits:
        """The limits of a host with this interval."""
        if interval is None:
            return self
        return Limits(
            max(self.stale_after, STALE_INTERVALS * interval), max(self.offline_after, OFFLINE_INTERVALS * interval)
        )


def status_of(last_seen_at: Instant, now: Instant, stale_after: Instant, offline_after: Instant) -> Status:
    """The status of a host that was last seen then, all in ms of EGO's clock."""
    silence = now - last_seen_at
    if silence < stale_after:
        return Status.ONLINE
    return Status.STALE if silence < offline_after else Status.OFFLINE


def learn_interval(host: Host, reported_seconds: float | None, gap: Instant, limits: Limits) -> None:
    """Set the interval between a host's samples, if the usual limits are too short for it.

    The interval is what the agent says, else the third largest of the last GAPS gaps between arrivals, so that one or two
    outages do not count. It changes only if the gaps differ from it by more than a quarter.
    """
    if reported_seconds is not None:
        interval = reported_seconds * SECOND
        host.interval = round(interval) if limits.are_too_short_for(interval) else None
        host.gaps = ()
        return
    if gap <= 0:
        return  # several samples in one request
    before = (host.interval or 0,) * (GAPS - len(host.gaps)) + host.gaps
    host.gaps = (*before, gap)[-GAPS:]
    learnt = sorted(host.gaps)[GAPS // 2]
    if not limits.are_too_short_for(learnt):
        host.interval = None
        if not limits.are_too_short_for(max(host.gaps)):
            host.gaps = ()
    elif host.interval is None or abs(learnt - host.interval) > host.interval / 4:
        host.interval = learnt


def same_description(before: Host, after: Host) -> bool:
    """Whether the description of a host (all but its numbers) is the same.

    The identity of a host keeps its description, and the delta stream sends it only when it changes.
    """
    old, new = before.sample, after.sample
    if old is None or new is None:
        return old is new
    return (
        before.ip == after.ip
        and old.tags == new.tags
        and old.rack == new.rack
        and old.is_unverified == new.is_unverified
        and old.position == new.position
        and old.agent_version == new.agent_version
        and old.platform == new.platform
        and old.memory_total_bytes == new.memory_total_bytes
        and old.net_capacity_gbps == new.net_capacity_gbps
        and before.interval == after.interval
    )


def impostors(wanted: Mapping[str, str | None]) -> set[str]:
    """The hosts whose display name looks like the name of another host. Somebody could send a command to the wrong one.

    `wanted` is the display name that each host asks for, by hostname.
    """
    hostnames_by_look = {seen_as(hostname): hostname for hostname in wanted}
    return {host for host, name in wanted.items() if name and hostnames_by_look.get(seen_as(name), host) != host}


def uplinks(wanted: Mapping[str, str | None], hub: str) -> dict[str, str]:
    """The uplink of each host: the one it asks for, if that exists and makes no circle, else the hub.

    `wanted` is the uplink that each host asks for, by hostname, without the hub. All hosts of a circle get the hub.
    """
    parents = {
        host: up if up is not None and up != host and (up in wanted or up == hub) else hub
        for host, up in wanted.items()
    }
    settled: set[str] = {hub}
    for start in parents:
        path: list[str] = []
        on_path: set[str] = set()
        host = start
        while host not in settled and host not in on_path:
            path.append(host)
            on_path.add(host)
            host = parents[host]
        if host in on_path:
            for member in path[path.index(host) :]:
                parents[member] = hub
        settled.update(path)
    return parents
