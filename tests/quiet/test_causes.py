"""The causes of offline alerts in a live twin: a switch that nobody watches dies with its rack, and is not forgotten."""

from __future__ import annotations

from mirror_stage.alerts.service import AlertService
from mirror_stage.app import create_app
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND
from mirror_stage.pipeline.owner import Owner
from mirror_stage.quiet.causes import Causes
from tests.builders import make_sample


def test_a_rack_that_falls_silent_has_one_cause_which_stays() -> None:
    app = create_app(Config(testing=True, hub_hostname="core", offline_after_seconds=60))
    ego, client = app.extensions["mirror_stage"], app.test_client()
    now = [1_800_000_000_000]
    ego[Clock].now = lambda: now[0]
    owner: Owner = ego[Owner]
    owner._elapsed = lambda: 0.0  # type: ignore[method-assign]

    def report(*racks: str) -> None:
        samples = [
            make_sample(f"{rack}-{number}", at=now[0], tags={"uplink": rack}) for rack in racks for number in range(3)
        ]
        assert client.post("/api/metrics/batch", json={"samples": samples}).status_code == 202

    report("sw-1", "sw-2")
    for _ in range(14):
        now[0] += 5 * SECOND
        report("sw-2")
        owner.sweep()
    alerts = ego[AlertService].open()
    assert {alert.hostname for alert in alerts} == {"sw-1-0", "sw-1-1", "sw-1-2"}
    assert {ego[Causes].cause_of(alert, now[0]) for alert in alerts} == {"sw-1"}
    now[0] += 3600 * SECOND
    assert {ego[Causes].cause_of(alert, now[0]) for alert in alerts} == {"sw-1"}, (
        "what people were told does not change"
    )
