"""A sample: one host at one instant, normalised and stamped. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mirror_stage.core.instants import DAY, EARLIEST, LATEST, MINUTE, Instant, from_text
from mirror_stage.core.names import BadField, normalise_hostname

SPEEDS_MBPS = (0.001, 1e9)  # what a link can have; anything else is no number one could divide by
AHEAD_LIMIT: Instant = 5 * MINUTE  # a reported time further ahead of EGO's clock than this is not believed
OLDEST_TIER: Instant = 730 * DAY  # nor one behind everything that EGO keeps, which is this unless set otherwise
NEEDED = (
    "cpu_load",
    "memory_used_percent",
    "load_average",
    "uptime_seconds",
)  # unless a sample says that it cannot know
CAPACITY_TAGS = ("primary_interface_speed_mbps", "interface_speed_mbps", "link_speed_mbps")
# By name alone, for agents that do not ask the system: tunnels, bridges and the ends of containers and machines.
VIRTUAL_INTERFACE = re.compile(
    r"lo\d*$|(docker|br-|bridge|brq|virbr|vmbr|lxdbr|lxcbr|incusbr|fwbr|fwpr|fwln|podman|cni|flannel|cali|cilium|lxc|kube|weave"
    r"|veth|vnet|vmnet|vboxnet|tap|tun|utun|tailscale|zt|wg|nebula|nordlynx|ppp|gre|sit|ipip|ip6tnl|vxlan|geneve|ovs|ifb|dummy"
    r"|macvtap)|br\d+($|[.:])"
)


@dataclass(slots=True)
class Sample:
    """One host at one instant. Loads in percent, counters in bytes since boot; None is unknown.

    `reported_at` is the agent's clock; `received_at` and `at` are set by `stamp`. `at` is the key in the history, which
    says `is_repeated`.
    The rates are what the pipeline measures on arrival, for the history; a late sample's do not matter to the twin.
    """

    hostname: str
    reported_at: Instant
    cpu_load: float | None
    memory_used_percent: float | None
    load_average: float | None
    uptime_seconds: float | None
    agent_version: str
    platform: str
    cpu_temperature: float | None = None
    gpu_temperature: float | None = None
    net_bytes_tx: int | None = None
    net_bytes_rx: int | None = None
    swap_used_percent: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    net_capacity_gbps: float | None = None
    fullest_disk_percent: float | None = None
    ip: str | None = None
    rack: str | None = None
    position: tuple[float, float, float] | None = None
    tags: Mapping[str, str] | None = None
    command_policy: str | None = None
    agent_instance: str | None = None
    primary_interface: str | None = None
    interval_seconds: float | None = None
    details: Any = None  # the decoded sample itself: hardware, disks, interfaces, temperatures, processes
    received_at: Instant = 0
    at: Instant = 0
    tx_gbps: float | None = None
    rx_gbps: float | None = None
    is_newest_of_request: bool = True
    is_repeated: bool = False  # it was stored before

    @property
    def order(self) -> tuple[Instant, Instant]:
        """What the samples of a host are ordered by: neither a late nor an early clock moves one ahead of its arrival."""
        return min(self.at, self.received_at), self.at

    @property
    def clock_offset_seconds(self) -> float:
        """How far the agent's clock is from EGO's; positive is ahead."""
        return (self.reported_at - self.received_at) / 1000


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many samples of a batch are durable now, and how many of them were already."""

    accepted: int
    duplicates: int


