"""Channels, routes, documents and the command line over REST, without anything that sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mirror_stage.access.domain import VIEWER, actor_of_person
from mirror_stage.access.gate import Gate
from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from tests.builders import make_sample
from tests.notifications.sinks import sink

HOOK = {"kind": "webhook", "url": "https://hooks.lan/planted-path", "secret": "planted-token"}
MAIL = {"kind": "email", "server": "mail.lan", "sender": "ego@lan", "recipients": ["ops@lan"], "security": "tls"}


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Config(testing=True))


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    client = app.test_client()
    yield client
    client.put("/api/routes", json={"routes": []})
    for one in client.get("/api/channels").json["items"]:
        client.delete(f"/api/channels/{one['name']}")


def create(client: FlaskClient, name: str = "ops", **said: Any) -> Any:
    answer = client.post("/api/channels", json={"name": name, **(said or HOOK)})
    assert answer.status_code == 201, answer.json
    return answer


def test_a_channel_never_shows_its_secrets(client: FlaskClient) -> None:
    created = create(client)
    assert created.json["host"] == "https://hooks.lan"
    assert created.json["secretSet"] is True
    answers = [
        created,
        client.get("/api/channels"),
        client.get("/api/channels/ops"),
        client.get("/api/alerting"),
        client.get("/api/audit"),
    ]
    assert "planted" not in "".join(one.text for one in answers)


def test_a_viewer_sees_kind_and_host_only(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    create(client, "mail", **MAIL)
    vera = actor_of_person("vera", VIEWER, None, credential=None, principal=1)
    with monkeypatch.context() as patch:
        patch.setattr(app.extensions["mirror_stage"][Gate], "actor_of", lambda _environ, _auth=None: vera)
        shown = {name: value for name, value in client.get("/api/channels/mail").json.items() if value is not None}
        assert shown == {"name": "mail", "kind": "email", "host": "mail.lan", "secretSet": False}
        assert client.get("/api/alerting").status_code == 403


def test_a_secret_that_is_left_out_stays_and_null_takes_it_away(client: FlaskClient) -> None:
    with sink() as receiver:
        create(client, kind="webhook", url=receiver.url, secret="one")
        client.put("/api/channels/ops", json={"kind": "webhook", "language": "ko"})
        assert client.post("/api/channels/ops/test", json={}).json["accepted"]
        client.put("/api/channels/ops", json={"kind": "webhook", "secret": None})
        assert client.post("/api/channels/ops/test", json={}).json["status"] == 200
    assert [one.headers.get("Authorization") for one in receiver.got] == ["Bearer one", None]
    assert receiver.got[0].body["title"] == "[시험] MIRROR STAGE 시험 발송"
    answer = client.put("/api/channels/ops", json={"kind": "webhook", "url": None})
    assert (answer.status_code, answer.json["detail"]) == (400, "a channel of the kind webhook needs url")


def test_a_trial_tells_what_the_receiver_answered(client: FlaskClient) -> None:
    with sink(lambda _: (404, {})) as receiver:
        create(client, kind="webhook", url=receiver.url)
        answer = client.post("/api/channels/ops/test", json={}).json
    assert answer | {"latencyMs": 0} == {
        "accepted": False,
        "status": 404,
        "detail": "the receiver answered 404",
        "latencyMs": 0,
    }
    assert receiver.got[0].body["kind"] == "test"
    assert client.post("/api/channels/nobody/test", json={}).status_code == 404


def test_a_change_needs_the_version_that_was_read(client: FlaskClient) -> None:
    etag = create(client).headers["ETag"]
    assert client.put("/api/channels/ops", json={"kind": "webhook"}, headers={"If-Match": etag}).status_code == 200
    assert client.put("/api/channels/ops", json={"kind": "webhook"}, headers={"If-Match": etag}).status_code == 409
    etag = client.get("/api/routes").headers["ETag"]
    routes = {"routes": [{"name": "all", "channels": ["ops"]}]}
    assert client.put("/api/routes", json=routes, headers={"If-Match": etag}).status_code == 200
    assert client.put("/api/routes", json=routes, headers={"If-Match": etag}).status_code == 409
    assert client.put("/api/routes", json=routes, headers={"If-Match": "nonsense"}).status_code == 400


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"kind": "webhook"}, "needs url"),
        ({"kind": "webhook", "url": "ftp://x"}, "must begin with http:// or https://"),
        ({"kind": "webhook", "url": "env:MIRROR_STAGE_DB_URL"}, "NOTIFY_"),
        ({"kind": "webhook", "url": "file:/etc/shadow"}, "in none of these folders"),
        ({"kind": "webhook", "url": "https://x", "server": "mail"}, "only a channel of the kind email"),
        ({"kind": "webhook", "url": "https://x", "title": "$hots"}, "$hots, which does not exist"),
        ({"kind": "webhook", "url": "https://x", "ratePerMinut": 3}, "Unknown field"),
        ({"kind": "apprise", "url": "syslog://planted"}, "on this machine"),
        ({"kind": "apprise", "url": "planted://x"}, "no address that Apprise knows"),
        ({"kind": "email", "server": "mail.lan"}, "sender, recipients"),
        ({"kind": "email", **MAIL, "sender": "a\nBcc: b@c"}, "must be one address"),
        ({"kind": "carrier-pigeon"}, "kind"),
    ],
)
def test_a_channel_with_a_fault_is_refused(client: FlaskClient, said: dict[str, Any], text: str) -> None:
    answer = client.post("/api/channels", json={"name": "ops", **said})
    assert answer.status_code == 400
    assert text in answer.json["detail"]
    assert "planted" not in answer.text


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ({"name": "all", "channels": ["nobody"]}, "there is no channel nobody"),
        ({"name": "all", "channels": ["ops"], "where": "racks:R1"}, "racks"),
        ({"name": "all", "channels": ["ops"], "escalateTo": ["ops"]}, "needs both"),
        ({"name": "all", "channels": ["ops"], "minSeverity": "loud"}, "minSeverity"),
    ],
)
def test_a_route_with_a_fault_is_refused(client: FlaskClient, route: dict[str, Any], text: str) -> None:
    create(client)
    answer = client.put("/api/routes", json={"routes": [route]})
    assert answer.status_code == 400
    assert text in answer.json["detail"]


def test_a_channel_that_a_route_names_stays(client: FlaskClient) -> None:
    create(client)
    client.put("/api/routes", json={"routes": [{"name": "all", "channels": ["ops"]}]})
    answer = client.delete("/api/channels/ops")
    assert (answer.status_code, answer.json["detail"]) == (409, "the route all goes to ops; change the route first")


def test_a_fallback_is_another_channel_and_stays(client: FlaskClient) -> None:
    create(client)
    for wrong in ("phone", "none"):
        answer = client.post("/api/channels", json={"name": "phone", **HOOK, "fallback": wrong})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (400, "fallback")
    create(client, "phone", **HOOK, fallback="ops")
    answer = client.delete("/api/channels/ops")
    assert (answer.status_code, "fallback of the channel phone" in answer.json["detail"]) == (409, True)
    client.put("/api/channels/phone", json={"kind": "webhook"})
    assert client.delete("/api/channels/ops").status_code == 204


def test_a_route_has_mute_times_that_exist_and_stay(client: FlaskClient) -> None:
    create(client)
    hours = {"name": "night", "weekdays": ["mon"], "from": "22:00", "to": "07:00", "zone": "UTC"}
    routes = {"routes": [{"name": "all", "channels": ["ops"], "muteTimes": ["night"], "passes": "none"}]}
    assert "there is no mute time night" in client.put("/api/routes", json=routes).json["detail"]
    assert client.post("/api/mute-times", json=hours).status_code == 201
    assert client.put("/api/routes", json=routes).json["routes"][0]["muteTimes"] == ["night"]
    assert "route all has the mute time" in client.delete("/api/mute-times/night").json["detail"]
    client.put("/api/routes", json={"routes": []})
    assert client.delete("/api/mute-times/night").status_code == 200


def test_what_is_exported_and_applied_changes_nothing(client: FlaskClient) -> None:
    create(client)
    create(client, "mail", **MAIL)
    create(client, "phone", kind="apprise", url="env:NOTIFY_PHONE", language="ko", ratePerMinute=3)
    routes = [
        {
            "name": "db",
            "where": "tier:db",
            "rules": ["disk_*"],
            "channels": ["ops"],
            "continue": True,
            "minSeverity": "info",
        },
        {"name": "all", "channels": ["mail"], "escalateAfterSeconds": 900, "escalateTo": ["phone"]},
    ]
    assert client.put("/api/routes", json={"routes": routes}).status_code == 200
    document = client.get("/api/alerting").json
    assert document["channels"]["ops"] == {"kind": "webhook", "url": "kept:", "secret": "kept:"}
    assert document["channels"]["phone"]["url"] == "env:NOTIFY_PHONE"
    plan = client.post("/api/alerting/plan", json={"document": document, "prune": True})
    assert (plan.status_code, plan.json["changes"]) == (200, [])
    assert client.post("/api/alerting/apply", json={"document": document, "prune": True}).json["changes"] == []


def test_a_document_is_applied_whole_or_not_at_all(app: Flask) -> None:
    client = create_app(Config(testing=True)).test_client()
    create(client, "old")
    document: dict[str, Any] = {
        "channels": {
            "ops": {"kind": "webhook", "url": "env:NOTIFY_OPS"},
            "chat": {"kind": "webhook", "url": "https://chat.lan"},
        },
        "routes": [{"name": "all", "channels": ["ops"]}],
    }
    plan = client.post("/api/alerting/plan", json={"document": document, "prune": True}).json
    told = {(one["name"], one["change"]) for one in plan["changes"]}
    assert told == {("ops", "added"), ("chat", "added"), ("old", "removed"), ("routes", "changed")}
    bad = document | {"routes": [{"name": "all", "channels": ["old"]}]}
    assert client.post("/api/alerting/apply", json={"document": bad, "prune": True}).status_code == 400
    assert [one["name"] for one in client.get("/api/channels").json["items"]] == ["old"]
    create(client, "late")
    stale = client.post("/api/alerting/apply", json={"document": document, "prune": True, "planId": plan["planId"]})
    assert stale.status_code == 409
    assert client.post("/api/alerting/apply", json={"document": document, "prune": True}).status_code == 200
    assert [one["name"] for one in client.get("/api/channels").json["items"]] == ["chat", "ops"]
    for answer in (
        client.put("/api/channels/ops", json={"kind": "webhook"}),
        client.delete("/api/channels/chat"),
        client.put("/api/routes", json={"routes": []}),
    ):
        assert (answer.status_code, "kept in a file" in answer.json["detail"]) == (409, True)
    kept = document | {"channels": {**document["channels"], "chat": {"kind": "webhook", "url": "kept:"}}}
    assert client.post("/api/alerting/plan", json={"document": kept}).json["changes"] == []


def test_who_hears_of_a_host_and_why(client: FlaskClient) -> None:
    samples = [make_sample(name, rack=rack) for name, rack in (("db-1", "R1"), ("web-1", "R2"))]
    assert client.post("/api/metrics/batch", json={"samples": samples}).status_code == 202
    create(client)
    routes = [
        {"name": "db", "where": "rack:R1", "rules": ["disk_*"], "channels": ["ops"], "minSeverity": "critical"},
        {"name": "void", "where": "rack:R2", "channels": []},
        {"name": "all", "rules": ["disk_full", "host_*"], "channels": ["ops"]},
    ]
    assert client.put("/api/routes", json={"routes": routes}).status_code == 200

    def heard(host: str, rule: str) -> list[Any]:
        items = client.get(f"/api/hosts/{host}/alert-routes", query_string={"rule": rule}).json["items"]
        return [(one["severity"], one["channels"], [route["why"] for route in one["routes"]]) for one in items]

    assert heard("db-1", "disk_full") == [
        ("warning", ["ops"], ["severity", "host", "takes"]),
        ("critical", ["ops"], ["takes", "host", "earlier"]),
    ]
    assert heard("web-1", "host_offline") == [("critical", [], ["host", "takes", "earlier"])]
    assert heard("db-1", "memory_high") == [("warning", [], ["rule", "host", "rule"])]
    assert client.get("/api/hosts/nobody/alert-routes").status_code == 404
    reach = {(one["rule"], one["severity"]): one for one in client.get("/api/routes/reach").json["items"]}
    assert reach["disk_full", "critical"]["unheard"] == 1
    assert reach["disk_full", "critical"]["example"] == "web-1"
    assert reach["memory_high", "warning"]["unheard"] == reach["memory_high", "warning"]["hosts"] >= 2


def test_the_heartbeat_that_nobody_hears_is_said(client: FlaskClient) -> None:
    assert client.get("/api/heartbeat").json == {
        "notify": "on", "host": None, "seconds": 60, "acceptedAt": None, "detail": None,
    }  # fmt: skip


def test_groups_and_messages_that_do_not_exist_are_404(client: FlaskClient) -> None:
    assert client.get("/api/alert-groups/nobody").status_code == 404
    assert client.post("/api/deliveries/nobody/retry").status_code == 404
    assert client.get("/api/deliveries?state=dead").json["items"] == []
    assert client.get("/api/deliveries?state=lost").status_code == 400


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"kind": "webhook", "url": "https://good.example/x"}, {"kind": "webhook", "url": "https://thief.example/x"}),
        (
            {"kind": "email", "server": "good.example", "sender": "a@b.c", "recipients": ["d@e.f"], "username": "a"},
            {"kind": "email", "server": "good.example", "sender": "a@b.c", "recipients": ["d@e.f"], "security": "none"},
        ),
    ],
)
def test_a_kept_secret_goes_to_no_other_receiver(
    client: FlaskClient, before: dict[str, Any], after: dict[str, Any]
) -> None:
    create(client, "ops", **before, secret="planted")
    answer = client.put("/api/channels/ops", json=after)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (400, "secret")
    document = {"channels": {"ops": {**after, "secret": "kept:"}}}
    assert client.post("/api/alerting/apply", json={"document": document}).status_code == 400
    assert client.put("/api/channels/ops", json={**after, "secret": "new"}).status_code == 200
