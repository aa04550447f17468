"""What Prometheus may scrape, in the form of its HTTP service discovery. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mirror_stage.twin.domain import Host

_PORT = {"http": 80, "https": 443}


def of_ego(scheme: str, authority: str) -> list[dict[str, Any]]:
    """EGO itself, at the address at which the client has reached it."""
    has_port = authority.rpartition("]")[2].count(":") == 1
    address = authority if has_port else f"{authority}:{_PORT[scheme]}"
    return [{"targets": [address], "labels": {"__scheme__": scheme, "__metrics_path__": "/metrics"}}]


def of_hosts(hosts: Iterable[Host], port: int) -> list[dict[str, Any]]:
    """A program on each host that an agent reports, at this port. `instance` is the hostname, as in the figures of the fleet."""
    found = []
    for host in hosts:
        if host.sample is None or host.ip is None:
            continue
        known = {
            "instance": host.hostname,
            "rack": host.sample.rack,
            "room": host.tags.get("room"),
            "role": str(host.role),
            "__meta_mirror_stage_status": host.status,
            "__meta_mirror_stage_platform": host.sample.platform,
            "__meta_mirror_stage_tier": host.tags.get("tier"),
        }
        address = f"[{host.ip}]" if ":" in host.ip else host.ip
        labels = {name: str(value) for name, value in known.items() if value}
        found.append({"targets": [f"{address}:{port}"], "labels": labels})
    return found
