"""An EGO that started with a wrong clock says so. The next start says in which period the clock was wrong."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from mirror_stage.core.config import Config
from mirror_stage.core.instants import to_text
from mirror_stage.health.clock_watch import PERIODS_KEPT, ClockWatch
from mirror_stage.storage.db import Base, Storage, engine_options
from tests.builders import SetClock


class SteppedClock(SetClock):
    """A clock beside which the machine's is `ahead` seconds."""

    ahead = 0.0

    def wall_offset_seconds(self) -> float:
        return self.ahead


def new_storage() -> Storage:
    config = Config(testing=True)
    engine = create_engine(config.database_url, poolclass=StaticPool, **engine_options(config))
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    return storage


def watch(storage: Storage, clock: Any) -> ClockWatch:
    found = ClockWatch(storage, clock)
    found.look()
    return found


def test_a_clock_step_is_reported_while_it_lasts_and_its_period_after_the_restart() -> None:
    storage, clock = new_storage(), SteppedClock()
    began = clock.now()
    wrong = watch(storage, clock)
    assert wrong.check() == {"ok": True, "detail": "+0.0 s from the machine's"}
    clock.advance(600)
    clock.ahead = 3600.0  # EGO was started an hour behind, and the machine's clock was set right
    wrong.look()
    clock.advance(10)
    wrong.look()
    told = wrong.check()
    assert not told["ok"]
    assert "+3600 s" in told["detail"]
    assert "restart EGO" in told["detail"]
    until = clock.now()
    clock.advance(3700)
    clock.ahead = 0.0
    told = watch(storage, clock).check()
    assert told["ok"]
    assert f"from {to_text(began)} to {to_text(until)} is dated by a clock that was 3600 s behind" in told["detail"]


def test_a_step_of_less_than_a_minute_is_not_reported_after_the_restart() -> None:
    storage, clock = new_storage(), SteppedClock()
    clock.ahead = -59.0
    watch(storage, clock)
    clock.ahead = 0.0
    assert watch(storage, clock).check()["detail"] == "+0.0 s from the machine's"


def test_the_last_periods_are_kept() -> None:
    storage, clock = new_storage(), SteppedClock()
    for n in range(PERIODS_KEPT + 3):
        clock.ahead = -100.0 - n
        watch(storage, clock)
        clock.advance(1000)
    clock.ahead = 0.0
    assert watch(storage, clock).check()["detail"].count("ahead of the machine's") == PERIODS_KEPT
