"""Restores the twin and the alerts at a start, then folds the samples that arrived after the last save."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import gevent
import msgspec

from mirror_stage.alerts import store as alert_store
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import MINUTE, SECOND, Instant
from mirror_stage.core.readiness import Readiness
from mirror_stage.history import store as history
from mirror_stage.metrics.decoder import SampleStruct
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.known_hosts import KnownHosts
from mirror_stage.pipeline.owner import Owner
from mirror_stage.storage import notes
from mirror_stage.storage.db import Lane, Tx
from mirror_stage.storage.pieces import Pace
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import CLOCK_SLACK, Host, Identity, Role, not_after
from mirror_stage.twin.frames import Frames

log = logging.getLogger(__name__)

WANDER: Instant = 5 * SECOND  # how much a host's offset (sample time minus arrival) may change after its last sample
# How long a sample may be on its way. Our agent gives up after 15 s, and sends a newer one first.
DELAYED: Instant = 30 * SECOND
AHEAD: Instant = 5 * MINUTE  # a sample's time may be this far ahead of its arrival
SOUGHT_MAX: Instant = 10 * MINUTE  # how much history is searched, at most, for hosts whose clocks are wrong
LOG_EVERY_SECONDS = 5.0
LOADED_AT_ONCE = 250  # hosts that are read at once: some milliseconds
SUMMED_AT_ONCE = 200  # hosts whose minutes are summed up in one read

Rows = list[tuple[int, dict[str, Any]]]


class Restorer:
    """Fills the owner's twin and alerts, and the edge's known hosts, from the database."""

    def __init__(
        self,
        storage: Lane,
        owner: Owner,
        known: KnownHosts,
        frames: Frames,
        readiness: Readiness,
        clock: Clock,
        unverified: Callable[[], Collection[str]] = tuple,
        fold_stream: Callable[[], bool] = lambda: False,
        hear_early: Callable[[], None] = lambda: None,
    ):
        """`fold_stream` folds what a cluster's stream has since the last save. False: it does not have all of that.

        `hear_early` folds what has happened during the restore.
        """
        self._storage, self._owner, self._known, self._frames = storage, owner, known, frames
        self._readiness, self._clock, self._unverified = readiness, clock, unverified
        self._fold_stream, self._hear_early = fold_stream, hear_early

    def restore(self) -> None:
        """Restore hosts and open alerts, then fold the samples that arrived after the last save. Then EGO is ready."""
        twin = self._owner.twin
        now = self._owner.begin()
        self._frames.twin_id = self._storage.write(notes.twin_id)
        self._storage.write(lambda tx: twin_store.register(tx, {twin.hub: None}, twin.hub))
        saved_at = self._storage.write(_unsaved_since)
        known = self._storage.read(lambda tx: twin_store.identities_at(tx, now))
        identities = {identity.host_id: identity for _, _, identity in known}
        unverified = self._unverified()
        for host, details in self._saved_hosts():
            if host.sample is not None:
                host.sample.is_unverified = host.hostname in unverified
            if host.sample is not None or host.role is Role.HUB:
                self._restore_host(host, details, identities.get(host.id), now)
        self._owner.open_alerts.restore(self._storage.read(alert_store.load_active))
        self._owner.open_alerts.restore_waits(self._storage.read(alert_store.load_waits))
        self._owner.end_orphaned_alerts()
        self._restore_minutes()
        if saved_at is not None:
            self._judge_first(saved_at)
            if not self._fold_stream():
                self._replay(saved_at, now)
        self._owner.is_live = True
        self._hear_early()
        for host in twin.hosts_by_name.values():
            self._known.adopt(host)
        twin.sweep(self._clock.now())
        self._frames.begin()  # until now clients have seen the last frame of the owner before
        self._owner.is_leading = self._readiness.is_restored = True
        self._owner.tick()

    def _saved_hosts(self) -> Iterator[tuple[Host, str | None]]:
        """Every saved host with its details, read in pieces, so that nobody has to wait for all of them."""
        twin, after = self._owner.twin, 0
        while True:
            ask = partial(twin_store.load, hub=twin.hub, ego=twin.ego, after=after, most=LOADED_AT_ONCE)
            some = self._storage.read(ask)
            yield from some
            if len(some) < LOADED_AT_ONCE:
                return
            after = some[-1][0].id
            gevent.sleep(0)

    def _restore_host(self, host: Host, details: str | None, identity: Identity | None, now: Instant) -> None:
        host = not_after(host, now)
        if host.role is Role.HUB and host.sample is None:
            host = replace(host, ip=self._owner.twin.hub_ip)
        if host.sample is not None and details is not None:
            host.sample.details = msgspec.json.decode(details, type=SampleStruct)
        self._owner.twin.restore(host, identity)

    def _restore_minutes(self) -> None:
        """Sum up again the minute under way of each host, up to its newest sample that is saved."""
        minutes = self._owner.minutes
        if not minutes.metrics:
            return
        hosts = {host.id: host for host in self._owner.twin.hosts_by_name.values() if host.sample is not None}
        newest = {host_id: host.sample.at for host_id, host in hosts.items() if host.sample is not None}
        wanted = [(host_id, at // MINUTE * 60, at) for host_id, at in newest.items()]
        for first in range(0, len(wanted), SUMMED_AT_ONCE):
            some = wanted[first : first + SUMMED_AT_ONCE]
            ask = partial(history.sums_until, wanted=some, metrics=minutes.metrics)
            for host_id, sums, counts in self._storage.read(ask):
                minutes.restore(hosts[host_id].hostname, newest[host_id] // MINUTE * MINUTE, sums, counts)
            gevent.sleep(0)

    def catch_up(self, since: Instant) -> None:
        """Fold what arrived since then, for an owner that may have missed samples of other edges."""
        twin = self._owner.twin
        if any(hostname not in twin.hosts_by_name for hostname, _ in self._storage.read(twin_store.ids)):
            for host, details in self._saved_hosts():
                if host.hostname not in twin.hosts_by_name and host.sample is not None:
                    self._restore_host(host, details, None, self._clock.now())
                    self._owner.judge_first(twin.hosts_by_name[host.hostname])
        self._replay(since, self._clock.now())

    def _judge_first(self, saved_at: Instant) -> None:
        """Judge the hosts that came after the last save."""
        for host in list(self._owner.twin.hosts_by_name.values()):
            if host.sample is not None and host.first_seen_at == host.sample.received_at >= saved_at:
                self._owner.judge_first(host)

    def _replay(self, saved_at: Instant, now: Instant) -> None:
        """Fold the samples that arrived after the last save, piece by piece. Older history costs no time."""
        hosts = self._owner.twin.hosts_by_name
        firsts = (host.sample.received_at for host in hosts.values() if host.sample is not None)
        saved_at = max(saved_at, min(firsts, default=now))  # a host is stored with its first sample
        samples = {host.id: host.sample for host in hosts.values() if host.sample}
        names = {host_id: sample.hostname for host_id, sample in samples.items()}
        arrivals = {host_id: sample.received_at for host_id, sample in samples.items()}
        folded, logged_at = 0, elapsed_seconds()
        for share, found in self._unsaved(saved_at, now, samples):
            rows = [(host_id, values) for host_id, values in found if values["received_at"] >= arrivals[host_id]]
            newest_rows = {(host_id, values["received_at"]): n for n, (host_id, values) in enumerate(rows)}
            for n, (host_id, values) in enumerate(rows):
                newest = hosts[names[host_id]].sample
                assert newest is not None
                is_newest = newest_rows[host_id, values["received_at"]] == n
                values["received_at"] = min(values["received_at"], now)
                values |= {"is_newest_of_request": is_newest, "is_whole": False}
                self._owner.absorb([_with(newest, values)])
            folded += len(rows)
            self._readiness.tell(share)
            if elapsed_seconds() - logged_at > LOG_EVERY_SECONDS:
                logged_at = elapsed_seconds()
                log.info("restoring, %.0f%%: %d samples replayed", share * 100, folded)
            gevent.sleep(0)

    def _unsaved(self, saved_at: Instant, now: Instant, samples: Mapping[int, Sample]) -> Iterator[tuple[float, Rows]]:
        """The samples that arrived at `saved_at` or later, as (share read so far: 0 to 1, rows in order of arrival).

        The history is ordered by the samples' own time. Hosts whose clocks agree with EGO's are read together, second
        after second. Samples of other hosts are searched for at the times that their own clocks showed.
        """
        end = self._storage.read(lambda tx: history.newest_second(tx, max(saved_at, now) + AHEAD))
        by_offset: dict[int, dict[int, Instant]] = {}
        for host_id, sample in samples.items():
            offset = sample.at - sample.received_at
            by_offset.setdefault(0 if abs(offset) <= CLOCK_SLACK else round(offset / CLOCK_SLACK), {})[host_id] = offset
        agreeing = by_offset.pop(0, {})
        first = (saved_at + min(agreeing.values(), default=0) - DELAYED) // SECOND
        last = first if end is None else max(first, end)
        second, pace = first, Pace(5, least=1, most=600)
        while second <= last:
            with pace.piece() as piece:
                until = min(second + piece.size - 1, last)
                ask = partial(history.received_since, since=saved_at, first=second, last=until)
                rows = self._storage.read(piece.timed(ask))
            second = until + 1
            yield (second - first) / (last + 1 - first), [row for row in rows if row[0] in agreeing]
        span = min(last * SECOND - saved_at, SOUGHT_MAX)
        for others in by_offset.values():
            start = (saved_at + min(others.values()) - DELAYED) // SECOND
            stop = (saved_at + span + max(others.values()) + WANDER) // SECOND
            ask = partial(history.received_since, since=saved_at, first=start, last=stop, host_ids=list(others))
            yield 1.0, self._storage.read(ask)


def _with(newest: Sample, values: Mapping[str, Any]) -> Sample:
    """A sample like the newest one, with other values."""
    sample = copy(newest)
    for name, value in values.items():
        setattr(sample, name, value)
    return sample


def _unsaved_since(tx: Tx) -> Instant | None:
    """Since when arrivals are missing from the saved twin: 0 if it was never saved, None if a clean stop saved all."""
    is_whole, saved_at = notes.read(tx, notes.SAVED_WHOLE), notes.read(tx, notes.SAVED_AT)
    notes.forget(tx, notes.SAVED_WHOLE)
    return None if is_whole is not None else int(saved_at or 0)
