"""The SQL of history queries on both databases, against sums that Python makes of the same samples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import pytest

from mirror_stage.access.domain import EGO
from mirror_stage.core.instants import SECOND
from mirror_stage.history import series
from mirror_stage.history.domain import METRICS, METRICS_BY_NAME, RAW, ROLLUPS, Window
from mirror_stage.metrics.domain import Sample
from tests.builders import make_sample
from tests.history.run import HistoryRun, Row, open_storage, summarised, units_of

SINCE, SECONDS, EVERY = 1_762_000_200, 660, 20  # eleven minutes, from the beginning of a quarter of an hour
DONE = SINCE + SECONDS - 60  # the last minute is not rolled up
RACKS = {"a": "R1", "b": "R1", "c": "R2", "nowhere": None}
CPU, RAM, HEAT = (METRICS_BY_NAME[name] for name in ("cpuLoad", "memoryUsedPercent", "cpuTemperature"))
WINDOWS = [
    Window(SINCE, SINCE + SECONDS, 10, RAW),
    Window(SINCE + 120, SINCE + 240, 30, RAW),
    Window(SINCE, DONE, 60, ROLLUPS[0]),
    Window(SINCE, SINCE + SECONDS, 60, ROLLUPS[0]),  # its last minute comes from the samples
    Window(SINCE, SINCE + SECONDS + 60, 120, ROLLUPS[0]),
    Window(SINCE, SINCE + 900, 900, ROLLUPS[1]),  # and so do all that the quarter has not rolled up
    Window(SINCE - 600, SINCE, 60, ROLLUPS[0]),
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def run(request: pytest.FixtureRequest) -> Iterator[HistoryRun]:
    """Eleven minutes of four hosts, one of which was removed; all but the last minute are rolled up."""
    is_sqlite = request.param == "sqlite"
    with open_storage(None if is_sqlite else request.getfixturevalue("postgresql").new_database()) as storage:
        run = HistoryRun(storage)
        for number, second in enumerate(range(SINCE, SINCE + SECONDS, EVERY)):
            run.clock.instant = second * SECOND
            run.post(
                *(
                    make_sample(
                        name, at=run.clock.now(), cpu_percent=10 * n + number % 7, rack=rack, tags={"room": "east"} if n else {},
                        cpu_temperature=50.5 + n if number % 2 else None,
                    )
                    for n, (name, rack) in enumerate(RACKS.items())
                )
            )  # fmt: skip
        run.bench.saver.save()
        run.bench.remover.remove("b", EGO)
        run.clock.instant = (SINCE + SECONDS + 25) * SECOND  # a minute closes 30 s after its end
        run.keep()
        assert run.tiers()["1m"].done_until == DONE
        yield run


def ids(run: HistoryRun) -> dict[str, int]:
    return run.storage.read(lambda tx: series.ids_of(tx, list(RACKS)))


def samples_by_bucket(run: HistoryRun, asked: Window) -> dict[tuple[int, int], list[Sample]]:
    """The acknowledged samples of a window by (host id, bucket)."""
    found: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for (host_id, at), sample in run.acknowledged.items():
        second = at // SECOND
        if asked.since <= second < asked.until:
            found[host_id, second - (second - asked.since) % asked.step_seconds].append(sample)
    return found


def test_hosts_are_found_by_name_also_after_they_left(run: HistoryRun) -> None:
    found = run.storage.read(lambda tx: series.ids_of(tx, ["a", "b", "nobody"]))
    assert found.keys() == {"a", "b"}
    assert len(set(found.values())) == 2
    assert run.storage.read(lambda tx: series.ids_of(tx, [])) == {}


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("rack", {"a": "R1", "b": "R1", "c": "R2", "nowhere": None}),
        ("room", {"a": None, "b": "east", "c": "east", "nowhere": "east"}),
        ("tier", dict.fromkeys(RACKS)),
        ("all", dict.fromkeys(RACKS, "all")),
    ],
)
def test_each_host_that_reported_is_in_its_group_and_the_hub_is_not(
    run: HistoryRun, group_by: str, expected: dict[str, str | None]
) -> None:
    found = run.storage.read(lambda tx: series.groups(tx, group_by))
    assert found == {ids(run)[name]: group for name, group in expected.items()}


def test_the_extent_reaches_from_the_first_sample_to_the_end_of_the_last_bucket(run: HistoryRun) -> None:
    host_ids = list(ids(run).values())
    assert run.storage.read(lambda tx: series.extent(tx, host_ids)) == (SINCE, SINCE + SECONDS - EVERY + 1)


def test_a_history_without_rows_has_no_extent() -> None:
    with open_storage(None) as storage:
        assert storage.read(lambda tx: series.extent(tx, [1])) == (0, 0)


@pytest.mark.parametrize("asked", WINDOWS)
@pytest.mark.parametrize("seek_hosts", [series.SEEK_HOSTS, 0], ids=["each second sought", "the range read"])
def test_the_buckets_of_hosts_are_the_sums_of_their_samples(
    run: HistoryRun, asked: Window, seek_hosts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "SEEK_HOSTS", seek_hosts)
    host_ids = [ids(run)[name] for name in ("a", "b")]
    rows = run.storage.read(lambda tx: series.of_hosts(tx, asked, host_ids, METRICS))
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    found = {row[:2]: normal(row[2:]) for row in rows}
    assert len(found) == len(rows)
    samples = samples_by_bucket(run, asked)
    assert found == {key: normal(summarised(each)) for key, each in samples.items() if key[0] in host_ids}


def normal(row: Row) -> Row:
    """A row with the counts that None stands for, where every sample has the metric."""
    counts = [row[0] if n % 4 == 0 and value is None else value for n, value in enumerate(row[1:], 1)]
    return (row[0], *counts)


@pytest.mark.parametrize("asked", WINDOWS)
def test_the_buckets_of_groups_are_the_sums_of_their_hosts(run: HistoryRun, asked: Window) -> None:
    members = {host_id: 0 if name in {"a", "b"} else 1 for name, host_id in ids(run).items()}
    metrics = (CPU, RAM, HEAT)
    rows = run.storage.read(lambda tx: series.of_groups(tx, asked, members, metrics))
    found = {row[:3]: row[3:] for row in rows}
    assert len(found) == len(rows)
    averages: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    units: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for (host_id, bucket), samples in samples_by_bucket(run, asked).items():
        for n, metric in enumerate(metrics):
            own = [value for sample in samples if (value := units_of(metric, sample)) is not None]
            if own:
                units[n, members[host_id], bucket] += own
                averages[n, members[host_id], bucket].append(sum(own) / len(own))
    assert found.keys() == units.keys()
    for key, own in units.items():
        ranked = sorted(averages[key])
        p95 = ranked[math.ceil(0.95 * len(ranked)) - 1]
        assert found[key][:4] == (min(own), max(own), sum(own), len(own)), key
        assert (float(found[key][4]), found[key][5]) == (pytest.approx(p95), len(ranked)), key


def test_an_answer_about_very_many_hosts_leaves_out_what_is_not_rolled_up(
    run: HistoryRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, members = WINDOWS[3], dict.fromkeys(ids(run).values(), 0)

    def last() -> int:
        return max(row[2] for row in run.storage.read(lambda tx: series.of_groups(tx, asked, members, [CPU])))

    assert last() == DONE
    monkeypatch.setattr(series, "TAIL_HOSTS", len(members) - 1)
    assert last() == DONE - 60
