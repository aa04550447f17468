"""What waits (to fire, to resolve, for a value) survives a restart: the alerts are those of an EGO that was never killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mirror_stage.access.domain import EGO
from mirror_stage.alerts.domain import HUD
from mirror_stage.alerts.rules import rule_of
from mirror_stage.core.instants import SECOND
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench

STEPS = [{"severity": "warning", "fire": 80, "resolve": 70}, {"severity": "critical", "fire": 95, "resolve": 90}]
RULES = (
    rule_of("hot", {"measure": "cpuLoad", "steps": STEPS, "for": "3s", "resolve_for": "2s"}, None, HUD),
    rule_of("kept", {"measure": "gpuTemperature", "steps": STEPS, "no_data": "keep", "no_data_after": "3s"}, None, HUD),
    rule_of(
        "told",
        {"measure": "gpuTemperature", "steps": STEPS, "for": "2s", "no_data": "alert", "no_data_after": "4s"},
        None,
        HUD,
    ),
)
VALUES: dict[str, dict[str, Any]] = {
    "cool": {"cpu_percent": 5, "gpu_temperature": 50.0},
    "between": {"cpu_percent": 75, "gpu_temperature": 75.0},
    "hot": {"cpu_percent": 85, "gpu_temperature": 85.0},
    "burning": {"cpu_percent": 99, "gpu_temperature": 99.0},
    "blind": {"cpu_percent": 99},
}


def events(bench: Bench) -> list[tuple[Any, ...]]:
    statement = "SELECT alert_id, version, transition, at, severity, value, reason FROM alert_events ORDER BY at, alert_id, version"
    return bench.storage.read(lambda tx: [tuple(row) for row in tx.execute(text(statement))])


def report(bench: Bench, what: str, seconds: float = 1) -> None:
    bench.post(make_sample("a", at=bench.clock.advance(seconds), interval_seconds=1, **VALUES[what]))


steps = st.lists(st.sampled_from([*VALUES, *VALUES, "record", "save", "kill", "gap"]), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_wherever_ego_is_killed_what_waits_goes_on(new_bench: Callable[..., Bench], given_steps: list[str]) -> None:
    killed, whole = new_bench(rules=RULES), new_bench(rules=RULES)
    for what in given_steps:
        if what == "kill":
            killed = killed.again(rules=RULES)
        elif what == "gap":
            killed.clock.advance(20)
            whole.clock.advance(20)
        elif what in VALUES:
            report(killed, what)
            report(whole, what)
        else:
            getattr(killed.saver, what)()
    killed = killed.again(rules=RULES)
    killed.saver.record()
    whole.saver.record()
    assert events(killed) == events(whole)
    assert [one.key for one in killed.open_alerts.waiting_of("a")] == [
        one.key for one in whole.open_alerts.waiting_of("a")
    ]


def test_when_an_alert_was_pending_is_recorded_as_it_fires(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(rules=RULES)
    for _ in range(4):
        report(bench, "burning")
        bench.saver.save()
    now = bench.clock.now()
    alert = bench.open_alerts.of("a")["hot", None]
    found = [event[1:5] for event in events(bench) if event[0] == alert.id]
    assert found == [(0, "pending", now - 3 * SECOND, "critical"), (1, "fired", now, "critical")]


def test_an_alert_that_came_to_nothing_leaves_no_row(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(rules=RULES[:1])
    for what in ("hot", "hot", "cool"):
        report(bench, what)
        bench.saver.save()
    rows = bench.storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM alert_waits")).scalar())
    assert (events(bench), rows) == ([], 0)


def test_what_waits_leaves_with_its_host(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(rules=RULES[:1])
    report(bench, "hot")
    bench.saver.save()
    assert bench.again(rules=RULES[:1]).open_alerts.pending_of("a")
    bench.remover.remove("a", EGO)
    assert bench.open_alerts.all_pending() == bench.again(rules=RULES[:1]).open_alerts.all_pending() == []


def test_the_past_shows_that_an_alert_was_unknown(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(rules=RULES[1:2])
    seen = []
    for what in ("hot", "blind", "blind", "blind", "blind", "blind", "hot"):
        report(bench, what)
        seen.append(bench.clock.now())
        bench.saver.record()
    past = past_of(bench)
    states = [past.moment(at).alerts[0].state for at in seen]
    assert states == ["firing"] * 4 + ["unknown"] * 2 + ["firing"]