def normalise(raw: Any) -> Sample:
    """The Sample of a decoded one, the same for both decoders. Raises BadField."""
    try:
        reported_at = from_text(raw.timestamp.strip())
    except (ValueError, OverflowError) as error:
        raise BadField("timestamp", f"not an ISO 8601 date and time: {raw.timestamp[:40]!r}") from error
    if not EARLIEST <= reported_at <= LATEST:
        raise BadField("timestamp", "the year must be 1970 to 2100")
    for name in NEEDED:
        if getattr(raw, name) is None and name not in (raw.unknown or ()):
            raise BadField(name, "is required; an agent that cannot read it names it in `unknown`")
    position = raw.position
    return Sample(
        hostname=normalise_hostname(raw.hostname),
        reported_at=reported_at,
        cpu_load=raw.cpu_load,
        memory_used_percent=raw.memory_used_percent,
        load_average=raw.load_average,
        uptime_seconds=raw.uptime_seconds,
        agent_version=raw.agent_version,
        platform=raw.platform,
        cpu_temperature=raw.cpu_temperature,
        gpu_temperature=raw.gpu_temperature,
        net_bytes_tx=raw.net_bytes_tx,
        net_bytes_rx=raw.net_bytes_rx,
        swap_used_percent=raw.swap_used_percent,
        memory_total_bytes=raw.memory_total_bytes,
        memory_available_bytes=raw.memory_available_bytes,
        net_capacity_gbps=capacity_gbps(raw.tags, raw.primary_interface_speed_mbps, raw.interfaces),
        fullest_disk_percent=fullest_disk_percent(raw.disks),
        ip=raw.ip or raw.ipv4,
        rack=(raw.rack.strip() or None) if raw.rack else None,
        position=(position.x or 0.0, position.y or 0.0, position.z or 0.0) if position is not None else None,
        tags=raw.tags,
        command_policy=raw.command_policy,
        agent_instance=raw.agent_instance,
        primary_interface=raw.primary_interface,
        interval_seconds=raw.interval_seconds or None,
        details=raw,
    )


def capacity_gbps(
    tags: Mapping[str, str] | None, primary_mbps: float | None, interfaces: Iterable[Any] | None
) -> float | None:
    """The speed of a host's link: the first tag that is there, else the field, else its fastest real interface.

    A value that is not a positive number means unknown. Source: `docs/contract.md` section 2, capacity.
    """
    for tag in CAPACITY_TAGS:
        if tags and tag in tags:
            return _positive_gbps(tags[tag])
    if primary_mbps is not None:
        return _positive_gbps(primary_mbps)
    speeds = [i.speed_mbps for i in interfaces or () if i.is_up and i.speed_mbps and not is_virtual(i.name)]
    return _positive_gbps(max(speeds, default=0))


def is_virtual(interface: str) -> bool:
    """Whether an interface has no wire of its own, by its name."""
    return VIRTUAL_INTERFACE.match(interface) is not None


def fullest_disk_percent(disks: Iterable[Any] | None) -> float | None:
    """The use of the fullest disk, in percent."""
    fullest: float | None = None
    for disk in disks or ():
        if disk.used_percent is not None and (fullest is None or disk.used_percent > fullest):
            fullest = disk.used_percent
    return fullest


def _positive_gbps(mbps: str | float) -> float | None:
    try:
        value = float(mbps)
    except ValueError:
        return None
    return value / 1000 if SPEEDS_MBPS[0] <= value <= SPEEDS_MBPS[1] else None


def stamp(samples: list[Sample], received_at: Instant, kept: Instant = OLDEST_TIER) -> list[Sample]:
    """The same samples, in time order, with `received_at`, `at` and `is_newest_of_request` set.

    A clock that cannot be right (over 5 min ahead, or behind the oldest tier, which is `kept` so long) is not believed:
    the newest such sample of a host is kept at its receive time, the others at their distance before it.
    """
    unbelieved: dict[str, Instant] = {}
    for sample in samples:
        sample.received_at, sample.at = received_at, sample.reported_at
        if not _is_believed(sample, kept):
            unbelieved[sample.hostname] = max(sample.reported_at, unbelieved.get(sample.hostname, 0))
    for sample in samples:
        if unbelieved and not _is_believed(sample, kept):
            distance = unbelieved[sample.hostname] - sample.reported_at
            sample.at = received_at - min(distance, kept)
    if len(samples) == 1:
        return samples
    samples.sort(key=lambda sample: sample.order)
    newest_by_host = {sample.hostname: sample for sample in samples}
    for sample in samples:
        sample.is_newest_of_request = newest_by_host[sample.hostname] is sample
    return samples


def _is_believed(sample: Sample, kept: Instant) -> bool:
    return -kept <= sample.reported_at - sample.received_at <= AHEAD_LIMIT
