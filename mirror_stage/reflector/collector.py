"""One sample of this machine: what it reads, by psutil, and how the readings become the sample of the wire."""

from __future__ import annotations

import platform
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil

from mirror_stage import __version__
from mirror_stage.core.instants import to_text
from mirror_stage.reflector import readings
from mirror_stage.reflector.parts import Part, Parts

BASELINE_SECONDS = 0.1  # between the two readings that the very first loads come from
HARDWARE_EVERY_SECONDS = 3600.0
TOP_PROCESSES = 5
SCAN_SHARE = 0.004  # of a core, at most, goes into looking through the processes
CORES_MAX, DISKS_MAX, INTERFACES_MAX, TEMPERATURES_MAX = 1024, 64, 64, 256  # the contract's
DOCUMENTATION_ADDRESS = ("198.51.100.1", 9)  # RFC 5737: nobody's; connecting a UDP socket sends nothing

Fields = dict[str, Any]
T = TypeVar("T")


class Collector:
    """Takes samples of this machine. For one caller at a time; what a part cannot read is left out of the sample."""

    def __init__(
        self,
        *,
        hostname: str | None = None,
        rack: str | None = None,
        tags: Mapping[str, str] | None = None,
        position: Mapping[str, float] | None = None,
        agent_version: str = __version__,
        ip: str | None = None,
        command_policy: str | None = None,
        parts: Parts | None = None,
    ) -> None:
        self._identity: Fields = {
            "hostname": hostname or socket.gethostname(),
            "agent_version": agent_version,
            "platform": f"{platform.system()}-{platform.machine()}",
            "rack": rack,
            "position": position,
            "command_policy": command_policy,
        }
        self._tags = dict(tags or {})
        self._parts = parts or Parts()
        self._loads: dict[str, Part] = {
            "cpu": CpuLoad().read,
            "cores": CoreLoads().read,
            "processes": TopProcesses().read,
        }
        self._network = Network(ip)
        self._hardware: Fields = {}
        self._hardware_due = 0.0
        self._has_baseline = False

    def sample(self) -> Fields:
        """A sample as the wire wants it, at once: `docs/contract.md` section 1, Metrics.

        Takes as long as the slowest part, at most the deadline of the parts. The first one takes 100 ms more, because
        a load needs two readings.
        """
        if not self._has_baseline:
            self._parts.read(self._loads)
            time.sleep(BASELINE_SECONDS)
            self._has_baseline = True
        mounted = self._parts.read({"partitions": partitions}).get("partitions", [])
        now = int(time.time() * 1000)
        values = self._parts.read(self._parts_to_read(mounted))
        disks = [values.pop(name) for name in list(values) if name.startswith("disk ")]
        self._keep_hardware(values.pop("hardware", None))
        fields = {**self._identity, "timestamp": to_text(now), **self._hardware}
        for value in values.values():
            fields |= value
        fields["disks"] = disks or None
        fields["tags"] = {**fields.get("tags", {}), **self._tags} or None
        sample: Fields = readings.for_the_wire(fields)
        return sample

    def _parts_to_read(self, mounted: list[readings.Partition]) -> dict[str, Part]:
        parts: dict[str, Part] = {
            **self._loads,
            "memory": memory,
            "swap": swap,
            "load average": load_average,
            "uptime": uptime,
            "network": self._network.read,
            "sensors": sensors,
            **{f"disk {partition.mountpoint}": partial(disk, partition) for partition in mounted},
        }
        if time.monotonic() >= self._hardware_due:
            parts["hardware"] = hardware
        return parts

    def _keep_hardware(self, found: Fields | None) -> None:
        if found is not None:
            self._hardware = found
            self._hardware_due = time.monotonic() + HARDWARE_EVERY_SECONDS


class Loads:
    """How busy some CPUs were since the last reading."""

    def __init__(self, times: Callable[[], Sequence[Any]]) -> None:
        self._times = times
        self._before: Sequence[Any] = ()
        self._percents: list[float] = []

    def read(self) -> list[float]:
        """Percent by CPU; empty at the first reading and where the number of CPUs has changed."""
        now = self._times()
        if len(now) != len(self._before):
            self._before, self._percents = now, []
            return []
        percents = [readings.busy_percent(before, after) for before, after in zip(self._before, now, strict=True)]
        known = [percent for percent in percents if percent is not None]
        if len(known) == len(percents):  # else asked again within a tick: the last ones still hold
            self._before, self._percents = now, known
        return self._percents


class CpuLoad:
    """The load of all CPUs together."""

    def __init__(self) -> None:
        self._loads = Loads(lambda: [psutil.cpu_times()])

    def read(self) -> Fields:
        """`cpu_load`, nothing at the first reading."""
        return {"cpu_load": next(iter(self._loads.read()), None)}


