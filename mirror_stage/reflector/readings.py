"""Computes loads, temperatures, disks and memory from what the operating system reports. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from mirror_stage.metrics.domain import believed_celsius
from mirror_stage.metrics.importance import CPU_TIERS, is_cpu_chip, plain_chip

CPU_BY_LABEL = re.compile(
    r"(?!.*(vrm|fan|vcore|power|socket|vdd|volt|dimm|mem))"
    r"(.*(?<![a-z])cpu\d*(?![a-z\d]).*|tctl|tdie|peci.*|tc0[pdeh]|tsi\d+_temp|amd tsi.*|chip \d+ core.*|(temp\d )?soc( temperature)?)"
)
LAPTOPS = (
    "dell_smm",
    "thinkpad",
    "macsmc_hwmon",
    "applesmc",
)  # if no label names the CPU, their first sensor is the CPU's
OTHER_LABELS = re.compile(
    r"gpu|battery|nand|ssd|nvme|hdd|wifi|wlan|dimm|ddr|memory|ambient|charge|case|palm|other|pch|airport|trackpad"
)
CPU_FALLBACK = re.compile(r"acpitz")  # a sensor on the board, mostly near the CPU
INVENTED = 100.0
GPU_CHIPS = re.compile(r"amdgpu|radeon|nouveau|nvidia|i915|xe|panfrost|v3d|g3d_?thermal|gpu[\d_a-z]*_?therm(al)?")

DISK_IMAGES = frozenset({"squashfs", "erofs", "cramfs", "iso9660", "udf"})  # read-only, so always 100 % full

PLACEHOLDERS = frozenset(
    {"", "none", "default string", "not specified", "not applicable", "unknown", "o.e.m.", "to be filled by o.e.m.",
     "system manufacturer", "system product name", "system version"}
)  # fmt: skip


T = TypeVar("T")


class SensorReading(Protocol):
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


def busy_percent(before: Any, after: Any, expected_seconds: float | None = None) -> float | None:
    """How busy a CPU was between two `psutil.cpu_times()`, 0–100; None if no time passed between them.

    Busy is all time but idle and iowait. On Linux user time contains guest time, which counts once (as in
    psutil.cpu_percent). `expected_seconds` is elapsed time x CPUs. If the counters cover less than half of it, the idle
    counter does not work, and busy time is divided by `expected_seconds` instead. None if the counters began anew (a
    virtual machine was migrated), or if more than twice `expected_seconds` was busy. Stolen time that cannot be does not
    count: in some virtual machines it runs wild.
    """
    grown: dict[str, float] = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    if expected_seconds is not None and not 0 <= grown.get("steal", 0.0) <= 2 * expected_seconds:
        del grown["steal"]
    passed = {name: max(0.0, seconds) for name, seconds in grown.items()}
    total = sum(passed.values()) - passed.get("guest", 0.0) - passed.get("guest_nice", 0.0)
    busy = total - passed["idle"] - passed.get("iowait", 0.0)
    if expected_seconds is not None:
        if sum(grown.values()) < 0 or busy > 2 * expected_seconds:
            return None
        if total < expected_seconds / 2:
            total = expected_seconds
    if total <= 0:
        return None
    return round(min(100.0, max(0.0, 100 * busy / total)), 1)


def temperatures(readings_by_chip: Mapping[str, Sequence[SensorReading]]) -> dict[str, float]:
    """°C by `chip:label`, plausible ones only. Labels that repeat are numbered: `coretemp:Core 0 #2`."""
    celsius_by_name: dict[str, float] = {}
    for chip, readings in readings_by_chip.items():
        seen: dict[str, int] = {}
        for index, reading in enumerate(readings, start=1):
            label = reading.label or str(index)
            seen[label] = seen.get(label, 0) + 1
            celsius = believed_celsius(reading.current)
            if celsius is not None:
                name = f"{chip}:{label}" if seen[label] == 1 else f"{chip}:{label} #{seen[label]}"
                celsius_by_name[name] = float(celsius)
    return celsius_by_name


def is_gpu_chip(chip: str) -> bool:
    """Whether the name of a chip or a thermal zone is that of a graphics card."""
    return GPU_CHIPS.fullmatch(plain_chip(chip)) is not None


def may_be_invented(chip: str, readings: Sequence[SensorReading]) -> bool:
    """Whether a CPU's sensors all read exactly 100 °C, as those that VMware shows its guests do for ever."""
    return is_cpu_chip(chip) and all(reading.current == INVENTED for reading in readings)


def is_guest(cpuinfo: str, xen_capabilities: str) -> bool:
    """Whether this is a virtual machine; the first domain of Xen, which has the real sensors, is none."""
    flags = re.search(r"^flags\s*:.*$", cpuinfo, re.MULTILINE)
    return flags is not None and "hypervisor" in flags[0].split() and "control_d" not in xen_capabilities


def hottest_cpu(readings_by_chip: Mapping[str, Sequence[SensorReading]]) -> float | None:
    """The hottest CPU sensor, °C. Looks at CPU chips, then at packages, labels, laptop sensors, and at last the board."""
    for tier in CPU_TIERS:
        celsius = _hottest(
            _without_offset(own) for chip, own in readings_by_chip.items() if tier.fullmatch(plain_chip(chip))
        )
        if celsius is not None:
            return celsius
    labelled = _hottest(
        [one for one in own if CPU_BY_LABEL.fullmatch(one.label.lower())] for own in readings_by_chip.values()
    )
    if labelled is not None:
        return labelled
    laptop = _hottest(_unlabelled(own) for chip, own in readings_by_chip.items() if chip in LAPTOPS)
    if laptop is not None:
        return laptop
    return _hottest(own for chip, own in readings_by_chip.items() if CPU_FALLBACK.fullmatch(plain_chip(chip)))


