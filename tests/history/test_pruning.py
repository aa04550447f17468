"""Rolling up and pruning never make the ingest of samples wait for long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mirror_stage.core.config import Config
from mirror_stage.core.instants import HOUR
from mirror_stage.core.problems import Unavailable
from mirror_stage.history import store, tiers
from mirror_stage.history.domain import ROLLUPS
from mirror_stage.history.keeping import Keeper
from mirror_stage.storage.db import Base, Storage, Work, engine_options
from mirror_stage.storage.rows import KEEP_FIRST, insert_rows
from tests.builders import SetClock
from tests.faults import percentile, print_figures

WAIT_MS = 50.0
HOSTS, EVERY_SECONDS, MINUTES = 1000, 5, 6


class Timed:
    """A storage that measures how long each write takes."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self.milliseconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def write(self, work: Work[Any]) -> Any:
        started = time.thread_time()  # other programs on these cores do not count
        try:
            return self._storage.write(work)
        finally:
            self.milliseconds.append((time.thread_time() - started) * 1000)


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    config = Config(sqlite_path=tmp_path / "ego.db")
    engine = create_engine(config.database_url, **engine_options(config))  # type: ignore[arg-type]
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    yield storage
    storage.close()


def fill(storage: Storage, first_second: int) -> None:
    """Store some minutes of a thousand hosts."""
    hosts = [(n, f"h{n}") for n in range(1, HOSTS + 1)]
    storage.write(
        lambda tx: tx.execute(
            text("INSERT INTO host_metrics (id, hostname) SELECT value ->> 0, value ->> 1 FROM json_each(:hosts)"),
            {"hosts": json.dumps(hosts)},
        )
    )
    known = {"reported_after_ms": 0, "received_after_ms": 20, "cpu_load": 12.5, "memory_used_percent": 40.0}
    known |= {"uptime_seconds": 7200.0, "cpu_temperature": 55.0, "net_bytes_tx": 10**9, "net_bytes_rx": 10**9}
    values = [known.get(name) for name in store._COLUMNS[3:]]
    for second in range(first_second, first_second + MINUTES * 60, EVERY_SECONDS):
        rows = [(second, host_id, 0, *values) for host_id, _ in hosts]
        storage.write(lambda tx, rows=rows: insert_rows(tx, store._TABLE, store._COLUMNS, rows, KEEP_FIRST))  # type: ignore[misc]


def test_no_write_of_rolling_up_or_pruning_takes_long(storage: Storage) -> None:
    clock = SetClock()
    first = clock.now() // 1000 // 900 * 900 - 3 * 3600
    fill(storage, first)
    timed = Timed(storage)
    keeper = Keeper(timed, clock, {"raw": HOUR, "1m": 2 * HOUR, "15m": 24 * HOUR})  # type: ignore[arg-type]
    keeper.begin()
    while not keeper.keep():
        pass
    left = storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM host_metric_samples")).scalar())
    minutes = storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM host_metrics_1m")).scalar())
    quarters = storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM host_metrics_15m")).scalar())
    assert (left, minutes, quarters) == (0, 0, HOSTS)
    assert storage.read(tiers.tiers)[ROLLUPS[0].name].pruned_until >= first + MINUTES * 60
    print_figures(
        "pruning",
        samples=HOSTS * MINUTES * 60 // EVERY_SECONDS,
        writes=len(timed.milliseconds),
        p50_ms=percentile(timed.milliseconds, 50),
        p99_ms=percentile(timed.milliseconds, 99),
        longest_ms=max(timed.milliseconds),
    )
    assert max(timed.milliseconds) < WAIT_MS


def test_old_samples_are_pruned_even_if_nothing_can_be_rolled_up(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses new rollups; it would stay full for ever if pruning waited for them."""
    clock = SetClock()
    fill(storage, clock.now() // 1000 // 900 * 900 - 3 * 3600)
    keeper = Keeper(storage.own, clock, {"raw": HOUR, "1m": 2 * HOUR, "15m": 24 * HOUR})  # type: ignore[arg-type]
    keeper.begin()
    later = clock.now() // 1000
    storage.write(lambda tx: tiers.advance(tx, ROLLUPS[0], closed_until=later, done_until=later))

    def full(_resolution: object) -> bool:
        raise Unavailable("storage-full")

    monkeypatch.setattr(keeper, "_roll_up", full)
    with pytest.raises(Unavailable, match="storage-full"):
        keeper.keep(busy_seconds=60)
    left = storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM host_metric_samples")).scalar())
    assert left == 0


def test_readiness_says_how_far_the_minutes_are_and_when_they_fall_behind(storage: Storage) -> None:
    clock = SetClock()
    keeper = Keeper(storage.own, clock, {"raw": HOUR, "1m": 2 * HOUR, "15m": 24 * HOUR})  # type: ignore[arg-type]
    keeper.begin()
    keeper.keep()
    assert keeper.check()["ok"]
    clock.advance(300)
    check = keeper.check()
    assert not check["ok"]
    assert "s behind" in check["detail"]
    keeper.keep()
    assert keeper.check()["ok"]
