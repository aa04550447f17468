"""The causes of offline alerts in a live twin: decided once, stored, shown as they were, and asked about anew when they are back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.alerts.rules import uplinks
from mirror_stage.app import create_app, open_storage
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND, Instant, to_text
from mirror_stage.notifications.service import Notifier
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.saving import Saver
from mirror_stage.storage.db import Storage
from mirror_stage.storage.ownership import Ownership
from tests.builders import make_sample

T0 = 1_800_000_000_000


class Stage:
    """EGO with two racks of three hosts behind switches that nobody watches. Five seconds pass at a time."""

    def __init__(self, folder: Path, **settings: Any):
        self.config = Config(sqlite_path=folder / "ego.db", hub_hostname="core", ego_hostname="ego",
                             offline_after_seconds=60, **settings)  # fmt: skip
        self.now = T0
        self.start()

    def start(self) -> None:
        """Start EGO on what is stored: the one before was killed."""
        app = create_app(self.config, with_storage=False)
        self.ego, self.client = app.extensions["mirror_stage"], app.test_client()
        self.ego[Clock].now = lambda: self.now
        self.owner: Owner = self.ego[Owner]
        self.owner._elapsed = lambda: 0.0  # type: ignore[method-assign]
        self.ego[Ownership].take = lambda _engine: True  # the killed one is in this process, and still has the lock
        open_storage(app)
        self.owner.sweep()

    def pass_time(self, steps: int, *heard: str, others: int = 0) -> None:
        """Let time pass, in which only hosts with these beginnings of their names are heard, and so many others without an uplink."""
        for _ in range(steps):
            self.now += 5 * SECOND
            names = ["ego", *(f"{rack}-{n}" for rack in ("sw-1", "sw-2") for n in range(3))]
            samples = [
                make_sample(name, at=self.now, tags={"uplink": name[:4]} if name != "ego" else {})
                for name in names
                if name.startswith((*heard, "ego"))
            ]
            samples += [make_sample(f"other-{n}", at=self.now) for n in range(others)]
            if samples:
                assert self.client.post("/api/metrics/batch", json={"samples": samples}).status_code == 202
            self.owner.sweep()
            self.ego[Saver].record()
            self.ego[Notifier].step()

    def alerts(self) -> dict[str, Any]:
        return {one["hostname"]: one for one in self.asked("/api/alerts/active")}

    def alerts_at(self, at: Instant) -> dict[str, Any]:
        return {one["hostname"]: one for one in self.asked(f"/api/twin/state?at={to_text(at)}")["alerts"]}

    def asked(self, path: str) -> Any:
        return self.client.get(path).json

    def causes(self) -> dict[str, str | None]:
        return {name: one["cause"] and one["cause"]["name"] for name, one in self.alerts().items()}


RACK = {"sw-1-0", "sw-1-1", "sw-1-2"}


def test_a_rack_that_falls_silent_has_one_cause_which_is_stored_and_stays(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.pass_time(4, "sw-")
    stage.pass_time(14, "sw-2")
    before = stage.alerts()
    assert before.keys() == RACK
    assert {one["groupId"] for one in before.values()} != {None}
    for one in before.values():
        since = to_text(T0 + 20 * SECOND)
        assert one["cause"] == {"kind": "host", "name": "sw-1", "why": "uplink", "since": since, "hides": 3}
    then = stage.now
    stage.start()
    kept = ("id", "hostname", "cause", "groupId")
    assert [[one[name] for name in kept] for one in stage.alerts().values()] == [
        [one[name] for name in kept] for one in before.values()
    ], "kill -9 changes nothing"
    stage.pass_time(20, "sw-2")
    assert stage.causes() == dict.fromkeys(RACK, "sw-1")
    stage.pass_time(1, "sw-")
    assert stage.alerts() == {}
    shown = stage.alerts_at(then)
    assert {name: (one["cause"], one["groupId"]) for name, one in shown.items()} == {
        name: (one["cause"], one["groupId"]) for name, one in before.items()
    }
    ended = stage.asked("/api/alerts?status=resolved")["items"]
    assert {one["cause"]["hides"] for one in ended} == {0}


def test_a_start_decides_nothing_before_everybody_could_be_heard(tmp_path: Path) -> None:
    """The alerts are of an EGO that did not store causes. While it was down nobody was heard, which looks as if EGO were cut off."""
    stage = Stage(tmp_path)
    stage.pass_time(4, "sw-")
    stage.pass_time(14, "sw-2")
    stage.ego[Saver].save()
    stage.ego[Storage].write(lambda tx: tx.execute(text("UPDATE alerts SET cause = NULL")))
    stage.now += 60 * SECOND
    stage.start()
    assert stage.causes() == dict.fromkeys(RACK)
    stage.pass_time(4, "sw-2")
    assert stage.causes() == dict.fromkeys(RACK, "sw-1")


def test_when_its_cause_is_back_a_host_has_its_time_and_then_speaks_for_itself(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.pass_time(4, "sw-")
    stage.pass_time(14, "sw-2")
    stage.client.post(f"/api/alerts/{stage.alerts()['sw-1-0']['id']}/ack")
    stage.owner.look_at_acks()
    stage.pass_time(18, "sw-2", "sw-1-1", "sw-1-2")
    assert stage.causes() == {"sw-1-0": "sw-1"}
    assert stage.alerts()["sw-1-0"]["ack"] is not None
    was = stage.now
    stage.pass_time(2, "sw-2", "sw-1-1", "sw-1-2")
    alert = stage.alerts()["sw-1-0"]
    assert (alert["cause"]["name"], alert["cause"]["why"], alert["cause"]["hides"]) == ("sw-1-0", "itself", 0)
    assert alert["ack"] is None
    shown = stage.alerts_at(was)["sw-1-0"]
    assert (shown["cause"]["name"], shown["groupId"] == alert["groupId"]) == ("sw-1", False)


def test_when_ego_is_cut_off_one_alert_and_one_message_name_the_hop(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[uplinks]\nsw-1 = "hall"\nsw-2 = "hall"\nhall = "core"\n')
    stage = Stage(tmp_path, ego_uplink="sw-0", alert_rules=rules)
    assert stage.client.put("/api/routes", json={"routes": [{"name": "all", "channels": []}]}).status_code == 200
    stage.pass_time(4, "sw-")
    stage.pass_time(17)
    alerts = stage.alerts()
    isolated = alerts.pop("ego")
    assert (isolated["rule"], isolated["subject"], isolated["currentValue"]) == ("ego_isolated", "sw-0", 6)
    assert isolated["message"] == "ego: EGO is cut off at sw-0: 6 hosts are silent"
    assert {(one["rule"], one["cause"]["kind"], one["cause"]["name"]) for one in alerts.values()} == {
        ("host_offline", "ego", "sw-0")
    }
    assert len(alerts) == 6
    assert {one["cause"]["why"] for one in alerts.values()} == {"isolated"}
    assert (isolated["cause"]["why"], isolated["cause"]["hides"]) == ("itself", 6)
    assert {one["groupId"] for one in alerts.values()} == {isolated["groupId"]}
    then = stage.now
    stage.start()
    assert {one["id"] for one in stage.alerts().values() if one["rule"] == "ego_isolated"} == {isolated["id"]}
    stage.pass_time(3, "sw-1", "sw-2-0", "sw-2-1")
    assert stage.causes() == {"sw-2-2": "sw-0"}, "it is no longer cut off, and this host has its time"
    stage.pass_time(18, "sw-1", "sw-2-0", "sw-2-1")
    assert stage.causes() == {"sw-2-2": "sw-2-2"}
    assert stage.alerts_at(then)["ego"]["cause"] == isolated["cause"]


def test_an_uplink_that_nobody_watches_is_known_from_the_file(tmp_path: Path) -> None:
    """Without it both switches hang from the hub, and each is a cause of its own."""
    rules = tmp_path / "rules.toml"
    rules.write_text('[uplinks]\nsw-1 = "hall"\nsw-2 = "hall"\n')
    for settings, causes in (({"alert_rules": rules}, {"hall"}), ({}, {"sw-1", "sw-2"})):
        folder = tmp_path / str(len(settings))
        folder.mkdir()
        stage = Stage(folder, **settings)
        for _ in range(4):
            stage.pass_time(1, "sw-", others=10)
        stage.pass_time(14, others=10)
        assert set(stage.causes().values()) == causes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("uplinks = 3", "must be a table"),
        ('[uplinks]\n"a/b" = "c"', "a/b = 'c'"),
        ("[uplinks]\na = 1", "a = 1"),
        ('[uplinks]\na = "a"', "connected to itself"),
    ],
)
def test_a_bad_table_of_uplinks_is_one_line(tmp_path: Path, written: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(written)
    with pytest.raises(BadSetting, match=said) as refused:
        uplinks(Config(alert_rules=path))
    assert str(path) in str(refused.value)


def test_a_group_is_acknowledged_in_one_step(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.pass_time(4, "sw-")
    stage.pass_time(14, "sw-2")
    (group,) = {one["groupId"] for one in stage.alerts().values()}
    path = f"/api/alert-groups/{group}/ack"
    assert stage.client.post(path, json={"until": to_text(stage.now - 1)}).status_code == 400
    answer = stage.client.post(path, json={"note": "the switch is being replaced"})
    assert (answer.status_code, answer.json and answer.json["id"]) == (200, group)
    stage.owner.look_at_acks()
    assert {one["ack"]["note"] for one in stage.alerts().values()} == {"the switch is being replaced"}
    stage.pass_time(1, "sw-")
    assert stage.client.post(path).status_code == 409
    assert stage.client.post("/api/alert-groups/none/ack").status_code == 404
