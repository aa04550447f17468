"""EGO deletes old rows only by a clock that the hosts confirm: one start with a wrong clock must not empty the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, Instant
from mirror_stage.storage import notes
from mirror_stage.storage.db import Base, Storage, engine_options
from mirror_stage.storage.trusted_time import TrustedTime
from mirror_stage.twin import models as _models  # noqa: F401  (its tables)
from tests.builders import SetClock


@dataclass
class Life:
    """A database, and EGOs that start on it one after the other. The clock and the elapsed time advance together."""

    storage: Storage
    clock: SetClock = field(default_factory=SetClock)
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> TrustedTime:
        clock: Any = self.clock
        self.trusted_time = TrustedTime(self.storage.own, clock, "ego", lambda: self.elapsed)
        self.trusted_time.check()
        return self.trusted_time

    def run(self, seconds: float, hosts_are_off_by: Instant | None = 0) -> None:
        """Let EGO run with a host whose clock is off by so much, or without a host (None)."""
        for _ in range(int(seconds // 60)):
            self.elapsed += 60
            now = self.clock.advance(60)
            if hosts_are_off_by is not None:
                self.heard("titan", now, now + hosts_are_off_by)
            self.heard("ego", now, now)
            self.trusted_time.check()

    def heard(self, hostname: str, received_at: Instant, reported_at: Instant) -> None:
        def save(tx: Any) -> None:
            tx.execute(text("DELETE FROM host_metrics WHERE hostname = :name"), {"name": hostname})
            columns = "INSERT INTO host_metrics (hostname, received_at, reported_at)"
            values = {"name": hostname, "received": received_at, "reported": reported_at}
            tx.execute(text(f"{columns} VALUES (:name, :received, :reported)"), values)

        self.storage.write(save)


@pytest.fixture
def life() -> Iterator[Life]:
    config = Config(testing=True)
    engine = create_engine(config.database_url, poolclass=StaticPool, **engine_options(config))  # type: ignore[arg-type]
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    yield Life(storage)
    storage.close()


def test_while_ego_runs_its_clock_is_believed(life: Life) -> None:
    life.run(2 * 3600)
    assert life.trusted_time.until() == life.clock.now()
    assert life.trusted_time.doubt is None


def test_a_start_forty_days_ahead_of_the_hosts_removes_nothing_however_long_it_runs(life: Life) -> None:
    life.run(600)
    before = life.trusted_time.until()
    life.clock.advance(40 * 86_400)
    life.start()
    life.run(26 * 3600, hosts_are_off_by=-40 * DAY)
    assert life.trusted_time.until() == before
    assert life.trusted_time.doubt is not None
    assert "ahead of when EGO ran last" in life.trusted_time.doubt
    assert "the clocks of 1 of 1 hosts show another time" in life.trusted_time.doubt
    life.clock.advance(-40 * 86_400)  # the clock is right again
    life.start()
    life.run(3720)
    assert (life.trusted_time.until(), life.trusted_time.doubt) == (life.clock.now(), None)


def test_after_a_long_absence_the_clock_is_believed_once_hosts_have_confirmed_it(life: Life) -> None:
    life.run(600)
    before = life.trusted_time.until()
    life.clock.advance(40 * 86_400)
    life.start()
    life.run(3540)
    assert life.trusted_time.until() == before
    life.run(180)
    assert life.trusted_time.until() == life.clock.now()


def test_hosts_that_left_while_the_clock_was_ahead_are_not_asked(life: Life) -> None:
    life.run(600)
    now = life.clock.advance(40 * 86_400)
    life.start()
    for hostname in ("left", "left-too"):
        life.heard(hostname, now, now - 40 * DAY)
    life.clock.advance(-40 * 86_400 + 2 * 3600)  # the clock is right again, and EGO was down for two hours
    life.start()
    life.run(3720)
    assert (life.trusted_time.until(), life.trusted_time.doubt) == (life.clock.now(), None)


def test_without_hosts_it_takes_a_day(life: Life) -> None:
    life.run(600, hosts_are_off_by=None)
    before = life.trusted_time.until()
    life.clock.advance(40 * 86_400)
    life.start()
    life.storage.write(lambda tx: tx.execute(text("DELETE FROM host_metrics")))
    life.run(23 * 3600, hosts_are_off_by=None)
    assert life.trusted_time.until() == before
    life.run(2 * 3600, hosts_are_off_by=None)
    assert life.trusted_time.until() == life.clock.now()


def test_a_stored_time_in_the_future_is_replaced(life: Life) -> None:
    future = life.clock.now() + 40 * DAY
    life.storage.write(lambda tx: notes.write(tx, notes.LIVED_UNTIL, str(future)))
    life.start()
    assert life.trusted_time.until() == life.clock.now()
    assert life.storage.read(lambda tx: notes.read(tx, notes.LIVED_UNTIL)) == str(life.clock.now())


def test_after_a_short_absence_the_clock_is_believed_at_once(life: Life) -> None:
    life.run(600)
    life.clock.advance(HOUR // 1000 - 60)
    life.start()
    assert life.trusted_time.until() == life.clock.now()
