"""Questions about alerts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent

from mirror_stage.alerts import store
from mirror_stage.alerts.domain import Alert
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.instants import Instant
from mirror_stage.storage.db import Storage

ENDED_MAX = 1_000_000  # alerts that are kept beside the active ones, at most
PRUNED_AT_ONCE = 500


class AlertService:
    """The active alerts from memory, all of them from the database.

    `until_recorded` returns when what happened before it was called is in the database. `kept` is how long those that
    ended are kept.
    """

    def __init__(self, storage: Storage, open_alerts: OpenAlerts, until_recorded: Callable[[], None], kept: Instant):
        self._storage, self._open_alerts, self._until_recorded = storage, open_alerts, until_recorded
        self._kept = kept

    def active(self) -> list[Alert]:
        """The active alerts, newest first."""
        return self._open_alerts.all()

    def page(self, filters: dict[str, str], page: int, page_size: int) -> tuple[list[Alert], int]:
        """One page of all alerts, newest first, and how many there are."""
        self._until_recorded()  # what fired a moment ago is part of the answer
        stored, total = self._storage.read(lambda tx: store.page(tx, filters, (page - 1) * page_size, page_size))
        open_by_id = {alert.id: alert for alert in self._open_alerts.all()}  # whose values move in memory only
        return [open_by_id.get(alert.id, alert) for alert in stored], total

    def prune(self, now: Instant) -> None:
        """Remove alerts that ended long ago, or are more than ENDED_MAX, in small steps."""
        prune = partial(store.prune, edge=now - self._kept, most_kept=ENDED_MAX, most=PRUNED_AT_ONCE)
        while self._storage.own.write(prune) == PRUNED_AT_ONCE:
            gevent.sleep(0)
