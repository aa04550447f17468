"""The open alerts, in memory, so that no sample asks the database. Only the pipeline changes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mirror_stage.alerts.domain import Alert, Transition, worst

_NONE: Mapping[str, Alert] = {}


class OpenAlerts:
    """At most one active alert a host and rule; and which of them the database does not have yet."""

    def __init__(self) -> None:
        self._by_host: dict[str, dict[str, Alert]] = {}
        self._dirty: dict[str, Alert] = {}

    def of(self, hostname: str) -> Mapping[str, Alert]:
        """A host's open alerts by rule name."""
        return self._by_host.get(hostname, _NONE)

    def all(self) -> list[Alert]:
        """Every open alert, newest first."""
        alerts = [alert for alerts in self._by_host.values() for alert in alerts.values()]
        return sorted(alerts, key=lambda alert: (alert.created_at, alert.id), reverse=True)

    def severity_of(self, hostname: str) -> str | None:
        """The worst open alert of a host."""
        return worst(iter(self.of(hostname).values()))

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Put alerts in as they were saved."""
        for alert in alerts:
            self._by_host.setdefault(alert.hostname, {})[alert.metric] = alert

    def apply(self, transitions: Iterable[Transition]) -> None:
        """Take transitions in."""
        for transition in transitions:
            alert = transition.alert
            open_alerts = self._by_host.setdefault(alert.hostname, {})
            if alert.status == "active":
                open_alerts[alert.metric] = alert
            else:
                open_alerts.pop(alert.metric, None)
                if not open_alerts:
                    del self._by_host[alert.hostname]
            if transition.kind != "moved":
                self._dirty[alert.id] = alert

    def take_dirty(self) -> list[Alert]:
        """The alerts that changed since the last call."""
        dirty, self._dirty = list(self._dirty.values()), {}
        return dirty

    def mark_dirty(self, alerts: Iterable[Alert]) -> None:
        """They could not be saved: try again, unless they changed since."""
        for alert in alerts:
            known = self._dirty.get(alert.id)
            if known is None or known.version < alert.version:
                self._dirty[alert.id] = alert
