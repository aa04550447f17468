"""Answers queries about the twin, and removes hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mirror_stage.access.domain import Actor
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import NotFound
from mirror_stage.twin.domain import Host
from mirror_stage.twin.encode import host_detail, host_entry
from mirror_stage.twin.frames import Frames


class TwinService:
    """The twin as REST shows it.

    Four functions come from other rooms. `refresh` asks the owner for a new frame, `forget` to remove a host for an actor.
    `body_at` is the snapshot at a moment of the past. `is_settled` says whether that snapshot can no longer change.
    """

    def __init__(
        self,
        frames: Frames,
        *,
        refresh: Callable[[Instant | None], None],
        forget: Callable[[str, Actor], None],
        body_at: Callable[[Instant], bytes],
        is_settled: Callable[[Instant], bool],
    ):
        self._frames, self._refresh = frames, refresh
        self.forget, self.body_at, self.is_settled = forget, body_at, is_settled

    @property
    def frames(self) -> Frames:
        """The newest frame, however old it is."""
        return self._frames

    def shown(self, after: Instant | None = None) -> Frames:
        """The newest frame. It is at most 1 ms old for each 50 hosts; what was acknowledged before that is in it.

        With `after`, what was acknowledged with this `receivedAt` is in it, unless that takes longer than 2 s.
        """
        self._refresh(after)
        return self._frames

    def find_hosts(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """The entries of the hosts that match every filter: `status`, `rack`, `tag`, `takesCommands` and `search`."""
        return [host_entry(host) for host in self.shown().hosts() if _matches(host, query)]

    def host(self, hostname: str) -> Host | None:
        """A host as it is now; None if EGO does not know it. A host may be newer than the newest frame: then a new one is made."""
        return self.shown().host(hostname) or self.shown(after=0).host(hostname)

    def host_named(self, hostname: str) -> dict[str, Any]:
        """A host with its details, as it is now. Raises NotFound for an unknown host."""
        host = self.host(hostname)
        if host is None:
            raise NotFound(f"there is no host {hostname}; GET /api/hosts lists those that there are")
        return host_detail(host)


def _matches(host: Host, query: dict[str, Any]) -> bool:
    rack = host.sample.rack if host.sample is not None else None
    name, _, value = query.get("tag", "").partition(":")
    text = query.get("search", "").casefold()
    return (
        query.get("status") in {None, host.status}
        and query.get("rack") in {None, rack}
        and query.get("takesCommands") in {None, _takes_commands(host)}
        and (not name or (name in host.tags and (not value or host.tags[name] == value)))
        and any(text in part.casefold() for part in (host.hostname, host.display_name, host.ip or ""))
    )


def _takes_commands(host: Host) -> bool:
    policy = host.sample.command_policy if host.sample is not None else None
    return host.last_poll_at is not None and policy != "off"
