"""Alert rules: when they fire, hold and resolve, and how often clients are told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mirror_stage.alerts.domain import OFFLINE, RULES, Alert, Key, Step, Transition, resolve, silent_since
from mirror_stage.alerts.evaluation import evaluate, evaluate_silence, move
from mirror_stage.alerts.measures import RULE_MEASURES, SILENCE
from mirror_stage.core.instants import from_text
from mirror_stage.twin.domain import Host
from tests.builders import decoded, make_sample
from tests.servers import ROOT

NOW = from_text("2026-03-01T12:00:00Z")
RULES_BY_NAME = {rule.name: rule for rule in RULES}


def host_with(metric: str, value: float | None) -> Host:
    """A host whose newest sample has this value for a rule's metric."""
    fields = {
        "cpu_load_high": {"cpu_load": value},
        "memory_high": {"memory_used_percent": value},
        "cpu_temperature_high": {"cpu_temperature": value},
        "gpu_temperature_high": {"gpu_temperature": value},
    }.get(metric, {})
    at = NOW + int(value * 1000) if metric == "clock_skew" and value is not None else NOW
    host = Host(1, "a", "host", (0.0, 0.0, 0.0), sample=decoded(make_sample("a", at=at, **fields), received_at=NOW)[0])
    return replace(host, utilization=value) if metric == "link_congestion" else host


def run(metric: str, values: list[float | None], seconds: float = 1) -> list[list[Transition]]:
    """The transitions that each value causes; the values come `seconds` apart."""
    open_alerts: dict[Key, Alert] = {}
    steps = []
    for n, value in enumerate(values):
        found = evaluate([RULES_BY_NAME[metric]], host_with(metric, value), open_alerts, NOW + int(n * seconds * 1000))
        for transition in found:
            open_alerts = {transition.alert.key: transition.alert} if transition.alert.status == "active" else {}
        steps.append(found)
    return steps


def kinds(steps: list[list[Transition]]) -> list[str | None]:
    return [step[0].kind if step else None for step in steps]


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("cpu_load_high", [79.9, 80, 75, 70.1, 70, 79], [None, "fired", "moved", "moved", "resolved", None]),
        ("memory_high", [89.9, 90, 80.1, 80], [None, "fired", "moved", "resolved"]),
        ("cpu_temperature_high", [84.9, 85, None, 75], [None, "fired", "moved", "resolved"]),
        ("gpu_temperature_high", [None, 80, 70], [None, "fired", "resolved"]),
        ("link_congestion", [0.89, 0.9, 0.7], [None, "fired", "resolved"]),
        ("clock_skew", [299, 300, 241, 240], [None, "fired", "moved", "resolved"]),
        ("clock_skew", [-86_400, 0], ["fired", "resolved"]),
    ],
)
def test_each_rule_of_the_contract_fires_and_resolves_at_its_figures(metric, values, expected) -> None:
    assert kinds(run(metric, values)) == expected


def test_a_missing_value_neither_fires_nor_resolves() -> None:
    assert kinds(run("gpu_temperature_high", [None, 95, None, None, 95])) == [None, "fired", "moved", "moved", "moved"]


def test_congestion_is_critical_from_100_percent_until_below_95() -> None:
    steps = run("link_congestion", [0.92, 1.2, 0.96, 0.94])
    assert kinds(steps) == ["fired", "updated", "moved", "updated"]
    assert [step[0].alert.severity for step in steps] == ["warning", "critical", "critical", "warning"]


def test_a_value_that_goes_up_and_down_is_told_at_most_every_ten_seconds() -> None:
    steps = kinds(run("cpu_load_high", [90, *(90 + n % 2 for n in range(1, 30))]))
    assert steps[0] == "fired"
    assert [n for n, kind in enumerate(steps) if kind == "updated"] == [11, 22]


def test_a_value_that_rounds_to_the_same_is_not_told_again() -> None:
    assert kinds(run("cpu_load_high", [90.01, 90.02], seconds=20)) == ["fired", "moved"]


def test_the_last_value_is_told_in_the_end() -> None:
    steps = run("cpu_load_high", [85, 100, 100, 100, 100], seconds=5)
    assert kinds(steps) == ["fired", "moved", "updated", None, None]
    assert steps[2][0].alert.current_value == 100


