"""The difference of two moments, and the means over buckets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.past.domain import THRESHOLDS, Level, Moment, Stretch, active_in_each, difference, presence
from mirror_stage.past.schemas import ThresholdsText
from mirror_stage.twin.domain import Host, Status, fold
from tests.builders import decoded, make_sample

NOW = 1_762_000_000_000


def host(name: str, status: Status = Status.ONLINE, uplink: str = "core-switch", **fields: Any) -> Host:
    found, _ = fold(Host(1, name, "host", (0.0, 0.0, 0.0)), decoded(make_sample(name, **fields), received_at=NOW)[0])
    found.status, found.uplink = status, uplink
    return found


def changes(before: Host, after: Host, **thresholds: float) -> dict[str, Any]:
    moments = (Moment(at, "raw", [one], []) for at, one in ((NOW, before), (NOW + 1, after)))
    return difference(*moments, {**THRESHOLDS, **thresholds})


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("nothing", {}, {}, {}),
        ("within the threshold", {"cpu_percent": 10}, {"cpu_percent": 30}, {}),
        ("over it", {"cpu_percent": 10}, {"cpu_percent": 31}, {"metrics": [("cpuLoad", 10, 31, 21)]}),
        ("down is a change too", {"load_average": 9}, {"load_average": 1}, {"metrics": [("loadAverage", 9, 1, -8)]}),
        ("what was unknown did not change", {}, {"cpu_temperature": 90}, {}),
        ("a rack", {"rack": "R1"}, {"rack": "R2"}, {"moved": ["rack"]}),
        ("a place", {}, {"position": {"x": 1, "y": 0, "z": 0}}, {"moved": ["position"]}),
        ("an uplink", {"uplink": "a"}, {"uplink": "b"}, {"moved": ["uplink"]}),
        ("a status", {}, {"status": Status.STALE}, {"status": [("online", "stale")]}),
    ],
)
def test_the_difference_of_two_moments(
    name: str, before: dict[str, Any], after: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = changes(host("a", **before), host("a", **after))
    moved = [side for row in found["moved"] for side in row["before"] if row["before"][side] != row["after"][side]]
    told = {
        "moved": moved,
        "status": [(row["before"], row["after"]) for row in found["status"]],
        "metrics": [(row["metric"], row["before"], row["after"], row["change"]) for row in found["metrics"]],
    }
    assert {key: rows for key, rows in told.items() if rows} == expected, name
    assert (found["came"], found["went"]) == ([], [])


def test_a_threshold_decides_which_changes_are_listed() -> None:
    before, after = host("a", cpu_percent=10), host("a", cpu_percent=12)
    assert changes(before, after)["metrics"] == []
    assert [row["metric"] for row in changes(before, after, cpuLoad=1)["metrics"]] == ["cpuLoad"]


def test_one_number_is_the_threshold_of_every_metric() -> None:
    assert ThresholdsText().deserialize("3") == dict.fromkeys(THRESHOLDS, 3)
    assert ThresholdsText().deserialize("cpuLoad:3, utilization:0.1") == {"cpuLoad": 3, "utilization": 0.1}


spans = st.lists(st.tuples(st.integers(-50, 150), st.integers(-50, 150)), max_size=6)


@settings(deadline=None)
@given(spans, st.integers(1, 9))
def test_a_mean_is_what_one_gets_by_looking_at_every_instant(given_spans: list[tuple[int, int]], buckets: int) -> None:
    stretch = Stretch(0, 100 * buckets, buckets)
    ordered = [(begin * buckets, end * buckets) for begin, end in map(sorted, given_spans)]
    level = Level(stretch, sum(begin < 0 <= end for begin, end in ordered))
    for begin, end in ordered:
        for at, by in ((begin, 1), (end, -1)):
            if 0 <= at < stretch.end:
                level.step(stretch.bucket_of(at), by, by * at)
    looked = [0] * buckets
    for begin, end in ordered:
        for at in range(max(0, begin), min(stretch.end, end)):
            looked[at // 100] += 1
    assert level.means() == pytest.approx([count / 100 for count in looked])


def test_presence_counts_a_host_once_however_often_it_changes() -> None:
    stretch = Stretch(0, 40, 4)
    turns = [(1, 5, True), (2, 10, True), (2, 15, True), (1, 20, False), (3, 35, True), (3, 35, False)]
    assert presence({1}, turns, stretch).means() == [1.0, 2.0, 1.0, 1.0]


def test_what_was_active_in_a_bucket_was_open_at_its_start_or_fired_in_it() -> None:
    assert active_in_each(2, fired=[0, 3, 0, 1], resolved=[1, 0, 4, 1]) == [2, 4, 4, 1]


@settings(deadline=None)
@given(st.integers(0, 10**13), st.integers(1, 10**11), st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_every_instant_lies_in_the_bucket_that_begins_before_it(
    start: int, length: int, buckets: int, share: float
) -> None:
    stretch = Stretch(start, start + length, buckets)
    at = start + int(length * share)
    starts, bucket = stretch.starts(), stretch.bucket_of(at)
    assert starts[bucket] <= at
    assert bucket + 1 == buckets or at < starts[bucket + 1]
