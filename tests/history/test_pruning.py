"""Rolling up and pruning never make the ingest of samples wait for long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

import mirror_stage.twin.models  # noqa: F401  # the table of hosts
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
READ_MS = 1000.0  # most pieces read for 150 ms; all that is dirty at once would take several seconds
HOSTS, EVERY_SECONDS, MINUTES = 1000, 5, 6


class Timed:
    """A storage that measures how long each write and each read takes."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self.milliseconds: list[float] = []
        self.reading: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def write(self, work: Work[Any]) -> Any:
        started = time.thread_time()  # other programs on these cores do not count
        try:
            return self._storage.write(work)
        finally:
            self.milliseconds.append((time.thread_time() - started) * 1000)

    def read(self, query: Work[Any]) -> Any:
        started = time.thread_time()
        try:
            return self._storage.read(query)
        finally:
            self.reading.append((time.thread_time() - started) * 1000)


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


def test_mending_advances_in_each_run_however_much_is_dirty(storage: Storage) -> None:
    """The backlogs of 250 agents at one sample a second: in one piece they would never fit into the time of a run."""
    clock, hosts, minutes = SetClock(), 250, 10
    first = clock.now() // 1000 // 900 * 900 - 3600
    numbers = "WITH RECURSIVE {0}(x) AS (SELECT {1} UNION ALL SELECT x + 1 FROM {0} WHERE x + 1 < {2}) "
    every_host = f"(SELECT x AS id FROM ({numbers.format('h', 1, hosts + 1)} SELECT x FROM h))"
    statements = [
        f"INSERT INTO host_metrics (id, hostname) SELECT id, 'h' || id FROM {every_host}",
        "INSERT INTO host_metric_samples (at_second, host_id, at_ms, reported_after_ms, received_after_ms, cpu_load)"
        f" {numbers.format('s', first, first + minutes * 60)} SELECT s.x, id, 0, 0, 20, 50.0 FROM s CROSS JOIN {every_host}",
        "INSERT INTO rollup_dirty (resolution, at_second, host_id, is_claimed)"
        f" {numbers.format('m', 0, minutes)} SELECT '1m', {first} + m.x * 60, id, 0 FROM m CROSS JOIN {every_host}",
    ]
    timed = Timed(storage)
    keeper = Keeper(timed, clock, {"raw": 24 * HOUR, "1m": 48 * HOUR, "15m": 96 * HOUR})  # type: ignore[arg-type]
    keeper.begin()
    later = clock.now() // 1000 // 900 * 900
    for resolution in ROLLUPS:
        storage.write(lambda tx, one=resolution: tiers.advance(tx, one, closed_until=later, done_until=later))  # type: ignore[misc]
    for statement in statements:
        storage.write(lambda tx, statement=statement: tx.execute(text(statement)))  # type: ignore[misc]

    def dirty() -> int:
        return int(storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM rollup_dirty")).scalar()) or 0)

    left = [dirty()]
    assert left == [hosts * minutes]
    while left[-1]:
        keeper.keep(busy_seconds=0.05)
        left.append(dirty())
        assert left[-1] < left[-2] or len(left) < 3  # the quarters of an hour that follow are dirty after the minutes
    rows = storage.read(lambda tx: tx.execute(text("SELECT count(*), sum(samples) FROM host_metrics_1m")).one())
    assert tuple(rows) == (hosts * minutes, hosts * minutes * 60)
    assert storage.read(lambda tx: tx.execute(text("SELECT sum(samples) FROM host_metrics_15m")).scalar()) == rows[1]
    print_figures("mending", runs=len(left) - 1, longest_read_ms=max(timed.reading), longest_ms=max(timed.milliseconds))
    assert len(left) > 4  # it was more than fits into one run: the fault fired
    assert max(timed.reading) < READ_MS
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