def test_versions_count_what_clients_heard() -> None:
    steps = run("cpu_load_high", [90, 95, 60], seconds=11)
    assert [(step[0].kind, step[0].alert.version) for step in steps] == [("fired", 1), ("updated", 2), ("resolved", 3)]


def test_an_alert_keeps_its_highest_value_which_is_not_the_one_that_ended_it() -> None:
    steps = run("cpu_load_high", [85, 97, 90, 30])
    assert [(step[0].kind, step[0].alert.current_value, step[0].alert.peak_value) for step in steps] == [
        ("fired", 85, 85), ("moved", 97, 97), ("moved", 90, 97), ("resolved", 30, 97),
    ]  # fmt: skip
    unrecorded = replace(steps[0][0].alert, peak_value=None)
    assert move(RULES_BY_NAME["cpu_load_high"], unrecorded, 99, NOW, "warning")[0].alert.peak_value is None
    fired = evaluate_silence(RULES_BY_NAME["host_offline"], "a", 61_500, {}, NOW)[0].alert
    assert resolve(fired, NOW + 4_000, "sample").alert.peak_value == 65.5


def test_a_replay_gives_an_alert_the_same_id() -> None:
    first, again = run("cpu_load_high", [90]), run("cpu_load_high", [90])
    assert first[0][0].alert.id == again[0][0].alert.id
    assert run("memory_high", [95])[0][0].alert.id != first[0][0].alert.id


def test_going_offline_resolves_the_other_alerts_with_the_reason() -> None:
    cpu = run("cpu_load_high", [90])[0][0].alert
    rule = RULES_BY_NAME["host_offline"]
    assert evaluate_silence(rule, "a", 59_999, {cpu.key: cpu}, NOW) == []
    fired, resolved = evaluate_silence(rule, "a", 60_000, {cpu.key: cpu}, NOW)
    assert (fired.kind, fired.alert.metric, fired.alert.severity) == ("fired", "host_offline", "critical")
    assert (resolved.kind, resolved.alert.resolved_reason) == ("resolved", "host-offline")


def test_an_offline_alert_knows_when_the_host_was_last_seen() -> None:
    rule = RULES_BY_NAME["host_offline"]
    fired = evaluate_silence(rule, "a", 61_500, {}, NOW)[0].alert
    moved = evaluate_silence(rule, "a", 65_250, {OFFLINE: fired}, NOW + 3_750)[0].alert
    over = resolve(moved, NOW + 4_000, "sample").alert
    assert [silent_since(alert) for alert in (fired, moved, over)] == [NOW - 61_500] * 3
    assert over.current_value == 65.5
    set_back = resolve(moved, NOW - 7_200_000, "sample").alert
    assert set_back.current_value == 0


def test_each_change_of_severity_is_an_event_of_its_own_and_a_new_value_is_none() -> None:
    steps = run("link_congestion", [0.92, 1.0, 0.92, 0.93, 1.5])
    assert [(step[0].event, step[0].alert.severity, step[0].alert.version) for step in steps[1:]] == [
        ("severity", "critical", 2),
        ("severity", "warning", 3),
        (None, "warning", 3),
        ("severity", "critical", 4),
    ]


# ------------------------------------------------------------------ no data


def test_a_value_that_stays_missing_ends_its_alert_after_three_samples_and_thirty_seconds() -> None:
    often = run("cpu_temperature_high", [90, *[None] * 10], seconds=10)
    assert kinds(often)[:6] == ["fired", "moved", "moved", "moved", "resolved", None]
    assert (often[4][0].alert.resolved_reason, often[4][0].alert.current_value) == ("no-data", 90)
    seldom = run("cpu_temperature_high", [90, None, None, None], seconds=3600)
    assert kinds(seldom) == ["fired", "moved", "moved", "resolved"]


def test_a_value_that_comes_back_in_time_keeps_its_alert() -> None:
    steps = kinds(run("cpu_temperature_high", [90, None, None, None, 90, None, None, None, None], seconds=10))
    assert [n for n, kind in enumerate(steps) if kind == "resolved"] == [8]


def test_a_capacity_that_becomes_unknown_ends_the_congestion() -> None:
    assert kinds(run("link_congestion", [1.2, None, None, None, None], seconds=10))[-1] == "resolved"


# ------------------------------------------------------------------ disks


def disks_of(**used: float) -> Host:
    disks = [{"mountpoint": "/" + name.replace("root", ""), "used_percent": percent} for name, percent in used.items()]
    sample = decoded(make_sample("a", at=NOW, disks=disks), received_at=NOW)[0]
    return Host(1, "a", "host", (0.0, 0.0, 0.0), sample=sample)


