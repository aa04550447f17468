"""A back-test reads the history of every host: quarters first, then minutes; by the tags of then; in time, or it says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mirror_stage.alerts import store
from mirror_stage.alerts.domain import HUD, RULES, Rule
from mirror_stage.alerts.rules import rule_of
from mirror_stage.backtest import service
from mirror_stage.backtest import store as quarters_of
from mirror_stage.backtest.service import BackTest
from mirror_stage.core.instants import DAY, MINUTE, SECOND, to_optional_text, to_text
from mirror_stage.core.problems import Invalid, Unavailable
from mirror_stage.twin.domain import Limits
from tests.builders import make_sample
from tests.history.run import HistoryRun, open_storage

BEGIN = 1_762_000_200_000
KEPT = {"raw": DAY, "1m": 30 * DAY, "15m": 60 * DAY}
STEPS = [{"severity": "warning", "fire": 80, "resolve": 70}]


def own(measure: str = "cpuLoad", **document: Any) -> Rule:
    return rule_of("own", {"measure": measure, "steps": STEPS} | document, None, HUD)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def past(request: pytest.FixtureRequest) -> Iterator[HistoryRun]:
    """40 minutes of three hosts, a sample every 10 s; the owner sweeps."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()
    with open_storage(url) as storage:
        run = HistoryRun(storage, KEPT)
        run.clock.instant = BEGIN
        run.bench.owner.change_rules([*RULES, own(every="minute")])
        for second in range(0, 40 * 60, 10):
            minute = second // 60
            loads = {"web-1": 90 if 5 <= minute < 9 else 20, "web-2": 20, "web-3": 85 if minute >= 20 else 20}
            for name, load in loads.items():
                tier = "db" if name == "web-2" or (name == "web-3" and minute >= 25) else "edge"
                if name == "web-1" and 6 <= minute < 8:
                    continue
                run.post(make_sample(name, at=run.clock.now(), cpu_percent=load, tags={"tier": tier}))
            run.clock.advance(10)
            run.bench.owner.sweep()
            run.bench.saver.record()
        run.clock.advance(120)
        run.keep()
        yield run


def backtested(past: HistoryRun, rule: Rule, days: int = 1) -> dict[str, Any]:
    clock: Any = past.clock
    limits = Limits(15 * SECOND, MINUTE)
    return BackTest(past.storage, clock, limits, hub="core-switch", ego="ego-01").run(rule, days)


def at(minute: float) -> str:
    return to_text(BEGIN + round(minute * MINUTE))


def mark(name: str, begin: float, end: float | None, *, is_certain: bool = True) -> dict[str, Any]:
    return {
        "hostname": name, "subject": None, "from": at(begin), "to": None if end is None else at(end), "isCertain": is_certain,
    }  # fmt: skip


def test_a_rule_fires_where_it_would_have_and_ends_when_the_host_was_offline(past: HistoryRun) -> None:
    found = backtested(past, own())
    offline = 6 + 50 / 60  # a minute after its last sample
    assert (found["hosts"], found["complete"], found["unread"]) == (3, True, [])
    assert found["marks"] == [mark("web-1", 5, offline), mark("web-1", 8, 10), mark("web-3", 20, None)]
    assert [(one["for"], one["certain"], one["possible"], one["hosts"]) for one in found["byFor"]] == [
        ("0s", 3, 3, 2), ("1m", 1, 1, 1), ("3m", 1, 1, 1), ("5m", 1, 1, 1), ("10m", 1, 1, 1),
    ]  # fmt: skip
    assert found["unknown"] == ["order-within-minutes", "open-before"]


def test_the_marks_are_the_alerts_that_the_live_rules_had(past: HistoryRun) -> None:
    def alerts(rule: str) -> list[tuple[str, str, str | None]]:
        found = past.storage.read(lambda tx: store.page(tx, {"metric": rule}, 0, 100))[0]
        return sorted((one.hostname, to_text(one.created_at), to_optional_text(one.resolved_at)) for one in found)

    exact = backtested(past, own(every="minute"))
    assert [(one["hostname"], one["from"], one["to"]) for one in exact["marks"]] == alerts("own")
    assert (len(exact["marks"]), exact["unknown"]) == (2, ["open-before"])
    assert all(one["certain"] == one["possible"] for one in exact["byFor"])
    marks = backtested(past, own())["marks"]
    for (name, begin, end), mark in zip(alerts("cpu_load_high"), marks, strict=True):
        assert name == mark["hostname"]
        assert mark["from"] <= begin
        assert mark["to"] == end or (end is not None and mark["to"] is not None and end <= mark["to"])


def test_a_host_is_what_its_tags_were_then(past: HistoryRun) -> None:
    edge, db = backtested(past, own(where="tier:edge")), backtested(past, own(where="tier:db"))
    assert edge["marks"][-1] == mark("web-3", 20, 25)
    assert (edge["hosts"], db["hosts"]) == (2, 2)
    assert db["marks"] == [mark("web-3", 25, None)]


def test_a_wait_of_its_own_stands_beside_the_usual_ones(past: HistoryRun) -> None:
    found = backtested(past, own(**{"for": "12m"}))
    assert [one["for"] for one in found["byFor"]] == ["0s", "1m", "3m", "5m", "10m", "12m"]
    assert [(one["hostname"], one["isCertain"]) for one in found["marks"]] == [("web-3", True)]


def test_a_rule_below_is_tested_too(past: HistoryRun) -> None:
    steps = [{"severity": "warning", "fire": 20, "resolve": 85}]
    found = backtested(past, own(above=False, steps=steps))
    assert [(one["hostname"], one["from"], one["to"]) for one in found["marks"] if one["hostname"] == "web-3"] == [
        ("web-3", at(0), at(21))
    ]


def test_what_there_was_no_time_for_is_named(past: HistoryRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BUDGET_SECONDS", -1.0)
    found = backtested(past, own())
    assert (found["complete"], found["unread"], found["unreadTotal"]) == (False, ["web-1", "web-2", "web-3"], 3)


def test_a_value_that_the_history_does_not_keep_is_refused_by_name(past: HistoryRun) -> None:
    with pytest.raises(
        Invalid,
        match="the history does not keep sensorCelsius; a rule of these can be tested: diskUsedPercent, cpuLoad",
    ):
        backtested(past, own("sensor.celsius"))


def test_disks_are_tested_by_the_fullest_one(past: HistoryRun) -> None:
    found = backtested(past, own("disk.usedPercent", subjects=["/data"]))
    assert (found["hosts"], found["marks"], found["unknown"]) == (
        3,
        [],
        ["order-within-minutes", "which-disk", "open-before"],
    )


def test_a_read_that_takes_too_long_is_tried_again_with_fewer_hosts(
    past: HistoryRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    ask = quarters_of.quarters

    def slow(tx: Any, **asked: Any) -> dict[int, str]:
        sizes.append(len(asked["host_ids"]))
        if len(sizes) == 1:
            raise Unavailable("the read took longer than 2 s")
        return ask(tx, **asked)

    monkeypatch.setattr(quarters_of, "quarters", slow)
    found = backtested(past, own())
    assert (found["hosts"], found["complete"], found["total"]) == (3, True, 3)
    assert sizes == [3, 3]
