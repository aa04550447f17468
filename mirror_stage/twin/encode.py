"""The twin as bytes for the wire: hosts, links, snapshot, delta. A test holds them against the OpenAPI schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from mirror_stage.core.instants import Instant, to_optional_text, to_text
from mirror_stage.twin.domain import STATUS_CODES, Host, Role, clamped

GAUGE_COLUMNS = (
    "cpuLoad", "memoryUsedPercent", "loadAverage", "cpuTemperature", "gpuTemperature", "rxGbps", "txGbps", "utilization",
)  # fmt: skip
_NO_METRICS = dict.fromkeys(
    (
        "cpuLoad", "memoryUsedPercent", "loadAverage", "uptimeSeconds", "cpuTemperature", "gpuTemperature", "memoryTotalBytes",
        "memoryAvailableBytes", "swapUsedPercent", "netBytesTx", "netBytesRx", "netThroughputGbps", "netCapacityGbps",
    )
)  # fmt: skip


def host_entry(host: Host) -> dict[str, Any]:
    """A host as the snapshot shows it. Every key is always there; unknown is None."""
    sample, tags = host.sample, host.tags
    name, rack = host.display_name, (sample.rack if sample is not None else None)
    x, y, z = host.position
    return {
        "hostname": host.hostname,
        "displayName": name,
        "label": "\n".join(part for part in (name, host.ip, rack) if part),
        "role": host.role,
        "ip": host.ip,
        "status": host.status,
        "severity": host.severity,
        "isSynthetic": host.is_synthetic,
        "lastSeen": to_optional_text(host.last_seen_at),
        "agentVersion": sample.agent_version if sample is not None else "virtual",
        "platform": sample.platform if sample is not None else "virtual-switch",
        "rack": rack,
        "room": tags.get("room"),
        "tier": tags.get("tier"),
        "uplink": host.uplink,
        "position": {"x": x, "y": y, "z": z},
        "positionSource": host.position_source,
        "metrics": _metrics(host),
    }


def _metrics(host: Host) -> dict[str, Any]:
    sample = host.sample
    if sample is None:
        rx, tx = host.gauges[5], host.gauges[6]
        return _NO_METRICS | {"netThroughputGbps": rx + tx if rx is not None and tx is not None else None}
    return {
        "cpuLoad": sample.cpu_load,
        "memoryUsedPercent": sample.memory_used_percent,
        "loadAverage": sample.load_average,
        "uptimeSeconds": sample.uptime_seconds,
        "cpuTemperature": sample.cpu_temperature,
        "gpuTemperature": sample.gpu_temperature,
        "memoryTotalBytes": sample.memory_total_bytes,
        "memoryAvailableBytes": sample.memory_available_bytes,
        "swapUsedPercent": sample.swap_used_percent,
        "netBytesTx": sample.net_bytes_tx,
        "netBytesRx": sample.net_bytes_rx,
        "netThroughputGbps": host.rates.tx_gbps + host.rates.rx_gbps if host.rates is not None else None,
        "netCapacityGbps": sample.net_capacity_gbps,
    }


def full_entry(host: Host) -> dict[str, Any]:
    """A host as the snapshot shows it to clients that ask for diagnostics: with hardware, and the load of each core."""
    detail = host_detail(host)
    entry = {name: detail[name] for name in (*host_entry(host), "hardware", "diagnostics")}
    entry["metrics"] = entry["metrics"] | {"cpuPerCore": detail["diagnostics"]["cpuPerCore"]}
    return entry


def link_entry(host: Host) -> dict[str, Any]:
    """The link from a host's uplink to it. Old clients expect numbers, so an unmeasured link shows 0 and says so."""
    rates, capacity = host.rates, (host.sample.net_capacity_gbps if host.sample is not None else None)
    return {
        "id": f"{host.uplink}::{host.hostname}",
        "source": host.uplink,
        "target": host.hostname,
        "throughputGbps": rates.tx_gbps + rates.rx_gbps if rates is not None else 0,
        "rxGbps": rates.rx_gbps if rates is not None else 0,
        "txGbps": rates.tx_gbps if rates is not None else 0,
        "utilization": clamped(host.utilization) if host.utilization is not None else 0,
        "capacityGbps": capacity,
        "measured": rates is not None,
    }


def host_detail(host: Host) -> dict[str, Any]:
    """A host with its hardware and diagnostics, as `GET /api/hosts/<hostname>` answers."""
    sample = host.sample
    told = sample.details if sample is not None else None
    return host_entry(host) | {
        "hardware": {name: getattr(told, source, None) for name, source in _HARDWARE},
        "diagnostics": {
            "cpuPerCore": getattr(told, "cpu_per_core", None),
            "swapUsedPercent": sample.swap_used_percent if sample is not None else None,
            "disks": _rows(told, "disks", _DISK),
            "interfaces": _rows(told, "interfaces", _INTERFACE),
            "topProcesses": _rows(told, "top_processes", _PROCESS),
            "temperatures": getattr(told, "temperatures", None),
            "tags": dict(host.tags),
        },
        "firstSeen": to_optional_text(host.first_seen_at),
        "reportedAt": to_optional_text(sample.reported_at) if sample is not None else None,
        "commandPolicy": sample.command_policy if sample is not None else None,
        "lastPollAt": to_optional_text(host.last_poll_at),
    }


