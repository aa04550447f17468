"""The open alerts, in memory, so that no sample asks the database. Only the owner changes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mirror_stage.alerts.domain import Alert, Key, Transition, worst

_NONE: Mapping[Key, Alert] = {}


class OpenAlerts:
    """At most one open alert for each host, rule and subject."""

    def __init__(self) -> None:
        self._by_host: dict[str, dict[Key, Alert]] = {}

    def of(self, hostname: str) -> Mapping[Key, Alert]:
        """A host's open alerts by rule and subject."""
        return self._by_host.get(hostname, _NONE)

    def all(self) -> list[Alert]:
        """Every open alert, newest first."""
        alerts = [alert for alerts in self._by_host.values() for alert in alerts.values()]
        return sorted(alerts, key=lambda alert: (alert.created_at, alert.id), reverse=True)

    def severity_of(self, hostname: str) -> str | None:
        """The worst severity of a host's open alerts; None if there are none."""
        return worst(iter(self.of(hostname).values()))

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Put alerts in as they were saved."""
        for alert in alerts:
            self._by_host.setdefault(alert.hostname, {})[alert.key] = alert

    def apply(self, transitions: Iterable[Transition]) -> None:
        """Keep the alerts that are active after these transitions, drop those that are resolved."""
        for transition in transitions:
            alert = transition.alert
            open_alerts = self._by_host.setdefault(alert.hostname, {})
            if alert.status == "active":
                open_alerts[alert.key] = alert
            else:
                open_alerts.pop(alert.key, None)
                if not open_alerts:
                    del self._by_host[alert.hostname]
