"""What the tables of an operating system say: loads, temperatures, routes. Pure functions of what was read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

CPU_CHIPS = (
    "coretemp", "k10temp", "k8temp", "zenpower", "via_cputemp", "x86_pkg_temp", "cpu_thermal", "cpu-thermal",
    "soc_thermal",
)  # fmt: skip
CPU_CHIPS_AT_LAST = ("acpitz",)  # somewhere on the board, mostly near the CPU
GPU_CHIPS = ("amdgpu", "radeon", "nouveau", "nvidia", "i915", "xe")
COLDEST, HOTTEST = (
    -60.0,
    150.0,
)  # °C that silicon can have; a sensor that says more (-128, 255, 65261.8) is not connected

DISK_IMAGES = frozenset({"squashfs", "erofs", "cramfs", "iso9660", "udf"})  # read-only and full by nature

PLACEHOLDERS = frozenset(
    {"", "none", "default string", "not specified", "not applicable", "unknown", "o.e.m.", "to be filled by o.e.m.",
     "system manufacturer", "system product name", "system version"}
)  # fmt: skip

_ROUTE_UP, _ROUTE_REJECT = 0x0001, 0x0200  # linux/route.h


class Reading(Protocol):
    """One sensor as psutil reports it."""

    @property
    def label(self) -> str: ...
    @property
    def current(self) -> float | None: ...


class Partition(Protocol):
    """One mounted file system as psutil reports it."""

    @property
    def device(self) -> str: ...
    @property
    def mountpoint(self) -> str: ...
    @property
    def fstype(self) -> str: ...


def busy_percent(before: Any, after: Any) -> float | None:
    """How busy a CPU was between two `psutil.cpu_times()`, 0–100; None if no time passed between them.

    Busy is all but idle and iowait; on Linux user time contains guest time, which counts once. As psutil.cpu_percent.
    """
    passed: dict[str, float] = {name: max(0.0, getattr(after, name) - getattr(before, name)) for name in after._fields}
    total = sum(passed.values()) - passed.get("guest", 0.0) - passed.get("guest_nice", 0.0)
    if total <= 0:
        return None
    busy = total - passed["idle"] - passed.get("iowait", 0.0)
    return round(min(100.0, max(0.0, 100 * busy / total)), 1)


def temperatures(readings_by_chip: Mapping[str, Sequence[Reading]]) -> dict[str, float]:
    """°C by `chip:label`; only what silicon can have. Labels that repeat are numbered: `coretemp:Core 0 #2`."""
    celsius_by_name: dict[str, float] = {}
    for chip, readings in readings_by_chip.items():
        seen: dict[str, int] = {}
        for index, reading in enumerate(readings, start=1):
            label = reading.label or str(index)
            seen[label] = seen.get(label, 0) + 1
            if is_plausible(reading.current):
                name = f"{chip}:{label}" if seen[label] == 1 else f"{chip}:{label} #{seen[label]}"
                celsius_by_name[name] = float(reading.current or 0.0)
    return celsius_by_name


def hottest_cpu(readings_by_chip: Mapping[str, Sequence[Reading]]) -> float | None:
    """The hottest CPU sensor, °C; a board sensor only where no CPU has one."""
    cpu = _hottest(readings_by_chip, CPU_CHIPS)
    return cpu if cpu is not None else _hottest(readings_by_chip, CPU_CHIPS_AT_LAST)


def hottest_gpu(readings_by_chip: Mapping[str, Sequence[Reading]]) -> float | None:
    """The hottest GPU sensor, °C."""
    return _hottest(readings_by_chip, GPU_CHIPS)


def _hottest(readings_by_chip: Mapping[str, Sequence[Reading]], chips: Iterable[str]) -> float | None:
    celsius: list[float] = []
    for chip in chips:
        readings = readings_by_chip.get(chip, ())
        has_tdie = any(reading.label == "Tdie" for reading in readings)  # then Tctl may be off by 27 °C (k10temp)
        celsius += [
            reading.current
            for reading in readings
            if reading.current is not None
            and is_plausible(reading.current)
            and not (has_tdie and reading.label == "Tctl")
        ]
    return max(celsius, default=None)


def is_plausible(celsius: float | None) -> bool:
    """Whether a sensor's figure can be a temperature."""
    return celsius is not None and COLDEST <= celsius <= HOTTEST


def default_interface(ipv4_routes: str, ipv6_routes: str = "") -> str | None:
    """The interface of the default route with the lowest metric, IPv4 before IPv6, never loopback.

    Takes the texts of Linux's /proc/net/route and /proc/net/ipv6_route.
    """
    return _lowest_metric(_ipv4_defaults(ipv4_routes)) or _lowest_metric(_ipv6_defaults(ipv6_routes))


def _lowest_metric(routes: Iterable[tuple[int, int, str]]) -> str | None:
    """The interface of the best of (metric, flags, interface), the first of equals."""
    usable = [
        (metric, interface)
        for metric, flags, interface in routes
        if flags & _ROUTE_UP and not flags & _ROUTE_REJECT and interface != "lo"
    ]
    return min(usable, key=lambda route: route[0])[1] if usable else None


def _ipv4_defaults(text: str) -> Iterable[tuple[int, int, str]]:
    for line in text.splitlines()[1:]:  # Iface Destination Gateway Flags RefCnt Use Metric Mask …
        columns = line.split()
        if len(columns) >= 8 and int(columns[1], 16) == 0 and int(columns[7], 16) == 0:
            yield int(columns[6]), int(columns[3], 16), columns[0]


def _ipv6_defaults(text: str) -> Iterable[tuple[int, int, str]]:
    for line in text.splitlines():  # destination prefix source prefix gateway metric refcount use flags interface
        columns = line.split()
        if len(columns) >= 10 and int(columns[0], 16) == 0 and int(columns[1], 16) == 0:
            yield int(columns[5], 16), int(columns[8], 16), columns[9]


def physical_disks(partitions: Iterable[Partition]) -> list[Partition]:
    """One partition a device, mounted nearest to the root: a bind mount is no second disk, an image none at all."""
    nearest: dict[str, Partition] = {}
    for partition in partitions:
        if not partition.fstype or partition.fstype in DISK_IMAGES:
            continue
        known = nearest.get(partition.device)
        if known is None or len(partition.mountpoint) < len(known.mountpoint):
            nearest[partition.device] = partition
    return list(nearest.values())


def cpu_model(cpuinfo: str) -> str | None:
    """The CPU's name in /proc/cpuinfo, under whichever key this architecture has it."""
    named: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        named.setdefault(key.strip().lower(), value.strip())
    return next((named[key] for key in ("model name", "cpu model", "hardware", "cpu") if named.get(key)), None)


def meaningful(text: str | None) -> str | None:
    """The text, at most 160 characters; None where a vendor left a placeholder."""
    stripped = (text or "").strip().strip("\0")
    return None if stripped.lower() in PLACEHOLDERS else stripped[:160]


def for_the_wire(value: Any) -> Any:
    """The same value as JSON can carry it: None and what is not finite left out, text as UTF-8 without NUL."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "")
    if isinstance(value, Mapping):
        return {for_the_wire(key): for_the_wire(member) for key, member in value.items() if _is_known(member)}
    if isinstance(value, list | tuple):
        return [for_the_wire(member) for member in value if _is_known(member)]
    return value


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
