"""Alerts that fire and end as a test says, in a database of its own, and a Notifier whose clock the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from sqlalchemy import StaticPool, create_engine

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.cause import HOST, Cause
from mirror_stage.alerts.domain import RULES, Alert, Key, Rule, Transition, caused, resolve
from mirror_stage.core.config import Config
from mirror_stage.core.selector import Labels
from mirror_stage.notifications import store
from mirror_stage.notifications.domain import Delivery, Route
from mirror_stage.notifications.service import Notifier
from mirror_stage.storage.db import Base, Storage, engine_options
from tests.builders import SetClock
from tests.storages import create_tables

BY_NAME: dict[str, Rule] = {rule.name: rule for rule in RULES}


def fired(
    host: str = "web-01",
    rule: str = "cpu_load_high",
    at: int = 0,
    severity: str | None = None,
    subject: str | None = None,
) -> Alert:
    """An alert of a host that has just fired."""
    of_rule = BY_NAME[rule]
    return Alert(
        id=str(uuid5(NAMESPACE_OID, f"{host} {rule} {subject} {at}")),
        hostname=host,
        metric=rule,
        measure=of_rule.measure,
        severity=severity or of_rule.severity,
        threshold=of_rule.fire_at,
        current_value=99.0,
        created_at=at,
        updated_at=at,
        subject=subject,
    )


class Scene:
    """A database, alerts in it, and a Notifier. `step` lets the seconds pass and returns the messages that are new."""

    def __init__(
        self,
        routes: Sequence[Route] = (Route("all", ("ops",), min_severity="info"),),
        *,
        database: str | None = None,
        **options: Any,
    ):
        config = Config(testing=True, db_url=database)
        pool = {} if database else {"poolclass": StaticPool}
        engine = create_engine(config.database_url, **pool, **engine_options(config))
        self.storage = Storage(config)
        self.storage.open(engine)
        (Base.metadata.create_all if database else create_tables)(engine)
        self.clock, self.routes, self.open = SetClock(), list(routes), dict[str, dict[Key, Alert]]()
        self.racks: dict[str, str] = {}
        self.options = options
        self.notifier = self.restarted()
        self._seen: set[str] = set()

    def restarted(self) -> Notifier:
        """A Notifier that knows only what is stored."""
        self.notifier = Notifier(
            self.storage.own,
            self.clock,  # type: ignore[arg-type]
            labels_of=lambda host: Labels(host, rack=self.racks.get(host, "R1")),
            routes=lambda: self.routes,
            open_alert=lambda key: self.open.get(key[0], {}).get((key[1], key[2])),
            **self.options,
        )
        return self.notifier

    def record(self, *transitions: Transition) -> None:
        for one in transitions:
            of_host = self.open.setdefault(one.alert.hostname, {})
            of_host.pop(one.alert.key, None)
            if one.alert.status == "active":
                of_host[one.alert.key] = one.alert
        self.storage.own.write(lambda tx: alert_store.record(tx, transitions))

    def fire(self, host: str = "web-01", rule: str = "cpu_load_high", **fields: Any) -> Alert:
        alert = fired(host, rule, self.clock.now(), **fields)
        self.record(Transition("fired", alert, "fired"))
        return alert

    def caused(self, alert: Alert, name: str) -> None:
        """The cause of an open alert is decided, or is another one now."""
        now = self.open[alert.hostname][alert.key]
        self.record(*caused(now, Cause(HOST, name, now.created_at), self.clock.now()))

    def end(self, alert: Alert, reason: str = "value") -> None:
        self.record(resolve(self.open[alert.hostname][alert.key], self.clock.now(), reason, 1.0))

    def become(self, alert: Alert, severity: str) -> None:
        now = self.open[alert.hostname][alert.key]
        self.record(Transition("updated", replace(now, severity=severity, version=now.version + 1), "severity"))

    def step(self, seconds: float = 0.0) -> list[str]:
        """The kinds of the new messages after so many seconds, one look a second, at most 40."""
        looks = max(1, min(40, round(seconds)))
        for _ in range(looks):
            self.clock.advance(seconds / looks)
            self.notifier.step()
        new = [one for one in reversed(self.deliveries()) if one.id not in self._seen]
        self._seen |= {one.id for one in new}
        return [one.kind for one in new]

    def deliveries(self) -> list[Delivery]:
        """Every message, newest first."""
        return self.storage.read(lambda tx: store.page(tx, {}, 0, 1000))[0]

    def accept_all(self) -> None:
        """Every channel accepts what waits for it."""
        from mirror_stage.notifications.domain import Outcome

        for channel in {one.channel for one in self.deliveries()}:
            while True:
                leased = self.storage.own.write(lambda tx: store.claim(tx, channel, self.clock.now()))  # noqa: B023
                if leased is None:
                    break
                self.storage.own.write(lambda tx: store.finish(tx, leased, Outcome(True, 200), self.clock.now()))  # noqa: B023
