"""What waits for a channel: leased by one sender, tried again, merged, ended; and at most so many messages a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mirror_stage.notifications import store
from mirror_stage.notifications.domain import Delivery, Outcome, Route
from tests.notifications.alerts import Scene

OK, FAILED, REFUSED = Outcome(True, 200), Outcome(False, 500, "500"), Outcome(False, 404, "404", is_final=True)


@pytest.fixture
def scene(database_settings: dict[str, str]) -> Iterator[Scene]:
    """On each kind of database."""
    made = Scene(database=database_settings.get("MIRROR_STAGE_DB_URL"))
    yield made
    made.storage.close()


def claim(scene: Scene, channel: str = "ops") -> Delivery | None:
    return scene.storage.own.write(lambda tx: store.claim(tx, channel, scene.clock.now()))


def finish(scene: Scene, leased: Delivery, outcome: Outcome) -> Delivery | None:
    return scene.storage.own.write(lambda tx: store.finish(tx, leased, outcome, scene.clock.now()))


def claimed(scene: Scene, channel: str = "ops") -> Delivery:
    found = claim(scene, channel)
    assert found is not None
    return found


def states(scene: Scene) -> list[tuple[str, str]]:
    return [(one.kind, one.state) for one in reversed(scene.deliveries())]


def test_a_message_has_one_sender_until_its_lease_is_over(scene: Scene) -> None:
    scene.fire()
    scene.step(11)
    first = claimed(scene)
    assert claim(scene) is None
    scene.clock.advance(59.9)
    assert claim(scene) is None
    scene.clock.advance(0.2)
    second = claimed(scene)
    assert (second.id, second.attempts) == (first.id, 2)
    assert finish(scene, first, OK) is None  # too late: it is not his any more
    assert finish(scene, second, OK) is not None
    assert states(scene) == [("opened", "accepted")]


def test_a_failed_message_is_tried_again_and_a_refused_one_is_dead(scene: Scene) -> None:
    scene.fire()
    scene.step(11)
    finish(scene, claimed(scene), FAILED)
    assert claim(scene) is None
    scene.clock.advance(5)
    finish(scene, claimed(scene), REFUSED)
    assert states(scene) == [("opened", "dead")]
    scene.clock.advance(3600)
    assert claim(scene) is None


def test_a_dead_message_can_be_sent_again(scene: Scene) -> None:
    scene.fire()
    scene.step(11)
    dead = claimed(scene)
    finish(scene, dead, REFUSED)
    scene.storage.write(lambda tx: store.try_again(tx, dead.id, scene.clock.now()))
    assert claimed(scene).id == dead.id
    assert scene.storage.write(lambda tx: store.try_again(tx, "nobody", 0)) is None


def test_a_problem_that_ends_before_it_was_told_is_one_message(scene: Scene) -> None:
    alert = scene.fire()
    scene.step(11)
    finish(scene, claimed(scene), FAILED)
    scene.end(alert)
    assert scene.step(301) == ["was"]
    assert states(scene) == [("opened", "merged"), ("was", "queued")]
    assert claimed(scene).attempts == 2


def test_a_message_that_fails_while_a_newer_one_waits_gives_way_to_it(scene: Scene) -> None:
    alert = scene.fire()
    scene.step(11)
    leased = claimed(scene)
    scene.become(alert, "critical")
    assert scene.step(1) == ["worse"]
    finish(scene, leased, FAILED)
    assert states(scene) == [("opened", "merged"), ("opened", "queued")]
    assert claimed(scene).severity == "critical"


def test_the_end_goes_to_whoever_got_the_problem_whatever_the_routes_say_then(scene: Scene) -> None:
    alert = scene.fire()
    scene.step(11)
    scene.accept_all()
    scene.routes[:] = [Route("all", ("elsewhere",), min_severity="info")]
    scene.end(alert)
    scene.step(301)
    assert [(one.kind, one.channel) for one in scene.deliveries()] == [("over", "ops"), ("opened", "ops")]


def test_nobody_gets_the_end_of_a_problem_that_was_refused(scene: Scene) -> None:
    alert = scene.fire()
    scene.step(11)
    finish(scene, claimed(scene), REFUSED)
    scene.end(alert)
    assert scene.step(301) == []


def test_what_is_too_much_for_a_minute_is_one_digest_and_its_ends_are_told(scene: Scene) -> None:
    alerts = []
    for number in range(30):
        scene.racks[f"h{number}"] = f"R{number}"
        alerts.append(scene.fire(f"h{number}"))
    assert scene.step(11) == ["opened"] * 30
    finish(scene, claimed(scene), OK)
    assert scene.storage.own.write(lambda tx: store.gather(tx, "ops", scene.clock.now()))
    digest = claimed(scene)
    assert (digest.kind, len(digest.facts["messages"])) == ("digest", 29)
    finish(scene, digest, OK)
    assert claim(scene) is None
    for alert in alerts:
        scene.end(alert)
    assert scene.step(301).count("over") == 30  # also for those that stood in the digest


def test_accepted_messages_are_counted_by_the_minute(scene: Scene) -> None:
    scene.fire()
    scene.step(11)
    finish(scene, claimed(scene), OK)
    now = scene.clock.now()
    assert scene.storage.read(lambda tx: store.count_accepted(tx, "ops", now - 60_000)) == 1
    assert scene.storage.read(lambda tx: store.count_accepted(tx, "ops", now)) == 0


def test_a_channel_that_is_removed_ends_what_waits_for_it(scene: Scene) -> None:
    scene.fire()
    scene.step(11)
    scene.storage.own.write(lambda tx: store.give_up(tx, "ops", "the channel was removed", scene.clock.now()))
    assert states(scene) == [("opened", "dead")]


def test_old_groups_and_messages_are_removed(scene: Scene) -> None:
    alert = scene.fire()
    scene.step(11)
    scene.accept_all()
    scene.end(alert)
    scene.step(301)
    scene.accept_all()
    until = scene.clock.now() + 1
    assert scene.storage.own.write(lambda tx: store.prune(tx, until, 100)) == 2
    assert scene.deliveries() == []
    assert scene.storage.read(lambda tx: store.load(tx, 0)) == []


def test_troubles_name_what_is_dead_and_what_fails(scene: Scene) -> None:
    scene.fire("a")
    scene.fire("b", "memory_high")
    scene.step(11)
    finish(scene, claimed(scene), REFUSED)
    finish(scene, claimed(scene), FAILED)
    dead, failing = scene.storage.read(lambda tx: store.troubles(tx, scene.clock.now() - 1000))
    assert (dead, list(failing)) == ({"ops": 1}, ["ops"])


def test_two_senders_of_one_database_send_each_message_once(scene: Scene) -> None:
    """The owner loses its lock while a message is on its way: the next one sends what is left, and not this one again."""
    racks = {f"h{number}": f"R{number}" for number in range(6)}
    scene.racks |= racks
    for host in racks:
        scene.fire(host)
    scene.step(11)
    sent: list[str] = []
    first = claimed(scene)
    sent.append(first.id)  # the receiver has it, and has not answered yet
    while (leased := claim(scene)) is not None:  # the next owner
        sent.append(leased.id)
        assert finish(scene, leased, OK) is not None
    assert finish(scene, first, OK) is not None  # the answer comes to the old owner, within the lease
    scene.clock.advance(3600)
    assert claim(scene) is None
    assert (len(sent), len(set(sent))) == (6, 6)
    assert {state for _, state in states(scene)} == {"accepted"}
