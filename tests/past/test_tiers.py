"""A moment whose raw samples are pruned, or of a host that was silent for long: what EGO shows from the rollups."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from mirror_stage.core.config import Config
from mirror_stage.core.instants import HOUR, MINUTE, SECOND, Instant
from mirror_stage.history.domain import METRICS, RESOLUTIONS, Resolution
from mirror_stage.history.keeping import Keeper
from mirror_stage.past.domain import Moment
from mirror_stage.past.service import CROWD
from mirror_stage.twin.domain import Host
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench

RAW, MINUTES, QUARTERS = RESOLUTIONS


def post(bench: Bench, host: str = "a", *, seconds: float = 0, **fields: Any) -> Instant:
    now = bench.clock.advance(seconds)
    bench.post(make_sample(host, at=now, **fields))
    bench.owner.sweep()
    bench.saver.save()
    return now


def rolled(bench: Bench, tier: Resolution, at: Instant, host: str = "a", samples: int = 2, **means: float) -> None:
    """Insert a bucket of a host, as if its samples had been rolled up."""
    sums = {
        f"{metric.column}_sum": round(means[metric.name] * samples * metric.scale)
        for metric in METRICS
        if metric.name in means
    }
    second = at // SECOND
    values = {"host_id": host_id(bench, host), "at_second": second - second % tier.seconds, "samples": samples} | sums
    names = ", ".join(values)
    statement = f"INSERT INTO {tier.table} ({names}) VALUES ({', '.join(':' + name for name in values)})"
    bench.storage.write(lambda tx: tx.execute(text(statement), values))


def host_id(bench: Bench, host: str) -> int:
    statement = text("SELECT id FROM host_metrics WHERE hostname = :name")
    return int(bench.storage.read(lambda tx: tx.execute(statement, {"name": host}).scalar_one()))


def reached(bench: Bench, tier: Resolution, *, done: Instant = 0, pruned: Instant = 0) -> None:
    """Set the progress of a tier; delete what it has pruned."""
    values = {"name": tier.name, "done": done // SECOND, "pruned": pruned // SECOND}

    def write(tx: Any) -> None:
        tx.execute(text("DELETE FROM history_tiers WHERE resolution = :name"), values)
        tx.execute(text("INSERT INTO history_tiers VALUES (:name, :done, :done, :pruned, 0)"), values)
        tx.execute(text(f"DELETE FROM {tier.table} WHERE at_second < :pruned"), values)

    bench.storage.write(write)


def of(moment: Moment, name: str) -> Host:
    return next(host for host in moment.hosts if host.hostname == name)


def test_without_raw_samples_a_moment_shows_the_means_of_its_minute(bench: Bench) -> None:
    bench.clock.instant -= bench.clock.instant % HOUR
    at = post(bench, cpu_percent=40, rack="R1", tags={"primary_interface_speed_mbps": "1000"}, memory_total_bytes=2**33)
    rolled(bench, MINUTES, at, cpuLoad=41.5, loadAverage=0.25, rxGbps=0.3, txGbps=0.1, utilization=0.4)
    bench.clock.advance(HOUR / SECOND)
    reached(bench, RAW, pruned=at + HOUR)
    moment = past_of(bench).moment(at + 30 * SECOND)
    host = of(moment, "a")
    assert moment.resolution == "1m"
    assert (host.status, host.last_seen_at) == ("online", at + 30 * SECOND)
    assert host.sample is not None
    assert (host.sample.cpu_load, host.sample.load_average, host.sample.uptime_seconds) == (41.5, 0.25, None)
    assert (host.sample.rack, host.sample.memory_total_bytes, host.sample.net_capacity_gbps) == ("R1", 2**33, 1.0)
    assert host.rates is not None
    assert (host.rates.rx_gbps, host.rates.tx_gbps, host.utilization) == (0.3, 0.1, 0.4)
    assert [of(past_of(bench).moment(at + n * MINUTE), "a").status for n in (1, 2)] == ["online", "offline"]


def test_an_offline_alert_says_when_a_host_was_last_seen_where_a_bucket_cannot(bench: Bench) -> None:
    at = post(bench, seconds=100)
    at -= at % (15 * MINUTE)
    bench.clock.advance(70)
    bench.owner.sweep()  # silent for 70 s: offline
    bench.saver.save()
    fired = bench.clock.now()
    post(bench, seconds=100, cpu_percent=90)
    rolled(bench, QUARTERS, at, cpuLoad=55)
    bench.clock.advance(HOUR / SECOND)
    for tier in (RAW, MINUTES):
        reached(bench, tier, pruned=bench.clock.now())
    moment = past_of(bench).moment(fired + 10 * SECOND)
    host = of(moment, "a")
    assert (moment.resolution, host.status, host.severity) == ("15m", "offline", "critical")
    assert host.sample is not None
    assert (host.sample.cpu_load, host.last_seen_at) == (55, fired - 70 * SECOND)
    assert [(alert.metric, round(alert.current_value)) for alert in moment.alerts] == [("host_offline", 80)]


def test_a_host_that_was_silent_for_long_shows_its_last_sample(bench: Bench) -> None:
    last = post(bench, cpu_percent=37)
    rolled(bench, MINUTES, last, cpuLoad=30)
    reached(bench, MINUTES, done=last + 5 * HOUR)
    bench.clock.advance(4 * HOUR / SECOND)
    post(bench, "b")
    at = bench.clock.now()
    host = of(past_of(bench).moment(at), "a")
    assert host.sample is not None
    assert (host.status, host.last_seen_at, host.sample.cpu_load) == ("offline", last, 37)
    reached(bench, RAW, pruned=last + HOUR)
    host = of(past_of(bench).moment(at), "a")
    assert host.sample is not None
    assert (host.status, host.sample.cpu_load) == ("offline", 30)


def test_what_had_not_arrived_yet_is_not_shown(bench: Bench) -> None:
    first = post(bench, cpu_percent=10)
    rolled(bench, MINUTES, first, cpuLoad=10)
    bench.clock.advance(HOUR / SECOND)
    silent = bench.clock.now() - MINUTE
    backlog = [make_sample("a", at=silent + n * SECOND, cpu_percent=70) for n in (-90, -5, 0)]
    bench.post(*backlog, make_sample("a", at=bench.clock.now(), cpu_percent=20))
    for at in (silent - 90 * SECOND, silent):
        rolled(bench, MINUTES, at, cpuLoad=70)
    reached(bench, MINUTES, done=silent + HOUR)
    host = of(past_of(bench).moment(silent), "a")
    assert host.sample is not None
    assert (host.status, host.last_seen_at, host.sample.cpu_load) == ("offline", first, 10)


def test_many_hosts_that_fell_silent_at_once_are_found_like_single_ones(bench: Bench) -> None:
    clock: Any = bench.clock
    keeper = Keeper(bench.storage, clock, Config().kept_by_resolution)
    keeper.begin()
    bench.clock.advance(100)
    last = bench.clock.now()
    bench.post(*(make_sample(f"h{n}", at=last, cpu_percent=n % 70) for n in range(CROWD + 10)))
    bench.clock.advance(HOUR / SECOND)
    keeper.keep(busy_seconds=60)
    hosts = [host for host in past_of(bench).moment(bench.clock.now()).hosts if host.role == "host"]
    assert len(hosts) == CROWD + 10
    for host in hosts:
        assert host.sample is not None
        assert (host.status, host.last_seen_at, host.sample.cpu_load) == ("offline", last, int(host.hostname[1:]) % 70)
