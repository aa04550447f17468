"""Rules that judge the mean of each whole minute: when it is over, the same as the rollup has it, and after a restart too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror_stage.alerts.domain import HUD, Rule
from mirror_stage.alerts.minutes import Minutes
from mirror_stage.alerts.rules import BadRule, rule_of
from mirror_stage.core.instants import MINUTE, SECOND
from mirror_stage.history.domain import METRICS_BY_NAME, units_of
from tests.builders import decoded, make_sample
from tests.pipeline.conftest import Bench

BEGIN = 1_762_000_200_000


STEPS = [{"severity": "warning", "fire": 80, "resolve": 70}]


def own(**document: Any) -> Rule:
    return rule_of("own", {"measure": "cpuLoad", "every": "minute", "steps": STEPS} | document, None, HUD)


def posted(bench: Bench, loads: list[float], restarts: tuple[int, ...] = ()) -> Bench:
    """Post a sample every 10 s; before some of them EGO is killed and starts again."""
    for n, load in enumerate(loads):
        if n in restarts:
            bench = bench.again(rules=bench.rules)
        bench.clock.instant = BEGIN + n * 10 * SECOND
        bench.post(make_sample("web-1", at=bench.clock.now(), cpu_percent=load))
        if n % 4 == 1:
            bench.saver.save()
    return bench


LOADS = [20.0] * 6 + [100, 100, 100, 100, 50, 40] + [100, 60, 100, 60, 100, 60] + [20.0] * 8


def test_the_mean_of_a_minute_fires_and_resolves_when_the_minute_is_over(new_bench: Callable[..., Bench]) -> None:
    bench = posted(new_bench(rules=(own(),)), LOADS[:12])
    assert bench.open_alerts.all() == []  # a spike of 100 is no minute
    bench = posted(new_bench(rules=(own(),)), LOADS[:13])
    (alert,) = bench.open_alerts.all()
    assert (alert.current_value, alert.created_at, alert.judged_at) == (
        4900 / 6 / 10,
        BEGIN + 2 * MINUTE,
        BEGIN + 2 * MINUTE,
    )
    bench = posted(new_bench(rules=(own(),)), LOADS)
    assert bench.open_alerts.all() == []
    assert bench.alerts_heard() == [("fired", "own"), ("updated", "own"), ("resolved", "own")]


@pytest.mark.parametrize("restarts", [(7,), (11, 12), (14, 17, 20), tuple(range(1, 26))])
def test_a_restart_in_the_middle_of_a_minute_changes_nothing(
    new_bench: Callable[..., Bench], restarts: tuple[int, ...]
) -> None:
    def events(bench: Bench) -> list[Any]:
        bench.saver.record()
        query = "SELECT alert_id, version, transition, at, value FROM alert_events ORDER BY at, version"
        return bench.storage.read(lambda tx: [tuple(row) for row in tx.exec_driver_sql(query)])

    rules = (own(**{"for": "1m"}), own())
    straight = posted(new_bench(rules=rules[:1]), LOADS)
    assert events(posted(new_bench(rules=rules[:1]), LOADS, restarts)) == events(straight)
    assert len(events(straight)) == 3


def test_a_minute_after_which_the_host_was_silent_is_not_judged(new_bench: Callable[..., Bench]) -> None:
    bench = posted(new_bench(rules=(own(),)), [20.0] * 6 + [99.0] * 6)
    bench.clock.instant = BEGIN + 185 * SECOND
    bench.post(make_sample("web-1", at=bench.clock.now()))
    assert bench.open_alerts.all() == []


def test_a_minute_in_which_a_rule_was_made_is_not_judged_by_it(new_bench: Callable[..., Bench]) -> None:
    bench = posted(new_bench(rules=()), [20.0] * 3)
    bench.owner.change_rules([own()])
    for n in range(3, 14):
        bench.clock.instant = BEGIN + n * 10 * SECOND
        bench.post(make_sample("web-1", at=bench.clock.now(), cpu_percent=99.0))
        assert bool(bench.open_alerts.all()) is (n >= 12)


def test_another_rule_that_changes_in_the_middle_of_a_minute_takes_nothing_from_it(
    new_bench: Callable[..., Bench],
) -> None:
    bench = posted(new_bench(rules=(own(),)), [20.0] * 6 + [99.0] * 3)
    for measure in ("memoryUsedPercent", "loadAverage", "cpuLoad"):
        bench.owner.change_rules(
            [own(), rule_of("other", {"measure": measure, "every": "minute", "steps": STEPS}, None, HUD)]
        )
    for n in range(9, 13):
        bench.clock.instant = BEGIN + n * 10 * SECOND
        bench.post(make_sample("web-1", at=bench.clock.now(), cpu_percent=99.0))
    assert {alert.metric for alert in bench.open_alerts.all()} == {"own", "other"}


@given(st.lists(st.one_of(st.none(), st.floats(-1e12, 1e12), st.sampled_from([0.05, 42.25, -12.35])), min_size=1))
def test_a_mean_is_that_of_the_rollup(values: list[float | None]) -> None:
    """Its sums are of whole units, in any order."""
    metric, minutes = METRICS_BY_NAME["loadAverage"], Minutes()
    minutes.need([own(measure="loadAverage")])
    (sample,) = decoded(make_sample("web-1"), received_at=BEGIN)
    sample.at = BEGIN - MINUTE
    minutes.take(sample)
    for n, value in enumerate(values):
        sample.at, sample.load_average = BEGIN + n, value
        minutes.take(sample)
    sample.at = BEGIN + MINUTE
    whole = minutes.take(sample)
    units = [units_of(metric, value) for value in values if value is not None]
    assert whole is not None
    assert whole.means == {"loadAverage": sum(units) / len(units) / metric.scale if units else None}


def test_a_rule_judges_minutes_of_what_the_history_keeps_only() -> None:
    with pytest.raises(BadRule, match="every can be minute for what the history keeps: cpuLoad, "):
        own(measure="memoryAvailableBytes")
    with pytest.raises(BadRule, match="every must be sample or minute, not 'hour'"):
        own(every="hour")


def test_a_minute_into_which_a_clock_was_set_back_is_not_judged_and_the_next_one_is() -> None:
    """The history has samples of that minute from the first time. A clock that is set ahead makes no such minute."""
    minutes = Minutes()
    minutes.need([own(measure="loadAverage")])
    (sample,) = decoded(make_sample("web-1"), received_at=BEGIN)
    found = []
    for at in (0, 1, 2, -5 + 0.5, -4, -3, 60, 61, 62):
        sample.at, sample.load_average = BEGIN + int(at * MINUTE), 7.0
        whole = minutes.take(sample)
        if whole is not None:
            found.append(((whole.at - BEGIN) // MINUTE, bool(whole.means)))
    assert found == [(1, True), (-4, True), (-3, True), (60, True), (61, True)]
