"""A new EGO that has started with a clock years ahead, before the time was synchronised, loses no minute afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND
from mirror_stage.history.domain import ROLLUPS
from mirror_stage.storage.db import Storage
from tests.builders import SetClock, make_sample
from tests.history.run import KEPT, HistoryRun, open_storage

RIGHT = SetClock().now() // (15 * MINUTE) * 15 * MINUTE + 3 * MINUTE  # in the middle of a quarter of an hour
EVERY_SECONDS = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    url = request.getfixturevalue("postgresql").new_database() if request.param == "postgresql" else None
    with open_storage(url) as storage:
        yield storage


@pytest.mark.parametrize("restarts", [False, True])
def test_every_minute_is_rolled_up_and_pruned(storage: Storage, restarts: bool) -> None:
    run = HistoryRun(storage, clock=SetClock(RIGHT + 73 * 365 * DAY))
    run.post(make_sample("a", at=run.clock.now()))
    run.keep()
    assert run.tiers()["raw"].pruned_until * SECOND > RIGHT + DAY  # it has pruned by the wrong clock: the fault fired
    run.clock.instant = RIGHT
    run.restart()

    for number in range(20 * 60 // EVERY_SECONDS):
        run.clock.advance(EVERY_SECONDS)
        run.post(make_sample("a", at=run.clock.now()), make_sample("b", at=run.clock.now()))
        if number % 2:
            run.keep()
        if restarts and number % 15 == 14:
            run.restart()
    run.keep()
    done = run.tiers()["1m"].done_until
    assert done * SECOND >= run.clock.now() - 2 * MINUTE
    for resolution in ROLLUPS:
        counted = {key: row[0] for key, row in run.rollup(resolution).items() if key[1] * SECOND < RIGHT + DAY}
        until = run.tiers()[resolution.name].done_until
        wanted: dict[tuple[int, int], int] = {}
        for host_id, at in run.acknowledged:
            bucket = at // SECOND // resolution.seconds * resolution.seconds
            if at >= RIGHT and bucket < until and at < RIGHT + DAY:
                wanted[host_id, bucket] = wanted.get((host_id, bucket), 0) + 1
        assert counted == wanted, resolution.name

    run.clock.advance(KEPT["raw"] / SECOND + 2 * HOUR / SECOND)
    run.post(make_sample("a", at=run.clock.now()))
    run.keep()
    assert {at for _, at in run.raw() if at < RIGHT + DAY} == {run.clock.now()}
