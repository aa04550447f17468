"""What a rule may judge: one row a measure, with its unit, its words, and how to read it from a host. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from mirror_stage.disks.domain import DAYS_MAX, days_to_full
from mirror_stage.metrics.domain import believed_celsius
from mirror_stage.metrics.measures import MEASURES as OF_HOSTS
from mirror_stage.metrics.measures import Origin
from mirror_stage.twin.domain import Host

SILENCE = "silenceSeconds"
CLOCK = "clockOffsetSeconds"
DISK_USED = "diskUsedPercent"
DISK_FREE = "diskFreeBytes"
DISK_DAYS = "diskDaysToFull"
NEARLY_FULL_PERCENT = 98.0  # below it no disk is full
INTERFACE_DOWN = "interfaceIsDown"
INTERFACE_ERRORS = "interfaceErrorsPerSecond"
SENSOR = "sensorCelsius"
CORE = "coreLoad"
MACHINES = "machinesOfName"
CUT_OFF = "hostsCutOff"
IS_MISSING = "isMissing"  # of the alert that a rule with `no_data = "alert"` fires; no rule judges it by itself
UTILIZATION = "utilization"

Values = Mapping[str, float]  # by subject


@dataclass(frozen=True)
class RuleMeasure:
    """A number that a rule judges. A host has one `value` of it, or one for each subject (`values`), or neither: silence.

    `values` is None where nothing can be judged yet. `field` is the field of a sample that is the value. `highest` and
    `lowest` are quicker than `values`. `{value}` and `{subject}` in `words` are filled in.
    """

    name: str
    unit: str
    words: str
    value: Callable[[Host], float | None] | None = None
    values: Callable[[Host], Values | None] | None = None
    highest: Callable[[Host], float | None] | None = None
    lowest: Callable[[Host], float | None] | None = None
    field: str | None = None


def _of_sample(field: str) -> Callable[[Host], float | None]:
    read = attrgetter(field)
    return lambda host: read(host.sample) if host.sample is not None else None


def _rx_gbps(host: Host) -> float | None:
    return host.rates.rx_gbps if host.rates is not None else None


def _tx_gbps(host: Host) -> float | None:
    return host.rates.tx_gbps if host.rates is not None else None


def _clock_offset(host: Host) -> float | None:
    sample = host.sample
    return abs(sample.clock_offset_seconds) if sample is not None and sample.is_newest_of_request else None


def _machines(host: Host) -> Values:
    """`{"<both>": 2.0}`: two addresses that report under the host's name, and two names that a person takes for one."""
    found, rival = {}, host.rival
    if rival is not None and rival.since is not None:
        addresses = {sample.ip or "an unknown address" for sample in (host.sample, rival.sample) if sample is not None}
        found[" and ".join(sorted(addresses))] = 2.0
    if host.namesake is not None:
        found[" and ".join(sorted((host.hostname, host.namesake)))] = 2.0
    return found


def _most_machines(host: Host) -> float | None:
    return 2.0 if host.namesake is not None or (host.rival is not None and host.rival.since is not None) else None


def _details(host: Host) -> Any:
    return host.sample.details if host.sample is not None else None


def _disks_used(host: Host) -> Values:
    return host.sample.disks_used_percent if host.sample is not None else {}


def _fullest_disk(host: Host) -> float | None:
    return host.sample.fullest_disk_percent if host.sample is not None else None


def _disk_levels(host: Host) -> Mapping[str, tuple[int, int]]:
    return host.sample.disk_levels if host.sample is not None else {}


def _disks_free(host: Host) -> Values:
    """The free bytes of the disks that count as disks, by mountpoint."""
    counted, details = _disks_used(host), _details(host)
    disks = (details.disks or ()) if details is not None else ()
    return {
        disk.mountpoint: float(max(0, disk.total_bytes - disk.used_bytes))
        for disk in disks
        if disk.mountpoint in counted and disk.total_bytes and disk.used_bytes is not None
    }


def _days_to_full(host: Host) -> Values | None:
    """In how many days each disk is full, by mountpoint; None: no forecast was made since EGO's start."""
    if host.forecasts is None:
        return None
    trends = host.forecasts.by_mount
    days = {mount: days_to_full(*level, trends.get(mount)) for mount, level in _disk_levels(host).items()}
    return {mount: one for mount, one in days.items() if one is not None}


def _fewest_days(host: Host) -> float | None:
    """The fewest of these days, or a number that no rule asks for: most disks are not worth a closer look."""
    if host.forecasts is None:
        return None
    fullest = _fullest_disk(host)
    if host.forecasts.is_calm and (fullest is None or fullest < NEARLY_FULL_PERCENT):
        return DAYS_MAX
    return min((_days_to_full(host) or {}).values(), default=None)


