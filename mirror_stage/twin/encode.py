"""Encodes the twin for the wire: hosts, links, snapshot, delta. A test compares the result with the OpenAPI schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import orjson

from mirror_stage.core.instants import Instant, to_optional_text, to_text
from mirror_stage.metrics.measures import OF_SAMPLE, names_of, wires_of
from mirror_stage.twin.domain import GAUGES, STATUS_CODES, Host, Role, clamped

_IN_HOST = tuple(one for one in OF_SAMPLE if one.is_in_host)
_METRICS = wires_of(_IN_HOST)
_values = attrgetter(*names_of(_IN_HOST))


def host_entry(host: Host) -> dict[str, Any]:
    """A host as the snapshot shows it. Every key but `unverified` is always present; an unknown value is None."""
    sample, tags = host.sample, host.tags
    name, rack = host.display_name, (sample.rack if sample is not None else None)
    x, y, z = host.position
    entry = {
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
    if sample is not None and sample.is_unverified:
        entry["unverified"] = True
    return entry


def _metrics(host: Host) -> dict[str, Any]:
    """The metrics of a host, with the throughput of both directions. A hub that nobody reports has only the throughput."""
    throughput = host.rates.tx_gbps + host.rates.rx_gbps if host.rates is not None else None
    of_sample = (
        dict.fromkeys(_METRICS) if host.sample is None else dict(zip(_METRICS, _values(host.sample), strict=True))
    )
    return {**of_sample, "netThroughputGbps": throughput, "diskDaysToFull": host.days_to_full}


def full_entry(host: Host) -> dict[str, Any]:
    """A host as the snapshot with diagnostics shows it: with hardware, diagnostics and the load of each core."""
    detail = host_detail(host)
    entry = {name: detail[name] for name in (*host_entry(host), "hardware", "diagnostics")}
    entry["metrics"] = entry["metrics"] | {"cpuPerCore": detail["diagnostics"]["cpuPerCore"]}
    return entry


def link_entry(host: Host) -> dict[str, Any]:
    """The link from a host's uplink to it. Old clients expect numbers, so an unmeasured link has 0 and `measured: false`."""
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
    details = sample.details if sample is not None else None
    return host_entry(host) | {
        "hardware": {name: getattr(details, source, None) for name, source in _HARDWARE},
        "diagnostics": {
            "cpuPerCore": getattr(details, "cpu_per_core", None),
            "swapUsedPercent": sample.swap_used_percent if sample is not None else None,
            "disks": _rows(details, "disks", _DISK),
            "interfaces": _rows(details, "interfaces", _INTERFACE),
            "topProcesses": _rows(details, "top_processes", _PROCESS),
            "temperatures": getattr(details, "temperatures", None),
            "tags": dict(host.tags),
        },
        "firstSeen": to_optional_text(host.first_seen_at),
        "reportedAt": to_optional_text(sample.reported_at) if sample is not None else None,
        "commandPolicy": sample.command_policy if sample is not None else None,
        "lastPollAt": to_optional_text(host.last_poll_at),
        "pinned": list(sample.pinned) if sample is not None else [],
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


def _rows(details: Any, member: str, columns: Sequence[tuple[str, str]]) -> list[dict[str, Any]] | None:
    rows = getattr(details, member, None)
    return None if rows is None else [{name: getattr(row, source) for name, source in columns} for row in rows]


class Fragments:
    """The JSON of each host and its link, encoded again only when the host changed. `entry` makes the object of a host."""

    def __init__(self, entry: Callable[[Host], dict[str, Any]] = host_entry) -> None:
        self._entry = entry
        self._by_slot: dict[int, tuple[Host, bytes, bytes]] = {}

    def of(self, host: Host) -> tuple[bytes, bytes]:
        """(JSON of the host, JSON of its link). The link is empty for the hub."""
        known = self._by_slot.get(host.id)
        if known is None or known[0] is not host:
            link = orjson.dumps(link_entry(host)) if host.role != Role.HUB else b""
            known = self._by_slot[host.id] = (host, orjson.dumps(self._entry(host)), link)
        return known[1], known[2]

    def drop(self, slot: int) -> None:
        """Forget a host that left."""
        self._by_slot.pop(slot, None)


def snapshot(head: Mapping[str, Any], hosts: Iterable[Host], fragments: Fragments, *, with_slots: bool) -> bytes:
    """The JSON of the whole twin. `head` is `type`, `twinId`, `epoch`, `revision` and `generatedAt`."""
    entries, links = [], []
    for host in hosts:
        entry, link = fragments.of(host)
        entries.append(with_slot(entry, host.id) if with_slots else entry)
        if link:
            links.append(with_slot(link, host.id) if with_slots else link)
    return b'%b,"hosts":[%b],"links":[%b]}' % (orjson.dumps(head)[:-1], b",".join(entries), b",".join(links))


def with_slot(entry: bytes, slot: int) -> bytes:
    """The encoded object with the member `slot` added."""
    return b'%b,"slot":%d}' % (entry[:-1], slot)


def delta(
    head: Mapping[str, Any],
    removed: Sequence[int],
    upserted: Sequence[Host],
    touched: Sequence[Host],
    fragments: Fragments,
    now: Instant,
) -> bytes:
    """The JSON of the changes, in columns. `head` is `epoch`, `revision`, `previous` and `generatedAt`."""
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
    gauges = zip(*(host.gauges for host in touched), strict=True) if touched else ((),) * len(GAUGES)
    columns |= dict(zip(GAUGES, gauges, strict=True))
    return b'%b,"removed":%b,"upserted":{"hosts":[%b],"links":[%b]},%b' % (
        orjson.dumps(head)[:-1], orjson.dumps(removed), b",".join(entries), b",".join(links), orjson.dumps(columns)[1:],
    )  # fmt: skip


def head_of(epoch: str, revision: int, generated_at: Instant) -> dict[str, Any]:
    """The members that every frame begins with."""
    return {"epoch": epoch, "revision": revision, "generatedAt": to_text(generated_at)}
