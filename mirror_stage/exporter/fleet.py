"""The figures of the fleet, under node_exporter's names and labels where these fit what a sample has.

The text is written here and not by prometheus-client, which takes four times as long (measured), and does not let others
run meanwhile. A host that is offline has no lines at all: Prometheus then ends its series. No line has a time: with one,
Prometheus would show the last value for five minutes more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from mirror_stage.figures.text import END, OPENMETRICS, head, label, labels
from mirror_stage.metrics.domain import Sample, is_wire_speed
from mirror_stage.twin.domain import Host, Status

HOSTS_AT_ONCE, LINES_AT_ONCE = 25, 500  # before others may run: about a millisecond
BYTES_PER_GBIT = 1e9 / 8
PERCENT = 100

Number = float | int | None
Labels = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """A host that has figures. `details` are None if they come from the database after a start: they are not current."""

    host: Host
    sample: Sample
    details: Any
    instance: str  # its label


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family. `value` returns the value of a host, or of a part of a host; None has no line."""

    name: str
    kind: str
    meaning: str
    value: Callable[[Any], Number]


@dataclass(frozen=True, slots=True)
class Group:
    """Families with the same labels. `parts` returns the parts of a host that have values, as (labels in braces, part)."""

    parts: Callable[[Shown], Iterable[tuple[str, Any]]]
    families: tuple[Family, ...]


def pieces(hosts: Sequence[Host], form: str) -> Iterator[str]:
    """The text of all families in a format of `figures.text`. Between two pieces others may run.

    A family stands together, as both formats demand: so each is written for all hosts before the next one begins.
    """
    tables = [Table(group) for group in GROUPS]
    for first in range(0, len(hosts), HOSTS_AT_ONCE):
        for host in hosts[first : first + HOSTS_AT_ONCE]:
            if host.sample is not None and host.status != Status.OFFLINE:
                shown = _shown(host, host.sample)
                for table in tables:
                    table.add(shown)
        yield ""
    for table in tables:
        for family, column in zip(table.group.families, table.columns, strict=True):
            yield head(family.name, family.kind, family.meaning, form)
            yield from _lines(family.name, table.labels, column)
    if form == OPENMETRICS:
        yield END


class Table:
    """The values of a group: the labels of each part, and a column for each family.

    These are few and long lists. A list for each part would be many, and the garbage collector would look at every one.
    """

    def __init__(self, group: Group):
        self.group = group
        self.labels: list[str] = []
        self.columns: list[list[Number]] = [[] for _ in group.families]
        self._values = [
            (column.append, family.value) for column, family in zip(self.columns, group.families, strict=True)
        ]

    def add(self, shown: Shown) -> None:
        """Add the parts of one host."""
        for these, part in self.group.parts(shown):
            self.labels.append(these)
            for append, value in self._values:
                append(value(part))


def _lines(name: str, places: Sequence[str], column: Sequence[Number]) -> Iterator[str]:
    """The lines of a family: `places` are the labels of its values."""
    for first in range(0, len(column), LINES_AT_ONCE):
        some = slice(first, first + LINES_AT_ONCE)
        values = zip(places[some], column[some], strict=True)
        yield "".join([f"{name}{these} {value}\n" for these, value in values if value is not None])


def _shown(host: Host, sample: Sample) -> Shown:
    return Shown(host, sample, sample.details if sample.is_whole else None, label("instance", host.hostname))


# ---------------------------------------------------------------------- what has labels


def _itself(shown: Shown) -> Iterable[tuple[str, Any]]:
    return ((f"{{{shown.instance}}}", shown),)


def _known(name: str, meaning: str, values: Callable[[Shown], Labels]) -> Group:
    """An info metric: its value is 1, and its labels say what a host is. A host of which nothing is known has no line."""

    def parts(shown: Shown) -> Iterable[tuple[str, Any]]:
        known = labels(values(shown))
        return ((f"{{{shown.instance},{known}}}", shown),) if known else ()

    return Group(parts, (Family(name, "gauge", meaning, lambda _: 1),))


