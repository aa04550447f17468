"""Answers questions about alerts, and removes old ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent

from mirror_stage.alerts import store
from mirror_stage.alerts.domain import Alert
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.instants import Instant
from mirror_stage.storage.db import Storage

ENDED_MAX = 1_000_000  # how many resolved alerts are kept, at most
PRUNED_AT_ONCE = 500


class AlertService:
    """Reads the active alerts from memory, if the owner is in this process, and all alerts from the database.

    `until_recorded` waits until all earlier changes are in the database. `kept` is the retention of resolved alerts.
    """

    def __init__(
        self,
        storage: Storage,
        open_alerts: OpenAlerts,
        until_recorded: Callable[[], None],
        kept: Instant,
        *,
        is_here: Callable[[], bool] = lambda: True,
    ):
        self._storage, self._open_alerts, self._until_recorded = storage, open_alerts, until_recorded
        self._kept, self._is_here = kept, is_here

    def active(self) -> list[Alert]:
        """The active alerts, newest first."""
        if self._is_here():
            return self._open_alerts.all()
        self._until_recorded()
        return sorted(self._storage.read(store.load_active), key=lambda one: (one.created_at, one.id), reverse=True)

    def page(
        self, filters: dict[str, str], page: int, page_size: int, ended_by: Instant | None = None
    ) -> tuple[list[Alert], int]:
        """One page of all alerts, newest first, and how many there are. `ended_by`: of those that had ended by then."""
        self._until_recorded()  # so that the answer has the alerts that fired a moment ago
        stored, total = self._storage.read(
            lambda tx: store.page(tx, filters, (page - 1) * page_size, page_size, ended_by)
        )
        open_by_id = {alert.id: alert for alert in self._open_alerts.all()}  # only these have the newest values
        return [open_by_id.get(alert.id, alert) for alert in stored], total

    def prune(self, now: Instant) -> None:
        """Remove resolved alerts that are older than the retention or more than ENDED_MAX, in small steps."""
        prune = partial(store.prune, ended_before=now - self._kept, most_kept=ENDED_MAX, most=PRUNED_AT_ONCE)
        while self._storage.own.write(prune) == PRUNED_AT_ONCE:
            gevent.sleep(0)
