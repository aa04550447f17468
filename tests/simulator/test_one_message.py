"""A switch of the simulated fleet dies, end to end: its rack, one message that names it, and one when it is over."""

from __future__ import annotations

from mirror_stage.app import create_app
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.service import Notifier
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.saving import Saver
from mirror_stage.simulator.fleet import SWITCH
from mirror_stage.simulator.scenarios import SCENARIOS
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.wire import batch
from tests.notifications.sinks import sink
from tests.simulator.fleets import BEGAN_AT, encoders, fleet_of

EVERY = 5


def test_a_switch_that_dies_is_one_message_and_its_end_another() -> None:
    fleet = fleet_of(60, 7)
    machines = encoders(fleet, "switch-dies")
    gone = set(SCENARIOS["switch-dies"].changes(fleet))
    (switch,) = [one.hostname for one in fleet.machines if one.role == SWITCH and one.hostname in gone]
    now = [BEGAN_AT]
    with sink() as receiver:
        app = create_app(Config(testing=True, hub_hostname="core"))
        ego, client = app.extensions["mirror_stage"], app.test_client()
        ego[Clock].now = lambda: now[0]
        ego[Owner]._elapsed = lambda: 0.0
        ego[Owner].begin()
        made = client.post("/api/channels", json={"name": "ops", "kind": "webhook", "url": receiver.url})
        assert made.status_code == 201
        routes = {"routes": [{"name": "offline", "channels": ["ops"], "rules": ["host_offline"]}]}
        assert client.put("/api/routes", json=routes).status_code == 200

        def watch(seconds: int) -> None:
            for _ in range(0, seconds, EVERY):
                at = now[0] = now[0] + EVERY * SECOND
                samples = [one.sample(Moment(at)) for one in machines if not one.behaviour.is_silent(at)]
                answer = client.post("/api/metrics/batch", data=batch(samples), content_type="application/json")
                assert answer.status_code == 202
                ego[Owner].sweep()
                ego[Saver].record()
                if ego[Notifier].step():
                    ego[Sender].send_due()
                    ego[Sender].wait(30)

        watch(290)
        (told,) = [one.body for one in receiver.got]
        assert (told["kind"], told["cause"], told["open"]) == ("opened", switch, len(gone))
        assert {one["hostname"] for one in told["alerts"]} == gone
        watch(420)
        assert [one.body["kind"] for one in receiver.got] == ["opened", "over"]
