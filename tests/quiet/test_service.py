"""Silences, maintenance and mute times over REST, what an alert shows of them, now and in the past, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mirror_stage.access.domain import ADMIN, EGO, LOCAL, Actor
from mirror_stage.access.service import People
from mirror_stage.alerts.service import AlertService
from mirror_stage.app import create_app
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND, to_text
from mirror_stage.core.problems import Conflict
from mirror_stage.pipeline.owner import Owner
from mirror_stage.quiet import store
from mirror_stage.quiet.domain import COUNT_MAX, ENDED, MUTE_TIME, SILENCE
from mirror_stage.quiet.mute_times import WEEKDAYS
from mirror_stage.quiet.service import Quiet
from mirror_stage.storage.db import Storage
from mirror_stage.web.realtime import Realtime
from tests.builders import make_sample

HOSTS = [f"web-{number}" for number in range(1, 11)]  # the first two in rack R1
ADA = Actor(LOCAL, "ada", role=ADMIN)
HOT = {"where": "host:web-1", "lastsSeconds": 3600}


@dataclass
class Ego:
    """An EGO with ten hosts, of which web-1 is hot; and what its clients hear of silences."""

    app: Flask
    client: FlaskClient
    now: int = 1_800_000_000_000
    heard: list[tuple[str, str, Any]] = field(default_factory=list)

    def __getitem__(self, kind: type[Any]) -> Any:
        return self.app.extensions["mirror_stage"][kind]

    def report(self, hot: float = 91.0) -> None:
        racks = ["R1", "R1"] + ["R2"] * 8
        samples = [
            make_sample(name, at=self.now, cpu_percent=hot if name == "web-1" else 10, rack=rack, tags={"env": "prod"})
            for name, rack in zip(HOSTS, racks, strict=True)
        ]
        assert self.client.post("/api/metrics/batch", json={"samples": samples}).status_code == 202

    def made(self, path: str, status: int = 201, **body: Any) -> Any:
        answer = self.client.post(f"/api/{path}", json=body)
        assert answer.status_code == status, answer.json
        return answer.json

    def listed(self, path: str, **query: Any) -> list[Any]:
        answer = self.client.get(f"/api/{path}", query_string=query)
        assert answer.status_code == 200, answer.json
        return list(answer.json["items"])

    def why_quiet(self) -> list[Any]:
        """What keeps the alert of web-1 quiet."""
        (alert,) = self.client.get("/api/alerts/active").json
        assert alert["hostname"] == "web-1"
        assert self[Quiet].reasons(self[AlertService].open()[0], self.now) != [] or alert["suppressedBy"] == []
        return list(alert["suppressedBy"])

    def changes(self) -> list[tuple[str, str]]:
        """What clients heard since the last call: (kind, change)."""
        found = [(payload["kind"], payload["change"]) for _, event, payload in self.heard if event == "silence-update"]
        self.heard.clear()
        return found


@pytest.fixture
def ego() -> Ego:
    return new_ego()


@pytest.fixture(scope="module")
def refusing() -> Ego:
    """An EGO for questions that change nothing."""
    return new_ego()


def new_ego() -> Ego:
    app = create_app(Config(testing=True, hub_hostname="core", offline_after_seconds=60))
    one = Ego(app, app.test_client())
    one[Clock].now = lambda: one.now
    one[Realtime].publish = lambda namespace, event, payload, **_: one.heard.append((namespace, event, payload))
    one.report()
    return one


def test_a_silence_mutes_until_its_end_and_says_who_made_it(ego: Ego) -> None:
    assert ego.why_quiet() == []
    made = ego.made("silences", where="rack:R1", lastsSeconds=3600, note="new fan ordered")
    assert (made["state"], made["upTo"], made["by"]) == ("on", "warning", "local")
    (why,) = ego.why_quiet()
    assert why == {
        "kind": "silence",
        "id": made["id"],
        "until": made["endsAt"],
        "by": "local",
        "note": "new fan ordered",
    }
    ego.now += HOUR - 1
    assert len(ego.why_quiet()) == 1
    ego.now += 1
    assert ego.why_quiet() == []
    assert ego.listed("silences") == []
    assert [one["id"] for one in ego.listed("silences", state="over")] == [made["id"]]


def test_a_silence_of_today_lets_a_worse_severity_through(ego: Ego) -> None:
    assert ego.made("silences", **HOT, upTo="info")["upTo"] == "info"
    assert ego.why_quiet() == []
    assert ego.made("silences", **HOT)["upTo"] == "warning", "the worst of its alerts now"
    assert ego.made("silences", where="host:web-2", lastsSeconds=60)["upTo"] == "critical", "there is no alert now"
    assert len(ego.why_quiet()) == 1


def test_a_silence_may_be_bound_to_one_alert(ego: Ego) -> None:
    ego.made("silences", hostname="web-1", rule="disk_full", lastsSeconds=60)
    ego.made("silences", hostname="web-1", rule="cpu_load_high", subject="core 1", lastsSeconds=60)
    assert ego.why_quiet() == []
    made = ego.made("silences", hostname="web-1", rule="cpu_load_high", lastsSeconds=60)
    assert (made["where"], made["subject"]) == (None, None)
    assert [why["id"] for why in ego.why_quiet()] == [made["id"]]
    ego.report(hot=10)
    ego.now += 30 * SECOND
    ego.report()
    assert [why["id"] for why in ego.why_quiet()] == [made["id"]], "it counts for the next alert of the key, too"


def test_a_silence_for_an_unknown_rule_is_refused_and_one_whose_rule_is_gone_can_be_changed(ego: Ego) -> None:
    said = {"where": "*", "lastsSeconds": 60, "confirm": True}
    refused = ego.client.post("/api/silences", json=said | {"rule": "disk_ful"})
    assert refused.status_code == 400
    assert refused.json["errors"] == [
        {"field": "rule", "message": "there is no alert rule 'disk_ful'; did you mean disk_full?"}
    ]
    far = ego.client.post("/api/silences", json=said | {"rule": "zzz"}).json["errors"][0]["message"]
    assert far == "there is no alert rule 'zzz'; GET /api/alert-rules lists them"
    assert ego.client.post("/api/silences", json=said | {"rule": "disk_full:no-data"}).status_code == 201
    document = {"name": "hot", "measure": "cpuLoad", "steps": [{"severity": "info", "fire": 1, "resolve": 0}]}
    assert ego.client.post("/api/alert-rules", json=document).status_code == 201
    made = ego.made("silences", **said, rule="hot")
    assert ego.client.delete("/api/alert-rules/hot").status_code == 204
    path = f"/api/silences/{made['id']}"
    assert ego.client.put(path, json=said | {"rule": "hot", "note": "a while longer"}).status_code == 200
    assert ego.client.put(path, json=said | {"rule": "hott"}).status_code == 400


def test_whoever_ends_a_silence_is_kept_and_the_past_shows_it_as_it_was(ego: Ego) -> None:
    made = ego.made("silences", **HOT, note="first")
    first = ego.now
    ego.now += 10 * MINUTE
    changed = ego.client.put(f"/api/silences/{made['id']}", json=HOT | {"note": "second", "lastsSeconds": 7200}).json
    assert (changed["version"], changed["beginsAt"], changed["note"]) == (2, made["beginsAt"], "second")
    ego.now += 10 * MINUTE
    assert ego.client.delete(f"/api/silences/{made['id']}").json["state"] == "over"
    assert ego.client.delete(f"/api/silences/{made['id']}").json["version"] == 3, "it has ended already"
    assert ego.why_quiet() == []
    assert ego.client.put(f"/api/silences/{made['id']}", json=HOT).status_code == 409
    ego.now += MINUTE

    def notes_at(at: int) -> list[str]:
        state = ego.client.get("/api/twin/state", query_string={"at": to_text(at)}).json
        (alert,) = state["alerts"]
        listed = [one["note"] for one in ego.listed("silences", at=to_text(at))]
        assert listed == [why["note"] for why in alert["suppressedBy"]]
        return listed

    moments = [first, first + 10 * MINUTE - 1, first + 10 * MINUTE, first + 20 * MINUTE - 1, first + 20 * MINUTE]
    assert [notes_at(at) for at in moments] == [["first"], ["first"], ["second"], ["second"], []]
    audited = [(row.what, row.actor) for row in ego[People].whole_audit() if row.subject == made["id"]]
    assert audited == [("silence-created", "local"), ("silence-changed", "local"), ("silence-ended", "local")]


def test_more_than_thirty_percent_of_the_fleet_needs_a_confirmation(ego: Ego) -> None:
    refused = ego.made("silences", 409, where="*", lastsSeconds=60)
    assert "10 of 10 hosts" in refused["detail"]
    assert "8 of 10 hosts" in ego.made("maintenance", 409, where="rack:R2", lastsSeconds=60)["detail"]
    ego.made("silences", where="rack:R1", lastsSeconds=60)
    made = ego.made("silences", where="*", lastsSeconds=60, confirm=True)
    assert ego.client.put(f"/api/silences/{made['id']}", json={"where": "*", "lastsSeconds": 60}).status_code == 409


def test_it_is_known_before_how_much_a_silence_would_mean(ego: Ego) -> None:
    def meant(**query: str) -> Any:
        return ego.client.get("/api/selection", query_string=query).json

    assert meant(where="rack:R1") == {"hosts": 2, "fleet": 10, "alerts": 1, "mustConfirm": False}
    assert meant(where="*", rule="disk_full") == {"hosts": 10, "fleet": 10, "alerts": 0, "mustConfirm": True}
    assert meant(where="rack:")["errors"][0]["field"] == "where"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lastsSeconds": 60}, "where"),
        ({"where": "*"}, "endsAt"),
        ({"where": "web-1", "lastsSeconds": 60}, "where"),
        ({"where": "rack:", "lastsSeconds": 60}, "where"),
        ({"where": "*", "hostname": "web-1", "lastsSeconds": 60}, "where"),
        ({"hostname": "web-1", "lastsSeconds": 60}, "where"),
        ({"where": "*", "lastsSeconds": 31 * 86_400}, "endsAt"),
        ({"where": "*", "endsAt": "2020-01-01T00:00:00Z"}, "endsAt"),
        ({"where": "*", "endsAt": "2027-01-20T00:00:00Z", "lastsSeconds": 60}, "endsAt"),
        ({"where": "*", "lastsSeconds": 0}, "lastsSeconds"),
        ({"where": "*", "lastsSeconds": 60, "upTo": "fatal"}, "upTo"),
        ({"where": "*", "lastsSeconds": 60, "note": "two\nlines"}, "note"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused_and_the_field_is_named(
    refusing: Ego, body: dict[str, Any], field: str
) -> None:
    refused = refusing.made("silences", 400, **body)
    assert field in [row["field"] for row in refused["errors"]], refused


def test_maintenance_ends_with_a_grace_and_comes_again_weekly(ego: Ego) -> None:
    weekly = {"weekdays": ["fri"], "from": "09:00", "to": "10:00", "zone": "Europe/Berlin"}
    made = ego.made(
        "maintenance", where="rack:R1", weekly=weekly, note="patches"
    )  # it is Friday, 2027-01-15 09:00 in Berlin
    assert (made["state"], made["endsAt"], made["until"]) == ("on", None, to_text(ego.now + HOUR + 6 * MINUTE))
    assert [why["kind"] for why in ego.why_quiet()] == ["maintenance"]
    ego.now += HOUR + 6 * MINUTE
    assert ego.why_quiet() == []
    (waiting,) = ego.listed("maintenance")
    begins = to_text(ego.now + 7 * DAY - HOUR - 6 * MINUTE)
    assert (waiting["state"], waiting["nextAt"], made["nextAt"]) == ("waiting", begins, None)
    ego.now += 7 * DAY - HOUR
    assert len(ego.why_quiet()) == 1
    ended = ego.client.delete(f"/api/maintenance/{made['id']}").json
    assert (ended["state"], ended["until"]) == ("on", to_text(ego.now + 6 * MINUTE)), "the hosts have to come back"
    ego.now += 6 * MINUTE
    assert (ego.why_quiet(), ego.listed("maintenance")) == ([], [])


def test_maintenance_that_would_never_end_is_refused(ego: Ego) -> None:
    always = {"weekdays": [*WEEKDAYS], "from": "00:00", "to": "24:00", "zone": "Europe/Berlin"}
    refused = ego.made("maintenance", 400, where="host:nobody", weekly=always, note="for ever", confirm=True)
    assert [row["field"] for row in refused["errors"]] == ["weekly"]
    ego.made("maintenance", where="host:nobody", weekly=always, note="for a day", lastsSeconds=86_400)


def test_a_mute_time_has_a_name_which_is_free_again_after_its_end(ego: Ego) -> None:
    night = {"weekdays": ["mon", "fri"], "from": "22:00", "to": "07:00", "zone": "Asia/Seoul"}
    made = ego.made("mute-times", name="night", **night)
    assert ({key: made[key] for key in night}, made["state"]) == (night, "waiting")
    assert made["nextAt"] == to_text(ego.now + 5 * HOUR), "it is Friday, 17:00 in Seoul"
    ego.made("mute-times", 409, name="night", **night)
    changed = ego.client.put("/api/mute-times/night", json=night | {"from": "17:00"}).json
    assert (changed["state"], changed["version"]) == ("on", 2), "it is Friday, 17:00 in Seoul"
    assert ego[Quiet].mute_times()["night"].is_muted(ego.now)
    assert ego.why_quiet() == [], "mute times count on routes only"
    assert ego.client.delete("/api/mute-times/night").json["state"] == "over"
    assert (ego.listed("mute-times"), ego[Quiet].mute_times()) == ([], {})
    assert ego.made("mute-times", name="night", **night)["version"] == 4
    assert ego.client.put("/api/mute-times/day", json=night).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [({"zone": "Europe/Bonn"}, ""), ({"from": "24:00"}, ""), ({"to": "7:00"}, ""), ({"weekdays": []}, "weekdays"),
     ({"weekdays": ["Monday"]}, "weekdays.0"), ({"name": "Night"}, "name")],
)  # fmt: skip
def test_hours_that_make_no_sense_are_refused(refusing: Ego, change: dict[str, Any], field: str) -> None:
    good = {"name": "night", "weekdays": ["mon"], "from": "22:00", "to": "07:00", "zone": "UTC"}
    assert [row["field"] for row in refusing.made("mute-times", 400, **good | change)["errors"]] == [field]


def test_clients_hear_each_change_and_what_begins_and_ends_by_itself(ego: Ego) -> None:
    look = ego[Quiet].look
    look()
    ego.heard.clear()
    made = ego.made("silences", **HOT | {"beginsAt": to_text(ego.now + MINUTE)})
    look()
    assert ego.changes() == [("silence", "created")]
    ego.now += MINUTE
    look()
    look()
    assert ego.changes() == [("silence", "began")]
    ego.client.put(f"/api/silences/{made['id']}", json=HOT | {"lastsSeconds": 60})
    ego.now += MINUTE
    look()
    look()
    assert ego.changes() == [("silence", "changed"), ("silence", "over")]
    ego.made("silences", **HOT)
    ego.client.delete(f"/api/silences/{ego.listed('silences')[0]['id']}")
    look()
    assert ego.changes() == [("silence", "created"), ("silence", "ended")]


def test_what_another_process_has_changed_is_known_after_a_look(ego: Ego) -> None:
    """Another worker or the command line writes into the same database, and tells nobody."""
    other = Quiet(
        ego[Storage], ego[Clock], hosts_named=lambda _names: [], fleet=list, open_alerts=list, rule_names=list, grace=0, kept=DAY,
        tell=lambda *_: None, is_leading=lambda: False,
    )  # fmt: skip
    other.look()
    made = ego.made("silences", **HOT)
    ego.heard.clear()
    (alert,) = ego[AlertService].open()
    assert other.reasons(alert, ego.now) == []
    other.look()
    assert [made["id"] in reason for reason in other.reasons(alert, ego.now)] == [True]
    other.end(SILENCE, made["id"], EGO)
    assert len(ego.why_quiet()) == 1
    ego[Quiet].look()
    assert (ego.why_quiet(), ego.changes()) == ([], [("silence", "ended")])


def test_two_who_change_the_same_one_at_once(ego: Ego) -> None:
    made = ego.made("silences", **HOT)
    storage = ego[Storage]
    before = storage.read(lambda tx: store.newest_of(tx, SILENCE, made["id"]))
    ego.client.put(f"/api/silences/{made['id']}", json=HOT | {"note": "first"})
    late = ego[Quiet]._next(before, SILENCE, made["id"], ENDED, before.what, ADA, ego.now)
    with pytest.raises(Conflict, match="somebody else"):
        storage.write(lambda tx: store.append(tx, late, ADA))
    assert [one["note"] for one in ego.listed("silences")] == ["first"]


def test_there_is_a_limit_to_how_many_there_are(ego: Ego, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNT_MAX, SILENCE, 2)  # type: ignore[arg-type]
    ego.made("silences", **HOT)
    made = ego.made("silences", **HOT)
    assert "end those that nobody needs" in ego.made("silences", 429, **HOT)["detail"]
    ego.client.delete(f"/api/silences/{made['id']}")
    ego.made("silences", **HOT)


def test_what_counts_no_more_is_removed_after_the_retention(ego: Ego) -> None:
    kept = ego[Config].alerts_kept
    ended = ego.made("silences", **HOT)
    ego.made("mute-times", name="night", weekdays=["mon"], **{"from": "22:00"}, to="07:00", zone="UTC")
    changed = {"weekdays": ["tue"], "from": "22:00", "to": "07:00", "zone": "UTC"}
    ego.client.put("/api/mute-times/night", json=changed)
    ego.now += HOUR + kept
    ego[Quiet].prune(ego.now)
    assert [one["id"] for one in ego.listed("silences", state="over")] == [ended["id"]]
    ego.now += 1
    ego[Quiet].prune(ego.now)
    assert ego.listed("silences", state="over") == []
    assert [one["version"] for one in ego.listed("mute-times")] == [2]
    assert len(ego[Storage].read(lambda tx: store.as_of(tx, ego.now, 0))) == 1


def test_alerts_of_hosts_that_come_and_go_are_as_quiet_as_their_owner_says(ego: Ego) -> None:
    """An offline host keeps its labels, so its alert stays quiet."""
    ego.made("silences", where="rack:R1", lastsSeconds=3600, upTo="critical")
    owner = ego[Owner]
    ego.now += 120 * SECOND
    owner._elapsed = lambda: 0.0
    owner.sweep()
    quiet = {alert["hostname"]: len(alert["suppressedBy"]) for alert in ego.client.get("/api/alerts/active").json}
    assert {name: quiet[name] for name in ("web-1", "web-2", "web-3")} == {"web-1": 1, "web-2": 1, "web-3": 0}


def test_no_kind_is_mixed_up(ego: Ego) -> None:
    made = ego.made("silences", **HOT)
    assert ego.client.delete(f"/api/maintenance/{made['id']}").status_code == 404
    assert ego.client.delete(f"/api/mute-times/{made['id']}").status_code == 404
    assert ego[Storage].read(lambda tx: store.count_open(tx, MUTE_TIME, ego.now)) == 0
