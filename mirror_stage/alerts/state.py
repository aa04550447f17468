"""The open alerts, in memory, so that no sample asks the database. Only the owner changes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mirror_stage.alerts.domain import ACTIVE, PENDING, Alert, Key, Transition, victims, worst

_NONE: Mapping[Key, Alert] = {}


class OpenAlerts:
    """At most one open alert for each host, rule and subject; and at most one that is pending: it waits to fire."""

    def __init__(self) -> None:
        self._by_host: dict[str, dict[Key, Alert]] = {}
        self._pending: dict[str, dict[Key, Alert]] = {}
        self._hidden: Counter[tuple[str, str]] | None = None  # as `victims` counts; None: it has changed

    def of(self, hostname: str) -> Mapping[Key, Alert]:
        """A host's open alerts by rule and subject."""
        return self._by_host.get(hostname, _NONE)

    def pending_of(self, hostname: str) -> Mapping[Key, Alert]:
        """A host's pending alerts by rule and subject."""
        return self._pending.get(hostname, _NONE)

    def each(self) -> Iterator[Alert]:
        """Every open alert, in no order."""
        return (alert for alerts in list(self._by_host.values()) for alert in list(alerts.values()))

    def now(self, alert: Alert) -> Alert | None:
        """An alert, open or pending, as it is now; None: it is over."""
        alerts = self.pending_of(alert.hostname) if alert.status == PENDING else self.of(alert.hostname)
        found = alerts.get(alert.key)
        return found if found is not None and found.id == alert.id else None

    def all_pending(self) -> list[Alert]:
        """Every pending alert."""
        return [alert for alerts in self._pending.values() for alert in alerts.values()]

    def all(self) -> list[Alert]:
        """Every open alert, newest first."""
        return sorted(self.each(), key=lambda alert: (alert.created_at, alert.id), reverse=True)

    def severity_of(self, hostname: str) -> str | None:
        """The worst severity of a host's open alerts; None if there are none."""
        return worst(iter(self.of(hostname).values()))

    def hidden(self) -> Mapping[tuple[str, str], int]:
        """How many hosts are silent because of each cause."""
        if self._hidden is None:
            self._hidden = victims(self.each())
        return self._hidden

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Put alerts in as they were saved."""
        self._hidden = None
        for alert in alerts:
            self._by_host.setdefault(alert.hostname, {})[alert.key] = alert

    def restore_waits(self, waiting: Iterable[Alert]) -> None:
        """Put back what waited when it was saved: of an open alert, or of one that is pending."""
        for one in waiting:
            alerts = self._by_host.get(one.hostname, {})
            alert = alerts.get(one.key)
            if alert is not None:
                alerts[one.key] = replace(
                    alert,
                    waits=one.waits,
                    judged_at=one.judged_at,
                    missing=one.missing,
                    missing_since=one.missing_since,
                )
            else:
                self._pending.setdefault(one.hostname, {})[one.key] = one

    def waiting_of(self, hostname: str) -> list[Alert]:
        """A host's alerts of which something waits."""
        alerts = (*self.of(hostname).values(), *self.pending_of(hostname).values())
        return [alert for alert in alerts if alert.is_waiting]

    def apply(self, transitions: Iterable[Transition]) -> None:
        """Keep the alerts that are active or pending after these transitions, drop the others."""
        for transition in transitions:
            if transition.alert.cause is not None and transition.event is not None:
                self._hidden = None
            alert, is_pending = transition.alert, transition.kind == PENDING
            if transition.kind != "passed" and not is_pending:
                _keep(self._by_host, alert, is_kept=alert.status == ACTIVE)
            if is_pending or alert.hostname in self._pending:
                _keep(self._pending, alert, is_kept=is_pending)

    def set_groups(self, groups: Mapping[str, str]) -> None:
        """Note in which groups alerts are told, by their ids."""
        for alert in [one for one in self.each() if one.id in groups]:
            self._by_host[alert.hostname][alert.key] = replace(alert, group_id=groups[alert.id])

    def forget_pending(self, hostname: str) -> None:
        """Drop what is pending of a host."""
        self._pending.pop(hostname, None)


def _keep(by_host: dict[str, dict[Key, Alert]], alert: Alert, *, is_kept: bool) -> None:
    alerts = by_host.setdefault(alert.hostname, {})
    if is_kept:
        alerts[alert.key] = alert
    else:
        alerts.pop(alert.key, None)
    if not alerts:
        del by_host[alert.hostname]
