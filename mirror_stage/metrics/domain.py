"""A sample: one host at one instant, normalised and stamped. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from mirror_stage.core.instants import DAY, EARLIEST, LATEST, MINUTE, SECOND, Instant, from_text
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.metrics.measures import REPORTED, names_of

SPEEDS_MBPS = (0.001, 1e9)  # the range of a link's speed; any other value counts as unknown
FASTEST_WIRE_MBPS = 1e7  # that a driver may report: 10 Tbit/s
SPEED_UNKNOWN = 65_535  # reported by drivers from before 2010
COLDEST, HOTTEST = -60.0, 150.0  # °C that a chip can have; a sensor that reports -128, 255 or 65261.8 is not connected
NOT_CONNECTED = (127.0, 128.0)  # the same from a sensor that counts in a signed byte
POSITION_MAX = 1_000.0  # scene units from the hub in each direction; computed places end at about 100
AHEAD_LIMIT: Instant = 5 * MINUTE  # EGO does not believe a reported time further ahead of its clock than this
LONGEST_RETENTION: Instant = 730 * DAY  # EGO does not believe that a sample is older; a setting may change this
NEEDED = names_of(one for one in REPORTED if one.is_needed)  # required, unless a sample lists it in `unknown`
INTERVAL_MAX_SECONDS = DAY / SECOND  # a longer interval is taken for this one
CAPACITY_TAGS = ("primary_interface_speed_mbps", "interface_speed_mbps", "link_speed_mbps")
# Interfaces without a cable, known by name: used where an agent does not report the speed of its primary interface.
VIRTUAL_INTERFACE = re.compile(
    r"lo\d*$|(docker|br-|bridge|brq|virbr|vmbr|lxdbr|lxcbr|incusbr|mpqemubr|xenbr|cbr\d|fwbr|fwpr|fwln|podman|nerdctl|cni"
    r"|flannel|cali|cilium|lxc|kube|nodelocaldns|weave|antrea|azv|gke[\da-f]{6}|eni[\da-f]{6}|ovn|genev|veth|vnet|vif\d|epair"
    r"|vmnet|vboxnet|tap|tun|utun|zt|wg|wt\d|nebula|proton|ham\d|cscotun|gpd\d|ipsec|xfrm|l2tp|ppp|gre|gif|stf|erspan|sit|ipip"
    r"|ip_vti|vti\d|ip6|vxlan|geneve|ovs|ifb|dummy|macvtap|awdl|llw|anpi|vmenet|feth|pflog|pfsync|ng\d|hassio|waydroid|anbox|xapi"
    r"|q(br|vb|vo)[\da-f]|awg\d|amn\d|kilo|tinc|n2n|edge\d|bat\d|nordtun|surfshark|pvpn|ipv6leak|clash|mihomo|sing-?box"
    r"|warp\d|netmaker|nm-|easytier|firezone|wiretrustee|pan\d|bnep|ipvlan|macvlan|br_|br(lan|wan)$)"
    r"|\w*br\d+($|[.:])|[\w-]+[_-]br$|[\w-]*tun\d*$|\w*vpn"
    r"|(?i:vethernet|vswitch|vmware|virtualbox|loopback|npcap|isatap|teredo|6to4|bluetooth|tap-|openvpn|wireguard|tailscale"
    r"|zerotier|nordlynx|protonvpn|mullvad|hamachi|cloudflare|vpn|hyper-v virtual"
    r"|microsoft (wi-fi direct virtual|kernel debug))"  # Windows writes them in several ways
)

# File systems that are always full, or are not a disk.
ALWAYS_FULL = {
    "squashfs", "erofs", "cramfs", "romfs", "iso9660", "udf", "cdfs", "cd9660", "efivarfs", "devtmpfs", "devfs", "proc", "sysfs", "tracefs", "debugfs",
    "autofs", "nsfs", "fuse.snapfuse", "fuse.portal", "fuse.gvfsd-fuse", "fuse.lxcfs", "fuse.squashfuse", "fuse.squashfuse_ll",
    "procfs", "linprocfs", "linsysfs", "fdescfs", "kernfs", "ptyfs", "ctfs", "objfs", "mntfs", "sharefs", "hsfs",
}  # fmt: skip
ALWAYS_FULL_UNDER = (
    "/snap/", "/var/lib/snapd/snap/", "/var/lib/docker/", "/var/lib/containers/", "/run/credentials/", "/tmp/.mount_",
    "/Library/Developer/CoreSimulator/", "/private/var/run/com.apple.security.cryptexd/",
)  # fmt: skip
ZFS = "zfs"
PERCENT_TELLS_FROM = 20.0
MOST_FULL_PERCENT = 200.0  # a quota may be exceeded; a disk that says more, or less than 0, is not believed
SAME_FREE_SPACE = 0.01  # 1 %: datasets of a pool whose free space differs by no more share it
WRITTEN_MEANWHILE = 0.001  # of a dataset's size, between two readings: a pool that is nearly full has little free space
# File systems that repeat another one. That one is counted; but the root of a container or a jail is its only disk.
REPEATING = {"overlay", "aufs", "unionfs", "fuse.fuse-overlayfs", "fuse.bindfs", "nullfs", "lofs"}


@dataclass
class Sample:
    """One host at one instant. Loads in percent, counters in bytes since boot; None is unknown.

    `reported_at` is by the agent's clock. `stamp` sets `received_at` and `at`; `at` is the key in the history. The history
    sets `is_repeated`. The edge sets the rates on arrival; the twin ignores the rates of a late sample.
    The numbers from `cpu_load` on are the rows of `OF_SAMPLE`, in that order.
    """

    hostname: str
    reported_at: Instant
    agent_version: str
    platform: str
    cpu_load: float | None = None
    memory_used_percent: float | None = None
    swap_used_percent: float | None = None
    load_average: float | None = None
    uptime_seconds: float | None = None
    cpu_temperature: float | None = None
    gpu_temperature: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    net_bytes_tx: int | None = None
    net_bytes_rx: int | None = None
    disk_read_bytes: int | None = None
    net_capacity_gbps: float | None = None
    fullest_disk_percent: float | None = None
    disk_read_bytes_per_second: float | None = None
    interval_seconds: float | None = None  # between two samples, as the agent reports it
    ip: str | None = None
    rack: str | None = None
    position: tuple[float, float, float] | None = None
    tags: Mapping[str, str] | None = None
    pinned: tuple[str, ...] = ()  # the labels among rack and tags that an admin has pinned; not stored
    is_unverified: bool = False  # EGO knows its agent only by the address; not stored
    command_policy: str | None = None
    agent_instance: str | None = None
    primary_interface: str | None = None
    details: Any = None  # the decoded sample itself: hardware, disks, interfaces, temperatures, processes
    received_at: Instant = 0
    at: Instant = 0
    tx_gbps: float | None = None
    rx_gbps: float | None = None
    is_newest_of_request: bool = True
    is_repeated: bool = False  # it was already stored
    is_whole: bool = True  # False: read back from the database, which does not keep the disks

    @property
    def order(self) -> tuple[Instant, Instant]:
        """The sort key of a host's samples. A clock that is ahead does not move a sample before others: its arrival counts."""
        return min(self.at, self.received_at), self.at

    @property
    def disks_used_percent(self) -> Mapping[str, float]:
        """The used percent of each disk by its mountpoint; empty if it is unknown."""
        return disks_used_percent(self.details.disks or ()) if self.is_whole and self.details is not None else {}

    @property
    def disk_levels(self) -> dict[str, tuple[int, int]]:
        """(used, usable) bytes of each disk that counts as a disk, by its mountpoint; empty if it is unknown."""
        counted = self.disks_used_percent
        disks = (self.details.disks or ()) if counted else ()
        return {
            disk.mountpoint: (disk.used_bytes, usable_bytes(disk))
            for disk in disks
            if disk.mountpoint in counted and disk.total_bytes and disk.used_bytes is not None
        }

    @property
    def top_processes(self) -> Sequence[Any]:
        """The busiest processes; empty if they are unknown."""
        return (self.details.top_processes or ()) if self.is_whole and self.details is not None else ()

    @property
    def clock_offset_seconds(self) -> float:
        """The agent's clock minus EGO's; positive means ahead."""
        return (self.reported_at - self.received_at) / 1000


