"""A continuous aggregate of TimescaleDB cannot get new columns. Here, PostgreSQL rollups without them take its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.history import series, store
from mirror_stage.history.domain import METRICS, ROLLUPS, Window
from mirror_stage.history.summary import SUMMARIES
from mirror_stage.history.tiers import FOREVER
from mirror_stage.storage.db import Storage
from mirror_stage.storage.timescale import Engine
from tests.history.run import open_storage

SINCE = 1_762_000_200  # the beginning of a quarter of an hour
LATER = [metric for metric in METRICS if not metric.is_aggregated]


@pytest.fixture
def aggregated(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A storage whose rollups have one bucket of each of two hosts, and no columns of later metrics."""
    monkeypatch.setattr(store, "engine_of", lambda _tx: Engine.CONTINUOUS)
    with open_storage(postgresql.new_database()) as storage:
        statements = [
            f"ALTER TABLE {rollup.table} DROP COLUMN {metric.column}_{what}"
            for rollup in ROLLUPS
            for metric in LATER
            for what in SUMMARIES
        ]
        for n, name in enumerate(("raw", "1m", "15m")):
            done = FOREVER if n else 0
            statements.append(f"INSERT INTO history_tiers VALUES ('{name}', 0, {done}, 0, 0)")
        for rollup in ROLLUPS:
            values = ", ".join(f"({host_id}, {SINCE}, 4, 100, 400, 1000)" for host_id in (1, 2))
            columns = "host_id, at_second, samples, cpu_load_min, cpu_load_max, cpu_load_sum"
            statements.append(f"INSERT INTO {rollup.table} ({columns}) VALUES {values}")
        for statement in statements:
            storage.write(lambda tx, s=statement: tx.execute(text(s)))
        yield storage


def test_there_is_a_metric_that_came_later() -> None:
    assert LATER


@pytest.mark.parametrize("step", [60, 120, 900])
def test_a_metric_that_came_later_is_unknown_and_the_others_are_as_before(aggregated: Storage, step: int) -> None:
    window = Window(SINCE, SINCE + 900, step, ROLLUPS[step == 900])
    rows = aggregated.read(lambda tx: series.of_hosts(tx, window, [1], METRICS))
    assert len(rows) == 1
    assert rows[0][:7] == (1, SINCE, 4, 100, 400, 1000, None)
    for n, metric in enumerate(METRICS):
        if metric in LATER:
            assert rows[0][3 + 4 * n : 7 + 4 * n] == (None, None, None, 0)

    groups = aggregated.read(lambda tx: series.of_groups(tx, window, {1: 0, 2: 0}, METRICS))
    assert [row[:7] for row in groups] == [(0, 0, SINCE, 100, 400, 2000, 8)]


def test_a_moment_of_the_past_does_not_know_it_either(aggregated: Storage) -> None:
    readings = aggregated.read(lambda tx: store.newest_buckets(tx, ROLLUPS[0], [(1, SINCE), (2, SINCE)]))
    assert {reading.host_id for reading in readings} == {1, 2}
    for reading in readings:
        assert reading.values["cpu_load"] == 25
        assert [reading.values[metric.column] for metric in LATER] == [None] * len(LATER)
