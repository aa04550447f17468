"""Recorded machines: each is a folder under `machines/` with the answers that the real machine gave.

- `proc/`, `sys/` …  the files of the machine. A symbolic link is a file that contains the target. Of many entries
  of sysfs (`device`, `lower_eth0`, `brif/eno1`) the agent uses only the names.
- `later/`           the files that differ five seconds later.
- `psutil.json`      the answers of psutil that do not come from /proc: `{"getloadavg": [1.0, 0.5, 0.2]}`. A function that
  fails is `{"error": "ENOTCONN"}`.
- `machine.json`     the rest: `hostname`, `since_boot`, `wall`, `routes` (from a remote address to the local one),
  `programs` (what they print), `file_mounts`, `ego`.
- `expected.json`    the values that the sample must have; null means that the sample must not have this value.
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
_procfs = threading.Lock()  # all threads share psutil.PROCFS_PATH


def names() -> list[str]:
    """The names of the recorded machines."""
    return sorted(folder.name for folder in MACHINES.iterdir() if folder.is_dir())


class RecordedMachine(Machine):
    """A machine that reads from its folder. From its second reading of the CPUs on, five seconds have passed."""

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
    """psutil that reads the recorded /proc; all other answers come from `psutil.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.answers: dict[str, Any] = _json(folder / "psutil.json")
        self.looks = 0
        if "sensors_temperatures" not in self.answers:
            self.sensors_temperatures = dict

    def cpu_times(self, percpu: bool = False) -> Any:
        self.looks += percpu  # the agent reads all CPUs first
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
        """[is up, Mbit/s] by interface."""
        stats = self._answer("net_if_stats")
        return {name: SimpleNamespace(isup=isup, speed=speed) for name, (isup, speed) in stats.items()}

    def net_if_addrs(self) -> dict[str, Any]:
        """Addresses by interface."""
        return {name: [_address(one) for one in addresses] for name, addresses in self._answer("net_if_addrs").items()}

    def disk_usage(self, mountpoint: str) -> Any:
        """[total, used, percent] of a mount."""
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
