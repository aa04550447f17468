"""Takes a sample of a machine: says which parts are read, and builds the sample of docs/contract.md from them."""

from __future__ import annotations

import logging
import math
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from mirror_stage.core.instants import DAY, SECOND, Instant, from_text, to_text
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.core.version import VERSION
from mirror_stage.metrics.importance import is_cpu_chip
from mirror_stage.reflector import readings
from mirror_stage.reflector.container import Container, CpuLimit
from mirror_stage.reflector.last_check import Complaint, fit
from mirror_stage.reflector.machine import Machine
from mirror_stage.reflector.network import Network, WayToEgo, attempt, wrapped
from mirror_stage.reflector.nvidia import NvidiaCards
from mirror_stage.reflector.parts import Kept, Part, Parts

BASELINE_SECONDS = 0.1  # between the two CPU readings for the first sample
HARDWARE_EVERY_SECONDS = 3600.0
SENSORS_KEPT_SECONDS = 30.0  # sensors that are slow to answer keep their last values for so long
TOP_PROCESSES = 5
SCAN_SHARE = 0.004  # of one core: the most that scanning the processes may use on average
DISK_PARTS_MAX = 64  # disks that are read in parallel; with more disks, several share a part
TICK_SECONDS = 0.015  # CPU times are counted in hundredths of a second: a shorter interval says nothing
REPEATS_MAX = 2  # how often the last load is repeated when a new one cannot be told
STILL_SECONDS = 0.09  # after this long, an idle counter that has not moved is broken

EARLIEST: Instant = 0  # 1970: the time of a machine without a clock battery, until its clock is set
LATEST: Instant = from_text("2100-01-01T00:00:00Z")

ARCSTATS = "/proc/spl/kstat/zfs/arcstats"
MOUNTINFO = "/proc/self/mountinfo"
CPUINFO = "/proc/cpuinfo"
XEN = "/proc/xen/capabilities"
HWMON = "/sys/class/hwmon"
ZONES = "/sys/class/thermal"
BLOCK = "/sys/block"

Fields = dict[str, Any]

logger = logging.getLogger(__name__)