def _each(member: str, named: Callable[[Any], Labels]) -> Callable[[Shown], Iterable[tuple[str, Any]]]:
    """Each entry of a list of the details, with its labels. Of two with the same labels the first one counts, because a series may be there only once."""

    def parts(shown: Shown) -> Iterable[tuple[str, Any]]:
        listed = getattr(shown.details, member, None) or ()
        found: dict[str, Any] = {}
        for part in listed.items() if isinstance(listed, dict) else listed:
            its = labels(named(part))
            found.setdefault(f"{{{shown.instance},{its}}}" if its else f"{{{shown.instance}}}", part)
        return found.items()

    return parts


def _host(shown: Shown) -> Labels:
    host, sample = shown.host, shown.sample
    return {
        "display_name": host.display_name,
        "role": str(host.role),
        "rack": sample.rack,
        "room": host.tags.get("room"),
        "tier": host.tags.get("tier"),
        "uplink": host.uplink,
        "address": host.ip,
        "platform": sample.platform,
        "agent_version": sample.agent_version,
    }


def _uname(shown: Shown) -> Labels:
    system, _, machine = shown.sample.platform.partition("-")
    release = getattr(shown.details, "os_kernel", None)
    return {"nodename": shown.host.hostname, "sysname": system, "machine": machine, "release": release}


def _from_details(**members: str) -> Callable[[Shown], Labels]:
    """Labels, each with the member of the details that it tells."""
    return lambda shown: {name: getattr(shown.details, member, None) for name, member in members.items()}


def _disk(disk: Any) -> Labels:
    return {"device": disk.device, "mountpoint": disk.mountpoint, "fstype": disk.fstype}


def _interface(interface: Any) -> Labels:
    return {"device": interface.name}


def _sensor(named: tuple[str, float]) -> Labels:
    chip, _, sensor = named[0].partition(":")
    return {"chip": chip, "sensor": sensor}


# ---------------------------------------------------------------------- values


def _gauge(name: str, meaning: str, value: Callable[[Any], Number]) -> Family:
    return Family(name, "gauge", meaning, value)


def _counter(name: str, meaning: str, value: Callable[[Any], Number]) -> Family:
    return Family(name, "counter", meaning, value)


def _counted(name: str, statistic: str, member: str) -> Family:
    """A counter of an interface: one of those of /proc/net/dev."""
    return _counter(name, f"Network device statistic {statistic}.", attrgetter(member))


def _detail(member: str) -> Callable[[Shown], Number]:
    return lambda shown: getattr(shown.details, member, None)


def _ratio(member: str) -> Callable[[Any], Number]:
    percent = attrgetter(member)

    def ratio(part: Any) -> Number:
        value = percent(part)
        return None if value is None else value / PERCENT

    return ratio


def _seconds(instant: str) -> Callable[[Shown], Number]:
    milliseconds = attrgetter(instant)
    return lambda shown: milliseconds(shown) / 1000


def _boot_seconds(shown: Shown) -> Number:
    up = shown.sample.uptime_seconds
    return None if up is None else round(shown.sample.reported_at / 1000 - up)


def _is_stale(shown: Shown) -> Number:
    return 1 if shown.host.status == Status.STALE else 0


def _capacity(shown: Shown) -> Number:
    gbps = shown.sample.net_capacity_gbps
    return None if gbps is None else gbps * BYTES_PER_GBIT


def _free_bytes(disk: Any) -> Number:
    if disk.total_bytes is None or disk.used_bytes is None:
        return None
    return max(0, disk.total_bytes - disk.used_bytes)


def _speed_bytes(interface: Any) -> Number:
    return interface.speed_mbps * 1e6 / 8 if is_wire_speed(interface.speed_mbps) else None


def _is_up(interface: Any) -> Number:
    return None if interface.is_up is None else int(interface.is_up)


def _celsius(named: tuple[str, float]) -> Number:
    return named[1]