_HARDWARE = (
    ("systemManufacturer", "system_manufacturer"), ("systemModel", "system_model"), ("biosVersion", "bios_version"),
    ("cpuModel", "cpu_model"), ("cpuPhysicalCores", "cpu_physical_cores"), ("cpuLogicalCores", "cpu_logical_cores"),
    ("memoryTotalBytes", "memory_total_bytes"), ("osDistro", "os_distro"), ("osRelease", "os_release"), ("osKernel", "os_kernel"),
)  # fmt: skip
_DISK = (
    ("device", "device"), ("mountpoint", "mountpoint"), ("fstype", "fstype"), ("totalBytes", "total_bytes"),
    ("usedBytes", "used_bytes"), ("usedPercent", "used_percent"),
)  # fmt: skip
_INTERFACE = (
    ("name", "name"), ("bytesSent", "bytes_sent"), ("bytesRecv", "bytes_recv"), ("packetsSent", "packets_sent"),
    ("packetsRecv", "packets_recv"), ("errIn", "errin"), ("errOut", "errout"), ("dropIn", "dropin"), ("dropOut", "dropout"),
    ("speedMbps", "speed_mbps"), ("isUp", "is_up"),
)  # fmt: skip
_PROCESS = (
    ("pid", "pid"), ("name", "name"), ("username", "username"), ("cpuPercent", "cpu_percent"), ("memoryPercent", "memory_percent"),
)  # fmt: skip


def _rows(told: Any, member: str, columns: Sequence[tuple[str, str]]) -> list[dict[str, Any]] | None:
    rows = getattr(told, member, None)
    return None if rows is None else [{name: getattr(row, source) for name, source in columns} for row in rows]


class Fragments:
    """Each host's and link's JSON, encoded again only when the host changed. `entry` makes the host's."""

    def __init__(self, entry: Callable[[Host], dict[str, Any]] = host_entry) -> None:
        self._entry = entry
        self._by_slot: dict[int, tuple[Host, bytes, bytes]] = {}

    def of(self, host: Host) -> tuple[bytes, bytes]:
        """(the host's entry, its link's entry or nothing)."""
        known = self._by_slot.get(host.id)
        if known is None or known[0] is not host:
            link = orjson.dumps(link_entry(host)) if host.role != Role.HUB else b""
            known = self._by_slot[host.id] = (host, orjson.dumps(self._entry(host)), link)
        return known[1], known[2]

    def drop(self, slot: int) -> None:
        """Forget a host that left."""
        self._by_slot.pop(slot, None)


def snapshot(head: Mapping[str, Any], hosts: Iterable[Host], fragments: Fragments, *, with_slots: bool) -> bytes:
    """The whole twin; the hub first. `head` is `type`, `twinId`, `epoch`, `revision` and `generatedAt`."""
    entries, links = [], []
    for host in hosts:
        entry, link = fragments.of(host)
        entries.append(with_slot(entry, host.id) if with_slots else entry)
        if link:
            links.append(with_slot(link, host.id) if with_slots else link)
    return b'%b,"hosts":[%b],"links":[%b]}' % (orjson.dumps(head)[:-1], b",".join(entries), b",".join(links))


def with_slot(entry: bytes, slot: int) -> bytes:
    """An encoded object with its integer `slot`."""
    return b'%b,"slot":%d}' % (entry[:-1], slot)


def delta(
    head: Mapping[str, Any],
    removed: Sequence[int],
    upserted: Sequence[Host],
    touched: Sequence[Host],
    fragments: Fragments,
    now: Instant,
) -> bytes:
    """What changed, in columns. `head` is `epoch`, `revision`, `previous` and `generatedAt`."""
    entries, links = [], []
    for host in upserted:
        entry, link = fragments.of(host)
        entries.append(with_slot(entry, host.id))
        if link:
            links.append(with_slot(link, host.id))
    columns: dict[str, Any] = {
        "slots": [host.id for host in touched],
        "status": [STATUS_CODES[host.status] for host in touched],
        "ageSeconds": [
            None if host.last_seen_at is None else round(max(0, now - host.last_seen_at) / 1000, 1) for host in touched
        ],
    }
    gauges = zip(*(host.gauges for host in touched), strict=True) if touched else ((),) * len(GAUGE_COLUMNS)
    columns |= dict(zip(GAUGE_COLUMNS, gauges, strict=True))
    return b'%b,"removed":%b,"upserted":{"hosts":[%b],"links":[%b]},%b' % (
        orjson.dumps(head)[:-1], orjson.dumps(removed), b",".join(entries), b",".join(links), orjson.dumps(columns)[1:],
    )  # fmt: skip


def head_of(epoch: str, revision: int, generated_at: Instant) -> dict[str, Any]:
    """What every frame begins with."""
    return {"epoch": epoch, "revision": revision, "generatedAt": to_text(generated_at)}
