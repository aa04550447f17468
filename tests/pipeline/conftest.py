"""One EGO in memory, with a clock that the test sets and a publisher that records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import RULES, Rule
from mirror_stage.alerts.events import ALERT_UPDATE, alert_update
from mirror_stage.alerts.service import AlertService
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY
from mirror_stage.core.readiness import Readiness
from mirror_stage.pipeline.edge import Edge
from mirror_stage.pipeline.known_hosts import KnownHosts
from mirror_stage.pipeline.outbox import Outbox
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.port import Message, Port
from mirror_stage.pipeline.removing import Remover
from mirror_stage.pipeline.restore import Restorer
from mirror_stage.pipeline.saving import Saver
from mirror_stage.storage.db import Storage, engine_options
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.state import Twin
from tests.builders import SetClock, decoded
from tests.storages import create_tables


@dataclass
class RecordingPublisher:
    """A publisher that records what clients would have heard."""

    events: list[tuple[str, Any]] = field(default_factory=list)

    def publish(self, _namespace: str, event: str, payload: Any, **_: Any) -> None:
        self.events.append((event, payload))


@dataclass
class Bench:
    """An edge and its owner over one storage. `again()` is the same EGO after a restart."""

    storage: Storage
    clock: SetClock
    heard: RecordingPublisher = field(default_factory=RecordingPublisher)
    cancelled: list[Any] = field(default_factory=list)
    max_hosts: int = 10_000
    rules: tuple[Rule, ...] = RULES
    is_listening: bool = True
    elapsed_seconds: float = 0.0  # the clock by which the owner notices pauses
    oldest_arrival: int | None = None  # of the samples that wait for their commit

    def __post_init__(self) -> None:
        self.open_alerts = OpenAlerts()
        self.twin = Twin(
            hub="core-switch", hub_ip="10.0.0.1", ego="ego-01", stale_after_seconds=15, offline_after_seconds=60
        )
        self.frames, self.readiness = Frames(self.twin), Readiness()
        self.known, port = KnownHosts(), Port()
        clock: Any = self.clock
        heard: Any = self.heard
        self.edge = Edge(self.storage, self.known, port, clock, hub="core-switch", max_hosts=self.max_hosts)
        self.outbox = Outbox(lambda transition: heard.publish("/alerts", ALERT_UPDATE, alert_update(transition)))
        self.saver = Saver(
            self.storage,
            self.twin,
            self.outbox,
            clock,
            is_degraded=lambda: self.edge.trouble is not None,
            recovered=self.edge.recovered,
            arrived_until=lambda: self.oldest_arrival or self.clock.now(),
            waiting_of=self.open_alerts.waiting_of,
        )
        self.owner = Owner(
            twin=self.twin,
            open_alerts=self.open_alerts,
            rules=self.rules,
            frames=self.frames,
            audience=Audience(self.frames, heard),
            outbox=self.outbox,
            saver=self.saver,
            clock=clock,
            is_listening=lambda: self.is_listening,
            elapsed=lambda: self.elapsed_seconds,
            acks=lambda: self.storage.read(alert_store.acks),
        )
        self.remover = Remover(
            self.storage,
            port,
            clock,
            find=self.twin.hosts_by_name.get,
            record=self.saver.save,
            tell_cancelled=self.cancelled.extend,
        )
        self.alerts = AlertService(
            self.storage,
            self.open_alerts,
            self.saver.until_recorded,
            90 * DAY,
            clock,
            tell=lambda alert_id: port.send(Message(acknowledged=[alert_id])),
        )
        port.listen(self.known.hear)
        port.listen(self.owner.hear)
        Restorer(self.storage, self.owner, self.known, self.frames, self.readiness, clock).restore()

    def again(self, **kwargs: Any) -> Bench:
        return Bench(self.storage, self.clock, **kwargs)

    def post(self, *samples: dict[str, Any]) -> Any:
        """Admit one batch now and return its receipt."""
        return self.edge.commit([decoded(*samples, received_at=self.clock.now())])[0]

    def alerts_heard(self) -> list[tuple[str, str]]:
        """Record everything, then return (transition, rule) of each alert update that clients heard."""
        self.saver.record()
        return [(payload["transition"], payload["alert"]["metric"]) for _, payload in self.heard.events]


@pytest.fixture
def new_bench() -> Callable[..., Bench]:
    """Make an EGO with an empty database in memory."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    def make(**kwargs: Any) -> Bench:
        config = Config(testing=True)
        engine = create_engine(config.database_url, poolclass=StaticPool, **engine_options(config))
        storage = Storage(config)
        storage.open(engine)
        create_tables(engine)
        return Bench(storage, SetClock(), **kwargs)

    return make


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    return new_bench()