@dataclass(frozen=True)
class Receipt:
    """How many samples of a batch are durable now, and how many of them were already stored."""

    accepted: int
    duplicates: int


_reported, _needed = attrgetter(*names_of(REPORTED)), attrgetter(*NEEDED)


def normalise(raw: Any) -> Sample:
    """The Sample made from a decoded sample of either path. Raises BadField."""
    try:
        reported_at = from_text(raw.timestamp.strip())
    except (ValueError, OverflowError) as error:
        raise BadField("timestamp", f"not an ISO 8601 date and time: {raw.timestamp[:40]!r}") from error
    if not EARLIEST <= reported_at <= LATEST:
        raise BadField("timestamp", "the year must be 1970 to 2100")
    if None in _needed(raw):
        for name in NEEDED:
            if getattr(raw, name) is None and name not in (raw.unknown or ()):
                raise BadField(name, "is required; an agent that cannot read it names it in `unknown`")
    position = raw.position
    sample = Sample(  # type: ignore[misc]  # MEASURES decides how many numbers there are
        normalise_hostname(raw.hostname),
        reported_at,
        raw.agent_version,
        raw.platform,
        *_reported(raw),
        net_capacity_gbps=capacity_gbps(raw.tags, raw.primary_interface_speed_mbps, raw.interfaces),
        fullest_disk_percent=fullest_disk_percent(raw.disks),
        interval_seconds=raw.interval_seconds and min(raw.interval_seconds, INTERVAL_MAX_SECONDS),
        ip=raw.ip or raw.ipv4,
        rack=(raw.rack.strip() or None) if raw.rack else None,
        position=None if position is None else believed_place(position.x or 0.0, position.y or 0.0, position.z or 0.0),
        tags=raw.tags,
        command_policy=raw.command_policy,
        agent_instance=raw.agent_instance,
        primary_interface=raw.primary_interface,
        details=raw,
    )
    sample.cpu_temperature = believed_celsius(sample.cpu_temperature)
    sample.gpu_temperature = believed_celsius(sample.gpu_temperature)
    return sample


