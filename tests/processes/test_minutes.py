"""EGO notes the busiest processes once a minute, and answers which they were at a moment, and since when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mirror_stage.core.instants import DAY, HOUR, MINUTE, to_text
from mirror_stage.core.problems import Invalid, NotFound
from mirror_stage.processes.service import Processes
from tests.builders import make_sample
from tests.pipeline.conftest import Bench, new_bench  # noqa: F401  (a fixture)


def processes_of(bench: Bench) -> Processes:
    clock: Any = bench.clock
    return Processes(bench.storage, clock, bench.owner.process_readings, DAY)


def post(bench: Bench, **cpu_by_name: float) -> None:
    rows = [
        {"pid": n, "name": name, "username": "root", "cpu_percent": cpu, "memory_percent": 2.5}
        for n, (name, cpu) in enumerate(cpu_by_name.items())
    ]
    bench.post(make_sample("db-1", at=bench.clock.now(), top_processes=rows or None))


def rows(bench: Bench) -> list[Any]:
    query = "SELECT host_id, at_second, processes FROM process_minutes ORDER BY at_second"
    return bench.storage.read(lambda tx: [tuple(row) for row in tx.exec_driver_sql(query)])


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:  # noqa: F811
    """A host whose `backup` has been busy for the last 40 of 60 minutes."""
    bench = new_bench()
    bench.clock.instant -= bench.clock.instant % HOUR
    noted = processes_of(bench)
    for minute in range(60):
        post(bench, postgres=30.0, **({"backup": 95.0} if minute >= 20 else {}))
        for _ in range(2):  # a minute is noted once, by its first sample
            noted.look()
            bench.clock.advance(20)
            post(bench, postgres=99.0)
        noted.look()
        bench.clock.advance(20)
    return bench


def test_a_moment_has_its_processes_their_minutes_and_since_when(bench: Bench) -> None:
    began = bench.clock.now() - HOUR
    found = processes_of(bench).at("db-1")
    assert len(rows(bench)) == 60
    assert found["minute"] == to_text(began + 59 * MINUTE)
    assert [(one["name"], one["username"], one["count"], one["cpuPercent"]) for one in found["items"]] == [
        ("backup", "root", 1, 95.0),
        ("postgres", "root", 1, 30.0),
    ]
    backup, postgres = found["items"]
    assert backup["cpuSince"] == {"at": to_text(began + 20 * MINUTE), "isExact": True}
    assert postgres["cpuSince"] == {"at": to_text(began), "isExact": False}
    assert backup["cpu"] == [None] * 20 + [95.0] * 40
    assert len(found["t"]) == len(postgres["memory"]) == 60


def test_the_past_is_as_it_was_and_one_name_is_followed_over_time(bench: Bench) -> None:
    began = bench.clock.now() - HOUR
    then = processes_of(bench).at("db-1", began + 10 * MINUTE + 30_000)
    assert [one["name"] for one in then["items"]] == ["postgres"]
    assert then["t"][-1] == to_text(began + 10 * MINUTE)
    one = processes_of(bench).at("db-1", None, began + 30 * MINUTE, "backup")
    assert [len(item["cpu"]) for item in one["items"]] == [30]
    gone = processes_of(bench).at("db-1", began + 10 * MINUTE, None, "backup")
    assert gone["items"] == []
    with pytest.raises(NotFound):
        processes_of(bench).at("nobody")
    for at, since in ((bench.clock.now() + MINUTE, None), (began, began)):
        with pytest.raises(Invalid):
            processes_of(bench).at("db-1", at, since)


def test_a_restart_notes_nothing_twice_and_what_is_restored_is_not_noted(bench: Bench) -> None:
    post(bench, postgres=30.0)
    processes_of(bench).look()
    before = rows(bench)
    bench.saver.save()
    again = bench.again()
    processes_of(again).look()
    post(again, postgres=77.0)
    processes_of(again).look()
    assert rows(again) == before
    assert len(before) == 61


def test_who_tells_no_processes_has_none_and_silence_is_not_filled(bench: Bench) -> None:
    for _ in range(6):
        bench.clock.advance(60)
        post(bench)
        processes_of(bench).look()
    assert len(rows(bench)) == 60
    found = processes_of(bench).at("db-1")
    assert (found["minute"], found["items"]) == (None, [])
    assert len(found["t"]) == 60


def test_minutes_leave_with_the_samples(bench: Bench) -> None:
    processes_of(bench).prune(bench.clock.now() + DAY - 30 * MINUTE)
    assert len(rows(bench)) == 30
    processes_of(bench).prune(bench.clock.now() + DAY)
    assert rows(bench) == []
