"""Retention of alerts: resolved ones are removed by age and by number; the past shows those that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from mirror_stage.alerts import store
from mirror_stage.alerts.domain import Alert, Transition
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, Instant
from mirror_stage.storage.db import Base, Storage, engine_options
from tests.builders import SetClock

NOW = SetClock().now()
ALERT = Alert(
    id="0", hostname="titan", metric="cpu_load_high", measure="cpuLoad", severity="critical", threshold=95.0, current_value=99.0,
    status="resolved", created_at=NOW, updated_at=NOW, version=2, told_value=99.0, told_at=NOW,
)  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()
    config = Config(testing=True, db_url=url)
    options: dict[str, Any] = engine_options(config) | ({} if url else {"poolclass": StaticPool})
    engine = create_engine(config.database_url, **options)
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    yield storage
    storage.close()


def stored(storage: Storage, *lives: tuple[str, str, Instant, Instant | None]) -> None:
    """Alerts: (id, host, when it fired, when it ended or None)."""
    alerts = [
        replace(
            ALERT,
            id=id,
            hostname=host,
            created_at=start,
            status="active" if end is None else "resolved",
            resolved_at=end,
        )
        for id, host, start, end in lives
    ]
    transitions = [
        Transition(kind, one, event=kind) for one in alerts for kind in ["resolved" if one.resolved_at else "fired"]
    ]
    storage.write(lambda tx: store.record(tx, transitions))


def left(storage: Storage) -> set[str]:
    return set(storage.read(lambda tx: tx.execute(text("SELECT id FROM alerts")).scalars().all()))


def test_alerts_that_ended_before_the_cutoff_are_removed_with_their_events_in_small_steps(storage: Storage) -> None:
    stored(
        storage,
        ("old", "a", NOW - 100 * DAY, NOW - 99 * DAY),
        ("older", "a", NOW - 200 * DAY, NOW - 199 * DAY),
        ("active", "b", NOW - 300 * DAY, None),
        ("new", "a", NOW - 100 * DAY, NOW - DAY),
    )
    steps = [storage.write(lambda tx: store.prune(tx, NOW - 90 * DAY, 100, 1)) for _ in range(3)]
    assert steps == [1, 1, 0]
    assert left(storage) == {"active", "new"}
    events = storage.read(lambda tx: tx.execute(text("SELECT alert_id FROM alert_events")).scalars().all())
    assert set(events) == {"active", "new"}


def test_if_there_are_too_many_the_oldest_are_removed(storage: Storage) -> None:
    stored(storage, *((str(n), "a", NOW - n * HOUR, NOW - n * HOUR + 1) for n in range(1, 11)), ("now", "a", NOW, None))
    assert storage.write(lambda tx: store.prune(tx, NOW - 90 * DAY, 4, 100)) == 6
    assert left(storage) == {"1", "2", "3", "4", "now"}


def test_the_alerts_of_a_moment_had_begun_and_had_not_ended(storage: Storage) -> None:
    lives = [(f"{host}{n}", host, NOW - n * HOUR, NOW - n * HOUR + HOUR // 2) for host in "abc" for n in range(1, 30)]
    stored(storage, *lives, ("still", "d", NOW - 50 * HOUR, None))
    for at in (
        NOW - 60 * HOUR,
        NOW - 40 * HOUR,
        NOW - 5 * HOUR,
        NOW - 5 * HOUR + HOUR // 4,
        NOW - 5 * HOUR + HOUR // 2,
        NOW,
    ):
        expected = {id for id, _, start, end in lives if start <= at < end} | (
            {"still"} if at >= NOW - 50 * HOUR else set()
        )
        assert {alert.id for alert in storage.read(lambda tx, at=at: store.active_at(tx, at))} == expected
