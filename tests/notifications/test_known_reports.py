"""What people reported of other alert managers, tried here. Each test names its report; none of their code is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mirror_stage.core.instants import MINUTE
from mirror_stage.notifications.directory import Wanted
from mirror_stage.notifications.domain import Outcome, Route
from mirror_stage.notifications.words import Manner
from tests.notifications.alerts import Scene
from tests.notifications.sinks import sink
from tests.notifications.test_sending import ME, Stage, stage  # noqa: F401

OK, FAILED = Outcome(True, 200), Outcome(False, 500, "500")


@pytest.fixture
def reasons() -> Iterator[list[str]]:
    yield []


def quiet_scene(reasons: list[str], **options: Any) -> Scene:
    """A scene in which everything is quiet while `reasons` has something in it."""
    return Scene(quiet_reasons=lambda _alert, _now: list(reasons), **options)


def test_the_end_of_a_mute_tells_at_once_what_is_still_open(reasons: list[str]) -> None:
    """prometheus/alertmanager#3367, #2496, grafana#50266: told after repeat_interval or group_interval only, or never."""
    reasons.append("muted")
    scene = quiet_scene(reasons)
    scene.fire()
    assert scene.step(7200) == []
    reasons.clear()
    assert scene.step(6) == ["opened"]


def test_an_incident_at_pagerduty_ends_also_while_it_is_muted(stage: Stage, reasons: list[str]) -> None:  # noqa: F811
    """prometheus/alertmanager#3664, grafana#87007, Icinga/icinga2#4427: muted while one repairs, and open there for ever."""
    scene = stage.scene
    scene.options["quiet_reasons"] = lambda _alert, _now: list(reasons)
    scene.routes[:] = [Route("all", ("pager",), min_severity="info")]
    scene.restarted()
    stage.directory.create(
        Wanted("pager", "pagerduty", {}, Manner(), 10, {"url": stage.receiver.url, "secret": "key"}), ME
    )
    alert = scene.fire()
    scene.step(11)
    stage.send()
    reasons.append("silenced")
    scene.step(60)
    scene.end(alert)
    scene.step(301)
    stage.send()
    first, second = (one.body for one in stage.receiver.got)
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == second["dedup_key"]


def test_what_ends_before_it_was_told_has_no_recovery(reasons: list[str]) -> None:
    """bluewave-labs/Checkmate#3438, rcourtman/Pulse#1553, henrygd/beszel#1519: "up" without "down"."""
    scene = quiet_scene(reasons)
    alert = scene.fire()
    assert scene.step(5) == []
    scene.end(alert)
    assert scene.step(3600) == []
    reasons.append("maintenance")
    alert = scene.fire()
    scene.step(60)
    scene.end(alert)
    assert scene.step(3600) == []
    reasons.clear()
    assert scene.step(3600) == []


def test_a_receiver_that_fails_repeats_nothing_at_the_others(stage: Stage) -> None:  # noqa: F811
    """prometheus/alertmanager#1494: the mail came again with every retry of the webhook."""
    with sink(lambda _number: (500, {})) as broken:
        stage.directory.create(Wanted("broken", "webhook", {}, Manner(), 10, {"url": broken.url}), ME)
        stage.scene.routes[:] = [Route("all", ("ops", "broken"), min_severity="info")]
        alert = stage.scene.fire()
        for seconds in (11, 6, 16, 46):
            stage.scene.step(seconds)
            stage.send()
        stage.scene.end(alert)
        stage.scene.step(301)
        stage.send()
        assert (stage.receiver.kinds, len(broken.got) >= 4) == (["opened", "over"], True)


def test_a_receiver_that_is_down_is_not_hammered(stage: Stage) -> None:  # noqa: F811
    """prometheus/alertmanager#2286: 200 tries in ten minutes."""
    stage.receiver.answer = lambda _number: (503, {})
    stage.scene.fire()
    stage.scene.step(11)
    for _ in range(120):
        stage.send()
        stage.scene.clock.advance(5)
    assert 4 <= len(stage.receiver.got) <= 6


