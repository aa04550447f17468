"""A save of many hosts goes piece by piece: one that ends half way, or samples that come meanwhile, cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.core.problems import Unavailable
from mirror_stage.pipeline import saving
from tests.builders import make_sample
from tests.pipeline.conftest import Bench

HOSTS = [f"h{n:03d}" for n in range(300)]


def post(bench: Bench, cpu_percent: float) -> None:
    at = bench.clock.advance(1)
    bench.post(*(make_sample(host, at=at, cpu_percent=cpu_percent, interval_seconds=1) for host in HOSTS))


def saved(bench: Bench) -> dict[str, float]:
    """The CPU load in the saved row of each host."""
    statement = text("SELECT hostname, cpu_load FROM host_metrics WHERE cpu_load IS NOT NULL")
    return bench.storage.read(lambda tx: {row[0]: row[1] for row in tx.execute(statement)})


def events(bench: Bench) -> list[tuple[str, str, str]]:
    """(hostname, rule, transition) of each recorded transition."""
    statement = text("SELECT a.hostname, a.metric, e.transition FROM alert_events e JOIN alerts a ON a.id = e.alert_id")
    return bench.storage.read(lambda tx: sorted((row[0], row[1], row[2]) for row in tx.execute(statement)))


def versions(bench: Bench) -> set[int]:
    """The version of every recorded transition."""
    return bench.storage.read(lambda tx: set(tx.execute(text("SELECT version FROM alert_events")).scalars()))


@pytest.fixture
def writes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What happens at the next writes of the saver: None writes, an error fails, a function runs after the write."""
    planned: list[Any] = []
    write = bench.storage.write

    def planned_write(work: Any) -> Any:
        what = planned.pop(0) if planned else None
        if isinstance(what, Exception):
            raise what
        answer = write(work)
        if what is not None:
            what()
        return answer

    monkeypatch.setattr(saving, "HOSTS_AT_ONCE", 100)
    monkeypatch.setattr(bench.saver, "_storage", type("Planned", (), {"write": staticmethod(planned_write)}))
    yield planned
    assert planned == [], "fewer writes than the test planned"


def test_a_save_that_fails_half_way_keeps_what_it_wrote_and_the_next_one_writes_the_rest(
    bench: Bench, writes: list[Any]
) -> None:
    post(bench, 10)
    bench.saver.save()
    post(bench, 20)
    writes += [None, Unavailable("the database does not answer")]
    assert bench.saver.save() is False
    assert set(saved(bench).values()) == {10, 20}
    assert bench.saver.save() is True
    assert saved(bench) == dict.fromkeys(HOSTS, 20)


def test_samples_between_two_pieces_are_judged_once_although_ego_is_killed_after_the_save(
    bench: Bench, writes: list[Any]
) -> None:
    """The later pieces write the hosts as they are by then."""
    post(bench, 10)
    bench.saver.save()
    post(bench, 20)
    writes += [lambda: (post(bench, 95), post(bench, 5)), None, None]
    assert bench.saver.save() is True
    assert saved(bench) == dict.fromkeys(HOSTS, 5)
    again = bench.again()
    again.saver.record()
    assert events(again) == [(host, "cpu_load_high", what) for host in HOSTS for what in ("fired", "resolved")]
    assert versions(again) == {1, 2}


def test_a_sample_that_came_during_a_save_that_failed_is_judged_once(bench: Bench, writes: list[Any]) -> None:
    post(bench, 10)
    bench.saver.save()
    post(bench, 95)
    writes += [lambda: post(bench, 5), Unavailable("the database does not answer")]
    assert bench.saver.save() is False
    again = bench.again()
    again.saver.record()
    assert events(again) == [(host, "cpu_load_high", what) for host in HOSTS for what in ("fired", "resolved")]


def test_a_save_that_ends_in_an_error_of_ego_itself_loses_no_host(bench: Bench, writes: list[Any]) -> None:
    post(bench, 10)
    bench.saver.save()
    post(bench, 20)
    writes += [None, TypeError("a value that nobody expected")]
    with pytest.raises(TypeError):
        bench.saver.save()
    assert bench.saver.save() is True
    assert saved(bench) == dict.fromkeys(HOSTS, 20)
