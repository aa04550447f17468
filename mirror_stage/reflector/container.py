"""The limits of the container that the agent runs in: memory, swap and CPUs; and its uptime. On a real machine there are none.

Nor are there any for an agent that watches a machine from a container (`--pid=host`): there process 1 is the machine's.

A limit is the smallest one of the cgroup of process 1 and the visible cgroups above it; limits of the agent's own
service do not count. The figures are those of `docker stats`: inactive file cache counts as free memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from mirror_stage.reflector.machine import Machine

_MARKS = ("/.dockerenv", "/run/.containerenv")
_NAME = "/run/systemd/container"  # how systemd calls the container that it runs in
_WSL = "wsl"  # Windows starts a virtual machine, and systemd calls it a container
_ROOT = "/sys/fs/cgroup"
_NO_LIMIT = 2**60  # cgroup v1 reports 2^63 less a page where there is no limit
_LXCFS = " /proc/meminfo fuse.lxcfs "  # in the mounts of a guest; the host of LXC guests mounts it at another place
_MANAGERS = ("/docker", "/lxc", "kubepods", "libpod", "/machine.slice")


@dataclass(frozen=True)
class MemoryLimit:
    """The limit and what is used of it, in bytes."""

    total: int
    used: int


@dataclass(frozen=True)
class CpuLimit:
    """The limit in CPUs (0.5 is half of one), and the CPU seconds used so far."""

    cpus: float
    used_seconds: float


class Container:
    """The container that this process runs in; `is_container` is False if there is none."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_unified = machine.has(f"{_ROOT}/cgroup.controllers")
        groups = machine.text("/proc/1/cgroup")
        self._paths = {names: path for line in groups.splitlines() for _, names, path in [_parted(line)]}
        self.is_container = not any(_is_of_the_machine(path) for path in self._paths.values()) and (
            any(machine.has(mark) for mark in _MARKS)
            or (machine.has(_NAME) and machine.text(_NAME).strip() != _WSL)
            or any(manager in path for path in self._paths.values() for manager in _MANAGERS)
            or _LXCFS in machine.text("/proc/self/mounts")
            or (
                self._is_unified and machine.has(f"{_ROOT}/memory.max")
            )  # the root cgroup of a real machine has no such file
        )

    def memory(self) -> MemoryLimit | None:
        """The memory limit; None if there is none."""
        if not self.is_container:
            return None
        limit_file, used_file, cache = (
            ("memory.max", "memory.current", "inactive_file")
            if self._is_unified
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        limits = [
            (number, folder)
            for folder in self._folders("memory")
            if (number := self._number(folder, limit_file)) and number < _NO_LIMIT
        ]
        if not limits:
            return None
        total, folder = min(limits)
        used = self._number(folder, used_file)
        if used is None:
            return None
        idle = _members(self._machine.text(f"{folder}/memory.stat")).get(cache, 0)
        return MemoryLimit(total, min(total, max(0, used - idle)))

    def swap(self) -> MemoryLimit | None:
        """The limit of swap, 0 if the container may not swap; None if there is none."""
        if not self.is_container:
            return None
        limits = [limit for folder in self._folders("memory") if (limit := self._swap_of(folder)) is not None]
        return min(limits, key=lambda limit: limit.total, default=None)

    def _swap_of(self, folder: str) -> MemoryLimit | None:
        """The limit of swap of one cgroup; None if it has none."""
        if self._is_unified:
            total, used = self._number(folder, "memory.swap.max"), self._number(folder, "memory.swap.current")
        else:
            memory, both = (self._number(folder, f"memory.{name}limit_in_bytes") for name in ("", "memsw."))
            total = both - memory if memory is not None and both is not None and both < _NO_LIMIT else None
            used = _members(self._machine.text(f"{folder}/memory.stat")).get("total_swap")
        return MemoryLimit(total, min(total, used)) if total is not None and used is not None else None

    def cpu(self, cpus_of_the_machine: int) -> CpuLimit | None:
        """The CPU limit, by quota or by cpuset; None if all CPUs of the machine may be used."""
        if not self.is_container:
            return None
        limits = [
            (cpus, folder)
            for folder in self._folders("cpu")
            for cpus in (self._quota(folder), self._set(folder))
            if cpus is not None
        ]
        cpus, folder = min(limits, default=(0.0, ""))
        if not 0 < cpus < cpus_of_the_machine:
            return None
        used_seconds = self._used_seconds(folder)
        return CpuLimit(cpus, used_seconds) if used_seconds is not None else None

    def uptime(self, since_boot: float) -> float:
        """Seconds since process 1 of the container began; outside of a container, seconds since boot."""
        columns = self._machine.text("/proc/1/stat").rpartition(")")[2].split() if self.is_container else []
        if len(columns) < 20 or not columns[19].isdigit():
            return since_boot
        return since_boot - int(columns[19]) / os.sysconf("SC_CLK_TCK")

    def _folders(self, controller: str) -> Iterable[str]:
        """The cgroups of process 1, the root first. Of equal limits the root's wins, because it counts the whole container."""
        root, path = _ROOT, self._paths.get("", "/")
        if not self._is_unified:
            names = next((names for names in self._paths if controller in names.split(",")), controller)
            root, path = f"{_ROOT}/{controller}", self._paths.get(names, "/")
        folder = root
        yield folder
        for part in path.split("/"):
            if part and part != "..":
                folder = f"{folder}/{part}"
                yield folder

    def _quota(self, folder: str) -> float | None:
        if self._is_unified:
            columns = self._machine.text(f"{folder}/cpu.max").split()
        else:
            columns = [self._machine.text(f"{folder}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        if len(columns) == 2 and columns[0].isdigit() and columns[1].isdigit() and int(columns[1]):
            return int(columns[0]) / int(columns[1])
        return None

    def _set(self, folder: str) -> float | None:
        own = folder if self._is_unified else folder.replace(f"{_ROOT}/cpu", f"{_ROOT}/cpuset", 1)
        count = count_of(
            self._machine.text(f"{own}/cpuset.cpus.effective") or self._machine.text(f"{own}/cpuset.effective_cpus")
        )
        return float(count) or None

    def _used_seconds(self, folder: str) -> float | None:
        if self._is_unified:
            used = _members(self._machine.text(f"{folder}/cpu.stat")).get("usage_usec")
            return used / 1e6 if used is not None else None
        used = self._number(folder.replace(f"{_ROOT}/cpu", f"{_ROOT}/cpuacct", 1), "cpuacct.usage")
        return used / 1e9 if used is not None else None

    def _number(self, folder: str, file: str) -> int | None:
        return self._machine.number(f"{folder}/{file}")


def count_of(cpus: str) -> int:
    """How many CPUs a list like `0-3,8` holds."""
    count = 0
    for part in cpus.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            count += int(last) - int(first) + 1 if last.isdigit() else 1
    return count


def _is_of_the_machine(path: str) -> bool:
    """Whether process 1 is outside of our cgroups and not in a container: the first process of the machine."""
    return path.startswith("/..") and path.rpartition("/")[2] in {"..", "init.scope"}


def _parted(line: str) -> tuple[str, str, str]:
    """The parts of `4:memory:/docker/1f`; in cgroup v2 the name is empty."""
    number, _, rest = line.partition(":")
    names, _, path = rest.partition(":")
    return number, names, path


def _members(text: str) -> dict[str, int]:
    """The numbers of a text of `name number` lines, by name."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        columns = line.split()
        if len(columns) == 2 and columns[1].isdigit():
            found[columns[0]] = int(columns[1])
    return found
