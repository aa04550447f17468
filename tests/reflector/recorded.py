"""Machines that were recorded: a folder each under `machines/`, and what a real one would have answered.

- `proc/`, `sys/` …  files as they stand on the machine. A symbolic link is a file with what it points to; in a folder of
  sysfs only the names of many entries count (`device`, `lower_eth0`, `brif/eno1`).
- `later/`           the same five seconds later, what has changed.
- `psutil.json`      what psutil answers where it does not read /proc: `{"getloadavg": [1.0, 0.5, 0.2]}`. A function that
  fails there is `{"error": "ENOTCONN"}`.
- `machine.json`     the rest: `hostname`, `since_boot`, `wall`, `routes` (from a remote address to the local one),
  `programs` (what they print), `file_mounts`, `ego`.
- `expected.json`    what the sample must say; null is what it must not have.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from mirror_stage.reflector.machine import Machine

MACHINES = Path(__file__).parent / "machines"
SECONDS_LATER = 5.0
WALL = 1_772_366_400.0  # 2026-03-01T12:00:00Z
_procfs = threading.Lock()  # psutil.PROCFS_PATH is one for all threads


def names() -> list[str]:
    """The recorded machines."""
    return sorted(folder.name for folder in MACHINES.iterdir() if folder.is_dir())


class RecordedMachine(Machine):
    """A folder as a machine. Its second look at the CPUs, and all after it, is five seconds after the first."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, RecordedPsutil(folder))
        self._folder = folder
        self.answers: dict[str, Any] = _json(folder / "machine.json")

    def text(self, path: str) -> str:
        later = self._folder / "later" / path.lstrip("/")
        return later.read_text() if self.psutil.looks > 1 and later.exists() else super().text(path)

    def is_folder(self, mountpoint: str) -> bool:
        return mountpoint not in self.answers.get("file_mounts", [])

    def hostname(self) -> str:
        return str(self.answers["hostname"])

    def wall(self) -> float:
        return float(self.answers.get("wall", WALL))

    def now(self) -> float:
        return SECONDS_LATER if self.psutil.looks else 0.0

    def since_boot(self) -> float:
        return float(self.answers["since_boot"])

    def local_address(self, remote: tuple[Any, ...]) -> str | None:
        return self.answers.get("routes", {}).get(remote[0])

    def program(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.answers.get("programs", {}) else None

    def output_of(self, words: Sequence[str], within_seconds: float) -> str:
        return str(self.answers["programs"][os.path.basename(words[0])])


class RecordedPsutil:
    """psutil itself on the recorded /proc, and for the rest what it has answered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.answers: dict[str, Any] = _json(folder / "psutil.json")
        self.looks = 0
        if "sensors_temperatures" not in self.answers:
            self.sensors_temperatures = dict

    def cpu_times(self, percpu: bool = False) -> Any:
        self.looks += percpu  # each look begins with all CPUs
        return self._by_psutil("cpu_times", percpu=percpu)

    def virtual_memory(self) -> Any:
        return self._by_psutil("virtual_memory")

    def swap_memory(self) -> Any:
        return self._by_psutil("swap_memory")

    def net_io_counters(self, pernic: bool, nowrap: bool) -> Any:
        return self._by_psutil("net_io_counters", pernic=pernic, nowrap=nowrap)

    def disk_partitions(self, all: bool) -> Any:
        return self._by_psutil("disk_partitions", all=all)

    def disk_io_counters(self, perdisk: bool, nowrap: bool) -> Any:
        if not (self._folder / "proc" / "diskstats").exists():  # psutil would look into this machine's /sys
            raise NotImplementedError("the recording has no /proc/diskstats")
        return self._by_psutil("disk_io_counters", perdisk=perdisk, nowrap=nowrap)

    def getloadavg(self) -> Any:
        return tuple(self._answer("getloadavg"))

    def cpu_count(self, logical: bool = True) -> Any:
        return self._answer("cpu_count")[0 if logical else 1]

    def pids(self) -> list[int]:
        return []

    def net_if_stats(self) -> dict[str, Any]:
        """By name: [is up, Mbit/s]."""
        stats = self._answer("net_if_stats")
        return {name: SimpleNamespace(isup=isup, speed=speed) for name, (isup, speed) in stats.items()}

    def net_if_addrs(self) -> dict[str, Any]:
        """By name: addresses."""
        return {name: [_address(one) for one in addresses] for name, addresses in self._answer("net_if_addrs").items()}

    def disk_usage(self, mountpoint: str) -> Any:
        """By mount: [total, used, percent]."""
        return SimpleNamespace(
            **dict(zip(("total", "used", "percent"), self._answer("disk_usage")[mountpoint], strict=True))
        )

    def _answer(self, name: str) -> Any:
        answer = self.answers[name]
        if isinstance(answer, dict) and "error" in answer:
            number = getattr(errno, answer["error"])
            raise OSError(number, os.strerror(number))
        return answer

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if name != "sensors_temperatures":
            raise AttributeError(name)
        chips = self._answer(name)
        return lambda: {
            chip: [SimpleNamespace(label=label, current=current) for label, current in sensors]
            for chip, sensors in chips.items()
        }

    def _by_psutil(self, name: str, **options: Any) -> Any:
        if name in self.answers:
            self._answer(name)
        later = self._folder / "later" / "proc"
        file = {"cpu_times": "stat"}.get(name, "")
        with _procfs:
            former = getattr(psutil, "PROCFS_PATH", "/proc")
            use = later if file and self.looks > 1 and (later / file).exists() else self._folder / "proc"
            psutil.PROCFS_PATH = str(use)
            try:
                return getattr(psutil, name)(**options)
            finally:
                psutil.PROCFS_PATH = former


def _address(text: str) -> Any:
    return SimpleNamespace(family=socket.AF_INET6 if ":" in text else socket.AF_INET, address=text)


def _json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return loaded
