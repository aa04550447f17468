"""The sender itself, with a receiver in the same process: the limit of a minute, trouble in readiness, the sign of life."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mirror_stage.access.domain import ADMIN, LOCAL, Actor
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.notifications.database_watch import DatabaseWatch
from mirror_stage.notifications.directory import Directory, Wanted
from mirror_stage.notifications.domain import FALL_BACK_AFTER, Route
from mirror_stage.notifications.heartbeat import Heartbeat
from mirror_stage.notifications.secrets import Secrets
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.words import Manner
from tests.notifications.alerts import Scene
from tests.notifications.sinks import Sink, sink

ME = Actor(LOCAL, role=ADMIN)


@dataclass
class Stage:
    """A scene with a channel `ops`, and its sender."""

    scene: Scene
    directory: Directory
    sender: Sender
    receiver: Sink
    is_leading: bool = True

    def send(self) -> None:
        self.sender.send_due()
        self.sender.wait(30)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with sink() as receiver:
        scene = Scene()
        directory = Directory(scene.storage, scene.clock, Secrets(Config(testing=True)))  # type: ignore[arg-type]
        directory.create(Wanted("ops", "webhook", {}, Manner(), 10, {"url": receiver.url}), ME)
        options = {"url": "http://ego", "kept": 0, "is_leading": lambda: made.is_leading}
        sender = Sender(scene.storage, scene.clock, directory, **options)  # type: ignore[arg-type]
        made = Stage(scene, directory, sender, receiver)
        yield made


def test_a_storm_of_one_cause_is_one_message(stage: Stage) -> None:
    for number in range(450):
        stage.scene.caused(stage.scene.fire(f"h{number:03}", "host_offline"), "sw-r1")
    assert stage.scene.step(11) == ["opened"]
    stage.send()
    assert stage.receiver.got[0].body["title"] == "[CRITICAL] sw-r1: 450 problems because of it"
    assert (stage.receiver.got[0].body["total"], len(stage.receiver.got[0].body["alerts"])) == (450, 200)


def test_of_many_causes_ten_messages_go_out_in_a_minute_and_the_last_names_the_rest(stage: Stage) -> None:
    for number in range(60):
        stage.scene.racks[f"h{number}"] = f"R{number}"
        stage.scene.fire(f"h{number}")
    stage.scene.step(11)
    stage.send()
    assert stage.receiver.kinds == ["opened"] * 9 + ["digest"]
    assert len(stage.receiver.got[-1].body["messages"]) == 51
    stage.scene.fire("late", "memory_high")
    stage.scene.step(11)
    stage.send()
    assert len(stage.receiver.got) == 10
    stage.scene.clock.advance(60)
    stage.send()
    assert stage.receiver.kinds[10:] == ["opened"]


def test_a_worker_that_does_not_own_the_twin_sends_nothing(stage: Stage) -> None:
    stage.is_leading = False
    stage.scene.fire()
    stage.scene.step(11)
    stage.send()
    assert stage.receiver.got == []


def test_an_ego_that_loses_the_twin_while_it_sends_still_notes_the_answer(stage: Stage) -> None:
    """Else its successor would send the message again."""

    def refuse(_tx: object) -> None:
        raise Unavailable("this worker owns the twin no longer")

    def answer(_number: int) -> tuple[int, dict[str, str]]:
        stage.is_leading, stage.scene.storage.own.guard = False, refuse
        return 200, {}

    stage.scene.fire("a", "cpu_load_high")
    stage.scene.fire("b", "memory_high")
    stage.scene.step(11)
    stage.receiver.answer = answer
    stage.send()
    assert sorted(one.state for one in stage.scene.deliveries()) == ["accepted", "queued"]


def test_readiness_names_a_channel_that_fails_and_what_never_arrived(stage: Stage) -> None:
    assert stage.sender.check()["ok"]
    stage.receiver.answer = lambda _number: (500, {})
    alert = stage.scene.fire()
    stage.scene.step(11)
    stage.send()
    stage.scene.clock.advance(130)
    stage.sender.look()
    assert "channel ops fails since" in stage.sender.check()["detail"]
    stage.receiver.answer = lambda _number: (410, {})
    stage.send()
    stage.sender.look()
    assert stage.sender.check() == {
        "ok": False,
        "detail": "channel ops: 1 message of the last day never arrived; see the deliveries",
    }
    stage.scene.end(alert)
    stage.scene.step(86_401)
    stage.sender.look()
    assert stage.sender.check() == {"ok": True, "detail": "1 channel"}


def test_a_secret_that_cannot_be_had_is_said_and_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.directory.change(Wanted("ops", "webhook", {}, Manner(), 10, {"url": "env:NOTIFY_OPS"}), None, ME)
    stage.scene.fire()
    stage.scene.step(11)
    stage.send()
    found = stage.scene.deliveries()[0]
    assert (found.state, found.detail) == ("retry", "the variable NOTIFY_OPS is not set for EGO")
    monkeypatch.setenv("NOTIFY_OPS", stage.receiver.url)
    stage.scene.clock.advance(5)
    stage.send()
    assert stage.receiver.kinds == ["opened"]


def test_what_waits_for_a_channel_that_is_gone_is_given_up(stage: Stage) -> None:
    stage.directory.remove("ops", ME)
    stage.scene.fire()
    stage.scene.step(11)
    stage.send()
    assert [(one.state, one.detail) for one in stage.scene.deliveries()] == [("dead", "there is no such channel")]


def test_a_message_without_words_is_given_up_and_the_next_is_sent(stage: Stage) -> None:
    stage.scene.fire("odd", "memory_high")
    stage.scene.step(11)
    stage.scene.storage.own.write(lambda tx: tx.exec_driver_sql("UPDATE deliveries SET facts = '{}'"))
    stage.scene.fire("web-01")
    stage.scene.step(11)
    stage.send()  # its kind of failure does not hold up the channel for longer than this
    stage.send()
    assert stage.receiver.kinds == ["opened"]
    assert {(one.state, one.detail) for one in stage.scene.deliveries()} == {
        ("accepted", None),
        ("dead", "it has no words: KeyError"),
    }


def test_what_a_channel_does_not_take_goes_to_its_fallback_with_its_end(stage: Stage) -> None:
    scene = stage.scene
    with sink() as other:
        stage.directory.create(Wanted("sms", "webhook", {}, Manner(), 10, {"url": other.url}), ME)
        stage.directory.change(Wanted("ops", "webhook", {}, Manner(), 10, {}, "sms"), None, ME)
        stage.receiver.answer = lambda number: (500, {}) if number < FALL_BACK_AFTER else (410, {})
        alert = scene.fire()
        scene.step(11)
        for _ in range(FALL_BACK_AFTER + 1):
            assert other.got == []
            stage.send()
            scene.clock.advance(300)
            if len(stage.receiver.got) == FALL_BACK_AFTER:
                break
        stage.send()  # it is given up for `ops` now, and `sms` has it already
        assert (other.kinds, stage.receiver.kinds) == (["opened"], ["opened"] * (FALL_BACK_AFTER + 1))
        scene.end(alert)
        scene.step(301)
        stage.send()
        assert (other.kinds, len(stage.receiver.got)) == (["opened", "over"], FALL_BACK_AFTER + 1)


def test_a_fallback_gets_the_end_that_its_channel_refused(stage: Stage) -> None:
    scene = stage.scene
    with sink() as other:
        stage.directory.create(Wanted("sms", "webhook", {}, Manner(), 10, {"url": other.url}), ME)
        stage.directory.change(Wanted("ops", "webhook", {}, Manner(), 10, {}, "sms"), None, ME)
        alert = scene.fire()
        scene.step(11)
        stage.send()
        stage.receiver.answer = lambda _number: (404, {})
        scene.end(alert)
        scene.step(301)
        stage.send()
        stage.send()
        assert (stage.receiver.kinds, other.kinds) == (["opened", "over"], ["was"])


def test_a_fallback_gets_each_message_of_a_digest_and_their_ends(stage: Stage) -> None:
    scene = stage.scene
    with sink() as other:
        stage.directory.create(Wanted("sms", "webhook", {}, Manner(), 3, {"url": other.url}), ME)
        stage.directory.change(Wanted("ops", "webhook", {}, Manner(), 1, {}, "sms"), None, ME)
        stage.receiver.answer = lambda _number: (404, {})
        for number in range(5):
            scene.racks[f"h{number}"] = f"R{number}"
            scene.fire(f"h{number}")
        scene.step(11)
        stage.send()
        stage.send()
        assert (stage.receiver.kinds, other.kinds) == (["digest"], ["opened", "opened", "digest"])
        assert len(other.got[-1].body["messages"]) == 3
        for of_host in list(scene.open.values()):
            for alert in list(of_host.values()):
                scene.end(alert)
        scene.step(301)
        stage.send()
        assert {one.channel for one in scene.deliveries() if one.kind == "over"} == {"sms"}


def test_a_database_that_is_away_is_told_once_and_so_is_its_return(stage: Stage) -> None:
    stage.directory.put_routes([Route("all", ("ops",))], None, ME)
    answers: list[object] = []

    def is_there() -> object:
        if not answers:
            raise Unavailable("no database")
        return answers

    clock, alert = stage.scene.clock, stage.scene.fire("db-01", "disk_full", subject="/srv")
    watch = DatabaseWatch(clock, stage.directory, stage.sender, ego="ego-1", is_there=is_there, alerts=lambda: [alert])  # type: ignore[arg-type]
    for seconds in (0, 60, 1, 30, 600):
        clock.advance(seconds)
        watch.look()
        assert len(stage.receiver.got) == (0 if seconds in {0, 60} else 1)
    answers.append("there")
    for _ in range(3):
        watch.look()
    away, back = (one.body for one in stage.receiver.got)
    assert (away["title"], back["title"]) == (
        "[CRITICAL] ego-1: EGO cannot reach its database",
        "[OVER] ego-1: EGO cannot reach its database",
    )
    assert "db-01: disk /srv is 99% used" in away["text"]
    assert [one["status"] for one in (away, back)] == ["firing", "resolved"]
    assert (away["rule"], away["group"]) == ("database_away", back["group"])


def test_a_short_absence_of_the_database_is_told_to_nobody(stage: Stage) -> None:
    stage.directory.put_routes([Route("all", ("ops",))], None, ME)
    answers: list[Exception] = [Unavailable("no database"), Unavailable("no database")]

    def is_there() -> None:
        if answers:
            raise answers.pop()

    watch = DatabaseWatch(stage.scene.clock, stage.directory, stage.sender, ego="e", is_there=is_there, alerts=list)  # type: ignore[arg-type]
    for _ in range(5):
        watch.look()
        stage.scene.clock.advance(50)
    assert stage.receiver.got == []


def test_the_figures_say_what_waits_and_what_became_of_the_rest(stage: Stage) -> None:
    stage.receiver.answer = lambda number: (200, {}) if number == 0 else (404, {}) if number == 1 else (500, {})
    for host, rule in (("a", "cpu_load_high"), ("b", "memory_high"), ("c", "swap_full")):
        stage.scene.fire(host, rule)
    stage.scene.step(11)
    stage.send()
    stage.send()
    stage.scene.clock.advance(30)
    stage.sender.look()
    assert (stage.sender.waiting(), dict(stage.sender.ended)) == (
        {"webhook": 1},
        {("webhook", "accepted"): 1, ("webhook", "dead"): 1},
    )
    assert 30 <= stage.sender.oldest_waiting_seconds < 32


def test_a_sign_of_life_is_given_and_its_trouble_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with sink(lambda number: (200, {}) if number == 0 else (500, {})) as watcher:
        heart = Heartbeat(f"{watcher.url}/planted-s3cret", Clock())
        for _ in range(3):
            heart.beat()
    assert (heart.host, heart.trouble) == (watcher.url, "the receiver answered 500")
    assert heart.accepted_at is not None
    assert len(watcher.got) == 3
    assert [record.getMessage() for record in caplog.records if "HEARTBEAT" in record.getMessage()] == [
        "MIRROR_STAGE_HEARTBEAT_URL: the receiver answered 500"
    ]
    assert "planted" not in caplog.text
