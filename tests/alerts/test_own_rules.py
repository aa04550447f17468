"""Rules that people write: what they may say, whom they are for, and the waits before they fire and resolve."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.alerts.domain import HUD, NO_DATA_OF, RULES, UNKNOWN_MAX, Alert, Rule, Transition
from mirror_stage.alerts.evaluation import evaluate
from mirror_stage.alerts.judge import Judge, applied_to, labels_of
from mirror_stage.alerts.rules import BadRule, document_of, load, of_wire, read, rule_of
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.instants import HOUR, MINUTE, SECOND, Instant
from mirror_stage.twin.domain import Host
from tests.benchmarks.rules import TWENTY
from tests.builders import decoded, make_sample

NOW = 1_762_000_000_000
STEPS = [{"severity": "warning", "fire": 80, "resolve": 70}, {"severity": "critical", "fire": 95, "resolve": 90}]


def own(measure: str = "cpuLoad", **document: Any) -> Rule:
    return rule_of("own", {"measure": measure, "steps": STEPS} | document, None, HUD)


def host_at(seconds: float, name: str = "web-1", **fields: Any) -> Host:
    at = NOW + round(seconds * SECOND)
    return Host(1, name, "host", (0.0, 0.0, 0.0), sample=decoded(make_sample(name, at=at, **fields), received_at=at)[0])


class Judging:
    """One host, judged sample by sample."""

    def __init__(self, *rules: Rule, name: str = "web-1"):
        self.judge, self.alerts, self.name = Judge(rules), OpenAlerts(), name

    def at(self, seconds: float, **fields: Any) -> list[tuple[str, str]]:
        """(event, severity) of each change that is recorded after this sample."""
        host = host_at(seconds, self.name, **fields)
        assert host.sample is not None
        found = self.hear(host, host.sample.received_at)
        return [(one.event, one.alert.severity) for one in found if one.event]

    def hear(self, host: Host, now: Instant) -> list[Transition]:
        found = self.judge.judge(host, self.alerts.of(self.name), now, self.alerts.pending_of(self.name))
        self.alerts.apply(found)
        return found

    def loads(self, *loads: float, every: float = 5) -> list[list[tuple[str, str]]]:
        return [self.at(n * every, cpu_percent=load) for n, load in enumerate(loads)]

    @property
    def alert(self) -> Alert:
        return next(iter(self.alerts.of(self.name).values()))


# ------------------------------------------------------------------ waits


def test_a_rule_fires_after_its_value_was_beyond_for_long_enough_in_each_sample() -> None:
    judging = Judging(own(**{"for": "15s"}))
    assert judging.loads(85, 85, 75, 85, 85, 85) == [[], [], [], [], [], []]
    assert judging.at(30, cpu_percent=85) == [("fired", "warning")]
    assert judging.alert.created_at == NOW + 30 * SECOND


def test_a_severity_waits_too_and_does_not_fire_with_the_first_spike() -> None:
    judging = Judging(own(**{"for": "10s"}))
    found = judging.loads(85, 85, 99, 99, 99)
    assert found == [[], [], [("fired", "warning")], [], [("severity", "critical")]]


def test_an_alert_resolves_after_it_was_calm_for_long_enough() -> None:
    judging = Judging(own(resolve_for="10s"))
    assert judging.loads(85, 60, 60, 75, 60, 60, 60) == [
        [("fired", "warning")],
        [],
        [],
        [],
        [],
        [],
        [("resolved", "warning")],
    ]


@pytest.mark.parametrize(("gap", "fires"), [(15, True), (16, False)])
def test_after_a_gap_the_wait_begins_anew(gap: int, fires: bool) -> None:
    judging = Judging(own(**{"for": "5s"}))
    judging.at(0, cpu_percent=85)
    assert bool(judging.at(gap, cpu_percent=85)) is fires
    assert judging.at(gap + 5, cpu_percent=85) == ([] if fires else [("fired", "warning")])


def test_the_gap_that_counts_is_that_of_a_host_that_reports_seldom() -> None:
    judging = Judging(own(**{"for": "5m"}))
    judging.judge = Judge([own(**{"for": "5m"})], lambda host: 3 * MINUTE * 2)
    assert judging.loads(85, 85, 85, 85, every=120) == [[], [], [], [("fired", "warning")]]


def test_what_waits_counts_by_the_time_of_the_samples_however_they_are_grouped() -> None:
    one, together = Judging(own(**{"for": "15s"})), Judging(own(**{"for": "15s"}))
    samples = [host_at(n * 5, cpu_percent=85) for n in range(4)]
    for host in samples:
        assert host.sample is not None
        one.hear(host, host.sample.received_at)
        late = replace(host.sample, received_at=NOW + 60 * SECOND)
        together.hear(replace(host, sample=late), NOW + 60 * SECOND)
    assert one.alert.id == together.alert.id


def test_a_rule_below_fires_at_low_values_and_keeps_the_lowest() -> None:
    steps = [{"severity": "warning", "fire": 20, "resolve": 30}, {"severity": "critical", "fire": 5, "resolve": 10}]
    judging = Judging(own(above=False, steps=steps))
    assert judging.loads(25, 20, 4, 7, 11, 29) == [
        [],
        [("fired", "warning")],
        [("severity", "critical")],
        [],
        [("severity", "warning")],
        [],
    ]
    assert judging.alert.peak_value == 4
    assert judging.at(60, cpu_percent=30) == [("resolved", "warning")]


loads = st.lists(st.sampled_from([10, 70, 75, 80, 90, 92, 95, 99]), min_size=1, max_size=30)


@settings(deadline=None)
@given(loads, st.sampled_from([0, 5, 12]), st.sampled_from([0, 5, 12]))
def test_an_alert_has_reached_a_step_only_after_each_value_of_its_wait_called_for_it(
    values: list[float], fire_after: int, resolve_after: int
) -> None:
    judging = Judging(own(**{"for": f"{fire_after}s", "resolve_for": f"{resolve_after}s"}))
    for n, value in enumerate(values):
        for event, severity in judging.at(n * 5, cpu_percent=value):
            waited = values[max(0, n - -(-fire_after // 5)) : n + 1]
            if event == "fired":
                assert min(waited) >= (95 if severity == "critical" else 80)
                assert (len(waited) - 1) * 5 >= fire_after
            if event == "resolved":
                assert max(values[max(0, n - -(-resolve_after // 5)) : n + 1]) <= 70


# ------------------------------------------------------------------ no data


def gpu(**document: Any) -> Rule:
    return own("gpuTemperature", no_data_after="10s", **document)


def test_an_alert_whose_value_is_missing_is_unknown_if_its_rule_keeps_it_and_known_again_later() -> None:
    judging = Judging(gpu(no_data="keep"))
    assert judging.at(0, gpu_temperature=85.0) == [("fired", "warning")]
    assert [judging.at(5 * n) for n in range(1, 5)] == [[], [], [("unknown", "warning")], []]
    assert (judging.alert.state, judging.alert.unknown_since) == ("unknown", NOW + 15 * SECOND)
    assert judging.at(25, gpu_temperature=82.0) == [("known", "warning")]
    assert judging.alert.state == "firing"


def test_what_stays_unknown_for_a_day_ends() -> None:
    judging = Judging(gpu(no_data="keep"))
    judging.at(0, gpu_temperature=85.0)
    hours = UNKNOWN_MAX // HOUR
    assert judging.at(10) == judging.at(20) == []
    assert judging.at(30) == [("unknown", "warning")]
    assert judging.at(hours * 3600 + 29) == []
    assert judging.at(hours * 3600 + 30) == [("resolved", "warning")]


def test_a_rule_may_warn_that_its_value_is_missing() -> None:
    judging = Judging(gpu(no_data="alert"))
    assert [judging.at(5 * n) for n in range(3)] == [[], [], [("fired", "warning")]]
    assert (judging.alert.metric, judging.alert.rule) == ("own" + NO_DATA_OF, "own")
    assert judging.alert.message == "web-1: its samples have no gpuTemperature"
    assert judging.at(15, gpu_temperature=50.0) == [("resolved", "warning")]


# ------------------------------------------------------------------ parts of a host


PARTS = {
    "disks": [
        {"mountpoint": "/", "device": "/dev/a", "total_bytes": 100, "used_bytes": 99, "used_percent": 99.0},
        {"mountpoint": "/data/x", "device": "/dev/b", "total_bytes": 100, "used_bytes": 20, "used_percent": 20.0},
    ],
    "interfaces": [{"name": "eth0", "is_up": False}, {"name": "eth1", "is_up": True}, {"name": "wlan0"}],
    "temperatures": {"nvme": 88.0, "odd": 65261.8},
    "cpu_per_core": [10.0, 99.0],
}


@pytest.mark.parametrize(
    ("measure", "document", "subjects"),
    [
        ("disk.usedPercent", {}, {"/": "a disk"}),
        ("disk.usedPercent", {"subjects": ["/data/*"]}, {}),
        ("disk.usedPercent", {"subjects": ["*", "!/"]}, {}),
        (
            "disk.freeBytes",
            {"above": False, "steps": [{"severity": "warning", "fire": 10, "resolve": 20}]},
            {"/": "a disk"},
        ),
        ("interface.isDown", {"steps": [{"severity": "warning", "fire": 1, "resolve": 0}]}, {"eth0": "an interface"}),
        ("sensor.celsius", {}, {"nvme": "a sensor"}),
        ("core.load", {}, {"1": "a core"}),
    ],
)
def test_a_rule_judges_each_part_of_a_host(measure: str, document: dict[str, Any], subjects: dict[str, str]) -> None:
    judging = Judging(own(measure, **document))
    judging.at(0, **PARTS)
    assert {alert.subject for alert in judging.alerts.all()} == subjects.keys()
    assert all(subject in alert.message for alert, subject in zip(judging.alerts.all(), subjects, strict=True))


# ------------------------------------------------------------------ whom it is for


def test_a_rule_is_for_the_hosts_of_its_selector_only() -> None:
    rule = own(where="host:web-* -tag:env=lab")
    assert Judging(rule, name="db-1").loads(99) == [[]]
    assert Judging(rule).at(0, cpu_percent=99, tags={"env": "lab"}) == []
    assert Judging(rule).loads(99) == [[("fired", "critical")]]


def test_a_host_whose_tags_change_is_judged_by_other_rules() -> None:
    judging = Judging(own(where="tag:env=prod"))
    assert judging.at(0, cpu_percent=99, tags={"env": "lab"}) == []
    assert judging.at(5, cpu_percent=99, tags={"env": "prod"}) == [("fired", "critical")]


def test_the_first_override_that_is_for_a_host_counts_and_says_so() -> None:
    rule = own(
        overrides=[
            {"where": "host:web-9", "for": "30m"},
            {"where": "host:web-*", "steps": STEPS[:1]},
            {"where": "*", "enabled": False},
        ]
    )
    nine, one, other = (applied_to(rule, labels_of(host_at(0, name))) for name in ("web-9", "web-1", "db-1"))
    assert nine is not None
    assert (nine.why, nine.rule.fire_after, len(nine.rule.steps)) == ("host:web-9", 30 * MINUTE, 2)
    assert one is not None
    assert (one.why, one.rule.fire_after, len(one.rule.steps)) == ("host:web-*", 0, 1)
    assert other is None


values = st.fixed_dictionaries(
    {
        "cpu_percent": st.sampled_from([1.0, 79.0, 80.0, 95.0]),
        "memory_used_percent": st.sampled_from([10.0, 90.0]),
        "swap_used_percent": st.sampled_from([None, 3.0, 97.0]),
        "memory_available_bytes": st.sampled_from([None, 2**27, 2**33]),
        "tags": st.sampled_from([{}, {"tier": "edge"}, {"tier": "edge", "env": "lab"}]),
        "disks": st.sampled_from([None, PARTS["disks"]]),
    }
)


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=6))
def test_the_quick_look_at_a_sample_passes_over_nothing(samples: list[dict[str, Any]]) -> None:
    judging, judge = Judging(*TWENTY), Judge(TWENTY)
    for n, fields in enumerate(samples):
        host = host_at(n * 5, **{name: value for name, value in fields.items() if value is not None})
        before = judging.alerts.of("web-1"), judging.alerts.pending_of("web-1")
        now = NOW + n * 5 * SECOND
        assert evaluate(judge.plan_of(host).rules, host, before[0], now, before[1]) == judging.judge.judge(
            host, before[0], now, before[1]
        )
        judging.hear(host, now)


# ------------------------------------------------------------------ what a rule may say


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"measures": "cpuLoad"}, "did you mean measure?"),
        ({"measure": "cpuload"}, "did you mean cpuLoad?"),
        ({"measure": "isMissing"}, "measure must be one of"),
        ({"where": "rack=R1"}, "where "),
        ({"above": "yes"}, "above must be true or false"),
        ({"steps": []}, "steps must be a list of 1 to 3"),
        ({"steps": [STEPS[0], STEPS[0]]}, "steps.1.severity must be worse than warning"),
        (
            {"steps": [STEPS[0], STEPS[1] | {"fire": 79, "resolve": 75}]},
            "steps.1.fire (79) must not be below that of the step before it (80)",
        ),
        ({"steps": [STEPS[0] | {"resolve": 81}]}, "steps.0.resolve (81) must not be above its fire (80)"),
        ({"steps": [STEPS[0] | {"fire": "80"}]}, "steps.0.fire must be a number"),
        ({"steps": [STEPS[0] | {"resolve": None}]}, "steps.0.resolve must be a number"),
        ({"steps": [{"severity": "loud", "fire": 1, "resolve": 0}]}, "steps.0.severity must be one of"),
        ({"steps": [STEPS[0] | {"fires": 1}]}, "steps.0.fires is not one of"),
        ({"for": "3 minutes"}, "for must be a time such as 90s"),
        ({"for": "8d"}, "for must be at most 7d"),
        ({"resolve_for": True}, "resolve_for must be a time"),
        ({"subjects": ["/"]}, "subjects makes no sense: a host has one cpuLoad"),
        ({"no_data": "ok"}, "no_data must be resolve, keep or alert"),
        ({"enabled": 1}, "enabled must be true or false"),
        ({"overrides": [{"for": "3m"}]}, "overrides.0 must be a table with `where`"),
        ({"overrides": [{"where": "host:a"}]}, "overrides.0 changes nothing"),
        ({"overrides": [{"where": "host:a", "measure": "cpuLoad"}]}, "overrides.0.measure is not one of"),
        ({"measure": "absence"}, "a sample ends a silence"),
        (
            {"measure": "absence", "steps": [{"severity": "warning", "fire": 60}], "for": "1m"},
            "for makes no sense of a silence",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_key_and_the_reason(
    document: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRule, match=re.escape(named)):
        own(**document)


def test_a_file_may_have_rules_of_its_own_and_the_older_tables(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "[memory_high]\nfire_at = 95\n"
        '[rules.cpu_load_high]\nfor = "3m"\n'
        '[rules.web_cpu]\nmeasure = "cpuLoad"\nwhere = "tier:edge"\nsteps = [{severity = "warning", fire = 60, resolve = 50}]\n'
        "[rules.swap_full]\nenabled = false\n"
    )
    rules = {rule.name: rule for rule in read(Config(alert_rules=path))}
    assert (rules["cpu_load_high"].fire_after, rules["cpu_load_high"].fire_at) == (3 * MINUTE, 80)
    assert (rules["web_cpu"].where.text, rules["web_cpu"].unit, rules["web_cpu"].source) == ("tier:edge", "%", "file")
    assert {rule.source for name, rule in rules.items() if name in ("disk_full", "host_offline")} == {"built-in"}
    assert "swap_full" not in {rule.name for rule in load(Config(alert_rules=path))}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[rules.web]\nsteps = [{severity = 'warning', fire = 1, resolve = 0}]", "[rules.web]: measure is missing"),
        ("[rules.web]\nmeasure = 'cpuLoad'", "[rules.web]: steps is missing"),
        ("[rules.'a b']\nmeasure = 'cpuLoad'", "a name has 1 to 64 letters"),
        ("[rules.cpu_load_high]\nmeasure = 'swapUsedPercent'", "measure of cpu_load_high is cpuLoad"),
        ("[cpu_load_high]\nfire_at = 95\n[rules.cpu_load_high]\nfor = '1m'", "there is [rules.cpu_load_high], too"),
        ("rules = 3", "there is no such rule"),
    ],
)
def test_a_bad_table_of_a_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(BadSetting, match=re.escape(named)) as refused:
        load(Config(alert_rules=path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rule", [*RULES, *TWENTY[len(RULES) :]], ids=lambda rule: rule.name)
def test_the_document_of_a_rule_makes_the_same_rule(rule: Rule) -> None:
    assert of_wire(rule.name, document_of(rule), None, HUD) == rule


def test_a_refusal_names_the_key_as_the_wire_spells_it() -> None:
    with pytest.raises(BadRule) as refused:
        of_wire(
            "own", {"measure": "cpuLoad", "steps": STEPS, "overrides": [{"where": "host:a", "noData": "x"}]}, None, HUD
        )
    assert refused.value.key == "overrides.0.noData"


def test_a_file_takes_both_spellings_of_a_key_but_not_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    head = '[rules.own]\nmeasure = "cpuLoad"\nsteps = [{severity = "warning", fire = 80, resolve = 70}]\n'
    for key in ("resolveFor", "resolve_for"):
        path.write_text(f'{head}{key} = "2m"\noverrides = [{{where = "host:a", {key} = "3m"}}]')
        rule = next(one for one in load(Config(alert_rules=path)) if one.name == "own")
        assert (rule.resolve_after, rule.overrides[0].rule.resolve_after) == (120_000, 180_000)
    path.write_text(f'{head}resolve_for = "2m"\nresolveFor = "2m"')
    with pytest.raises(BadSetting, match="resolveFor stands there as resolve_for, too"):
        load(Config(alert_rules=path))
