"""Questions about alerts."""

from __future__ import annotations

from collections.abc import Callable

from mirror_stage.alerts import store
from mirror_stage.alerts.domain import Alert, Rule
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.storage.db import Storage


class AlertService:
    """The active alerts from memory, all of them from the database."""

    def __init__(self, storage: Storage, rules: tuple[Rule, ...], open_alerts: OpenAlerts, save: Callable[[], object]):
        self._storage, self.rules, self._open_alerts, self._save = storage, rules, open_alerts, save

    def active(self) -> list[Alert]:
        """The active alerts, newest first."""
        return self._open_alerts.all()

    def page(self, filters: dict[str, str], page: int, page_size: int) -> tuple[list[Alert], int]:
        """One page of all alerts, newest first, and how many there are."""
        self._save()  # what fired a moment ago is part of the answer
        stored, total = self._storage.read(lambda tx: store.page(tx, filters, (page - 1) * page_size, page_size))
        open_by_id = {alert.id: alert for alert in self._open_alerts.all()}  # whose values move in memory only
        return [open_by_id.get(alert.id, alert) for alert in stored], total
