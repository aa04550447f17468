"""An alert is acknowledged until it ends, gets worse, or the time is over; this survives a restart, and the past shows it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.access.domain import EGO, VIEWER, Actor, actor_of_person
from mirror_stage.alerts.domain import ACK_FOR, ACK_MAX, Alert
from mirror_stage.core.instants import HOUR, SECOND
from mirror_stage.core.problems import Conflict, Invalid, NotFound
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench

ANN: Actor = actor_of_person("ann", VIEWER, None, credential="c", principal=1)


def swap(bench: Bench, percent: float) -> None:
    bench.post(make_sample("a", at=bench.clock.advance(5), swap_used_percent=percent))
    bench.saver.save()


def alert_of(bench: Bench) -> Alert:
    (alert,) = bench.open_alerts.each()
    return alert


@pytest.fixture
def bench(bench: Bench) -> Bench:
    swap(bench, 92)
    return bench


def events(bench: Bench) -> list[tuple[Any, ...]]:
    statement = "SELECT transition, actor, note, reason FROM alert_events ORDER BY at, version"
    return bench.storage.read(lambda tx: [tuple(row) for row in tx.execute(text(statement))])


def asked(bench: Bench) -> int:
    return int(bench.storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM alert_acks")).scalar_one()))


def test_an_acknowledgement_is_told_recorded_and_kept_over_a_restart(bench: Bench) -> None:
    now = bench.clock.now()
    found = bench.alerts.acknowledge(alert_of(bench).id, "on it", None, ANN)
    assert found.ack == {"by": "ann", "note": "on it", "at": now, "until": now + ACK_FOR}
    bench.saver.record()
    told = bench.heard.events[-1][1]
    assert (told["transition"], told["version"], told["alert"]["ack"]["by"]) == ("updated", 2, "ann")
    assert events(bench) == [("fired", None, None, None), ("acknowledged", "ann", "on it", None)]
    assert alert_of(bench.again()).ack == found.ack


def test_what_was_asked_for_before_a_kill_is_taken_up_after_it(bench: Bench) -> None:
    bench.alerts.acknowledge(alert_of(bench).id, None, None, ANN)  # and EGO is killed before it records this
    again = bench.again()
    assert alert_of(again).ack is None
    again.owner.look_at_acks()
    assert alert_of(again).ack_by == "ann"


@pytest.mark.parametrize(
    ("what", "reason", "actor"),
    [("withdrawn", "withdrawn", "ego"), ("expired", "expired", None), ("severity", "severity", None)],
)
def test_it_ends_when_it_is_withdrawn_its_time_is_over_or_the_alert_gets_worse(
    bench: Bench, what: str, reason: str, actor: str | None
) -> None:
    alert = alert_of(bench)
    bench.alerts.acknowledge(alert.id, None, None, ANN)
    bench.saver.record()
    if what == "withdrawn":
        bench.clock.advance(1)
        bench.alerts.withdraw(alert.id, EGO)
    elif what == "expired":
        bench.clock.advance(ACK_FOR / SECOND)
        bench.owner.look_at_acks()
    else:
        swap(bench, 99)
    bench.owner.look_at_acks()  # a wish whose acknowledgement has ended is not heeded again, even before that is stored
    assert alert_of(bench).ack is None
    bench.saver.record()
    assert ("ack-ended", actor, None, reason) in events(bench)
    assert asked(bench) == 0
    bench.owner.look_at_acks()
    assert alert_of(bench).ack is None


def test_a_better_severity_keeps_it_and_the_end_of_the_alert_takes_it_along(bench: Bench) -> None:
    swap(bench, 99)
    bench.alerts.acknowledge(alert_of(bench).id, None, None, ANN)
    swap(bench, 92)
    assert (alert_of(bench).severity, alert_of(bench).ack_by) == ("warning", "ann")
    swap(bench, 10)
    assert (list(bench.open_alerts.each()), asked(bench)) == ([], 0)
    assert bench.alerts.page({}, 1, 10)[0][0].ack is None


def test_a_second_one_replaces_the_first(bench: Bench) -> None:
    bench.alerts.acknowledge(alert_of(bench).id, "first", None, ANN)
    until = bench.clock.advance(1) + HOUR
    assert bench.alerts.acknowledge(alert_of(bench).id, "second", until, ANN).ack_note == "second"
    assert alert_of(bench).ack_until == until


def test_the_past_shows_what_was_acknowledged_then(bench: Bench) -> None:
    alert, seen = alert_of(bench), [bench.clock.now()]
    for step in (
        lambda: bench.alerts.acknowledge(alert.id, "on it", None, ANN),
        lambda: bench.alerts.withdraw(alert.id, ANN),
    ):
        seen.append(bench.clock.advance(5))
        step()
        bench.saver.record()
    past = past_of(bench)
    assert [past.moment(at).alerts[0].ack_note for at in seen] == [None, "on it", None]


def test_the_silence_of_an_offline_host_is_counted_on(bench: Bench) -> None:
    last_seen = bench.clock.now()
    bench.clock.advance(61)
    bench.owner.sweep()
    found = bench.alerts.acknowledge(alert_of(bench).id, None, None, ANN)
    assert (found.metric, found.current_value) == ("host_offline", 61)
    bench.clock.advance(9.5)
    bench.owner.look_at_acks()
    bench.alerts.withdraw(found.id, ANN)
    assert alert_of(bench).current_value == (bench.clock.now() - last_seen) / SECOND


def test_what_cannot_be_acknowledged_is_refused(bench: Bench) -> None:
    alert = alert_of(bench)
    with pytest.raises(NotFound):
        bench.alerts.acknowledge("nothing", None, None, ANN)
    for until in (bench.clock.now(), bench.clock.now() + ACK_MAX + 1):
        with pytest.raises(Invalid, match="at most 7 days ahead"):
            bench.alerts.acknowledge(alert.id, None, until, ANN)
    swap(bench, 10)
    with pytest.raises(Conflict, match="is over since"):
        bench.alerts.acknowledge(alert.id, None, None, ANN)
