"""What a container may have of its machine: memory, CPUs, and since when it runs. Nothing on a machine of its own.

Its limits are those of the group of process 1, or of a group above it that can be seen, whichever is least: not those of
the agent's own service. The figures are those that `docker stats` shows: the cache of files that nobody uses now is free.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from mirror_stage.reflector.machine import Machine

_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
_ROOT = "/sys/fs/cgroup"
_NO_LIMIT = 2**60  # what the first version of groups says instead of none: 2^63 less a page
_LXCFS = " /proc/meminfo fuse.lxcfs "  # in the mounts of a guest; a host of guests has it elsewhere
_MANAGERS = ("/docker", "/lxc", "kubepods", "libpod", "/machine.slice")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Bytes: what there may be, and what of it is taken."""

    total: int
    used: int


@dataclass(frozen=True, slots=True)
class CpuLimit:
    """How many CPUs there may be (0.5 is half of one), and the CPU seconds used so far."""

    cpus: float
    used_seconds: float


class Container:
    """The container that this process runs in, if it does."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_unified = machine.has(f"{_ROOT}/cgroup.controllers")
        groups = machine.text("/proc/1/cgroup")
        self._paths = {names: path for line in groups.splitlines() for _, names, path in [_parted(line)]}
        self.is_one = (
            any(machine.has(mark) for mark in _MARKS)
            or any(manager in path for path in self._paths.values() for manager in _MANAGERS)
            or _LXCFS in machine.text("/proc/self/mounts")
            or (self._is_unified and machine.has(f"{_ROOT}/memory.max"))  # the machine's own root group has none
        )

    def memory(self) -> MemoryLimit | None:
        """The limit of memory; None where there is none."""
        if not self.is_one:
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

    def cpu(self, cpus_of_the_machine: int) -> CpuLimit | None:
        """The limit of CPU, by share or by set; None where all CPUs of the machine may be used."""
        if not self.is_one:
            return None
        limits = [
            (cpus, folder)
            for folder in self._folders("cpu")
            for cpus in (self._share(folder), self._set(folder))
            if cpus is not None
        ]
        cpus, folder = min(limits, default=(0.0, ""))
        if not 0 < cpus < cpus_of_the_machine:
            return None
        used_seconds = self._used_seconds(folder)
        return CpuLimit(cpus, used_seconds) if used_seconds is not None else None

    def uptime(self, since_boot: float) -> float:
        """Seconds since process 1 of the container began; of a machine of its own since its boot."""
        columns = self._machine.text("/proc/1/stat").rpartition(")")[2].split() if self.is_one else []
        if len(columns) < 20 or not columns[19].isdigit():
            return since_boot
        return since_boot - int(columns[19]) / os.sysconf("SC_CLK_TCK")

    def _folders(self, controller: str) -> Iterable[str]:
        """The groups above process 1, the root first: of equals the root's figures are the whole container's."""
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

    def _share(self, folder: str) -> float | None:
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
    """How many CPUs a list like `0-3,8` names."""
    count = 0
    for part in cpus.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            count += int(last) - int(first) + 1 if last.isdigit() else 1
    return count


def _parted(line: str) -> tuple[str, str, str]:
    """`4:memory:/docker/1f` in its parts; the unified group has no name."""
    number, _, rest = line.partition(":")
    names, _, path = rest.partition(":")
    return number, names, path


def _members(text: str) -> dict[str, int]:
    """`name number` lines."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        columns = line.split()
        if len(columns) == 2 and columns[1].isdigit():
            found[columns[0]] = int(columns[1])
    return found
