"""Transitions of alerts: stored with the alert, then told to clients, each once, even if the database fails."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mirror_stage.core.problems import Unavailable
from mirror_stage.pipeline import outbox
from tests.builders import make_sample
from tests.pipeline.conftest import Bench


def events(bench: Bench) -> list[tuple[Any, ...]]:
    """(rule, transition, version, severity, reason) of each recorded event, in order."""
    statement = """
        SELECT a.metric, e.transition, e.version, e.severity, e.reason FROM alert_events e
        JOIN alerts a ON a.id = e.alert_id ORDER BY e.at, a.id, e.version
    """
    return bench.storage.read(lambda tx: [tuple(row) for row in tx.execute(text(statement))])


def heard(bench: Bench) -> list[tuple[str, str]]:
    return [(payload["transition"], payload["alert"]["metric"]) for _, payload in bench.heard.events]


def away(_work: Any) -> Any:
    raise Unavailable("the database does not answer")


def test_clients_hear_of_a_transition_only_after_it_is_stored(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=95))
    assert (heard(bench), events(bench)) == ([], [])
    bench.saver.record()
    assert events(bench) == [("cpu_load_high", "fired", 1, "warning", None)]
    assert heard(bench) == [("fired", "cpu_load_high")]
    bench.clock.advance(1)
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=5))
    bench.saver.record()
    assert events(bench)[1:] == [("cpu_load_high", "resolved", 2, "warning", "value")]
    bench.saver.record()
    assert heard(bench) == [("fired", "cpu_load_high"), ("resolved", "cpu_load_high")]


def test_while_the_database_fails_clients_hear_at_once_and_only_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    bench.saver.save()
    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", away)
        bench.post(make_sample("a", at=bench.clock.advance(1), cpu_percent=95))
        bench.saver.record()
        assert heard(bench) == [("fired", "cpu_load_high")]
        bench.post(make_sample("a", at=bench.clock.advance(1), cpu_percent=5))
        bench.saver.record()
    assert events(bench) == []
    bench.saver.record()
    assert [event[:3] for event in events(bench)] == [("cpu_load_high", "fired", 1), ("cpu_load_high", "resolved", 2)]
    assert heard(bench) == [("fired", "cpu_load_high"), ("resolved", "cpu_load_high")]


def test_clients_hear_of_an_alert_while_its_commit_hangs(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=95))
    bench.owner.tick()
    assert heard(bench) == []
    bench.clock.advance(0.5)
    bench.owner.tick()
    assert heard(bench) == [("fired", "cpu_load_high")]


def test_waiting_transitions_are_limited_and_the_newest_of_each_alert_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WAITING_MAX", 10)
    bench.post(make_sample("a", at=bench.clock.now(), memory_used_percent=95))
    bench.saver.save()
    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", away)
        for n in range(20):
            bench.post(make_sample("a", at=bench.clock.advance(1), cpu_percent=95 if n % 2 else 5))
            bench.saver.record()
        assert len(bench.outbox) <= 12
    bench.saver.record()
    rows = bench.storage.read(lambda tx: tx.execute(text("SELECT metric FROM alerts WHERE status = 'active'")).all())
    assert sorted(row[0] for row in rows) == sorted(alert.metric for alert in bench.open_alerts.all())
    assert {alert.metric for alert in bench.again().open_alerts.all()} == {"cpu_load_high"}


steps = st.lists(
    st.sampled_from(["hot", "cool", "between", "record", "save", "kill", "silence"]),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_wherever_ego_is_killed_each_transition_has_its_row_once(new_bench: Any, given_steps: list[str]) -> None:
    """The rows are the same as those of an EGO that was never killed."""
    killed, whole = new_bench(), new_bench()
    loads = {"hot": 95, "cool": 5, "between": 75}
    for what in given_steps:
        if what in loads:
            for bench in (killed, whole):
                at = bench.clock.advance(1)
                bench.post(make_sample("a", at=at, cpu_percent=loads[what], interval_seconds=1))
        elif what == "silence":
            for bench in (killed, whole):
                bench.clock.advance(61)
                bench.owner.sweep()
                bench.saver.record()
        elif what == "kill":
            killed = killed.again()
            whole.owner.started_at = killed.owner.started_at  # after a start, silence is counted from zero
        else:
            getattr(killed.saver, what)()
    for bench in (killed.again(), whole):
        bench.saver.record()
        killed = bench if bench is not whole else killed
    assert events(killed) == events(whole)