def believed_celsius(celsius: float | None) -> float | None:
    """The temperature that a sensor reports; None if no chip can have it."""
    if celsius is None or not COLDEST <= celsius <= HOTTEST or celsius in NOT_CONNECTED:
        return None
    return celsius


def believed_place(x: float | None, y: float | None, z: float | None) -> tuple[float, float, float] | None:
    """The position that a sample reports. None if it has none, or if it is too far away to be shown with the others."""
    if x is None or y is None or z is None:
        return None
    return (x, y, z) if max(abs(x), abs(y), abs(z)) <= POSITION_MAX else None


def pin(sample: Sample, labels: Mapping[str, str]) -> None:
    """Replace what the agent of a host says with what an admin has pinned: `rack`, and tags."""
    sample.rack = labels.get("rack", sample.rack)
    sample.tags = {**(sample.tags or {}), **{name: value for name, value in labels.items() if name != "rack"}}
    sample.pinned = tuple(sorted(labels))


def capacity_gbps(
    tags: Mapping[str, str] | None, primary_mbps: float | None, interfaces: Iterable[Any] | None
) -> float | None:
    """The speed of a host's link: from the first tag that exists, else the field, else its fastest real interface.

    A value outside SPEEDS_MBPS means unknown. Source: `docs/contract.md` section 2, capacity.
    """
    for tag in CAPACITY_TAGS:
        if tags and tag in tags:
            return _positive_gbps(tags[tag])
    if primary_mbps is not None:
        return _positive_gbps(primary_mbps)
    speeds = [
        i.speed_mbps for i in interfaces or () if i.is_up and is_wire_speed(i.speed_mbps) and not is_virtual(i.name)
    ]
    return max(speeds, default=0) / 1000 or None


def is_wire_speed(mbps: float | None) -> bool:
    """Whether a driver's figure is the speed of a wire. It is not where the driver does not know it (-1, 65535, 2^32 - 1)."""
    return mbps is not None and SPEEDS_MBPS[0] <= mbps <= FASTEST_WIRE_MBPS and mbps != SPEED_UNKNOWN


def is_virtual(interface: str) -> bool:
    """Whether the name of an interface is that of a virtual one, which has no cable."""
    return VIRTUAL_INTERFACE.match(interface) is not None


def fullest_disk_percent(disks: Sequence[Any] | None) -> float | None:
    """The used percent of the fullest disk, without disks that are always full or say what cannot be."""
    if disks and any(disk.fstype == ZFS for disk in disks):
        return max(disks_used_percent(disks).values(), default=None)
    fullest: float | None = None
    for disk in disks or ():
        used = disk.used_percent
        if (
            used is not None
            and 0 <= used <= MOST_FULL_PERCENT
            and (fullest is None or used > fullest)
            and not is_always_full(disk)
        ):
            fullest = used
    return fullest


