"""Saving the twin and the open alerts: what changed since the last save, once a second."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from gevent.lock import BoundedSemaphore

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import Alert
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import BadRow, Problem
from mirror_stage.storage import notes
from mirror_stage.storage.db import Lane, Tx, attempt
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import Host, Identity
from mirror_stage.twin.state import Twin

log = logging.getLogger(__name__)

DETAILS_EVERY: Instant = 30 * SECOND


@dataclass(slots=True)
class Saved:
    """What the database has of a host's details, so that they are written rarely."""

    at: Instant
    hardware: tuple[Any, ...]


class Saver:
    """Writes hosts, alerts, and now and then details.

    `is_degraded` says whether the last commit of samples failed; `recovered` is called when a save goes through.
    `arrived_until` says before which instant everything that arrived is in the twin: a start replays what came later.
    """

    def __init__(
        self,
        storage: Lane,
        twin: Twin,
        open_alerts: OpenAlerts,
        clock: Clock,
        *,
        is_degraded: Callable[[], bool],
        recovered: Callable[[], None],
        arrived_until: Callable[[], Instant] | None = None,
    ):
        self._storage, self._twin, self._open_alerts, self._clock = storage, twin, open_alerts, clock
        self._is_degraded, self._recovered = is_degraded, recovered
        self._arrived_until = arrived_until or clock.now
        self._details: dict[int, Saved] = {}
        self._saving = BoundedSemaphore(1)

    def finish(self, *, is_whole: bool) -> None:
        """The last save of a clean stop. If all that was stored is in the twin, the next start need not replay it."""
        if self.save(is_last=True) and is_whole:
            self._storage.write(lambda tx: notes.write(tx, notes.SAVED_WHOLE, "yes"))

    def save(self, *, is_last: bool = False) -> bool:
        """Write what changed since the last save; whether that went well. What fails stays dirty."""
        with self._saving:  # a job, a question and a removal may come at once; an older save must not end last
            now, saved_until = self._clock.now(), self._arrived_until()
            hosts, alerts = self._twin.take_dirty(), self._open_alerts.take_dirty()
            identities = self._twin.take_identities(now, is_last=is_last)
            if not hosts and not alerts and not identities and not self._is_degraded():
                return True
            try:
                due = self._write_changes(hosts, alerts, identities, now, saved_until)
            except (Problem, BadRow) as why:
                self._twin.mark_dirty(hosts)
                self._twin.mark_identities(identities)
                self._open_alerts.mark_dirty(alerts)
                log.warning("the twin was not saved, it will be tried again: %s", why)
                return False
            self._recovered()  # even if nobody sends: who waits for readiness must not wait for ever
            for host in due:
                self._details[host.id] = Saved(now, _hardware(host))
            return True

    def _write_changes(
        self, hosts: list[Host], alerts: list[Alert], identities: list[Identity], now: Instant, saved_until: Instant
    ) -> list[Host]:
        """The hosts whose details were written too."""
        due = [host for host in hosts if self._details_are_due(host, now)]
        try:
            self._storage.write(lambda tx: self._save(tx, hosts, alerts, identities, due, now, saved_until))
        except BadRow:
            self._storage.write(lambda tx: self._save_each(tx, hosts, alerts, identities, due, now, saved_until))
        return due

    @staticmethod
    def _save(
        tx: Tx,
        hosts: list[Host],
        alerts: list[Alert],
        identities: list[Identity],
        due: list[Host],
        now: Instant,
        saved_until: Instant,
    ) -> None:
        twin_store.save(tx, hosts, saved_until)
        twin_store.save_identities(tx, identities)
        details = {host.id: msgspec.json.encode(host.sample.details).decode() for host in due if host.sample}
        twin_store.save_details(tx, details, now)
        alert_store.save(tx, alerts)

    def _save_each(
        self,
        tx: Tx,
        hosts: list[Host],
        alerts: list[Alert],
        identities: list[Identity],
        due: list[Host],
        now: Instant,
        saved_until: Instant,
    ) -> None:
        """Save one by one: a row that the database refuses is logged and does not hold the others up."""
        nothing: dict[str, Any] = {
            "hosts": [],
            "alerts": [],
            "identities": [],
            "due": [],
            "now": now,
            "saved_until": saved_until,
        }
        works = [(host.hostname, nothing | {"hosts": [host]}) for host in hosts]
        works += [(f"identity of host {one.host_id}", nothing | {"identities": [one]}) for one in identities]
        works += [(host.hostname, nothing | {"due": [host]}) for host in due]
        works += [(alert.message, nothing | {"alerts": [alert]}) for alert in alerts]
        for name, one in works:
            try:
                attempt(tx, partial(self._save, **one))
            except BadRow as why:
                log.error("the database refuses to save %s: %s", name, why)

    def _details_are_due(self, host: Host, now: Instant) -> bool:
        if host.sample is None or host.sample.details is None:
            return False
        saved = self._details.get(host.id)
        return saved is None or now - saved.at >= DETAILS_EVERY or saved.hardware != _hardware(host)


def _hardware(host: Host) -> tuple[Any, ...]:
    """What rarely changes of a host's details."""
    told = host.sample.details if host.sample is not None else None
    return (
        getattr(told, "cpu_model", None),
        getattr(told, "os_kernel", None),
        getattr(told, "memory_total_bytes", None),
    )