GROUPS: tuple[Group, ...] = (
    _known("mirror_stage_host_info", "What a host is, and where. Always 1.", _host),
    _known("node_uname_info", "The system of a host. Always 1.", _uname),
    _known("node_os_info", "The distribution of a host. Always 1.", _from_details(name="os_distro", version_id="os_release")),
    _known(
        "node_dmi_info",
        "The machine and its BIOS. Always 1.",
        _from_details(system_vendor="system_manufacturer", product_name="system_model", bios_version="bios_version"),
    ),
    _known("mirror_stage_host_cpu_info", "The model of a host's CPU. Always 1.", _from_details(model_name="cpu_model")),
    Group(_itself, (
        _gauge("mirror_stage_host_cpu_physical_cores", "Cores.", _detail("cpu_physical_cores")),
        _gauge("mirror_stage_host_cpu_logical_cores", "Cores as the system counts them.", _detail("cpu_logical_cores")),
        _gauge("mirror_stage_host_cpu_used_ratio", "CPU use of all cores, 0 to 1.", _ratio("sample.cpu_load")),
        _gauge("node_load1", "1m load average.", attrgetter("sample.load_average")),
        _gauge("node_memory_MemTotal_bytes", "Memory of a host.", attrgetter("sample.memory_total_bytes")),
        _gauge("node_memory_MemAvailable_bytes", "Memory that programs can have.", attrgetter("sample.memory_available_bytes")),
        _gauge("mirror_stage_host_memory_used_ratio", "Used memory, 0 to 1.", _ratio("sample.memory_used_percent")),
        _gauge("mirror_stage_host_swap_used_ratio", "Used swap, 0 to 1.", _ratio("sample.swap_used_percent")),
        _gauge("node_boot_time_seconds", "When a host booted, in unixtime, by its own clock.", _boot_seconds),
        _gauge("node_time_seconds", "The clock of a host when it took its sample, in unixtime.", _seconds("sample.reported_at")),
        _gauge("mirror_stage_host_clock_offset_seconds", "The clock of a host minus EGO's.", attrgetter("sample.clock_offset_seconds")),
        _gauge("mirror_stage_host_last_sample_timestamp_seconds", "When the newest sample arrived, in unixtime.", _seconds("sample.received_at")),
        _gauge("mirror_stage_host_stale", "Whether a host has been silent for some time.", _is_stale),
        _gauge("mirror_stage_host_cpu_temperature_celsius", "The hottest CPU.", attrgetter("sample.cpu_temperature")),
        _gauge("mirror_stage_host_gpu_temperature_celsius", "The hottest GPU.", attrgetter("sample.gpu_temperature")),
        _counter("mirror_stage_host_disk_read_bytes_total", "What all disks have read since boot.", attrgetter("sample.disk_read_bytes")),
        _counter("mirror_stage_host_link_receive_bytes_total", "What the primary network device has received since boot.", attrgetter("sample.net_bytes_rx")),
        _counter("mirror_stage_host_link_transmit_bytes_total", "What the primary network device has sent since boot.", attrgetter("sample.net_bytes_tx")),
        _gauge("mirror_stage_host_link_capacity_bytes_per_second", "What the link of a host can carry.", _capacity),
        _gauge("mirror_stage_host_link_utilization_ratio", "The busier direction of the link / its capacity.", attrgetter("host.utilization")),
    )),
    Group(_each("temperatures", _sensor), (
        _gauge("node_hwmon_temp_celsius", "A sensor of a chip.", _celsius),
    )),
    Group(_each("disks", _disk), (
        _gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", attrgetter("total_bytes")),
        _gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.", _free_bytes),
        _gauge("mirror_stage_host_filesystem_used_ratio", "Used space, 0 to 1, of what users may use.", _ratio("used_percent")),
    )),
    Group(_each("interfaces", _interface), (
        _counted("node_network_receive_bytes_total", "receive_bytes", "bytes_recv"),
        _counted("node_network_receive_packets_total", "receive_packets", "packets_recv"),
        _counted("node_network_receive_errs_total", "receive_errs", "errin"),
        _counted("node_network_receive_drop_total", "receive_drop", "dropin"),
        _counted("node_network_transmit_bytes_total", "transmit_bytes", "bytes_sent"),
        _counted("node_network_transmit_packets_total", "transmit_packets", "packets_sent"),
        _counted("node_network_transmit_errs_total", "transmit_errs", "errout"),
        _counted("node_network_transmit_drop_total", "transmit_drop", "dropout"),
        _gauge("node_network_speed_bytes", "The speed of a network device, in bytes per second.", _speed_bytes),
        _gauge("mirror_stage_host_interface_up", "Whether a network device is up.", _is_up),
    )),
)  # fmt: skip
