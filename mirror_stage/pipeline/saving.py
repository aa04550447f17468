"""Saves the twin and the alerts: transitions of alerts and identities of hosts at once, values of hosts every few seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent import monkey
from gevent.lock import BoundedSemaphore

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import Alert, Transition
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import BadRow, Problem
from mirror_stage.pipeline.outbox import Outbox
from mirror_stage.storage import notes
from mirror_stage.storage.db import Lane, Tx, attempt
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import Host, Identity
from mirror_stage.twin.state import Twin

log = logging.getLogger(__name__)

DETAILS_EVERY: Instant = 30 * SECOND
HOSTS_AT_ONCE = 250  # in one transaction, some milliseconds: the commit of samples waits for it
TRANSITIONS_AT_ONCE = 250  # for the same reason
RECORDED_WITHIN_SECONDS = 1.0  # a reader waits at most this long until recent changes are in the database


@dataclass(slots=True)
class Saved:
    """When a host's details were last saved, with which hardware. So they are written rarely."""

    at: Instant
    hardware: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes. `details` are the hosts whose details are due."""

    transitions: Sequence[Transition] = ()
    identities: Sequence[Identity] = ()
    hosts: Sequence[Host] = ()
    details: Sequence[Host] = ()
    saved_until: Instant | None = None
    position: str | None = None
    waiting: Mapping[str, Sequence[Alert]] = field(default_factory=dict)  # alerts of which something waits, by host

    def write(self, tx: Tx, now: Instant) -> None:
        twin_store.save(tx, self.hosts)
        twin_store.save_identities(tx, self.identities)
        details = {host.id: msgspec.json.encode(host.sample.details).decode() for host in self.details if host.sample}
        twin_store.save_details(tx, details, now)
        alert_store.record(tx, self.transitions)
        alert_store.save_waits(tx, self.waiting)
        if self.saved_until is not None:
            notes.write(tx, notes.SAVED_AT, str(self.saved_until))
        if self.position is not None:
            notes.write(tx, notes.SAVED_POSITION, self.position)

    def parts(self) -> list[tuple[str, Batch]]:
        """One batch for each row, with a name for the log."""
        found = [(host.hostname, Batch(hosts=[host])) for host in self.hosts]
        found += [(f"identity of host {one.host_id}", Batch(identities=[one])) for one in self.identities]
        found += [(host.hostname, Batch(details=[host])) for host in self.details]
        found += [(one.alert.message, Batch(transitions=[one])) for one in self.transitions]
        found += [(f"what waits of {name}", Batch(waiting={name: alerts})) for name, alerts in self.waiting.items()]
        return [*found, ("the time of saving", Batch(saved_until=self.saved_until, position=self.position))]


class Saver:
    """Writes alerts with their transitions, identities, hosts, and from time to time their details.

    `is_degraded` says whether the last commit of samples failed; `recovered` is called when a save succeeds.
    `arrived_until` returns an instant: every sample that arrived before it is in the twin. A start replays later ones.
    `position` says the same of the cluster's stream. `waiting_of` returns the alerts of a host of which something waits.
    """

    def __init__(
        self,
        storage: Lane,
        twin: Twin,
        outbox: Outbox,
        clock: Clock,
        *,
        is_degraded: Callable[[], bool],
        recovered: Callable[[], None],
        arrived_until: Callable[[], Instant] | None = None,
        position: Callable[[], str | None] = lambda: None,
        waiting_of: Callable[[str], Sequence[Alert]] = lambda _hostname: (),
    ):
        self._storage, self._twin, self._outbox, self._clock = storage, twin, outbox, clock
        self._is_degraded, self._recovered = is_degraded, recovered
        self._arrived_until, self._position = arrived_until or clock.now, position
        self._waiting_of = waiting_of
        self._without_waits: set[str] = set()  # hosts of which the database has nothing that waits
        self._details: dict[int, Saved] = {}
        self._saving = BoundedSemaphore(1)
        self._begun = self._ended = 0  # how many writes, also failed ones
        self._failed = False

    def record(self) -> None:
        """Write the transitions of alerts that wait and the new identities of hosts, then tell the listeners.

        An alert is committed together with its host, so that after a kill no sample is judged twice. While another
        write runs, this does nothing: the next call writes what waits.
        """
        if self._saving.locked() or not self._has_something():
            return
        with self._saving:
            self._write()

    def save(self, *, is_last: bool = False) -> bool:
        """Write what `record` writes, and every host that changed since the last save; whether it succeeded.

        It writes a piece of the hosts at a time, so that samples need not wait for all of them. If a piece fails, its
        hosts and those after it stay dirty: the next save writes them.
        """
        with self._saving:  # a job and a removal may save at the same time; the older save must not end last
            saved_until, position, dirty = self._arrived_until(), self._position(), self._twin.take_dirty()
            if not dirty and not self._has_something(is_last=is_last) and not self._is_degraded():
                return True
            try:
                while len(dirty) > HOSTS_AT_ONCE:
                    if not self._write(dirty[:HOSTS_AT_ONCE]):
                        return False
                    dirty = dirty[HOSTS_AT_ONCE:]
                if not self._write(dirty, saved_until=saved_until, position=position, is_last=is_last):
                    return False
                dirty = []
            finally:
                self._twin.mark_dirty(dirty)  # those that were not written
            self._recovered()  # also if nobody sends samples: otherwise EGO would stay degraded until somebody does
            return True

    def finish(self, *, is_whole: bool) -> None:
        """Save for the last time before a clean stop. `is_whole`: all stored samples are in the twin, so the next start
        need not replay any."""
        if self.save(is_last=True) and is_whole:
            self._storage.write(lambda tx: notes.write(tx, notes.SAVED_WHOLE, "yes"))

    def until_recorded(self) -> None:
        """Wait until all earlier changes are in the database, for a second at most. Writes nothing itself."""
        if not monkey.is_module_patched("threading"):
            return  # without gevent each change is recorded at once
        wanted, deadline = self._begun + 1, elapsed_seconds() + RECORDED_WITHIN_SECONDS
        while self._has_something() and self._ended < wanted and not self._failed and elapsed_seconds() < deadline:
            gevent.sleep(0.01)

    def _has_something(self, *, is_last: bool = False) -> bool:
        has_identities = self._twin.has_new_identities(self._clock.now(), is_last=is_last)
        return self._begun > self._ended or bool(self._outbox) or has_identities

    def _write(
        self,
        names: Collection[str] = (),
        *,
        saved_until: Instant | None = None,
        position: str | None = None,
        is_last: bool = False,
    ) -> bool:
        """Write these hosts as they are now, the waiting transitions and the new identities; whether it succeeded.

        If many transitions wait, it writes the older ones before, a piece at a time.
        """
        while len(self._outbox) > TRANSITIONS_AT_ONCE:
            if not self._write_piece(TRANSITIONS_AT_ONCE):
                return False
        self._begun += 1
        try:
            return self._write_piece(None, names, saved_until=saved_until, position=position, is_last=is_last)
        finally:
            self._ended = self._begun

    def _write_piece(
        self,
        most: int | None,
        names: Collection[str] = (),
        *,
        saved_until: Instant | None = None,
        position: str | None = None,
        is_last: bool = False,
    ) -> bool:
        """Write at most so many of the transitions that wait, and the rest of what `_write` writes; whether it succeeded."""
        now = self._clock.now()
        transitions, identities = self._outbox.transitions(most), self._twin.take_identities(now, is_last=is_last)
        hosts = self._twin.present(names)
        due = [host for host in hosts if self._details_are_due(host, now)]
        hosts += self._twin.present({one.alert.hostname for one in transitions}.difference(names))
        try:
            waiting = self._waiting(hosts)
            self._commit(Batch(transitions, identities, hosts, due, saved_until, position, waiting), now)
        except BaseException as why:
            self._twin.mark_dirty(host.hostname for host in hosts)
            self._twin.mark_identities(identities)
            if not isinstance(why, Problem | BadRow):
                raise
            self._outbox.hurry(now, patience=0)
            self._outbox.bound()
            if not self._failed:
                log.warning("the twin could not be saved; EGO will try again: %s", why)
            self._failed = True
            return False
        if self._failed:
            log.info("the twin is saved again")
        self._failed = False
        self._outbox.stored(len(transitions))
        self._without_waits -= waiting.keys()
        self._without_waits |= {name for name, alerts in waiting.items() if not alerts}
        for host in due:
            self._details[host.id] = Saved(now, _hardware(host))
        return True

    def _waiting(self, hosts: Iterable[Host]) -> dict[str, Sequence[Alert]]:
        """What waits of these hosts: those of which something does, or of which the database may have something."""
        found = {host.hostname: self._waiting_of(host.hostname) for host in hosts}
        return {name: alerts for name, alerts in found.items() if alerts or name not in self._without_waits}

    def _commit(self, batch: Batch, now: Instant) -> None:
        try:
            self._storage.write(lambda tx: batch.write(tx, now))
        except BadRow:
            self._storage.write(lambda tx: self._write_each(tx, batch, now))

    @staticmethod
    def _write_each(tx: Tx, batch: Batch, now: Instant) -> None:
        """Write row by row: a row that the database refuses is logged, and the others are still written."""
        for name, part in batch.parts():
            try:
                attempt(tx, partial(part.write, now=now))
            except BadRow as why:
                log.error("the database refuses to save %s: %s", name, why)

    def _details_are_due(self, host: Host, now: Instant) -> bool:
        if host.sample is None or host.sample.details is None:
            return False
        saved = self._details.get(host.id)
        return saved is None or now - saved.at >= DETAILS_EVERY or saved.hardware != _hardware(host)


def _hardware(host: Host) -> tuple[Any, ...]:
    """The details of a host that rarely change."""
    details = host.sample.details if host.sample is not None else None
    return (
        getattr(details, "cpu_model", None),
        getattr(details, "os_kernel", None),
        getattr(details, "memory_total_bytes", None),
    )