def test_a_429_is_obeyed_and_loses_nothing(stage: Stage) -> None:  # noqa: F811
    """prometheus/alertmanager#2121, #2111, SigNoz/signoz#12891: dropped after one try."""
    stage.receiver.answer = lambda number: (429, {"Retry-After": "90"}) if number == 0 else (200, {})
    alert = stage.scene.fire()
    stage.scene.step(11)
    stage.send()
    stage.scene.end(alert)
    stage.scene.clock.advance(80)
    stage.send()
    assert len(stage.receiver.got) == 1
    stage.scene.clock.advance(11)
    stage.send()
    assert (stage.receiver.kinds, len(set(stage.receiver.keys))) == (["opened", "opened"], 1)


def test_a_recovery_survives_a_restart(reasons: list[str]) -> None:
    """shinken-solutions/shinken#230, prometheus/alertmanager#2370: the end was forgotten."""
    scene = quiet_scene(reasons)
    alert = scene.fire()
    scene.step(11)
    scene.accept_all()
    scene.restarted()
    scene.end(alert)
    scene.restarted()
    scene.step(200)
    scene.restarted()
    assert scene.step(110) == ["over"]


def test_a_restart_repeats_nothing(reasons: list[str]) -> None:
    """prometheus/alertmanager#2222, #4108, #1005: everything open was told again."""
    scene = quiet_scene(reasons)
    for host in "abc":
        scene.fire(host, "memory_high")
    assert scene.step(11) == ["opened"]
    scene.accept_all()
    for _ in range(5):
        scene.restarted()
        assert scene.step(60) == []


def test_a_problem_behind_an_offline_host_has_no_recovery_of_its_own(reasons: list[str]) -> None:
    """NagiosEnterprises/nagioscore#572, librenms/librenms#8353: the services of a host that is down recover one by one."""
    scene = quiet_scene(reasons)
    held = scene.fire("a", "memory_high")
    scene.clock.advance(5)
    scene.end(held, "host-offline")
    offline = scene.fire("a", "host_offline")
    scene.caused(offline, "a")
    kinds = scene.step(300)
    scene.accept_all()
    scene.end(offline)
    kinds += scene.step(301)
    scene.accept_all()
    kinds += scene.step(1200)
    assert kinds == ["opened", "over"]
    assert {one.facts["rule"] or one.facts["members"][0]["rule"] for one in scene.deliveries()} == {"host_offline"}


def test_an_acknowledgement_that_ends_is_heard(reasons: list[str]) -> None:
    """Icinga/icinga2#10485: it expired, and nobody was told that the problem is still there."""
    scene = quiet_scene(reasons)
    scene.fire(severity="critical")
    scene.step(11)
    scene.accept_all()
    reasons.append("acknowledged by ada until 12:00")
    assert scene.step(5 * 3600) == []  # nor repeated meanwhile
    reasons.clear()
    assert scene.step(6) == ["repeat"]


def test_a_provisioned_object_says_where_it_is_changed() -> None:
    """grafana#51211: it cannot be edited, and nothing says why. See tests/alerting/test_documents.py for each kind."""
    from tests.alerting.test_documents import FULL, Ego

    ego = Ego()
    ego.ask("apply", FULL)
    detail = ego.client.delete("/api/mute-times/night").json["detail"]
    assert "apply it: mirror-stage alerts apply FILE" in detail


def test_a_flapping_problem_is_one_message_and_one_end(reasons: list[str]) -> None:
    """prometheus/alertmanager#1063, netdata#945: a message for each time."""
    scene, kinds = quiet_scene(reasons), list[str]()
    for _ in range(12):
        alert = scene.fire()
        kinds += scene.step(12)
        scene.accept_all()
        scene.end(alert)
        kinds += scene.step(9)
    kinds += scene.step(30 * MINUTE / 1000 + 10)
    assert kinds == ["opened", "flapping", "over"]
