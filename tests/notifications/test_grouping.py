"""When a group of alerts is told: opened, grew, worse, repeat, over; quiet ones, silent hosts, flapping ones."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import Alert
from mirror_stage.core.instants import HOUR, MINUTE, SECOND
from mirror_stage.notifications import grouping
from mirror_stage.notifications.domain import Group, Route, delivery_id
from mirror_stage.notifications.grouping import HOLD, NOTHING, SEND, look
from tests.notifications.alerts import Scene, fired

T = 1_762_000_000_000


def group(*hosts: str, severity: str = "warning") -> Group:
    made = Group("g", "k", "all", None, "cpu_load_high", "R1", T, T)
    for host in hosts:
        grouping.fire(made, fired(host, at=T, severity=severity))
    return made


def test_the_first_message_waits_ten_seconds_for_what_belongs_to_it() -> None:
    one = group("a")
    assert (look(one, T + 9_999).what, look(one, T + 9_999).next_look_at) == (HOLD, T + 10 * SECOND)
    assert (look(one, T + 10_000).what, look(one, T + 10_000).kind) == (SEND, "opened")


@pytest.mark.parametrize(("severity", "hours"), [("critical", 4), ("warning", 24)])
def test_a_problem_that_lasts_is_repeated(severity: str, hours: int) -> None:
    one = group("a", severity=severity)
    grouping.told(one, look(one, T + 10_000), T + 10_000)
    due = T + 10_000 + hours * HOUR
    assert (look(one, due - 1).what, look(one, due - 1).next_look_at) == (NOTHING, due)
    assert look(one, due).kind == "repeat"


def test_what_is_only_info_is_never_repeated() -> None:
    one = group("a", severity="info")
    grouping.told(one, look(one, T + 10_000), T + 10_000)
    assert look(one, T + 1000 * HOUR).what == NOTHING


def test_the_look_says_when_it_has_to_be_asked_again() -> None:
    """Whatever happens: until `next_look_at` the answer is the same."""
    chance = random.Random(7)
    for _ in range(200):
        one, now = group("a"), T
        for _ in range(12):
            now += chance.randrange(1, 20 * MINUTE)
            step = chance.random()
            members = list(one.members.values())
            if step < 0.3:
                grouping.fire(one, fired(f"h{chance.randrange(3)}", at=now))
            elif step < 0.6:
                grouping.end(chance.choice(members), 9, now, "value", None)
            verdict = look(one, now)
            if verdict.what != SEND and verdict.kind is None and verdict.next_look_at < T + 100 * HOUR:
                before = look(one, max(now, verdict.next_look_at - 1))
                assert (before.what, before.kind) == (verdict.what, verdict.kind), (verdict, before)
            grouping.told(one, verdict, now)
            if one.closed_at is not None:
                break


def test_one_problem_has_one_message_and_one_end() -> None:
    scene = Scene()
    alert = scene.fire()
    assert scene.step(9) == []
    assert scene.step(2) == ["opened"]
    scene.accept_all()
    scene.step(60)
    scene.end(alert)
    assert scene.step(299) == []
    assert scene.step(2) == ["over"]
    assert scene.step(600) == []


def test_what_comes_back_within_five_minutes_is_the_same_incident() -> None:
    scene = Scene()
    alert = scene.fire()
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    scene.end(alert)
    assert scene.step(240) == []
    again = scene.fire()
    assert scene.step(600) == []
    scene.end(again)
    assert scene.step(301) == ["over"]


def test_more_problems_are_one_message_every_five_minutes() -> None:
    scene = Scene()
    scene.fire("web-01")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    scene.step(1)
    for number in range(50):
        scene.fire(f"app-{number:02}")
    assert scene.step(280) == []
    assert scene.step(20) == ["grew"]
    facts = scene.deliveries()[0].facts
    assert (facts["total"], facts["open"], len(facts["members"])) == (51, 51, 51)


def test_a_worse_severity_is_told_at_once() -> None:
    scene = Scene()
    alert = scene.fire(severity="warning")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    scene.become(alert, "critical")
    assert scene.step(1) == ["worse"]


def test_a_route_that_takes_critical_alerts_only_hears_of_one_that_becomes_critical() -> None:
    scene = Scene([Route("night", ("phone",), min_severity="critical"), Route("day", ("mail",))])
    alert = scene.fire(severity="warning")
    assert scene.step(11) == ["opened"]
    scene.become(alert, "critical")
    scene.step(11)
    assert {(one.channel, one.severity) for one in scene.deliveries() if one.channel == "phone"} == {
        ("phone", "critical")
    }


def test_groups_are_of_one_route_and_one_rule_and_rack() -> None:
    scene = Scene()
    scene.racks = {"a": "R1", "b": "R1", "c": "R2"}
    for host in "abc":
        scene.fire(host)
    scene.fire("a", "memory_high")
    assert scene.step(11) == ["opened"] * 3
    assert sorted(one.facts["total"] for one in scene.deliveries()) == [1, 1, 2]


def told(scene: Scene) -> list[tuple[str, str | None, int]]:
    return [(one.kind, one.facts["cause"], one.facts["total"]) for one in reversed(scene.deliveries())]


def offline(scene: Scene, *hosts: str, cause: str | None = None) -> list[Alert]:
    alerts = [scene.fire(host, "host_offline") for host in hosts]
    for alert in alerts:
        scene.caused(alert, cause or alert.hostname)
    return alerts


def test_groups_are_of_one_cause() -> None:
    scene = Scene()
    offline(scene, "a", "b", "sw-r1", cause="sw-r1")
    offline(scene, "lone")
    scene.step(11)
    assert sorted(told(scene)) == [("opened", "lone", 1), ("opened", "sw-r1", 3)]


def test_a_host_that_is_offline_waits_for_its_cause_but_not_for_ever() -> None:
    groups: dict[str, str] = {}
    scene = Scene(grouped=groups.update)
    alerts = [scene.fire(host, "host_offline") for host in ("a", "b", "c")]
    assert scene.step(14) == []
    for alert in alerts[:2]:
        scene.caused(alert, "sw-r1")
    assert scene.step(2) == ["opened"]
    scene.restarted()
    assert scene.step(60) == ["opened"]
    assert told(scene) == [("opened", "sw-r1", 2), ("opened", None, 1)]
    stored = {one.id: one.group_id for one in scene.storage.read(alert_store.load_active)}
    assert stored == groups
    assert len(set(groups.values())) == 2


def test_what_was_told_without_a_cause_stays_where_it_was_told() -> None:
    scene = Scene()
    alert = scene.fire("a", "host_offline")
    assert scene.step(62) == ["opened"]
    scene.caused(alert, "sw-r1")
    assert scene.step(600) == []


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_host_that_stays_silent_when_its_cause_is_back_is_told_by_itself(*, is_restarted: bool) -> None:
    scene = Scene()
    alerts = offline(scene, "a", "b", cause="sw-r1")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    scene.end(alerts[1], "sample")
    scene.caused(alerts[0], "a")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    if is_restarted:
        scene.restarted()
    assert scene.step(400) == ["over"]
    assert told(scene) == [("opened", "sw-r1", 2), ("opened", "a", 1), ("over", "sw-r1", 2)]
    scene.end(alerts[0], "sample")
    assert scene.step(400) == ["over"]
    assert told(scene)[-1] == ("over", "a", 1)


def test_a_quiet_problem_is_told_when_it_is_not_quiet_any_more() -> None:
    reasons: list[str] = ["silenced by ada"]
    scene = Scene(quiet_reasons=lambda _alert, _now: reasons)
    scene.fire()
    assert scene.step(600) == []
    reasons.clear()
    assert scene.step(6) == ["opened"]


def test_a_silence_after_the_message_ends_with_what_is_still_open() -> None:
    reasons: list[str] = []
    scene = Scene(quiet_reasons=lambda _alert, _now: reasons)
    still, over = scene.fire("a"), scene.fire("b", "memory_high")
    assert scene.step(11) == ["opened", "opened"]
    scene.accept_all()
    reasons.append("acknowledged")
    scene.step(60)
    scene.end(over)
    assert scene.step(400) == ["over"]  # whoever got the problem gets its end, also while it is quiet
    reasons.clear()
    assert scene.step(6) == ["repeat"]
    assert scene.deliveries()[0].facts["members"][0]["hostname"] == still.hostname


def night(scene: Scene, **of_route: Any) -> list[str]:
    """Let the route have a mute time, which is on while the list that this returns has something in it."""
    on = ["night"]
    scene.routes[:] = [Route("all", ("ops",), min_severity="info", mute_times=("night",), **of_route)]
    scene.options["muted"] = lambda name, _now: f"mute time {name}" if name in on else None
    scene.restarted()
    return on


def test_a_mute_time_ends_with_what_is_still_open() -> None:
    scene = Scene()
    on = night(scene)
    scene.fire("a")
    over = scene.fire("b", "memory_high")
    assert scene.step(60) == []
    scene.end(over)
    assert scene.step(3600) == []
    on.clear()
    assert scene.step(6) == ["opened"]
    assert [one["hostname"] for one in scene.deliveries()[0].facts["members"]] == ["a"]


def test_what_is_critical_passes_through_a_mute_time_unless_nothing_does() -> None:
    scene = Scene()
    night(scene)
    alert = scene.fire()
    assert scene.step(60) == []
    scene.become(alert, "critical")
    assert scene.step(6) == ["opened"]
    scene = Scene()
    night(scene, passes="none")
    scene.fire(severity="critical")
    assert scene.step(600) == []


def test_whoever_got_the_problem_gets_its_end_through_a_mute_time() -> None:
    scene = Scene()
    on = night(scene, passes="none")
    on.clear()
    alert = scene.fire()
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    on.append("night")
    scene.step(60)
    scene.end(alert)
    assert scene.step(301) == ["over"]


def test_a_mute_time_that_nobody_has_keeps_nothing_quiet() -> None:
    scene = Scene([Route("all", ("ops",), mute_times=("lost",))])
    scene.fire()
    assert scene.step(11) == ["opened"]


def test_a_host_that_goes_offline_recovers_nothing() -> None:
    scene = Scene()
    alert = scene.fire("a")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    scene.end(alert, "host-offline")
    (silence,) = offline(scene, "a")
    assert scene.step(3600) == ["opened"]
    scene.accept_all()
    scene.end(silence)
    again = scene.fire("a")  # it is back, and so is its problem: the same incident
    assert scene.step(400) == ["over"]
    assert scene.deliveries()[0].facts["cause"] == "a"
    scene.accept_all()
    scene.end(again)
    assert scene.step(301) == ["over"]


def test_a_problem_that_does_not_come_back_with_its_host_is_over_after_ten_minutes() -> None:
    scene = Scene()
    alert = scene.fire("a")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    scene.end(alert, "host-offline")
    (silence,) = offline(scene, "a")
    scene.step(60)
    scene.accept_all()
    scene.end(silence)
    scene.step(400)
    scene.accept_all()
    assert scene.step(490) == []
    assert scene.step(30) == ["over"]
    assert scene.deliveries()[0].facts["members"][0]["reason"] == "host-offline"


def test_flapping_is_told_once_and_is_over_after_thirty_quiet_minutes() -> None:
    scene = Scene()
    kinds: list[str] = []
    for _ in range(72):  # six hours, every five minutes for one minute
        alert = scene.fire()
        kinds += scene.step(60)
        scene.accept_all()
        scene.end(alert)
        kinds += scene.step(240)
    assert kinds == ["opened", "flapping"]
    assert scene.step(1500) == []
    assert scene.step(200) == ["over"]


def test_slower_flapping_is_noticed_across_incidents() -> None:
    scene = Scene()
    kinds: list[str] = []
    for _ in range(36):  # every ten minutes
        alert = scene.fire()
        kinds += scene.step(60)
        scene.accept_all()
        scene.end(alert)
        kinds += scene.step(540)
        scene.accept_all()
    assert kinds[:8] == ["opened", "over"] * 4
    assert kinds[8:].count("opened") == 1
    assert "over" not in kinds[8:]


def test_an_escalation_goes_to_further_channels_and_its_end_too() -> None:
    scene = Scene([Route("db", ("mail",), escalate_after=15 * MINUTE, escalate_to=("phone",))])
    alert = scene.fire()
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    assert scene.step(900) == ["escalated"]
    scene.accept_all()
    scene.end(alert)
    assert scene.step(301) == ["over", "over"]
    assert {one.channel for one in scene.deliveries() if one.kind == "over"} == {"mail", "phone"}


def test_a_restart_at_any_moment_tells_nothing_twice_and_loses_nothing() -> None:
    for moment in range(0, 40, 3):
        scene, kinds = Scene(), []
        alert = scene.fire()
        for second in range(40):
            if second == moment:
                scene.restarted()
            kinds += scene.step(1)
        scene.accept_all()
        scene.end(alert)
        scene.restarted()
        kinds += scene.step(301)
        assert kinds == ["opened", "over"], moment


def test_a_step_that_fails_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.fire()
    scene.step(9)

    class Broken(Exception):
        pass

    def broken(_tx: object) -> None:
        raise Broken

    scene.storage.own.guard = broken
    with pytest.raises(Broken):
        scene.step(5)
    scene.storage.own.guard = None
    assert scene.step(1) == ["opened"]
    assert delivery_id(scene.deliveries()[0].group_id or "", 1, "ops") == scene.deliveries()[0].id


def test_alerts_that_no_route_takes_are_in_a_group_that_nobody_is_told_of() -> None:
    scene = Scene([Route("db", ("mail",), where="host:db-*")])
    scene.fire("web-01")
    assert scene.step(11) == []
    group = next(iter((scene.notifier._groups or {}).values()))
    assert (group.route, len(group.members)) == (None, 1)


def test_nothing_is_told_while_notifications_are_off_nor_after_that() -> None:
    scene = Scene(mode="off")
    alert = scene.fire()
    assert scene.step(30) == []
    scene.options["mode"] = "on"
    scene.restarted()
    scene.end(alert)
    assert scene.step(30) == []


def test_a_dry_run_stores_messages_and_sends_none() -> None:
    scene = Scene(mode="dry")
    scene.fire()
    assert scene.step(11) == ["opened"]
    assert [one.state for one in scene.deliveries()] == ["dry"]


def test_one_event_that_cannot_be_taken_up_costs_that_event_only(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    take = scene.notifier._take

    def odd(event: Any, changes: Any) -> None:
        take(event, changes)
        if event.alert.hostname == "odd":
            raise ValueError("odd")

    monkeypatch.setattr(scene.notifier, "_take", odd)
    scene.fire("odd", "memory_high")
    scene.fire("web-01")
    assert scene.step(11)[:1] == ["opened"]
    assert "cpu_load_high" in {one.facts["rule"] for one in scene.deliveries()}


def test_who_cannot_say_whether_an_alert_is_quiet_does_not_keep_it_quiet() -> None:
    def broken(*_: object) -> Any:
        raise ValueError("broken")

    scene = Scene(quiet_reasons=broken)
    scene.fire()
    assert scene.step(11) == ["opened"]
