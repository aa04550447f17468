"""After a start: bring back everything that was known, then fold what came after the last save."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from mirror_stage.alerts import store as alert_store
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant
from mirror_stage.core.readiness import Readiness
from mirror_stage.history import store as history
from mirror_stage.metrics.decoder import SampleStruct
from mirror_stage.pipeline.known_hosts import KnownHosts
from mirror_stage.pipeline.owner import Owner
from mirror_stage.storage import notes
from mirror_stage.storage.db import Storage
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import Host, Identity, Role, not_after
from mirror_stage.twin.frames import Frames


class Restorer:
    """Fills the owner's twin and alerts, and the edge's known hosts, from the database."""

    def __init__(
        self,
        storage: Storage,
        owner: Owner,
        known: KnownHosts,
        frames: Frames,
        readiness: Readiness,
        clock: Clock,
    ):
        self._storage, self._owner, self._known, self._frames = storage, owner, known, frames
        self._readiness, self._clock = readiness, clock

    def restore(self) -> None:
        """Bring back hosts and open alerts, then fold the history that the last save has not seen. Then EGO is ready."""
        twin = self._owner.twin
        now = self._owner.started_at = self._clock.now()
        self._frames.twin_id = self._storage.write(twin_store.twin_id)
        self._storage.write(lambda tx: twin_store.register(tx, {twin.hub: None}, twin.hub))
        saved_at = self._storage.read(lambda tx: int(notes.read(tx, notes.SAVED_AT) or 0))
        known = self._storage.read(lambda tx: twin_store.identities_at(tx, now))
        identities = {identity.host_id: identity for _, _, identity in known}
        for host, details in self._storage.read(lambda tx: twin_store.load(tx, twin.hub, twin.ego)):
            if host.sample is not None or host.role is Role.HUB:
                self._restore_host(host, details, identities.get(host.id), now)
        self._owner.open_alerts.restore(self._storage.read(alert_store.load_active))
        self._owner.settle()
        self._replay(saved_at, now)
        for host in twin.hosts_by_name.values():
            self._known.restore(host.hostname, host.id, host.sample, host.last_poll_at)
        twin.sweep(self._clock.now())
        self._readiness.is_ready = True
        self._owner.tick()

    def _restore_host(self, host: Host, details: str | None, identity: Identity | None, now: Instant) -> None:
        host = not_after(host, now)
        if host.role is Role.HUB and host.sample is None:
            host = replace(host, ip=self._owner.twin.hub_ip)
        if host.sample is not None and details is not None:
            host.sample.details = msgspec.json.decode(details, type=SampleStruct)
        self._owner.twin.restore(host, identity)

    def _replay(self, saved_at: Instant, now: Instant) -> None:
        """Fold what arrived after the last save, as it came: of what a host sent at once the last is its newest."""
        hosts = self._owner.twin.hosts_by_name
        names = {host.id: host.hostname for host in hosts.values()}
        arrivals = {host.id: host.sample.received_at for host in hosts.values() if host.sample}
        rows = self._storage.read(lambda tx: history.received_since(tx, saved_at, names))
        rows = [(id, values) for id, values in rows if values["received_at"] >= arrivals.get(id, 0)]
        newest_rows = {(host_id, values["received_at"]): n for n, (host_id, values) in enumerate(rows)}
        for n, (host_id, values) in enumerate(rows):
            newest = hosts[names[host_id]].sample
            if newest is not None:
                is_newest = newest_rows[host_id, values["received_at"]] == n
                values["received_at"] = min(values["received_at"], now)
                self._owner.absorb([replace(newest, **values, is_newest_of_request=is_newest)])
