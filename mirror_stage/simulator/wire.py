"""Encodes the samples of a machine as JSON: fixed values once, as a template; changing values are filled in each time."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from mirror_stage.core.instants import to_text
from mirror_stage.core.version import VERSION
from mirror_stage.simulator.behaviour import BYTES_PER_PACKET, SENT_PER_READ_BYTE, Behaviour, Vitals
from mirror_stage.simulator.fleet import GIB, Machine
from mirror_stage.simulator.signals import Moment

AGENT_VERSION = f"{VERSION}+simulated"
PROCESS_WEIGHTS = (0.42, 0.21, 0.11, 0.03, 0.002)  # shares of the CPU use
PROCESS_MEMORY_WEIGHTS = (0.31, 0.17, 0.09, 0.02, 0.004)  # shares of the used memory


class Encoder:
    """Writes the samples of one machine."""

    def __init__(self, behaviour: Behaviour, command_policy: str = "all"):
        self.behaviour = behaviour
        machine = behaviour.machine
        text = json.dumps(_sample(machine, command_policy), separators=(",", ":")).replace("%", "%%")
        self._template = text.replace('"<<', "%(").replace('>>"', "").encode()
        self._core_rows = machine.hardware.cores * 2 // 8
        self._memory_bytes = machine.hardware.memory_gib * GIB
        self._logical_cores = machine.hardware.cores * 2

    def sample(self, moment: Moment) -> bytes:
        """The sample that the machine's agent takes at a moment, as a JSON object."""
        return self._template % self._numbers(self.behaviour.vitals(moment))

    def _numbers(self, vitals: Vitals) -> Mapping[bytes, Any]:
        machine = self.behaviour.machine
        cores = ",".join([f"{100 * load:.1f}" for load in vitals.core_loads])
        numbers: dict[bytes, Any] = {
            b"at": b'"%s"' % to_text(vitals.at).encode(),
            b"cpu": 100 * vitals.load,
            b"memory": 100 * vitals.memory,
            b"available": self._memory_bytes * (1 - vitals.memory),
            b"average": vitals.load_average,
            b"uptime": vitals.uptime_seconds,
            b"celsius": vitals.cpu_celsius,
            b"gpu": vitals.gpu_celsius,
            b"tx": vitals.bytes_tx,
            b"rx": vitals.bytes_rx,
            b"read": vitals.bytes_tx // SENT_PER_READ_BYTE,
            b"packets_tx": vitals.bytes_tx // BYTES_PER_PACKET,
            b"packets_rx": vitals.bytes_rx // BYTES_PER_PACKET,
            b"cores": ",".join([cores] * self._core_rows).encode(),
        }
        for place, disk in enumerate(machine.disks):
            fill = disk.fill + vitals.disk_shift
            numbers[b"fill%d" % place], numbers[b"used%d" % place] = 100 * fill, fill * disk.total_bytes
        for place, weight in enumerate(PROCESS_WEIGHTS):
            numbers[b"process%d" % place] = 100 * vitals.load * self._logical_cores * weight
        return numbers


def batch(samples: Iterable[bytes]) -> bytes:
    """The body of one request."""
    return b'{"samples":[' + b",".join(samples) + b"]}"


def _sample(machine: Machine, command_policy: str) -> dict[str, Any]:
    """A sample with a mark `<<name)format>>` in place of each changing value."""
    hardware, speed = machine.hardware, machine.link_mbps
    interface = "Ethernet0" if machine.is_switch else "eno1"
    temperatures = {"coretemp:Package id 0": "<<celsius).1f>>"}
    if machine.gpu_load is not None:
        temperatures["amdgpu:edge"] = "<<gpu).1f>>"
    return {
        "hostname": machine.hostname,
        "timestamp": "<<at)s>>",
        "cpu_load": "<<cpu).1f>>",
        "memory_used_percent": "<<memory).1f>>",
        "load_average": "<<average).2f>>",
        "uptime_seconds": "<<uptime).1f>>",
        "agent_version": AGENT_VERSION,
        "platform": "Linux-x86_64",
        "cpu_temperature": "<<celsius).1f>>",
        **({"gpu_temperature": "<<gpu).1f>>"} if machine.gpu_load is not None else {}),
        "net_bytes_tx": "<<tx)d>>",
        "net_bytes_rx": "<<rx)d>>",
        **({} if machine.is_switch else {"disk_read_bytes": "<<read)d>>"}),
        "ip": machine.ip,
        "rack": machine.rack,
        "memory_total_bytes": hardware.memory_gib * GIB,
        "memory_available_bytes": "<<available)d>>",
        "system_manufacturer": hardware.manufacturer,
        "system_model": hardware.model,
        "bios_version": hardware.bios,
        "cpu_model": hardware.cpu,
        "os_distro": hardware.distro,
        "os_release": hardware.release,
        "os_kernel": hardware.kernel,
        "cpu_physical_cores": hardware.cores,
        "cpu_logical_cores": hardware.cores * 2,
        "primary_interface_speed_mbps": speed,
        "tags": {
            "display_name": machine.display_name,
            "role": machine.role,
            "room": machine.room,
            "tier": machine.tier,
            "uplink": machine.uplink,
            "primary_interface": interface,
            "primary_interface_speed_mbps": str(speed),
        },
        "cpu_per_core": ["<<cores)s>>"],
        "swap_used_percent": 0.0 if machine.is_switch else 1.6,
        "disks": [
            {
                "device": disk.device,
                "mountpoint": disk.mountpoint,
                "fstype": disk.fstype,
                "total_bytes": disk.total_bytes,
                "used_bytes": f"<<used{place})d>>",
                "used_percent": f"<<fill{place}).1f>>",
            }
            for place, disk in enumerate(machine.disks)
        ],
        "interfaces": [
            {
                "name": interface,
                "bytes_sent": "<<tx)d>>",
                "bytes_recv": "<<rx)d>>",
                "packets_sent": "<<packets_tx)d>>",
                "packets_recv": "<<packets_rx)d>>",
                "errin": 0,
                "errout": 0,
                "dropin": 0,
                "dropout": 0,
                "speed_mbps": speed,
                "is_up": True,
            }
        ],
        "temperatures": temperatures,
        "top_processes": [
            {
                "pid": pid_of(machine, place),
                "name": name,
                "username": user,
                "cpu_percent": f"<<process{place}).1f>>",
                "memory_percent": round(100 * machine.memory * PROCESS_MEMORY_WEIGHTS[place], 2),
            }
            for place, (name, user) in enumerate(machine.processes)
        ],
        "command_policy": command_policy,
    }


def pid_of(machine: Machine, place: int) -> int:
    """The pid of a machine's process, always the same."""
    return 400 + zlib.crc32(f"{machine.hostname} {place}".encode()) % 60_000
