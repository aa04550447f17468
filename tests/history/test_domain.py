"""Which tier answers a query, and which parts come from the finer tiers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest

from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, SECOND, Instant
from mirror_stage.history.domain import METRICS, RESOLUTIONS, Window, segments, window
from mirror_stage.history.summary import columns_of

NOW: Instant = 1_762_000_123_456
KEPT = {"raw": 24 * HOUR, "1m": 30 * DAY, "15m": 730 * DAY}


class Case(NamedTuple):
    ago: Instant
    length: Instant
    step_seconds: int | None
    taken: tuple[str, int]


CASES = {
    "an hour, no step": Case(HOUR, HOUR, None, ("raw", 10)),
    "a day, no step": Case(DAY, DAY, None, ("1m", 300)),
    "a month, no step": Case(30 * DAY, 30 * DAY, None, ("15m", 7200)),
    "two years, no step": Case(730 * DAY, 730 * DAY, None, ("15m", 604_800)),
    "seconds of the last hour": Case(HOUR, HOUR, 7, ("raw", 7)),
    "minutes of the last hour": Case(HOUR, HOUR, 60, ("1m", 60)),
    "a step between two minutes is rounded up": Case(HOUR, HOUR, 61, ("1m", 120)),
    "a quarter of an hour": Case(HOUR, HOUR, 900, ("15m", 900)),
    "seconds of last week are minutes": Case(7 * DAY, HOUR, 10, ("1m", 60)),
    "minutes of last year are quarters of an hour": Case(300 * DAY, HOUR, 60, ("15m", 900)),
    "seven minutes of last year too, in whole ones": Case(300 * DAY, DAY, 1000, ("15m", 1800)),
    "a range that no tier keeps is read from the coarsest": Case(3000 * DAY, DAY, 60, ("15m", 900)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_window_is_taken_from_the_coarsest_tier_that_has_its_step_and_its_beginning(name: str) -> None:
    case = CASES[name]
    since, until = NOW - case.ago, NOW - case.ago + case.length
    found = window(since, until, case.step_seconds, NOW, KEPT)
    assert (found.resolution.name, found.step_seconds) == case.taken
    assert found.since % found.step_seconds == found.until % found.step_seconds == 0
    assert 0 <= since - found.since * SECOND < found.step_seconds * SECOND
    assert 0 <= found.until * SECOND - until < found.step_seconds * SECOND


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ({"1m": 1000, "15m": 900}, [("15m", 0, 900), ("1m", 900, 1000), ("raw", 1000, 1800)]),
        ({"1m": 5000, "15m": 5000}, [("15m", 0, 1800)]),
        ({"1m": 900, "15m": 900}, [("15m", 0, 900), ("raw", 900, 1800)]),
        ({"1m": 0, "15m": 0}, [("raw", 0, 1800)]),
    ],
)
def test_parts_that_are_not_rolled_up_come_from_finer_tiers_without_gap_or_overlap(
    done: dict[str, int], expected: list[tuple[str, int, int]]
) -> None:
    parts = segments(Window(0, 1800, 900, RESOLUTIONS[2]), done)
    assert [(resolution.name, since, until) for resolution, since, until in parts] == expected


def test_pages_are_the_window_in_order() -> None:
    pages = Window(0, 3600, 60, RESOLUTIONS[1]).pages(25)
    assert [(page.since, page.until, page.points) for page in pages] == [
        (0, 1500, 25),
        (1500, 3000, 25),
        (3000, 3600, 10),
    ]


def test_the_settings_default_to_the_table_and_each_tier_divides_the_next() -> None:
    assert Config().kept_by_resolution == {resolution.name: resolution.kept for resolution in RESOLUTIONS}
    assert Config().longest_retention == RESOLUTIONS[-1].kept
    for finer, coarser in pairwise(RESOLUTIONS):
        assert coarser.seconds % finer.seconds == 0
    assert len(columns_of()) == 3 + 4 * len(METRICS)
