"""Silence is judged by each host's interval, and alerts survive restarts and failures of the database."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.core.instants import HOUR, SECOND
from mirror_stage.core.problems import Unavailable
from mirror_stage.twin.domain import Status
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench


def status(bench: Bench, host: str = "a") -> str:
    return bench.twin.hosts_by_name[host].status


def report(bench: Bench, seconds: float, times: int, **fields: Any) -> None:
    """Post `times` samples, `seconds` apart, with a sweep after each."""
    for _ in range(times):
        bench.clock.advance(seconds)
        bench.owner.sweep()
        bench.post(make_sample("a", at=bench.clock.now(), **fields))


def silence(bench: Bench, seconds: float) -> str:
    bench.clock.advance(seconds)
    bench.owner.sweep()
    return status(bench)


def test_a_host_that_says_it_reports_each_hour_is_not_offline_after_a_minute(bench: Bench) -> None:
    report(bench, 3600, 3, interval_seconds=3600)
    assert bench.alerts_heard() == []
    assert silence(bench, 2 * 3600) == Status.ONLINE
    assert silence(bench, 3600) == Status.STALE
    assert bench.alerts_heard() == []
    assert silence(bench, 2 * 3600) == Status.OFFLINE
    assert bench.alerts_heard() == [("fired", "host_offline")]
    alert = next(iter(bench.open_alerts.of("a").values()))
    assert (alert.threshold, alert.current_value) == (5 * 3600, 5 * 3600)


def test_an_unknown_interval_is_learnt_from_three_gaps_and_survives_a_restart(bench: Bench) -> None:
    report(bench, 300, 4)
    assert (
        bench.alerts_heard().count(("fired", "host_offline")) == 3
    )  # until three gaps are known, the usual limits hold
    bench.heard.events.clear()
    report(bench, 310, 5)
    bench.saver.save()
    again = bench.again()
    assert again.twin.hosts_by_name["a"].interval == 300 * SECOND
    report(again, 300, 3)
    assert bench.alerts_heard() + again.alerts_heard() == []


def test_one_or_two_outages_are_not_learnt_as_an_interval(bench: Bench) -> None:
    report(bench, 5, 6)
    for _ in range(2):
        bench.post(make_sample("a", at=bench.clock.advance(4000)))
    assert bench.twin.hosts_by_name["a"].interval is None
    report(bench, 5, 6)
    assert bench.twin.hosts_by_name["a"].gaps == ()


def test_a_host_that_reports_often_again_is_judged_by_the_usual_limits_again(bench: Bench) -> None:
    report(bench, 300, 5)
    assert bench.twin.hosts_by_name["a"].interval == 300 * SECOND
    report(bench, 5, 3)
    assert bench.twin.hosts_by_name["a"].interval is None
    assert silence(bench, 60) == Status.OFFLINE


def test_an_interval_of_many_years_counts_as_a_day(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), interval_seconds=1e300))
    assert bench.twin.hosts_by_name["a"].interval == 24 * HOUR
    bench.saver.save()
    assert bench.again().twin.hosts_by_name["a"].interval == 24 * HOUR


def test_the_past_judges_silence_by_the_interval_of_that_time(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.advance(5), interval_seconds=600))
    at = bench.clock.advance(900)
    bench.saver.record()
    (_, host) = past_of(bench).moment(at).hosts
    assert (host.status, status(bench)) == (Status.ONLINE, Status.ONLINE)


def test_a_vanished_sensor_ends_its_alert_also_after_a_restart(bench: Bench) -> None:
    report(bench, 10, 1, cpu_temperature=95)
    report(bench, 10, 2)
    bench.saver.save()
    again = bench.again()
    assert [alert.metric for alert in again.open_alerts.all()] == ["cpu_temperature_high"]
    report(again, 10, 4)
    assert again.alerts_heard() == [("resolved", "cpu_temperature_high")]
    assert again.heard.events[0][1]["alert"]["resolvedReason"] == "no-data"


@pytest.mark.parametrize("times", [1, 4])
def test_an_alert_of_a_disk_survives_a_restart_and_its_replay(bench: Bench, times: int) -> None:
    full = {"disks": [{"mountpoint": "/", "used_percent": 96}, {"mountpoint": "/data", "used_percent": 99}]}
    report(bench, 1, 1, **full)
    bench.saver.record()
    report(bench, 20, times, **full)  # not saved
    again = bench.again()
    report(again, 1, 1, **full)
    assert sorted((alert.subject, alert.severity) for alert in again.open_alerts.all()) == [
        ("/", "warning"),
        ("/data", "critical"),
    ]
    assert again.alerts_heard() == []


# ------------------------------------------------------------------ known bugs of other monitors


def test_a_host_that_stays_offline_across_a_restart_gets_no_new_alert(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    assert silence(bench, 70) == Status.OFFLINE
    bench.saver.save()
    (before,) = bench.open_alerts.all()
    again = bench.again()
    assert silence(again, 200) == Status.OFFLINE
    assert [alert.id for alert in again.open_alerts.all()] == [before.id]
    assert again.alerts_heard() == []


def test_a_host_that_returns_while_the_database_fails_does_not_stay_offline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    silence(bench, 70)
    bench.saver.save()

    def away(_work: Any) -> Any:
        raise Unavailable("the database does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", away)
        bench.post(make_sample("a", at=bench.clock.advance(1)))
        assert bench.alerts_heard() == [("fired", "host_offline"), ("resolved", "host_offline")]
    bench.saver.save()
    assert bench.again().open_alerts.all() == []


def test_silence_is_still_noticed_after_the_database_was_locked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))

    def locked(_work: Any) -> Any:
        raise Unavailable("the database does not answer: database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", locked)
        assert silence(bench, 30) == Status.STALE
        bench.saver.save()
    assert silence(bench, 40) == Status.OFFLINE
    assert bench.alerts_heard() == [("fired", "host_offline")]
