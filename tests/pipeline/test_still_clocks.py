"""A host whose clock stands still is online, its numbers move, and `clock_skew` says what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.core.instants import HOUR, MINUTE, Instant
from mirror_stage.twin.domain import Host, Status
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench

EVERY_SECONDS = 5
GIGABIT = 125_000_000  # bytes


def host_of(bench: Bench) -> Host:
    return bench.twin.hosts_by_name["a"]


def cpu(bench: Bench) -> float:
    sample = host_of(bench).sample
    assert sample is not None
    assert sample.cpu_load is not None
    return sample.cpu_load


def report(bench: Bench, at: Instant, number: int) -> Any:
    """Post the sample with this number, whose clock shows `at`, with a sweep before it. Returns the receipt."""
    bench.clock.advance(EVERY_SECONDS)
    bench.owner.sweep()
    grown = {"net_bytes_tx": number * EVERY_SECONDS * GIGABIT, "net_bytes_rx": 0}
    return bench.post(
        make_sample("a", at=at, cpu_percent=number % 70, uptime_seconds=7200 + number * EVERY_SECONDS, **grown)
    )


def stored(bench: Bench) -> list[Instant]:
    statement = text("SELECT at_second * 1000 + at_ms FROM host_metric_samples ORDER BY 1")
    return bench.storage.read(lambda tx: list(tx.execute(statement).scalars()))


# How far the clock was from EGO's when it stopped; an hour behind, it was set back first.
@pytest.mark.parametrize("behind", [0, -4 * MINUTE - 7, 4 * MINUTE, HOUR])
def test_a_clock_that_stands_still_hides_neither_its_host_nor_its_numbers(bench: Bench, behind: Instant) -> None:
    for number in range(3):
        report(bench, bench.clock.now() + EVERY_SECONDS * 1000, number)
    stopped_at = bench.clock.now() - behind
    for number in range(3, 120):
        assert report(bench, stopped_at, number).duplicates == 0
        assert host_of(bench).status == Status.ONLINE
        assert number < 5 or cpu(bench) == number % 70
    rates = host_of(bench).rates
    assert rates is not None
    assert rates.tx_gbps == pytest.approx(1)
    assert len(stored(bench)) == 120
    assert {metric for kind, metric in bench.alerts_heard()} == {"clock_skew"}
    for number in range(120, 124):  # somebody has set it
        report(bench, bench.clock.now() + EVERY_SECONDS * 1000, number)
    assert host_of(bench).rates is not None
    assert bench.open_alerts.all() == []


def test_the_past_shows_such_a_host_as_it_was(bench: Bench) -> None:
    stopped_at = bench.clock.now()
    for number in range(30):
        report(bench, stopped_at, number)
    bench.saver.record()
    (_, host) = past_of(bench).moment(bench.clock.now()).hosts
    assert (host.status, host.sample.cpu_load) == (Status.ONLINE, 29)


@pytest.mark.parametrize("saves", [True, False])
def test_a_restart_goes_on_where_it_was(bench: Bench, saves: bool) -> None:
    stopped_at = bench.clock.now()
    for number in range(10):
        report(bench, stopped_at, number)
    if saves:
        bench.saver.save()
    again = bench.again()
    assert (cpu(again), host_of(again).last_seen_at) == (9, bench.clock.now())
    assert report(again, stopped_at, 10).duplicates == 0
    assert cpu(again) == 10


@pytest.mark.parametrize("restarts", [True, False])
def test_what_is_sent_again_is_stored_once_and_is_a_sign_of_life(bench: Bench, restarts: bool) -> None:
    stopped_at = bench.clock.now()
    for number in range(4):
        report(bench, stopped_at, number)
    bench.saver.save()
    bench = bench.again() if restarts else bench
    before = stored(bench)
    for _ in range(30):
        assert report(bench, stopped_at, 3).duplicates == 1  # its agent had no answer
        assert host_of(bench).last_seen_at == bench.clock.now()
    assert stored(bench) == before
    assert host_of(bench).status == Status.ONLINE
    assert bench.alerts_heard() == []


def test_a_host_that_sends_the_same_sample_for_ever_is_online(bench: Bench) -> None:
    at = bench.clock.now()
    for _ in range(40):
        report(bench, at, 0)
        assert host_of(bench).status == Status.ONLINE
    assert stored(bench) == [at]


def test_of_two_samples_of_one_instant_that_come_together_the_first_stays(bench: Bench) -> None:
    at = bench.clock.now()
    bench.post(make_sample("a", at=at, cpu_percent=10))
    bench.clock.advance(1)
    assert bench.post(make_sample("a", at=at, cpu_percent=20)).duplicates == 1
    assert bench.post(make_sample("a", at=at, cpu_percent=30), make_sample("a", at=at, cpu_percent=40)).duplicates == 2
    assert cpu(bench) == 10


def test_a_backlog_of_a_stopped_clock_does_not_move_the_twin_back(bench: Bench) -> None:
    """A backlog that is sent again and again between live samples, as when each answer gets lost."""
    for number in range(10):
        report(bench, bench.clock.now() + EVERY_SECONDS * 1000, number)
        backlog = [make_sample("a", at=bench.clock.now() - HOUR, uptime_seconds=3600, cpu_percent=n) for n in (71, 72)]
        bench.post(*backlog)
        assert cpu(bench) == number