class CoreLoads:
    """The load of each CPU."""

    def __init__(self) -> None:
        self._loads = Loads(lambda: psutil.cpu_times(percpu=True))

    def read(self) -> Fields:
        """`cpu_per_core`, nothing at the first reading."""
        return {"cpu_per_core": self._loads.read()[:CORES_MAX] or None}


class TopProcesses:
    """The processes that used most CPU between the last two looks through all of them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[psutil.Process, float]] = {}  # with the CPU seconds at the last look
        self._looked_at = 0.0
        self._due = 0.0
        self._top: list[Fields] = []

    def read(self) -> Fields:
        """`top_processes`, percent of one core each; those of the last look as long as another would cost too much."""
        if time.monotonic() >= self._due:
            began, is_first = time.thread_time(), not self._known
            self._look()
            if not is_first:
                self._due = self._looked_at + (time.thread_time() - began) / SCAN_SHARE
        return {"top_processes": self._top or None}

    def _look(self) -> None:
        now = time.monotonic()
        elapsed = now - self._looked_at
        known: dict[int, tuple[psutil.Process, float]] = {}
        used: list[tuple[float, int]] = []
        for pid in psutil.pids():
            process, before = self._known.get(pid, (None, None))
            try:
                process = process or psutil.Process(pid)
                times = process.cpu_times()
            except (psutil.Error, OSError):
                continue
            seconds = times.user + times.system
            known[pid] = process, seconds
            if before is not None and seconds >= before and pid != 0:  # less: a new process has the number; 0 idles
                used.append((seconds - before, pid))
        self._known, self._looked_at = known, now
        used.sort(key=lambda pair: (-pair[0], pair[1]))
        rows = (process_row(pid, 100 * seconds / elapsed) for seconds, pid in used[: 2 * TOP_PROCESSES])
        self._top = [row for row in rows if row is not None][:TOP_PROCESSES]


def process_row(pid: int, cpu_percent: float) -> Fields | None:
    """One of `top_processes`; None where the process has ended or may not be seen."""
    try:
        process = psutil.Process(pid)
        name = process.name()
    except (psutil.Error, OSError):
        return None
    memory_percent = attempt(process.memory_percent)
    return {
        "pid": pid,
        "name": name,
        "username": attempt(process.username),
        "cpu_percent": round(cpu_percent, 1),
        "memory_percent": None if memory_percent is None else round(memory_percent, 2),
    }


class Network:
    """The interfaces, and which of them leads out of this machine."""

    def __init__(self, ip: str | None = None) -> None:
        self._ip = ip
        self._primary: str | None = None

    def read(self) -> Fields:
        """`interfaces`, and of the primary one its counters, speed and IPv4 address.

        The counters are left out of the sample in which another interface has become the primary one: against those of
        the former one they would make a rate that never was.
        """
        counters: Mapping[str, Any] = psutil.net_io_counters(pernic=True, nowrap=False)
        stats: Mapping[str, Any] = attempt(psutil.net_if_stats) or {}
        ipv4_by_interface = ipv4_addresses(attempt(psutil.net_if_addrs) or {})
        primary = primary_interface(ipv4_by_interface, stats, self._ip)
        has_moved = self._primary is not None and primary != self._primary
        self._primary = primary
        fields: Fields = {"interfaces": interface_rows(counters, stats), "ip": self._ip}
        if primary is None:
            return fields
        fields["ip"] = self._ip or ipv4_by_interface.get(primary)
        fields["tags"] = {"primary_interface": primary}
        if primary in counters and not has_moved:
            fields["net_bytes_tx"] = counters[primary].bytes_sent
            fields["net_bytes_rx"] = counters[primary].bytes_recv
        speed = stats[primary].speed if primary in stats else 0
        if speed > 0:
            fields["primary_interface_speed_mbps"] = speed
            fields["tags"]["primary_interface_speed_mbps"] = str(speed)
        return fields


def primary_interface(
    ipv4_by_interface: Mapping[str, str], stats: Mapping[str, Any], own_ip: str | None = None
) -> str | None:
    """The interface with the default route, never loopback.

    Without such a route: the one that owns `own_ip`, else the only one that is up and has an address.
    """
    interface_by_ipv4 = {address: interface for interface, address in ipv4_by_interface.items()}
    up = [name for name in ipv4_by_interface if name in stats and stats[name].isup]
    return (
        readings.default_interface(text_of("/proc/net/route"), text_of("/proc/net/ipv6_route"))
        or interface_by_ipv4.get(outgoing_address() or "")
        or interface_by_ipv4.get(own_ip or "")
        or (up[0] if len(up) == 1 else None)
    )


def outgoing_address() -> str | None:
    """The address this machine would send from, where the system has no table of routes to read; sends nothing."""
    if sys.platform == "linux":
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(DOCUMENTATION_ADDRESS)
            return str(probe.getsockname()[0])
    except OSError:
        return None


def ipv4_addresses(addresses_by_interface: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The first IPv4 address of each interface that has one, without loopback."""
    first: dict[str, str] = {}
    for interface, addresses in addresses_by_interface.items():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                first.setdefault(interface, address.address)
    return first


