"""docs/contract.md, section 2: status by silence, the order of samples, and wrong clocks."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import active_alerts, ago, detail, host_when, instant, now, post, settled, shown, snapshot
from tests.servers import EgoServer

GIGABIT = 125_000_000  # bytes


def test_silence_makes_a_host_stale_then_offline_and_a_sample_brings_it_back(hasty_ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(hasty_ego, make_sample(hostname))
    sent = time.monotonic()
    last_seen = host_when(hasty_ego, hostname, lambda host: host["status"] == "online")["lastSeen"]
    stale = host_when(hasty_ego, hostname, lambda host: host["status"] == "stale")
    stale_after = time.monotonic() - sent
    offline = host_when(hasty_ego, hostname, lambda host: host["status"] == "offline")
    offline_after = time.monotonic() - sent
    assert stale_after > 1.4  # 1.5 s, seen by a sweep each second and a tick each quarter; later on busy cores
    assert 2.9 < offline_after < 9
    assert stale["lastSeen"] == offline["lastSeen"] == last_seen
    assert {item["hostname"] for item in hasty_ego.get("/api/hosts?status=offline").json()["items"]} >= {hostname}
    post(hasty_ego, make_sample(hostname))
    assert shown(hasty_ego, hostname)["status"] == "online"


def test_last_seen_is_the_arrival_by_egos_clock_whatever_the_agents_clock_says(ego: EgoServer) -> None:
    for offset in (0, 200, -200, 3_000):
        hostname = unique_hostname()
        receipt = post(ego, make_sample(hostname, at=ago(offset)))
        assert shown(ego, hostname)["lastSeen"] == receipt["receivedAt"], offset


def stream(seed: int, hostname: str) -> list[dict[str, Any]]:
    """Twelve samples in time order, with counters that grow and sometimes start again."""
    chance, samples = random.Random(seed), []
    sent = received = 10**9
    uptime = 5_000.0
    for step in range(12):
        uptime += 10
        sent += chance.randrange(GIGABIT)
        received += chance.randrange(GIGABIT)
        if chance.random() < 0.15:
            sent, received, uptime = 5, 5, 1.0
        counters = {"net_bytes_tx": sent, "net_bytes_rx": received, "uptime_seconds": uptime}
        at = f"2026-03-01T12:{step * 10 // 60:02d}:{step * 10 % 60:02d}Z"
        samples.append(make_sample(hostname, at=at, cpu_percent=chance.randrange(70), **counters))
    return samples


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 20))])
def test_grouping_never_changes_the_result(ego: EgoServer, seed: int) -> None:
    chance, results = random.Random(seed), []
    for grouping in ("one batch", "one by one", "some groups", "one shuffled batch", "everything twice"):
        hostname = unique_hostname()
        samples = stream(seed, hostname)
        if grouping == "one shuffled batch":
            chance.shuffle(samples)
        size = {"one by one": 1, "some groups": 5}.get(grouping, len(samples))
        groups = [samples[start : start + size] for start in range(0, len(samples), size)]
        for group in groups * (2 if grouping == "everything twice" else 1):
            post(ego, *group)
        results.append(shown(ego, hostname)["metrics"])
    assert results == [results[0]] * 5


def test_a_late_sample_goes_to_history_only_but_shows_that_its_host_is_alive(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(5), cpu_percent=50, net_bytes_tx=100, net_bytes_rx=100))
    before = shown(ego, hostname)
    late = make_sample(hostname, at=ago(30), cpu_percent=10, net_bytes_tx=50, net_bytes_rx=50)
    receipt = post(ego, late)
    after = shown(ego, hostname)
    assert after["metrics"] == before["metrics"]
    assert after["lastSeen"] == receipt["receivedAt"] > before["lastSeen"]
    assert post(ego, late)["duplicates"] == 1  # it was stored


def test_a_backlog_of_old_samples_does_not_change_the_live_host(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(1), cpu_percent=50))
    before = shown(ego, hostname)
    backlog = [make_sample(hostname, at=ago(3_600 - n), cpu_percent=n) for n in range(20)]
    post(ego, *backlog)
    assert shown(ego, hostname) == before
    assert post(ego, *backlog)["duplicates"] == 20


def test_a_late_sample_does_not_change_the_next_rate(ego: EgoServer) -> None:
    hostname, start = unique_hostname(), now()
    post(ego, make_sample(hostname, at=ago(30, start), net_bytes_tx=0, net_bytes_rx=0))
    post(ego, make_sample(hostname, at=ago(20, start), net_bytes_tx=10 * GIGABIT, net_bytes_rx=0))
    post(ego, make_sample(hostname, at=ago(25, start), net_bytes_tx=1, net_bytes_rx=0))
    post(ego, make_sample(hostname, at=ago(10, start), net_bytes_tx=30 * GIGABIT, net_bytes_rx=0))
    assert shown(ego, hostname)["metrics"]["netThroughputGbps"] == pytest.approx(2, rel=1e-6)


def test_a_clock_that_is_a_little_early_never_blocks_the_samples_after_it(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(-120), cpu_percent=10))
    assert shown(ego, hostname)["metrics"]["cpuLoad"] == 10
    post(ego, make_sample(hostname, at=ago(0), cpu_percent=20))  # the clock was put right
    assert shown(ego, hostname)["metrics"]["cpuLoad"] == 20


@pytest.mark.parametrize("offset", [-301, -86_400, 86_400 * 731, 86_400 * 5_000])
def test_a_clock_that_cannot_be_right_does_not_hide_its_host(ego: EgoServer, offset: float) -> None:
    hostname = unique_hostname()
    reported = ago(offset)
    post(ego, make_sample(hostname, at=reported, cpu_percent=10))
    host = shown(ego, hostname)
    assert (host["status"], host["metrics"]["cpuLoad"]) == ("online", 10)
    assert detail(ego, hostname)["reportedAt"] == instant_text(reported)
    alert = active_alerts(ego, hostname)["clock_skew"]
    assert alert["severity"] == "info"
    assert alert["currentValue"] == pytest.approx(abs(offset), abs=5)
    time.sleep(0.002)  # the next sample has to arrive in a later millisecond to be newer
    post(ego, make_sample(hostname, at=ago(offset), cpu_percent=20))
    assert shown(ego, hostname)["metrics"]["cpuLoad"] == 20
    post(ego, make_sample(hostname, at=ago(0), cpu_percent=30))  # the clock was put right
    assert shown(ego, hostname)["metrics"]["cpuLoad"] == 30
    assert "clock_skew" not in active_alerts(ego, hostname)


def instant_text(iso: str) -> str:
    """An ISO instant in the wire's form."""
    return iso.replace("+00:00", "Z")