class Collector:
    """Takes samples of a machine. A value that cannot be read is left out of the sample. Not thread-safe."""

    def __init__(
        self,
        *,
        hostname: str | None = None,
        rack: str | None = None,
        tags: Mapping[str, str] | None = None,
        position: Mapping[str, float] | None = None,
        agent_version: str = VERSION,
        ip: str | None = None,
        command_policy: str | None = None,
        ego: str | None = None,
        interval_seconds: float | None = None,
        agent_instance: str | None = None,
        parts: Parts | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._machine = machine = machine or Machine()
        self._hostname = hostname
        self._own_name = OwnName(machine)
        self._identity: Fields = {
            "agent_version": agent_version,
            "platform": f"{platform.system()}-{platform.machine()}",
            "rack": rack,
            "position": position,
            "command_policy": command_policy,
            "interval_seconds": interval_seconds,
            "agent_instance": agent_instance,
        }
        self._tags = dict(tags or {})
        self._parts = parts or Parts()
        self._container = Container(machine)
        way = WayToEgo(ego, machine)
        self._loads: dict[str, Part] = {
            "cpu": CpuLoads(machine, self._container).read,
            "processes": TopProcesses(machine).read,
            "the way to EGO": way.resolve,
        }
        self._network = Network(ip, machine, way)
        self._disk_reads = DiskReads(machine, self._container)
        self._nvidia = NvidiaCards(machine)
        self._hardware = Kept(partial(hardware, machine))
        self._sensors = Kept(partial(sensors, machine))
        self._has_baseline = False
        self._logged: set[tuple[str, str]] = set()

    def sample(self) -> Fields:
        """A new sample in the form of `docs/contract.md` section 1, Metrics.

        Takes as long as the slowest part, at most the deadline of the parts. The first sample takes 100 ms more,
        because a load needs two readings.
        """
        if not self._has_baseline:
            self._parts.read(self._loads)
            time.sleep(BASELINE_SECONDS)
            self._has_baseline = True
        mounts = self._parts.read(
            {"partitions": partial(partitions, self._machine), "mounts": partial(read_only_mounts, self._machine)}
        )
        now = instant_of(self._machine.wall(), attempt(self._machine.since_boot) or time.monotonic())
        values = self._parts.read(self._parts_to_read(mounts.get("partitions", []), mounts.get("mounts", set())))
        disks = [row for name in list(values) if name.startswith("disk ") for row in values.pop(name)]
        values.pop("hardware", None)
        if self._sensors.age_seconds < SENSORS_KEPT_SECONDS:
            values.setdefault("sensors", self._sensors.value)
        cards = values.pop("nvidia", {})
        fields = {**self._identity, **(self._hardware.value or {})}
        for value in values.values():
            fields |= value
        if cards:
            fields["temperatures"] = {**(fields.get("temperatures") or {}), **cards}
            fields["gpu_temperature"] = max(fields.get("gpu_temperature") or -math.inf, *cards.values())
        fields["hostname"] = self._hostname or self._own_name.now()
        fields["timestamp"] = to_text(now)
        fields["disks"] = disks or None
        fields["tags"] = {**fields.get("tags", {}), **self._tags} or None
        sample, complaints = fit(fields)
        self._log_new(complaints)
        return sample

    def _parts_to_read(self, mounted: list[list[readings.Partition]], read_only: Set[str]) -> dict[str, Part]:
        machine, container = self._machine, self._container
        parts: dict[str, Part] = {
            **self._loads,
            "memory": partial(memory, machine, container),
            "swap": partial(swap, machine, container),
            "load average": partial(load_average, machine),
            "uptime": partial(uptime, machine, container),
            "network": self._network.read,
            "reads of disks": self._disk_reads.read,
            "sensors": self._sensors.read,
            "nvidia": self._nvidia.read,
        }
        for disks in readings.in_groups(mounted, DISK_PARTS_MAX):
            parts[f"disk {disks[0][0].mountpoint}"] = partial(rows_of_disks, machine, disks, read_only)
        if self._hardware.age_seconds >= HARDWARE_EVERY_SECONDS:
            parts["hardware"] = self._hardware.read
        return parts

    def _log_new(self, complaints: Sequence[Complaint]) -> None:
        """Log what the last check has changed; each kind of change is logged once."""
        for complaint in complaints:
            kind = complaint.field, complaint.why
            if kind not in self._logged:
                self._logged.add(kind)
                logger.warning("a sample's %s %s: %s", complaint.field, complaint.why, complaint.value)


class OwnName:
    """The machine's own name, which may change while it runs (cloud-init, DHCP)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._last = ""

    def now(self) -> str:
        """The machine's name as a valid hostname; while its name is not valid, the last valid one, if there was one."""
        name = self._machine.hostname().strip().rstrip(".")
        with suppress(BadField):
            self._last = normalise_hostname(name)
        return self._last or name


def instant_of(wall_seconds: float, since_boot: float) -> Instant:
    """The time of a sample. If the clock is out of the allowed range: the nearest limit plus the time since boot.

    After a year without a restart the time begins again at the limit: EGO takes no year after 2100.
    """
    wall = int(wall_seconds * SECOND)
    if EARLIEST <= wall < LATEST:
        return wall
    return (EARLIEST if wall < EARLIEST else LATEST) + int(since_boot * SECOND) % (365 * DAY)


class Loads:
    """How busy some CPUs were since the last reading."""

    def __init__(self) -> None:
        self._before: Sequence[Any] = ()
        self._at = 0.0
        self._percents: list[float] = []
        self._repeats = 0

    def update(self, now: Sequence[Any], at: float, cpus_each: int = 1) -> list[float]:
        """The load of each CPU in percent, from its CPU times `now`.

        Empty at the first reading, when their number changed, and while the counters of all make no sense.
        """
        elapsed = at - self._at
        if len(now) != len(self._before):
            self._before, self._at, self._percents = now, at, []
        elif elapsed >= TICK_SECONDS:
            expected = elapsed * cpus_each if elapsed >= STILL_SECONDS else None
            former = self._percents or [0.0] * len(now)
            percents = [readings.busy_percent(*pair, expected) for pair in zip(self._before, now)]
            makes_sense = expected is None or any(percent is not None for percent in percents)
            if makes_sense or self._percents:
                self._percents = [last if percent is None else percent for last, percent in zip(former, percents)]
            self._repeats = 0 if makes_sense else self._repeats + 1
            self._before, self._at = now, at
        return self._percents if self._repeats <= REPEATS_MAX else []


class CpuLoads:
    """The load of all CPUs together and of each; in a container with a CPU limit, the used share of that limit."""

    def __init__(self, machine: Machine, container: Container) -> None:
        self._machine, self._container = machine, container
        self._whole, self._each = Loads(), Loads()
        self._limited: tuple[float, CpuLimit] | None = None
        self._percent_of_limit: float | None = None

    def read(self) -> Fields:
        """`cpu_load` and `cpu_per_core`, nothing at the first reading.

        With a limit `cpu_per_core` is left out, because the load of the CPUs includes other containers.
        """
        system, at = self._machine.psutil, self._machine.now()
        each = system.cpu_times(percpu=True)
        limit = self._container.cpu(len(each))
        if limit is not None:
            return {"cpu_load": self._of_limit(limit, at), "cpu_logical_cores": math.ceil(limit.cpus)}
        whole = self._whole.update([system.cpu_times()], at, len(each))
        return {"cpu_load": next(iter(whole), None), "cpu_per_core": self._each.update(each, at) or None}

    def _of_limit(self, limit: CpuLimit, at: float) -> float | None:
        former_at, former = self._limited or (at, limit)
        if former is limit or at - former_at >= TICK_SECONDS:
            self._limited = at, limit
        if at - former_at >= TICK_SECONDS:
            used = limit.used_seconds - former.used_seconds
            self._percent_of_limit = round(min(100.0, max(0.0, 100 * used / ((at - former_at) * limit.cpus))), 1)
        return self._percent_of_limit


class TopProcesses:
    """The processes that used most CPU between the last two scans."""

    def __init__(self, machine: Machine | None = None) -> None:
        self._system = (machine or Machine()).psutil
        self._known: dict[int, tuple[Any, float]] = {}  # the process and its CPU seconds at the last scan, by pid
        self._looked_at = 0.0
        self._due = 0.0
        self._top: list[Fields] = []

    def read(self) -> Fields:
        """`top_processes`, each in percent of one core. Repeats the last scan while a new one would cost too much CPU."""
        if time.monotonic() >= self._due:
            began, is_first = time.thread_time(), not self._known
            self._look()
            if not is_first:
                self._due = self._looked_at + (time.thread_time() - began) / SCAN_SHARE
        return {"top_processes": self._top or None}

    def _look(self) -> None:
        now = time.monotonic()
        elapsed = now - self._looked_at
        known: dict[int, tuple[Any, float]] = {}
        used: list[tuple[float, int]] = []
        for pid in self._system.pids():
            process, before = self._known.get(pid, (None, None))
            try:
                process = process or self._system.Process(pid)
                times = process.cpu_times()
            except Exception:  # it has ended, is not visible to us, or psutil cannot read it
                continue
            seconds = times.user + times.system
            known[pid] = process, seconds
            if (
                before is not None and seconds >= before and pid != 0
            ):  # fewer seconds: a new process reuses the pid; pid 0 is idle time
                used.append((seconds - before, pid))
        self._known, self._looked_at = known, now
        used.sort(key=lambda pair: (-pair[0], pair[1]))
        rows = (process_row(self._system, pid, 100 * seconds / elapsed) for seconds, pid in used[: 2 * TOP_PROCESSES])
        self._top = [row for row in rows if row is not None][:TOP_PROCESSES]


def process_row(system: Any, pid: int, cpu_percent: float) -> Fields | None:
    """One row of `top_processes`; None if the process has ended or is not visible to us."""
    try:
        process = system.Process(pid)
        name = process.name()
    except Exception:
        return None
    memory_percent = attempt(process.memory_percent)
    return {
        "pid": pid,
        "name": name,
        "username": attempt(process.username),
        "cpu_percent": round(cpu_percent, 1),
        "memory_percent": None if memory_percent is None else round(memory_percent, 2),
    }


def memory(machine: Machine, container: Container) -> Fields:
    """Memory fields. Used is the total less the available memory; in a container with a limit the total is that limit."""
    limit = container.memory()
    now = attempt(machine.psutil.virtual_memory) if limit is not None else machine.psutil.virtual_memory()
    if limit is not None and (now is None or limit.total < now.total):
        total, available = limit.total, limit.total - limit.used
    else:
        arc = (
            readings.reclaimable_arc_bytes(machine.text(ARCSTATS)) if not container.is_container else 0
        )  # in a container the ARC belongs to the machine
        total, available = now.total, min(now.total, now.available + arc) if arc else now.available
    return {
        "memory_used_percent": round(100 * (total - available) / total, 1) if total > 0 else None,
        "memory_total_bytes": total,
        "memory_available_bytes": available,
    }


def swap(machine: Machine, container: Container) -> Fields:
    """`swap_used_percent`, in a container with a limit that of the limit; None if there is no swap."""
    limit = container.swap()
    now = attempt(machine.psutil.swap_memory) if limit is not None else machine.psutil.swap_memory()
    if limit is not None and (now is None or limit.total <= now.total):
        return {"swap_used_percent": round(100 * limit.used / limit.total, 1) if limit.total else None}
    return {"swap_used_percent": now.percent if now.total else None}


def load_average(machine: Machine) -> Fields:
    """`load_average` of the last minute."""
    return {"load_average": round(machine.psutil.getloadavg()[0], 2)}


def uptime(machine: Machine, container: Container) -> Fields:
    """`uptime_seconds` of the machine, time asleep included; in a container, of the container."""
    return {"uptime_seconds": round(max(0.0, container.uptime(machine.since_boot())), 1)}


def sensors(machine: Machine) -> Fields:
    """The hottest CPU, the hottest GPU and all `temperatures`. Without a chip, its thermal zones count."""
    chips = machine.names(HWMON)
    awake = [chip for chip in chips if not is_asleep(machine, chip)]
    found: dict[str, Sequence[readings.SensorReading]] = dict(
        getattr(machine.psutil, "sensors_temperatures", dict)() if awake == chips else sensors_of(machine, awake)
    )
    missing = [kind for kind in (is_cpu_chip, readings.is_gpu_chip) if not any(map(kind, found))]
    for zone in (name for name in machine.names(ZONES) if name.startswith("thermal_zone")) if missing else ():
        chip = machine.text(f"{ZONES}/{zone}/type").strip()
        celsius = machine.number(f"{ZONES}/{zone}/temp") if any(kind(chip) for kind in missing) else None
        if celsius is not None:
            found[chip] = [*found.get(chip, ()), Zone(celsius / 1000)]
    invented = [chip for chip, own in found.items() if readings.may_be_invented(chip, own)]
    if invented and readings.is_guest(machine.text(CPUINFO), machine.text(XEN)):
        found = {chip: own for chip, own in found.items() if chip not in invented}
    return {
        "cpu_temperature": readings.hottest_cpu(found),
        "gpu_temperature": readings.hottest_gpu(found),
        "temperatures": readings.temperatures(found) or None,
    }


def is_asleep(machine: Machine, chip: str) -> bool:
    """Whether the device of a chip is suspended. Reading its sensors would wake it, which costs a laptop's battery."""
    return machine.text(f"{HWMON}/{chip}/device/power/runtime_status").strip() == "suspended"


def sensors_of(machine: Machine, chips: Iterable[str]) -> dict[str, list[Zone]]:
    """The temperatures of some chips by their names, as psutil reads those of all."""
    found: dict[str, list[Zone]] = {}
    for chip in chips:
        name = machine.text(f"{HWMON}/{chip}/name").strip()
        inputs = [
            file for file in machine.names(f"{HWMON}/{chip}") if file.startswith("temp") and file.endswith("_input")
        ]
        for file in sorted(inputs, key=lambda file: (len(file), file)):
            celsius = machine.number(f"{HWMON}/{chip}/{file}")
            if celsius is not None:
                label = machine.text(f"{HWMON}/{chip}/{file.removesuffix('input')}label").strip()
                found.setdefault(name, []).append(Zone(celsius / 1000, label))
    return found


class Zone(NamedTuple):
    """A thermal zone, or a sensor, as psutil reports one."""

    current: float
    label: str = ""


def partitions(machine: Machine) -> list[list[readings.Partition]]:
    """The disks, each with its mounts; the root is always among them. Does not hang, because it only lists them.

    psutil finds the disks by /proc/filesystems. Where that is hidden (proot, a hardened container), devices are disks.
    """
    system = machine.psutil
    mounted: list[readings.Partition] | None = attempt(lambda: list(system.disk_partitions(all=False)))
    if mounted is None:
        mounted = [one for one in system.disk_partitions(all=True) if one.device.startswith("/dev/")]
    disks = readings.by_device(mounted)
    if not any(mounts[0].mountpoint == "/" for mounts in disks):  # the root is an overlay, a tmpfs or a network disk
        everything = attempt(lambda: system.disk_partitions(all=True)) or []
        disks = [*readings.by_device([one for one in everything if one.mountpoint == "/"][-1:]), *disks]
    return disks


def read_only_mounts(machine: Machine) -> set[str]:
    """The mount points of file systems that nothing can write to."""
    return readings.read_only_mounts(machine.text(MOUNTINFO))


def rows_of_disks(machine: Machine, disks: Sequence[Sequence[readings.Partition]], read_only: Set[str]) -> list[Fields]:
    """Rows of `disks`: for each disk its first mount that is a folder and can be read. May hang if a mount is dead."""
    rows = (disk_row(machine, mounts, read_only) for mounts in disks)
    return [row for row in rows if row is not None]


def disk_row(machine: Machine, mounts: Sequence[readings.Partition], read_only: Set[str]) -> Fields | None:
    """One row of `disks`; None if the disk is mounted on files only, or cannot be read."""
    for partition in mounts:
        usage = attempt(lambda: machine.psutil.disk_usage(partition.mountpoint))  # noqa: B023
        if usage is not None and usage.total > 0 and machine.is_folder(partition.mountpoint):
            return {
                "device": partition.device,
                "mountpoint": partition.mountpoint,
                "fstype": partition.fstype,
                "total_bytes": usage.total,
                "used_bytes": usage.used,
                "used_percent": usage.percent,
                "is_read_only": True if partition.mountpoint in read_only else None,
            }
    return None


class DiskReads:
    """What the physical disks of a machine have read since boot."""

    def __init__(self, machine: Machine, container: Container) -> None:
        self._machine, self._container = machine, container
        self._disks: list[str] | None = None

    def read(self) -> Fields:
        """`disk_read_bytes`. Nothing in a container, because the disks are the machine's.

        When a disk has come or gone, that sample has no counter: the sum of other disks is no growth.
        """
        if self._container.is_container:
            return {}
        counters: Mapping[str, Any] = self._machine.psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        disks = sorted(name for name in counters if is_physical_disk(self._machine, name))
        has_changed = self._disks is not None and disks != self._disks
        self._disks = disks
        if has_changed or not disks:
            return {}
        return {"disk_read_bytes": wrapped(sum(counters[name].read_bytes for name in disks))}


def is_physical_disk(machine: Machine, name: str) -> bool:
    """Whether a disk has a device of its own. Partitions, dm, md, loop, zram, ram and ZFS volumes have none: what they
    read is read from disks, or from memory. The disk over several NVMe paths does not count, because each path counts.
    """
    device = machine.link(f"{BLOCK}/{name.replace('/', '!')}/device")
    return device != "" and not device.startswith("nvme-subsys")


def hardware(machine: Machine) -> Fields:
    """The hardware and system fields: manufacturer, model, BIOS, CPU, cores, operating system."""
    distribution = readings.os_release(machine.text("/etc/os-release") or machine.text("/usr/lib/os-release"))
    found = {
        "system_manufacturer": machine.text("/sys/class/dmi/id/sys_vendor"),
        "system_model": machine.text("/sys/class/dmi/id/product_name")
        or machine.text("/sys/firmware/devicetree/base/model"),
        "bios_version": machine.text("/sys/class/dmi/id/bios_version"),
        "cpu_model": readings.cpu_model(machine.text(CPUINFO)) or cpu_model_elsewhere(),
        "os_distro": distribution.get("NAME") or platform.system(),
        "os_release": distribution.get("VERSION_ID") if distribution else os_release_elsewhere(),
        "os_kernel": platform.release(),
    }
    return {
        **{name: readings.meaningful(text) for name, text in found.items()},
        "cpu_physical_cores": attempt(lambda: machine.psutil.cpu_count(logical=False)),
        "cpu_logical_cores": attempt(machine.psutil.cpu_count),
    }


def cpu_model_elsewhere() -> str | None:
    """The CPU model on systems without /proc. None on Linux, where `platform` knows only the architecture."""
    return None if sys.platform == "linux" else attempt(platform.processor)


def os_release_elsewhere() -> str | None:
    """The version of a system other than Linux. None on Linux, where `platform` knows only the kernel's version."""
    return None if sys.platform == "linux" else platform.mac_ver()[0] or platform.release()
