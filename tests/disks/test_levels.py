"""EGO notes how full each disk is, forecasts once an hour, and a rule fires on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from mirror_stage.alerts.domain import RULES
from mirror_stage.core.instants import DAY, HOUR, SECOND
from mirror_stage.disks import store
from mirror_stage.disks.service import DiskLevels
from tests.builders import make_sample
from tests.pipeline.conftest import Bench, new_bench  # noqa: F401  (a fixture)

GIB = 2**30


def disk(used: float, mount: str = "/", percent: float | None = None) -> dict[str, Any]:
    used_percent = round(used / 10, 1) if percent is None else percent
    return {
        "mountpoint": mount, "device": f"/dev{mount}", "total_bytes": 1_000 * GIB, "used_bytes": int(used * GIB),
        "used_percent": used_percent,
    }  # fmt: skip


def levels_of(bench: Bench) -> DiskLevels:
    clock: Any = bench.clock
    return DiskLevels(bench.storage, clock, bench.owner.disk_readings, bench.twin.set_forecasts)


def post(bench: Bench, *disks: dict[str, Any]) -> None:
    bench.clock.advance(5)
    bench.post(make_sample("db-1", at=bench.clock.now(), disks=list(disks)))


def days(bench: Bench) -> dict[str | None, tuple[str, float]]:
    """The alerts of disks that fill, by mountpoint: severity and days."""
    return {
        alert.subject: (alert.severity, round(alert.current_value, 1))
        for alert in bench.open_alerts.all()
        if alert.metric == "disk_filling"
    }


def filled(bench: Bench, hours: int) -> DiskLevels:
    """A disk that fills by 48 GiB a day up to 928 GiB, beside one that does not, hour by hour."""
    disks = levels_of(bench)
    bench.clock.instant -= bench.clock.instant % HOUR
    for hour in range(hours):
        post(bench, disk(928 - 2 * (hours - 1 - hour)), disk(700, "/data"))
        disks.look()
        bench.clock.instant += HOUR - 5 * SECOND
    return disks


def test_a_disk_that_fills_fires_once_enough_is_known_and_resolves_when_it_is_cleaned(
    new_bench: Callable[..., Bench],  # noqa: F811
) -> None:
    bench = new_bench(rules=RULES)
    filled(bench, 47)
    post(bench, disk(928), disk(700, "/data"))
    assert days(bench) == {}
    bench = new_bench(rules=RULES)
    filled(bench, 72)
    post(bench, disk(928), disk(700, "/data"))
    assert days(bench) == {"/": ("warning", 1.5)}
    post(bench, disk(960), disk(700, "/data"))
    assert days(bench) == {"/": ("critical", 0.8)}
    post(bench, disk(500), disk(700, "/data"))
    assert days(bench) == {}


def test_clients_are_told_in_how_many_days_the_first_disk_is_full(new_bench: Callable[..., Bench]) -> None:  # noqa: F811
    bench = new_bench(rules=RULES)
    disks = filled(bench, 72)
    frames = bench.frames
    frames.take(bench.clock.now())
    assert orjson.loads(frames.body())["hosts"][1]["metrics"]["diskDaysToFull"] == 1.5
    bench.clock.instant += HOUR
    post(bench, disk(960), disk(700, "/data"))
    frames.take(bench.clock.now())
    revision = frames.revision
    disks.look()
    frames.take(bench.clock.now())
    delta = frames.delta(revision, bench.clock.now())
    assert delta is not None
    assert [host["metrics"]["diskDaysToFull"] for host in orjson.loads(delta)["upserted"]["hosts"]] == [0.8]


def test_a_full_disk_stays_and_what_root_keeps_for_itself_is_not_free(
    new_bench: Callable[..., Bench],  # noqa: F811
) -> None:
    bench = new_bench(rules=RULES)
    filled(bench, 72)
    post(bench, disk(945, percent=99.5))
    assert days(bench) == {"/": ("critical", 0.0)}
    for _ in range(20):
        post(bench, disk(945, percent=99.5))
    assert days(bench) == {"/": ("critical", 0.0)}


def test_after_a_start_nothing_is_judged_until_forecasts_are_there(new_bench: Callable[..., Bench]) -> None:  # noqa: F811
    bench = new_bench(rules=RULES)
    filled(bench, 72)
    post(bench, disk(928))
    before = days(bench)
    assert before.keys() == {"/"}
    bench.saver.save()
    bench = bench.again(rules=RULES)
    for _ in range(10):
        post(bench, disk(500))
    assert days(bench) == before
    levels_of(bench).look()
    post(bench, disk(500))
    assert days(bench) == {}


def test_levels_keep_the_most_of_an_hour_and_leave_after_90_days(new_bench: Callable[..., Bench]) -> None:  # noqa: F811
    bench = new_bench(rules=RULES)
    bench.clock.instant -= bench.clock.instant % HOUR
    disks = levels_of(bench)
    for used in (700, 800, 750):
        post(bench, disk(used))
        disks.look()
        bench.clock.advance(600)
    query = "SELECT used_bytes, most_used_bytes FROM disk_levels"

    def rows() -> list[Any]:
        return bench.storage.read(lambda tx: [tuple(row) for row in tx.exec_driver_sql(query)])

    assert rows() == [(750 * GIB, 800 * GIB)]
    disks.prune(bench.clock.now() + 89 * DAY)
    assert len(rows()) == 1
    disks.prune(bench.clock.now() + 91 * DAY)
    assert rows() == []
    assert bench.storage.read(lambda tx: store.of_hosts(tx, [1, 2, 3], 0)) == "[]"