def is_always_full(disk: Any) -> bool:
    """Whether how full a disk is tells nothing: it is read-only, no real disk, or repeats another one."""
    fstype = (disk.fstype or "").lower()
    return (
        disk.is_read_only is True
        or fstype in ALWAYS_FULL
        or disk.mountpoint.startswith(ALWAYS_FULL_UNDER)
        or (fstype in REPEATING and disk.mountpoint != "/")
        or disk.device == "composefs"  # the image of a system that is updated as a whole
    )


def disks_used_percent(disks: Iterable[Any]) -> dict[str, float]:
    """The used percent of each disk by its mountpoint, without disks that are always full or say what cannot be.

    A disk that is mounted several times appears once, with its shortest mountpoint. So do the datasets of a ZFS pool.
    """
    used: dict[str, float] = {}
    mounts: dict[tuple[str, int], str] = {}
    datasets: list[Any] = []
    for disk in disks:
        mount = disk.mountpoint
        if disk.used_percent is None or not 0 <= disk.used_percent <= MOST_FULL_PERCENT or is_always_full(disk):
            continue
        if disk.fstype == ZFS and disk.device and disk.total_bytes and disk.used_bytes is not None:
            datasets.append(disk)
            continue
        if disk.device and "/" in disk.device and disk.total_bytes:
            other = mounts.setdefault((disk.device, disk.total_bytes), mount)
            if (len(other), other) < (len(mount), mount):
                continue
            if other != mount:
                del used[other]
                mounts[disk.device, disk.total_bytes] = mount
        used[mount] = disk.used_percent
    for pool in pools_of(datasets):
        used[pool[0].mountpoint] = _used_percent_together(pool)
    return used


def usable_bytes(disk: Any) -> int:
    """How much a disk can hold: less than its size, where a part is kept for root. A low percentage is too coarse to tell."""
    if disk.used_percent < PERCENT_TELLS_FROM:
        return int(disk.total_bytes)
    return int(min(disk.total_bytes, round(disk.used_bytes * 100 / disk.used_percent)))


def pools_of(datasets: Iterable[Any]) -> list[list[Any]]:
    """The datasets of ZFS, together where they share the free space of their pool; the shortest mountpoint first.

    A dataset with a quota has free space of its own. Each dataset is taken once.
    """
    pools: list[list[Any]] = []
    taken: set[str] = set()
    for one in sorted(datasets, key=lambda dataset: (len(dataset.mountpoint), dataset.mountpoint)):
        if one.device in taken:
            continue
        taken.add(one.device)
        pool = next((pool for pool in pools if _share_space(pool[0], one)), None)
        if pool is None:
            pools.append([one])
        else:
            pool.append(one)
    return pools


def _share_space(one: Any, other: Any) -> bool:
    """Whether two datasets have the same pool and the same free space, but for what was written between two readings."""
    free, other_free = one.total_bytes - one.used_bytes, other.total_bytes - other.used_bytes
    is_one_pool = one.device.partition("/")[0] == other.device.partition("/")[0]
    written = max(max(free, other_free) * SAME_FREE_SPACE, max(one.total_bytes, other.total_bytes) * WRITTEN_MEANWHILE)
    return bool(is_one_pool and abs(free - other_free) <= written)


def _used_percent_together(pool: Sequence[Any]) -> float:
    """How full the datasets of a pool make it. Its volumes and snapshots are unknown here."""
    fullest = max(float(one.used_percent) for one in pool)
    used, free = sum(one.used_bytes for one in pool), max(0, pool[0].total_bytes - pool[0].used_bytes)
    return max(fullest, round(100 * used / (used + free), 1)) if len(pool) > 1 and used + free else fullest


def _positive_gbps(mbps: str | float) -> float | None:
    try:
        value = float(mbps)
    except ValueError:
        return None
    return value / 1000 if SPEEDS_MBPS[0] <= value <= SPEEDS_MBPS[1] else None


def stamp(samples: list[Sample], received_at: Instant, kept: Instant = LONGEST_RETENTION) -> list[Sample]:
    """The same samples in time order, with `received_at`, `at` and `is_newest_of_request` set.

    A clock that cannot be right (over AHEAD_LIMIT ahead, or older than the longest retention, `kept`) is not believed.
    The newest such sample of a host gets the time of its arrival, the others their distance before it.
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