def _interfaces_down(host: Host) -> Values:
    """1 for an interface that is down, 0 for one that is up."""
    details = _details(host)
    interfaces = (details.interfaces or ()) if details is not None else ()
    return {one.name: float(not one.is_up) for one in interfaces if one.is_up is not None}


def _most_errors(host: Host) -> float | None:
    return max(host.interface_errors.values(), default=None) if host.interface_errors else None


def _sensors(host: Host) -> Values:
    details = _details(host)
    found = (details.temperatures or {}) if details is not None else {}
    believed = ((name, believed_celsius(celsius)) for name, celsius in found.items())
    return {name: celsius for name, celsius in believed if celsius is not None}


def _cores(host: Host) -> Values:
    details = _details(host)
    loads = (details.cpu_per_core or ()) if details is not None else ()
    return {str(number): load for number, load in enumerate(loads)}


def _busiest_core(host: Host) -> float | None:
    details = _details(host)
    return max(details.cpu_per_core, default=None) if details is not None and details.cpu_per_core else None


# What an alert says of the metrics of a host. Those that are not here say `<name> is <value> <unit>`.
_WORDS = {
    "cpuLoad": "CPU load is {value}%",
    "memoryUsedPercent": "memory is {value}% used",
    "swapUsedPercent": "swap is {value}% used",
    "loadAverage": "the load average is {value}",
    "cpuTemperature": "CPU temperature is {value} °C",
    "gpuTemperature": "GPU temperature is {value} °C",
    "fullestDiskPercent": "the fullest disk is {value}% used",
    UTILIZATION: "the link carries {value} of its capacity",
}
_OF_LINK: Mapping[str, Callable[[Host], float | None]] = {
    "rx_gbps": _rx_gbps,
    "tx_gbps": _tx_gbps,
    "utilization_ratio": attrgetter("utilization"),
}


def _metrics() -> list[RuleMeasure]:
    """A row for each metric of a host."""
    found = []
    for one in OF_HOSTS:
        is_link = one.origin is Origin.LINK
        unit = "ratio" if one.wire == UTILIZATION else one.unit
        words = _WORDS.get(one.wire, f"{one.wire} is {{value}} {unit}".rstrip())
        value = _OF_LINK[one.name] if is_link else _of_sample(one.name)
        found.append(RuleMeasure(one.wire, unit, words, value, field=None if is_link else one.name))
    return found


RULE_MEASURES: Mapping[str, RuleMeasure] = {
    one.name: one
    for one in (
        *_metrics(),
        RuleMeasure(CLOCK, "s", "the clock is {value} s away from EGO's", _clock_offset),
        RuleMeasure(
            DISK_USED, "%", "disk {subject} is {value}% used", values=_disks_used, highest=_fullest_disk,
        ),
        RuleMeasure(DISK_FREE, "B", "disk {subject} has {value} bytes left", values=_disks_free),
        RuleMeasure(
            DISK_DAYS, "d", "disk {subject} is full in {value} days", values=_days_to_full, lowest=_fewest_days,
        ),
        RuleMeasure(INTERFACE_DOWN, "", "interface {subject} is down", values=_interfaces_down),
        RuleMeasure(
            INTERFACE_ERRORS, "1/s", "interface {subject} has {value} errors a second", values=attrgetter("interface_errors"),
            highest=_most_errors,
        ),
        RuleMeasure(SENSOR, "°C", "sensor {subject} shows {value} °C", values=_sensors),
        RuleMeasure(
            CORE, "%", "the load of core {subject} is {value}%", values=_cores, highest=_busiest_core,
        ),
        RuleMeasure(
            MACHINES, "machines", "{value} machines report under this name: {subject}", values=_machines, highest=_most_machines,
        ),
        RuleMeasure(
            CUT_OFF, "hosts", "EGO is cut off at {subject}: {value} hosts are silent", values=lambda _host: {},
        ),
        RuleMeasure(SILENCE, "s", "no sample for {value} s"),
        RuleMeasure(IS_MISSING, "", "its samples have no {subject}"),
    )
}  # fmt: skip
JUDGED = tuple(name for name in RULE_MEASURES if name != IS_MISSING)  # what a rule may name
# Other names of measures, as a rule may write them.
ALIASES: Mapping[str, str] = {
    "absence": SILENCE,
    "clock": CLOCK,
    "swap": "swapUsedPercent",
    "disk.usedPercent": DISK_USED,
    "disk.freeBytes": DISK_FREE,
    "disk.daysToFull": DISK_DAYS,
    "interface.isDown": INTERFACE_DOWN,
    "interface.errorsPerSecond": INTERFACE_ERRORS,
    "sensor.celsius": SENSOR,
    "core.load": CORE,
}
# The measures of which a host has one value.
VALUES: Mapping[str, Callable[[Host], float | None]] = {
    one.name: one.value for one in RULE_MEASURES.values() if one.value is not None
}
