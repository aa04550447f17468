"""A back-test by the minutes of the history agrees with the live rules: what they fired lies in its stretches, and a certain one has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.alerts.domain import HUD, Rule
from mirror_stage.alerts.judge import Judge
from mirror_stage.alerts.minutes import Minutes, mean
from mirror_stage.alerts.rules import rule_of
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.backtest.domain import QUARTER_SECONDS, Firing, Minute, Part, Walk, in_force
from mirror_stage.core.instants import HOUR, MINUTE, SECOND, Instant
from mirror_stage.core.selector import Labels
from mirror_stage.history.domain import METRICS_BY_NAME, units_of
from mirror_stage.twin.domain import Host
from tests.builders import decoded, make_sample

BEGIN = 1_762_000_200_000  # the beginning of a quarter of an hour
PATIENCE = 15 * SECOND
HOST = Host(1, "web-1", "host", (0.0, 0.0, 0.0), sample=decoded(make_sample("web-1"), received_at=BEGIN)[0])

Samples = Sequence[tuple[Instant, float | None]]


def own(**document: Any) -> Rule:
    steps = [{"severity": "warning", "fire": 80, "resolve": 70}, {"severity": "critical", "fire": 95, "resolve": 90}]
    return rule_of("own", {"measure": "gpuTemperature", "steps": steps} | document, None, HUD)


@dataclass
class Told:
    """An alert of the live rules."""

    began_at: Instant
    ended_at: Instant | None = None


def live(rule: Rule, samples: Samples) -> list[Told]:
    """What the live rules fire, sample by sample."""
    judge, alerts, found = Judge([rule], lambda _host: PATIENCE), OpenAlerts(), []
    assert HOST.sample is not None
    for at, value in samples:
        host = replace(HOST, sample=replace(HOST.sample, at=at, received_at=at, gpu_temperature=value))
        transitions = judge.judge(host, alerts.of("web-1"), at, alerts.pending_of("web-1"))
        alerts.apply(transitions)
        for one in transitions:
            if one.event == "fired":
                found.append(Told(at))
            elif one.event == "resolved":
                found[-1].ended_at = at
    return found


def live_by_minute(rule: Rule, samples: Samples) -> list[tuple[Instant, Instant | None]]:
    """When the live rules fire and resolve that judge the mean of each minute: the ends of these minutes."""
    judge, minutes, alerts = Judge([rule], lambda _host: PATIENCE), Minutes(), OpenAlerts()
    found: list[tuple[Instant, Instant | None]] = []
    minutes.need([rule])
    assert HOST.sample is not None
    first = replace(HOST.sample, at=BEGIN - HOUR)  # of the first minute nobody knows whether it is whole
    minutes.take(first)
    for at, value in samples:
        host = replace(HOST, sample=replace(HOST.sample, at=at, received_at=at + 300, gpu_temperature=value))
        assert host.sample is not None
        minute = minutes.take(host.sample)
        if minute is None:
            continue
        pending = alerts.pending_of("web-1")
        transitions = judge.judge_minute(host, minute, alerts.of("web-1"), at + 300, pending)
        alerts.apply(transitions)
        for one in transitions:
            if one.event == "fired":
                found.append((minute.end, None))
            elif one.event == "resolved":
                found[-1] = (found[-1][0], minute.end)
    return found


def minutes_of(rule: Rule, samples: Samples) -> dict[int, Minute]:
    """The minutes that the history has of these samples."""
    metric = METRICS_BY_NAME[rule.measure]
    by_minute: dict[int, list[float | None]] = defaultdict(list)
    for at, value in samples:
        by_minute[at // MINUTE * 60].append(value)
    found = {}
    for second, values in by_minute.items():
        known = [value for value in values if value is not None]
        low, high = min(known, default=None), max(known, default=None)
        if rule.is_by_minute:
            low = high = mean(sum(units_of(metric, value) for value in known), len(known), metric)
        found[second] = Minute(second, len(values), len(known), low, high)
    return found


def backtested(rule: Rule, samples: Samples, waits: Sequence[Instant] = (0,)) -> list[list[Firing]]:
    """What the back-test finds, for each `for`, through the quarters that it wants to see."""
    find = in_force(rule, waits)
    part = Part(0, find(Labels("web-1")), PATIENCE)
    by_quarter: Mapping[int, list[Minute]] = defaultdict(list)
    for second, minute in sorted(minutes_of(rule, samples).items()):
        by_quarter[second - second % QUARTER_SECONDS].append(minute)
    step, sign = rule.steps[0], 1 if rule.is_above else -1
    assert step.resolve is not None
    hot, kept = [], []
    for quarter, minutes in by_quarter.items():
        known = [value for one in minutes for value in (one.lowest, one.highest) if value is not None]
        if any(sign * (value - step.fire) >= 0 for value in known):
            hot.append(quarter)
        if all(sign * (value - step.resolve) > 0 for value in known) and all(
            one.values == one.samples for one in minutes
        ):
            kept.append(quarter)
    walk = Walk("web-1", len(waits), [part], (), hot, kept, is_by_minute=rule.is_by_minute)
    until = max(by_quarter, default=0) + QUARTER_SECONDS
    while wanted := walk.wanted(3):
        walk.hear({quarter: by_quarter[quarter] for quarter in wanted}, until)
    return [track.firings for track in walk.tracks]


runs = st.lists(
    st.tuples(
        st.sampled_from([60.0, 70.0, 70.1, 75.0, 79.9, 80.0, 96.0, None, "silent"]),
        st.sampled_from([1, 2, 3, 11, 12, 13, 25, 40]),
    ),
    min_size=1,
    max_size=14,
)


def sampled(parts: Sequence[tuple[Any, int]], every: int, offset: int) -> list[tuple[Instant, float | None]]:
    """Samples every some seconds: runs of a value, of none, and of silence."""
    values = [value for value, times in parts for _ in range(times)]
    at = BEGIN + offset * SECOND
    return [(at + n * every * SECOND, value) for n, value in enumerate(values) if value != "silent"]


@settings(deadline=None, max_examples=300)
@given(
    runs, st.sampled_from([2, 5, 10]), st.integers(0, 59), st.sampled_from([0, 5, 60, 90, 180]), st.sampled_from([0, 30, 120]), st.booleans(),
)  # fmt: skip
def test_every_alert_of_the_live_rules_lies_in_a_stretch_and_each_certain_stretch_has_one(
    parts: list[tuple[Any, int]], every: int, offset: int, wait: int, resolve_wait: int, is_above: bool
) -> None:
    samples = sampled(parts, every, offset)
    rule = own(**{"for": f"{wait}s", "resolve_for": f"{resolve_wait}s"})
    if not is_above:
        steps = [{"severity": "warning", "fire": 70, "resolve": 80}]
        rule = own(above=False, steps=steps, **{"for": f"{wait}s", "resolve_for": f"{resolve_wait}s"})
    alerts = live(rule, samples)
    (stretches,) = backtested(rule, samples, (rule.fire_after,))
    for alert in alerts:
        holders = [one for one in stretches if one.began_at <= alert.began_at < (one.ended_at or alert.began_at + 1)]
        assert len(holders) == 1, (alert, stretches)
        (holder,) = holders
        assert holder.ended_at is None or (alert.ended_at is not None and alert.ended_at < holder.ended_at)
    for one in stretches:
        if one.is_certain:
            assert any(one.began_at <= alert.began_at < (one.ended_at or alert.began_at + 1) for alert in alerts)


@settings(deadline=None, max_examples=300)
@given(
    runs, st.sampled_from([2, 5, 20, 45]), st.integers(0, 59), st.sampled_from([0, 60, 150]), st.sampled_from([0, 120]),
    st.sampled_from(["resolve", "keep"]), st.booleans(),
)  # fmt: skip
def test_a_rule_that_judges_minutes_fires_and_resolves_as_the_live_one_did(
    parts: list[tuple[Any, int]], every: int, offset: int, wait: int, resolve_wait: int, no_data: str, is_above: bool
) -> None:
    samples = sampled(parts, every, offset)
    document = {"every": "minute", "for": f"{wait}s", "resolve_for": f"{resolve_wait}s", "no_data": no_data}
    rule = own(**document)
    if not is_above:
        rule = own(above=False, steps=[{"severity": "warning", "fire": 70, "resolve": 80}], **document)
    (stretches,) = backtested(rule, samples, (rule.fire_after,))
    assert [(one.began_at, one.ended_at) for one in stretches] == live_by_minute(rule, samples)
    assert all(one.is_certain for one in stretches)


@pytest.mark.parametrize(
    ("wait", "certain", "possible"), [(0, 1, 1), (60, 1, 1), (180, 0, 1), (240, 0, 1), (300, 0, 0)]
)  # fmt: skip
def test_what_minutes_prove_of_a_wait_is_less_than_they_allow(wait: int, certain: int, possible: int) -> None:
    rule = own(**{"for": f"{wait}s"})
    samples = sampled([(60.0, 6), (85.0, 45), (60.0, 60)], 5, 0)
    (found,) = backtested(rule, samples, (rule.fire_after,))
    assert (sum(one.is_certain for one in found), len(found)) == (certain, possible)


def test_waits_side_by_side_are_what_each_would_be_alone() -> None:
    samples = sampled([(60.0, 20), (85.0, 100), (75.0, 300), (60.0, 9), (90.0, 30), (60.0, 400), (99.0, 12)], 5, 7)
    waits = (0, MINUTE, 3 * MINUTE)
    assert backtested(own(), samples, waits) == [backtested(own(), samples, (wait,))[0] for wait in waits]


def test_an_override_with_a_wait_of_its_own_keeps_it() -> None:
    find = in_force(
        own(overrides=[{"where": "host:web-9", "for": "30m"}, {"where": "host:web-8", "enabled": False}]), (0, MINUTE)
    )
    assert [one.rule.fire_after for one in find(Labels("web-9")) or ()] == [30 * MINUTE] * 2
    assert [one.rule.fire_after for one in find(Labels("web-1")) or ()] == [0, MINUTE]
    assert find(Labels("web-8")) is None


def test_what_is_open_ends_when_the_host_is_offline_or_the_rule_is_no_longer_for_it() -> None:
    rule = own()
    find = in_force(rule, (0,))
    minutes = [Minute(BEGIN // SECOND + 60 * n, 12, 12, 85.0, 85.0) for n in (0, 1, 3, 4)]
    parts = [Part(0, find(Labels("web-1")), PATIENCE), Part(BEGIN + 4 * MINUTE, None, PATIENCE)]
    quarter = BEGIN // SECOND
    walk = Walk("web-1", 1, parts, [BEGIN + 2 * MINUTE + 30 * SECOND], [quarter])
    walk.hear({quarter: minutes}, quarter + QUARTER_SECONDS)
    spans = [(one.began_at - BEGIN, (one.ended_at or 0) - BEGIN) for one in walk.tracks[0].firings]
    assert spans == [(0, 150 * SECOND), (3 * MINUTE, 4 * MINUTE)]