def test_samples_of_a_fast_clock_keep_their_distances(ego: EgoServer) -> None:
    hostname, start = unique_hostname(), now()
    counters = [{"net_bytes_tx": n * 10 * GIGABIT, "net_bytes_rx": 0} for n in range(3)]
    at = [ago(-86_400 + 20 - 10 * n, start) for n in range(3)]
    post(ego, *[make_sample(hostname, at=at[n], **counters[n]) for n in range(3)])
    assert shown(ego, hostname)["metrics"]["netThroughputGbps"] == pytest.approx(1, rel=1e-6)


def test_three_late_samples_in_rising_order_say_that_the_clock_was_set_back(ego: EgoServer) -> None:
    hostname, seen = unique_hostname(), []
    post(ego, make_sample(hostname, at=ago(10), cpu_percent=1, net_bytes_tx=0, net_bytes_rx=0))
    post(ego, make_sample(hostname, at=ago(0), cpu_percent=2, net_bytes_tx=GIGABIT, net_bytes_rx=0))
    for step in range(5):  # the clock is now an hour late, and goes on
        counters = {"net_bytes_tx": GIGABIT * (2 + step), "net_bytes_rx": 0}
        post(ego, make_sample(hostname, at=ago(3_600 - step), cpu_percent=10 + step, **counters))
        metrics = shown(ego, hostname)["metrics"]
        seen.append((metrics["cpuLoad"], metrics["netThroughputGbps"] is not None))
    assert seen == [(2, True), (2, True), (12, False), (13, True), (14, True)]
    assert shown(ego, hostname)["status"] == "online"


def test_late_samples_with_a_fresh_one_between_never_move_the_twin_back(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(20), cpu_percent=1))
    for step in range(4):
        post(ego, make_sample(hostname, at=ago(3_600 - step), cpu_percent=50))
        post(ego, make_sample(hostname, at=ago(10 - step), cpu_percent=step))
        assert shown(ego, hostname)["metrics"]["cpuLoad"] == step


def test_late_samples_that_do_not_rise_never_move_the_twin_back(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(0), cpu_percent=1))
    for step in range(5):
        post(ego, make_sample(hostname, at=ago(3_600 + step), cpu_percent=50))
    assert shown(ego, hostname)["metrics"]["cpuLoad"] == 1


def test_every_instant_that_is_sent_has_milliseconds_and_z(ego: EgoServer) -> None:
    post(ego, make_sample(unique_hostname(), at="2026-03-01T12:00:00+09:00"))
    settled(ego)
    frame = snapshot(ego)
    assert instant(frame["generatedAt"])
    assert all(instant(host["lastSeen"]) for host in frame["hosts"] if host["lastSeen"] is not None)