def interface_rows(counters: Mapping[str, Any], stats: Mapping[str, Any]) -> list[Fields]:
    """`interfaces`: all that there are, the busiest where there are too many; an unknown speed is left out."""
    kept = set(counters)
    if len(kept) > INTERFACES_MAX:
        kept = set(sorted(counters, key=lambda name: _traffic(counters[name]), reverse=True)[:INTERFACES_MAX])
    return [
        {
            "name": name,
            **{member: getattr(counted, member) for member in _COUNTED},
            "speed_mbps": stats[name].speed or None if name in stats else None,
            "is_up": stats[name].isup if name in stats else None,
        }
        for name, counted in counters.items()
        if name in kept
    ]


def _traffic(counted: Any) -> int:
    return int(counted.bytes_sent + counted.bytes_recv)


_COUNTED = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout")


def memory() -> Fields:
    """What is used of the memory: all but what programs could have at once."""
    now = psutil.virtual_memory()
    return {
        "memory_used_percent": now.percent,
        "memory_total_bytes": now.total,
        "memory_available_bytes": now.available,
    }


def swap() -> Fields:
    """`swap_used_percent`, nothing where there is no swap."""
    now = psutil.swap_memory()
    return {"swap_used_percent": now.percent if now.total else None}


def load_average() -> Fields:
    """`load_average` of the last minute."""
    return {"load_average": round(psutil.getloadavg()[0], 2)}


def uptime() -> Fields:
    """`uptime_seconds`, time asleep included; where the system counts it, no step of the wall clock makes it fall."""
    since_boot = getattr(time, "CLOCK_BOOTTIME", None)
    seconds = time.clock_gettime(since_boot) if since_boot is not None else time.time() - psutil.boot_time()
    return {"uptime_seconds": round(max(0.0, seconds), 1)}


def sensors() -> Fields:
    """The hottest CPU, the hottest GPU and all `temperatures`."""
    found: Mapping[str, Sequence[readings.Reading]] = getattr(psutil, "sensors_temperatures", dict)()
    by_name = readings.temperatures(found)
    return {
        "cpu_temperature": readings.hottest_cpu(found),
        "gpu_temperature": readings.hottest_gpu(found),
        "temperatures": dict(list(by_name.items())[:TEMPERATURES_MAX]) or None,
    }


def partitions() -> list[readings.Partition]:
    """The disks to ask; asking one may hang, listing them does not."""
    mounted: list[readings.Partition] = list(psutil.disk_partitions(all=False))
    return readings.physical_disks(mounted)[:DISKS_MAX]


def disk(partition: readings.Partition) -> Fields:
    """One of `disks`."""
    usage = psutil.disk_usage(partition.mountpoint)
    return {
        "device": partition.device,
        "mountpoint": partition.mountpoint,
        "fstype": partition.fstype,
        "total_bytes": usage.total,
        "used_bytes": usage.used,
        "used_percent": usage.percent,
    }


def hardware() -> Fields:
    """What the machine is: maker, model, CPU, cores, system."""
    distribution = attempt(platform.freedesktop_os_release) or {}
    found = {
        "system_manufacturer": text_of("/sys/class/dmi/id/sys_vendor"),
        "system_model": text_of("/sys/class/dmi/id/product_name") or text_of("/sys/firmware/devicetree/base/model"),
        "bios_version": text_of("/sys/class/dmi/id/bios_version"),
        "cpu_model": readings.cpu_model(text_of("/proc/cpuinfo")) or cpu_model_elsewhere(),
        "os_distro": distribution.get("NAME") or platform.system(),
        "os_release": distribution.get("VERSION_ID") if distribution else os_release_elsewhere(),
        "os_kernel": platform.release(),
    }
    return {
        **{name: readings.meaningful(text) for name, text in found.items()},
        "cpu_physical_cores": attempt(lambda: psutil.cpu_count(logical=False)),
        "cpu_logical_cores": attempt(psutil.cpu_count),
    }


def cpu_model_elsewhere() -> str | None:
    """The CPU where there is no /proc; on Linux nothing, as the answer there is only the architecture."""
    return None if sys.platform == "linux" else attempt(platform.processor)


def os_release_elsewhere() -> str | None:
    """The version of a system that is no Linux distribution; on Linux it would only be the kernel's."""
    return None if sys.platform == "linux" else platform.mac_ver()[0] or platform.release()


def text_of(path: str) -> str:
    """The text of a system file; empty where it is not there or not for us to read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def attempt(read: Callable[[], T]) -> T | None:
    """What `read` returns; None where this system does not offer it or denies it."""
    try:
        return read()
    except (NotImplementedError, AttributeError, OSError, psutil.Error):
        return None
