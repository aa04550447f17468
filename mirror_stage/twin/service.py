"""Questions about the twin, answered from one frame."""

from __future__ import annotations

from typing import Any

from mirror_stage.errors import NotFound
from mirror_stage.twin.domain import Host
from mirror_stage.twin.encode import host_detail, host_entry
from mirror_stage.twin.state import Twin
from mirror_stage.twin.stream import Frames


def find_hosts(frames: Frames, query: dict[str, str]) -> list[dict[str, Any]]:
    """The entries of the hosts that match every filter: `status`, `rack`, `tag` and `search`."""
    return [host_entry(host) for host in frames.hosts() if _matches(host, query)]


def _matches(host: Host, query: dict[str, str]) -> bool:
    rack = host.sample.rack if host.sample is not None else None
    name, _, value = query.get("tag", "").partition(":")
    text = query.get("search", "").casefold()
    return (
        query.get("status") in {None, host.status}
        and query.get("rack") in {None, rack}
        and (not name or (name in host.tags and (not value or host.tags[name] == value)))
        and any(text in part.casefold() for part in (host.hostname, host.display_name, host.ip or ""))
    )


def host_named(twin: Twin, hostname: str) -> dict[str, Any]:
    """A host with its details, as it is now. Raises NotFound."""
    host = twin.hosts_by_name.get(hostname)
    if host is None:
        raise NotFound(f"there is no host {hostname}; GET /api/hosts lists those that there are")
    return host_detail(host)