def test_each_disk_has_an_alert_of_its_own_that_names_its_mount() -> None:
    rule, found = RULES_BY_NAME["disk_full"], []
    open_alerts: dict[Key, Alert] = {}
    for second, disks in enumerate([{"root": 91, "var": 98}, {"root": 85, "var": 96}, {"root": 20, "var": 94}]):
        for step in evaluate([rule], disks_of(**disks), open_alerts, NOW + second * 1000):
            found.append((step.kind, step.alert.subject, step.alert.severity))
            open_alerts[step.alert.key] = step.alert
            if step.alert.status == "resolved":
                del open_alerts[step.alert.key]
    assert found == [
        ("fired", "/", "warning"),
        ("fired", "/var", "critical"),
        ("resolved", "/", "warning"),
        ("moved", "/var", "critical"),
        ("updated", "/var", "warning"),
    ]
    assert open_alerts["disk_full", "/var"].message == "a: disk /var is 94% used"


def test_a_disk_that_was_unmounted_ends_its_alert() -> None:
    rule, seen = RULES_BY_NAME["disk_full"], []
    usb = evaluate([rule], disks_of(root=20, usb=99), {}, NOW)[0].alert
    for second in (5, 20, 35):
        (step,) = evaluate([rule], disks_of(root=20), {usb.key: usb}, NOW + second * 1000)
        usb = step.alert
        seen.append((step.kind, usb.resolved_reason))
    assert seen == [("moved", None), ("moved", None), ("resolved", "no-data")]


def test_two_subjects_of_one_sample_are_two_alerts() -> None:
    found = evaluate([RULES_BY_NAME["disk_full"]], disks_of(root=95, var=95), {}, NOW)
    assert len({step.alert.id for step in found}) == 2


def test_a_replayed_sample_has_no_disks_and_changes_no_disk_alert() -> None:
    rule, host = RULES_BY_NAME["disk_full"], disks_of()
    full = evaluate([rule], disks_of(root=99), {}, NOW)[0].alert
    assert host.sample is not None
    host.sample.is_whole = False
    assert evaluate([rule], host, {full.key: full}, NOW + 60_000) == []


# ------------------------------------------------------------------ ids and instants


def test_the_id_of_an_offline_alert_follows_from_the_last_sample_not_from_when_it_fired() -> None:
    rule = RULES_BY_NAME["host_offline"]
    first = evaluate_silence(rule, "a", 61_000, {}, NOW)[0].alert
    later = evaluate_silence(rule, "a", 64_000, {}, NOW + 3_000)[0].alert
    another = evaluate_silence(rule, "a", 61_000, {}, NOW + 3_000)[0].alert
    assert first.id == later.id != another.id


def test_no_alert_ends_before_it_began() -> None:
    fired = evaluate_silence(RULES_BY_NAME["host_offline"], "a", 61_000, {}, NOW)[0].alert
    over = resolve(
        fired, NOW - 500, "sample"
    ).alert  # the sample arrived before the alert fired, and waited for its commit
    assert (over.resolved_at, over.created_at) == (NOW, NOW)


def test_every_rule_has_a_measure_with_a_value_and_a_message() -> None:
    for rule in RULES:
        measure = RULE_MEASURES[rule.measure]
        assert measure.words
        assert rule.measure == SILENCE or (measure.value is None) != (measure.values is None)


def test_a_rule_of_another_name_judges_the_same_measure() -> None:
    rule = replace(RULES_BY_NAME["cpu_load_high"], name="hot", steps=(Step("warning", 20, 10),))
    (fired,) = evaluate([rule], host_with("cpu_load_high", 30), {}, NOW)
    assert (fired.alert.metric, fired.alert.message) == ("hot", "a: CPU load is 30%")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_hud_has_words_for_every_rule(language: str) -> None:
    """Else an alert is shown by the name of its rule, such as `swap_full`."""
    words = (ROOT / f"mirror_stage/hud/web/src/i18n/{language}.ts").read_text()
    named = re.search(r"\n    rules: \{\n(.*?)\n    \},", words, re.DOTALL)
    assert named is not None
    assert {rule.name for rule in RULES} <= set(re.findall(r"^ +(\w+):", named[1], re.MULTILINE))
