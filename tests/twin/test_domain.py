"""How a sample changes a host: order, rates, status, uplinks, places."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.core.instants import HOUR, SECOND, from_text
from mirror_stage.metrics.domain import Sample
from mirror_stage.twin.domain import Arrival, Host, Status, fold, status_of, uplinks
from mirror_stage.twin.geometry import place
from mirror_stage.twin.throughput import LinkRates, rates_of, set_rates, utilization_ratio
from tests.builders import decoded, make_sample

NOW = from_text("2026-03-01T12:00:00Z")


def one(seconds: float, *, received: float | None = None, newest: bool = True, **fields: object) -> Sample:
    """A sample of the same host, `seconds` after NOW by its own clock, received then or at `received`."""
    at = NOW + int(seconds * 1000)
    sample = decoded(
        make_sample("a", at=at, **fields), received_at=at if received is None else NOW + int(received * 1000)
    )[0]
    sample.is_newest_of_request = newest
    return sample


def counters(tx: int | None, rx: int | None, uptime: float = 7200) -> dict[str, object]:
    return {"net_bytes_tx": tx, "net_bytes_rx": rx, "uptime_seconds": uptime}


def empty() -> Host:
    return Host(1, "a", "host", (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("name", "before", "after", "seconds", "expected"),
    [
        ("the difference over the time", (0, 0), (125_000_000, 250_000_000), 1, LinkRates(1.0, 2.0)),
        ("over ten seconds", (0, 0), (125_000_000, 0), 10, LinkRates(0.1, 0.0)),
        ("a counter fell", (10, 10), (5, 20), 1, None),
        ("the other counter fell", (10, 10), (20, 5), 1, None),
        ("a missing counter", (10, 10), (20, None), 1, None),
        ("a missing counter before", (None, 10), (20, 20), 1, None),
        ("no time passed", (0, 0), (10, 10), 0, None),
        ("the fastest card", (0, 0), (100_000_000_000, 0), 1, LinkRates(800.0, 0.0)),
        ("more than any card carries", (0, 0), (0, 100_000_000_001), 1, None),
    ],
)
def test_rates_come_from_two_samples_in_order(name, before, after, seconds, expected) -> None:
    sample = one(seconds, **counters(*after))
    set_rates(sample, one(0, **counters(*before)))
    assert rates_of(sample) == expected, name


def test_a_fallen_uptime_is_a_reset_even_if_the_counters_grew() -> None:
    sample = one(5, **counters(20, 20, uptime=3))
    set_rates(sample, one(0, **counters(10, 10, uptime=500)))
    assert rates_of(sample) is None


@pytest.mark.parametrize(
    ("name", "before", "after", "seconds", "expected"),
    [
        ("the difference over the time", {"disk_read_bytes": 100}, {"disk_read_bytes": 1100}, 4, 250),
        ("nothing was read", {"disk_read_bytes": 7}, {"disk_read_bytes": 7}, 4, 0),
        ("the counter fell", {"disk_read_bytes": 7}, {"disk_read_bytes": 6}, 4, None),
        ("as fast as disks can be", {"disk_read_bytes": 0}, {"disk_read_bytes": 4 * 10**12}, 4, 10**12),
        ("no disks are so fast: it is another counter", {"disk_read_bytes": 0}, {"disk_read_bytes": 4 * 10**12 + 1}, 4, None),
        ("it was unknown", {}, {"disk_read_bytes": 7}, 4, None),
        ("it is unknown", {"disk_read_bytes": 7}, {}, 4, None),
        ("no time passed", {"disk_read_bytes": 0}, {"disk_read_bytes": 7}, 0, None),
        ("a restart", {"disk_read_bytes": 0, "uptime_seconds": 500}, {"disk_read_bytes": 7, "uptime_seconds": 3}, 4, None),
        ("another agent", {"disk_read_bytes": 0, "agent_version": "1"}, {"disk_read_bytes": 7, "agent_version": "2"}, 4, None),
        ("the network's counter fell", {"disk_read_bytes": 0, **counters(9, 9)}, {"disk_read_bytes": 8, **counters(1, 1)}, 4, 2),
        (
            "another interface",
            {"disk_read_bytes": 0, "primary_interface": "eth0"}, {"disk_read_bytes": 8, "primary_interface": "eth1"}, 4, 2,
        ),
    ],
)  # fmt: skip
def test_what_disks_read_follows_the_same_rule(name, before, after, seconds, expected) -> None:
    sample = one(seconds, **after)
    set_rates(sample, one(0, **before))
    assert sample.disk_read_bytes_per_second == expected, name


def test_utilization_is_the_busier_direction_of_a_full_duplex_link() -> None:
    assert utilization_ratio(LinkRates(1.0, 4.0), 10) == 0.4
    assert utilization_ratio(LinkRates(1.0, 4.0), None) is None
    assert utilization_ratio(None, 10) is None


@pytest.mark.parametrize(
    ("silence", "expected"),
    [(0, "online"), (14.999, "online"), (15, "stale"), (59.999, "stale"), (60, "offline"), (86_400, "offline")],
)
def test_status_follows_silence_by_egos_clock(silence: float, expected: str) -> None:
    assert status_of(NOW, NOW + int(silence * SECOND), 15 * SECOND, 60 * SECOND) == Status(expected)


def folded(*samples: Sample) -> tuple[Host, list[Arrival]]:
    host, kinds = empty(), []
    for sample in samples:
        host, kind = fold(host, sample)
        kinds.append(kind)
    return host, kinds


def test_a_late_sample_changes_last_seen_and_nothing_else() -> None:
    host, kinds = folded(one(0, cpu_percent=10), one(-4, received=3, cpu_percent=99))
    assert kinds == [Arrival.FRESH, Arrival.LATE]
    assert host.sample is not None
    assert (host.sample.cpu_load, host.last_seen_at) == (10, NOW + 3000)


def test_a_sample_from_a_backlog_does_not_change_last_seen() -> None:
    host, kinds = folded(one(0), one(-301, received=3))
    assert kinds == [Arrival.FRESH, Arrival.REPLAYED]
    assert host.last_seen_at == NOW


def test_a_clock_that_is_ahead_does_not_move_a_sample_before_its_arrival() -> None:
    host, kinds = folded(one(240, received=0, cpu_percent=1), one(5, received=5, cpu_percent=2))
    assert kinds == [Arrival.FRESH, Arrival.FRESH]
    assert host.sample is not None
    assert host.sample.cpu_load == 2


def test_a_sample_that_is_sent_again_changes_only_last_seen_even_if_its_clock_is_fast() -> None:
    host = fold(fold(empty(), one(60, received=0, **counters(0, 0)))[0], one(65, received=5, **counters(10, 10)))[0]
    again, kind = fold(host, one(65, received=6, **counters(10, 10)))
    assert (again, kind) == (replace(host, last_seen_at=NOW + 6000), Arrival.REPEATED)


def test_a_sample_that_is_told_twice_changes_nothing() -> None:
    sample = one(0)
    host = fold(empty(), sample)[0]
    assert fold(host, sample) == (host, Arrival.REPEATED)


def test_a_clock_that_was_set_back_re_anchors_at_the_third_sample() -> None:
    hour = HOUR / SECOND
    growing = [one(5 * n - hour, received=5 * n, **counters(1000 * n, 1000 * n)) for n in range(1, 5)]
    _, kinds = folded(one(0, **counters(0, 0)), *growing)
    assert kinds == [Arrival.FRESH, Arrival.REPLAYED, Arrival.REPLAYED, Arrival.REANCHORED, Arrival.FRESH]


def test_a_sample_brings_its_rates_and_a_re_anchored_one_has_none() -> None:
    measured = one(5, received=5)
    measured.tx_gbps, measured.rx_gbps = 0.5, 0.25
    host, kind = fold(fold(empty(), one(0))[0], measured)
    assert (kind, host.rates) == (Arrival.FRESH, LinkRates(0.5, 0.25))
    late = [one(5 * n - 3600, received=5 * n + 5) for n in range(1, 4)]
    late[-1].tx_gbps, late[-1].rx_gbps = 0.5, 0.25  # since a late one: that is no rate of now
    for sample in late:
        host, kind = fold(host, sample)
    assert (kind, host.rates) == (Arrival.REANCHORED, None)


def test_a_fresh_sample_between_late_ones_starts_the_count_anew() -> None:
    _, kinds = folded(
        one(0), one(-90, received=1), one(-80, received=2), one(3), one(-70, received=4), one(-60, received=5)
    )
    assert kinds == [Arrival.FRESH, Arrival.LATE, Arrival.LATE, Arrival.FRESH, Arrival.LATE, Arrival.LATE]


def test_a_backlog_never_moves_the_twin_back() -> None:
    backlog = [one(-3600 + n, received=1, newest=n % 100 == 99) for n in range(1000)]
    _, kinds = folded(one(0), *backlog)
    assert Arrival.REANCHORED not in kinds


streams = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 10**9), st.booleans()), min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(streams, st.data())
def test_grouping_never_changes_the_result(steps: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    """The same stream, cut into batches anywhere, ends in the same host; rates are never negative."""
    clock, tx, samples = 0, 0, []
    for seconds, grown, reset in steps:
        clock += seconds
        tx = grown if reset else tx + grown
        samples.append(make_sample("a", at=NOW + clock * 1000, net_bytes_tx=tx, net_bytes_rx=tx, uptime_seconds=clock))
    received = NOW + (clock + 1) * 1000
    whole, _ = folded(*decoded(*samples, received_at=received))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(samples)), max_size=6)) | {0, len(samples)})
    parts = [decoded(*samples[a:b], received_at=received) for a, b in itertools.pairwise(cuts) if a < b]
    split, _ = folded(*(sample for part in parts for sample in part))
    assert whole.sample is not None
    assert split.sample is not None
    assert (split.sample.at, split.rates, split.gauges, split.last_seen_at) == (
        whole.sample.at,
        whole.rates,
        whole.gauges,
        whole.last_seen_at,
    )
    assert whole.rates is None or min(whole.rates.tx_gbps, whole.rates.rx_gbps) >= 0


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("none asked for", {"a": None}, {"a": "hub"}),
        ("one that exists", {"a": "b", "b": None}, {"a": "b", "b": "hub"}),
        ("one that does not", {"a": "nobody"}, {"a": "hub"}),
        ("itself", {"a": "a"}, {"a": "hub"}),
        ("the hub by name", {"a": "hub"}, {"a": "hub"}),
        ("a circle hangs from the hub", {"a": "b", "b": "c", "c": "a"}, {"a": "hub", "b": "hub", "c": "hub"}),
        ("what hangs from a circle stays", {"a": "b", "b": "a", "x": "a"}, {"a": "hub", "b": "hub", "x": "a"}),
        ("a chain", {"a": "b", "b": "c", "c": None}, {"a": "b", "b": "c", "c": "hub"}),
    ],
)
def test_uplinks_never_form_a_circle(name: str, wanted: dict[str, str | None], expected: dict[str, str]) -> None:
    assert uplinks(wanted, "hub") == expected, name


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.one_of(st.none(), st.sampled_from("abcdefghz"))))
def test_every_host_reaches_the_hub(wanted: dict[str, str | None]) -> None:
    settled = uplinks(wanted, "hub")
    assert settled.keys() == wanted.keys()
    for start in wanted:
        host, steps = start, 0
        while host != "hub":
            host, steps = settled[host], steps + 1
            assert steps <= len(wanted)


def test_no_two_of_ten_thousand_hosts_stand_in_one_place() -> None:
    places = [place(None if n % 3 else f"rack-{n % 40}", n) for n in range(10_000)]
    assert len(set(places)) == len(places)
    assert place("R1", 7) == place("R1", 7)