def hottest_gpu(readings_by_chip: Mapping[str, Sequence[SensorReading]]) -> float | None:
    """The hottest GPU, °C. For amdgpu the `edge` sensor counts: junction and memory are hotter, 88 °C is normal there."""
    own = _hottest(_edges(own) for chip, own in readings_by_chip.items() if is_gpu_chip(chip))
    if own is not None:
        return own
    labelled = ([one for one in own if one.label.lower() == "gpu"] for own in readings_by_chip.values())
    return _hottest([one for one in own if one.current] for own in labelled)  # 0 °C is a laptop's card that is off


def _hottest(groups: Iterable[Iterable[SensorReading]]) -> float | None:
    celsius = [believed_celsius(one.current) for group in groups for one in group]
    return max((one for one in celsius if one is not None), default=None)


def _without_offset(readings: Sequence[SensorReading]) -> Sequence[SensorReading]:
    """The sensors without Tctl if there is a Tdie: Tctl may be 27 °C too high (k10temp)."""
    has_tdie = any(reading.label == "Tdie" for reading in readings)
    return [reading for reading in readings if not (has_tdie and reading.label == "Tctl")]


def _edges(readings: Sequence[SensorReading]) -> Sequence[SensorReading]:
    """The `edge` sensor of a card, else its `junction` (MI300A has no edge), else all sensors."""
    by_label = {reading.label: reading for reading in readings}
    return next(([by_label[label]] for label in ("edge", "junction") if label in by_label), readings)


def _unlabelled(readings: Sequence[SensorReading]) -> Sequence[SensorReading]:
    """The sensors of a laptop that may be the CPU's: those whose label names nothing else; if no label helps, the first."""
    named = [reading for reading in readings if reading.label and not OTHER_LABELS.search(reading.label.lower())]
    return named or [reading for reading in readings[:1] if not reading.label]


def by_device(partitions: Iterable[Partition]) -> list[list[Partition]]:
    """The mounts that are disks, grouped by device; in each group the shortest mount point comes first.

    So a bind mount does not count as a second disk, and disk images are left out. Of several mounts on one point only the
    last one is seen.
    """
    devices: dict[str, list[Partition]] = {}
    for partition in {one.mountpoint: one for one in partitions}.values():
        if partition.fstype and partition.fstype not in DISK_IMAGES:
            devices.setdefault(partition.device, []).append(partition)
    return [sorted(mounts, key=lambda mount: len(mount.mountpoint)) for mounts in devices.values()]


def read_only_mounts(mountinfo: str) -> set[str]:
    """The mount points of file systems that nothing can write to. Reads /proc/self/mountinfo.

    A file system that is writable elsewhere does not count: a container may see the disks of its machine read-only. Nor
    does one that the kernel makes read-only after an error: it is a disk that somebody must look at.
    """
    found: dict[str, bool] = {}  # of several mounts on one point the last one is seen
    for line in mountinfo.splitlines():  # id parent device root mountpoint options … - fstype source options
        mount, _, file_system = line.partition(" - ")
        columns, own = mount.split(" "), file_system.split(" ")
        if len(columns) > 4 and len(own) > 2:
            mountpoint = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), columns[4])
            options = own[-1].split(",")
            found[mountpoint] = "ro" in options and "errors=remount-ro" not in options
    return {mountpoint for mountpoint, is_read_only in found.items() if is_read_only}


def in_groups(disks: Sequence[T], most: int) -> list[list[T]]:
    """The disks in at most `most` groups; each disk has a group of its own if there are enough."""
    return [list(disks[start::most]) for start in range(min(most, len(disks)))]


def reclaimable_arc_bytes(arcstats: str) -> int:
    """Bytes that ZFS's cache (ARC) would free for programs: its size less its minimum. Reads /proc/spl/kstat/zfs/arcstats."""
    found: dict[str, int] = {}
    for line in arcstats.splitlines():  # name type data
        columns = line.split()
        if len(columns) == 3 and columns[0] in {"size", "c_min"} and columns[2].isdigit():
            found[columns[0]] = int(columns[2])
    return max(0, found.get("size", 0) - found.get("c_min", 0)) if "c_min" in found else 0


def cpu_model(cpuinfo: str) -> str | None:
    """The CPU's name in /proc/cpuinfo; its key depends on the architecture."""
    named: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        named.setdefault(key.strip().lower(), value.strip())
    return next((named[key] for key in ("model name", "cpu model", "hardware", "cpu") if named.get(key)), None)


def os_release(text: str) -> dict[str, str]:
    """What /etc/os-release says: `NAME`, `VERSION_ID` and more. A line that cannot be read is left out."""
    found = re.findall(r"""^([A-Z0-9_]+)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'#]*)[ \t]*$""", text, re.MULTILINE)
    return {name: re.sub(r"\\(.)", r"\1", value.strip("\"'")) for name, value in found}


def meaningful(text: str | None) -> str | None:
    """The text, at most 160 characters; None if it is only a vendor's placeholder."""
    stripped = (text or "").strip().strip("\0")
    return None if stripped.lower() in PLACEHOLDERS else stripped[:160]
