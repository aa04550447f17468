"""The OpenAPI document is correct: it has every route, and the real answers match it, key by key."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.clients import listening
from tests.contract.test_metrics_batch import FULL
from tests.contract.wire import (
    UNKNOWN_ID,
    act,
    active_alerts,
    ago,
    claim,
    create,
    finished_command,
    lost_command,
    pending_command,
    post,
    running_command,
    settled,
)
from tests.servers import EgoServer, wait_until

ROUTES = {
    ("GET", "/api/health"),
    ("GET", "/api/health/ready"),
    ("GET", "/api/tls/root.pem"),
    ("GET", "/api/info"),
    ("POST", "/api/metrics/batch"),
    ("GET", "/api/twin/state"),
    ("GET", "/api/twin/diff"),
    ("GET", "/api/timeline"),
    ("GET", "/api/hosts"),
    ("GET", "/api/hosts/{hostname}"),
    ("DELETE", "/api/hosts/{hostname}"),
    ("GET", "/api/hosts/{hostname}/history"),
    ("GET", "/api/hosts/{hostname}/availability"),
    ("GET", "/api/history"),
    ("GET", "/api/history/processes"),
    ("GET", "/api/alerts"),
    ("GET", "/api/alerts/active"),
    ("GET", "/api/alert-rules"),
    ("POST", "/api/alert-rules"),
    ("POST", "/api/alert-rules/preview"),
    ("POST", "/api/alert-rules/backtest"),
    ("GET", "/api/alert-rules/{name}"),
    ("PUT", "/api/alert-rules/{name}"),
    ("DELETE", "/api/alert-rules/{name}"),
    ("GET", "/api/hosts/{hostname}/alert-rules"),
    ("GET", "/api/hosts/{hostname}/disks"),
    ("POST", "/api/alerts/{id}/ack"),
    ("POST", "/api/alerts/acknowledge"),
    ("POST", "/api/alert-groups/{id}/ack"),
    ("DELETE", "/api/alerts/{id}/ack"),
    ("POST", "/api/commands"),
    ("GET", "/api/commands"),
    ("GET", "/api/commands/pending/{hostname}"),
    ("GET", "/api/commands/{id}"),
    ("GET", "/api/commands/{id}/events"),
    ("POST", "/api/commands/{id}/result"),
    ("POST", "/api/commands/{id}/heartbeat"),
    ("POST", "/api/commands/{id}/output"),
    ("POST", "/api/commands/{id}/cancel"),
    ("GET", "/api/field/commands/pending/{hostname}"),
    ("POST", "/api/field/commands/result/{id}"),
    ("GET", "/api/me"),
    ("POST", "/api/session"),
    ("DELETE", "/api/session"),
    ("GET", "/api/sessions"),
    ("DELETE", "/api/sessions"),
    ("DELETE", "/api/sessions/{id}"),
    ("GET", "/api/tokens"),
    ("POST", "/api/tokens"),
    ("DELETE", "/api/tokens/{id}"),
    ("GET", "/api/audit"),
    ("POST", "/api/agents/enroll"),
    ("POST", "/api/agents/field"),
    ("POST", "/api/agents/self/rotate"),
    ("GET", "/api/agents"),
    ("POST", "/api/agents/{id}/approve"),
    ("POST", "/api/agents/{id}/labels"),
    ("POST", "/api/agents/{id}/unlock"),
    ("POST", "/api/agents/{id}/revoke"),
    ("GET", "/api/enrol-codes"),
    ("POST", "/api/enrol-codes"),
    ("DELETE", "/api/enrol-codes/{id}"),
    ("GET", "/api/dispatch"),
    ("GET", "/api/prometheus/targets"),
    ("GET", "/api/views"),
    ("PUT", "/api/views/{name}"),
    ("DELETE", "/api/views/{name}"),
    ("GET", "/api/selection"),
    ("GET", "/api/silences"),
    ("POST", "/api/silences"),
    ("PUT", "/api/silences/{id}"),
    ("DELETE", "/api/silences/{id}"),
    ("GET", "/api/maintenance"),
    ("POST", "/api/maintenance"),
    ("PUT", "/api/maintenance/{id}"),
    ("DELETE", "/api/maintenance/{id}"),
    ("GET", "/api/mute-times"),
    ("POST", "/api/mute-times"),
    ("PUT", "/api/mute-times/{name}"),
    ("DELETE", "/api/mute-times/{name}"),
    ("GET", "/metrics"),
    ("GET", "/metrics/fleet"),
    ("PUT", "/api/dispatch"),
    ("GET", "/api/alert-groups"),
    ("GET", "/api/alert-groups/{id}"),
    ("GET", "/api/alerting"),
    ("GET", "/api/channels"),
    ("GET", "/api/channels/{name}"),
    ("GET", "/api/deliveries"),
    ("GET", "/api/routes"),
    ("GET", "/api/routes/reach"),
    ("GET", "/api/hosts/{hostname}/alert-routes"),
    ("GET", "/api/heartbeat"),
    ("DELETE", "/api/channels/{name}"),
    ("POST", "/api/alerting/apply"),
    ("POST", "/api/alerting/plan"),
    ("POST", "/api/channels"),
    ("POST", "/api/channels/{name}/test"),
    ("POST", "/api/deliveries/{id}/retry"),
    ("PUT", "/api/channels/{name}"),
    ("PUT", "/api/routes"),
}
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


@pytest.fixture(scope="module")
def document(ego: EgoServer) -> dict[str, Any]:
    """The document, as served."""
    answer = ego.get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation by method and path."""
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolved(document: dict[str, Any], node: Any) -> Any:
    """What a `$ref` of the document stands for."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def test_the_document_is_openapi_3_1_and_has_exactly_the_contracts_routes(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert operations(document).keys() == ROUTES
    assert document["info"]["title"]
    assert document["info"]["version"]


def test_every_operation_says_what_it_is_for_and_how_it_refuses(document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation["responses"], where
        default = resolved(document, operation["responses"]["default"])
        assert default["content"].keys() == {"application/problem+json"}, where
        if method == "POST" and not path.endswith(("/cancel", "/rotate", "/unlock", "/revoke", "/test", "/retry")):
            assert operation["requestBody"]["content"].keys() == {"application/json"}, where
        if "{" in path:
            item = document["paths"][path].get("parameters", []) + operation.get("parameters", [])
            assert "path" in {resolved(document, parameter)["in"] for parameter in item}, where


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert resolved(document, node) is not None
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(document)


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the document, changed to allow no key that they do not name."""
    components: dict[str, Any] = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():
        if schema.get("type") == "object" and "properties" in schema:
            schema["additionalProperties"] = False
    return components


def problems_of(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """What a value has that its closed schema does not allow, or lacks that it requires."""
    validator = jsonschema_rs.Draft202012Validator(schema | {"components": closed(document)})
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)]


def check(document: dict[str, Any], method: str, path: str, answer: requests.Response) -> None:
    """Check that an answer has a documented status, content type and body."""
    responses = operations(document)[method, path]["responses"]
    where = f"{method} {path} {answer.status_code}"
    known = responses.get(str(answer.status_code))
    if known is None:
        assert answer.status_code >= 400, f"{where} is not documented"
        known = responses["default"]
    content = resolved(document, known).get("content")
    if not content:
        assert answer.content == b"", where
        return
    kind = answer.headers["Content-Type"].split(";")[0]
    assert kind in content, f"{where}: {kind}"
    value = answer.text if kind in {"text/plain", "text/csv"} else answer.json()
    assert problems_of(document, content[kind].get("schema", {}), value) == [], where


def test_the_answers_of_every_route_are_what_the_document_says(ego: EgoServer, document: dict[str, Any]) -> None:
    hostname, silent = unique_hostname(), unique_hostname()
    post(ego, make_sample(hostname, at=ago(10), net_bytes_tx=0, net_bytes_rx=0))
    post(ego, make_sample(hostname, at=ago(0)) | FULL | {"cpu_load": 95}, make_sample(silent))
    settled(ego)
    create(ego, hostname, metadata={"a": {"b": [1]}})
    finished, running, lost = finished_command(ego, stdout="x"), running_command(ego), lost_command(ego)
    sample, bad = make_sample(unique_hostname()), make_sample(hostname, cpu_load=-1)
    lenient = {"Prefer": "handling=lenient"}
    key = {"Idempotency-Key": unique_hostname("key")}
    body = {"hostname": hostname, "command": "w"}
    checked = set()

    def get(path: str, filled: str | None = None, **kwargs: Any) -> None:
        checked.add(("GET", path))
        check(document, "GET", path, ego.get(filled or path, **kwargs))

    def send(path: str, filled: str | None = None, **kwargs: Any) -> None:
        checked.add(("POST", path))
        check(document, "POST", path, ego.post(filled or path, **kwargs))

    def put(path: str, filled: str | None = None, **kwargs: Any) -> None:
        checked.add(("PUT", path))
        check(document, "PUT", path, requests.put(ego.url + (filled or path), timeout=10, **kwargs))

    def delete(path: str, filled: str | None = None) -> None:
        checked.add(("DELETE", path))
        check(document, "DELETE", path, requests.delete(ego.url + (filled or path), timeout=10))

    get("/api/health")
    get("/api/health/ready")
    get("/api/tls/root.pem")
    get("/api/info")
    for samples, headers in (([sample], {}), ([sample], {}), ([sample, bad], lenient), ([sample, bad], {})):
        send("/api/metrics/batch", json={"samples": samples}, headers=headers)
    get("/api/twin/state")
    tag = ego.get("/api/twin/state").headers["ETag"]
    get("/api/twin/state", headers={"If-None-Match": tag})
    for at in (ago(0.5), ago(86_400), ago(-60), "yesterday"):
        get("/api/twin/state", "/api/twin/state", params={"at": at})
    for asked in ({"from": ago(86_400)}, {"from": ago(5), "to": ago(1), "threshold": "cpuLoad:1"}, {}):
        get("/api/twin/diff", params=asked)
    for asked in ({}, {"buckets": "1001"}):
        get("/api/timeline", params=asked)
    get("/api/hosts")
    get("/api/hosts", "/api/hosts?status=asleep")
    for name in (hostname, silent, "core-switch", "nobody", "a%25b"):
        get("/api/hosts/{hostname}", f"/api/hosts/{name}")
        get("/api/hosts/{hostname}/availability", f"/api/hosts/{name}/availability")
    for query in ("", "?metrics=cpuLoad&stepSeconds=60&format=csv", "?metrics=coffee"):
        get("/api/hosts/{hostname}/history", f"/api/hosts/{hostname}/history{query}")
    for query in ("", f"?hostname={hostname}&metrics=cpuLoad", "?groupBy=rack", "?groupBy=all&format=csv"):
        get("/api/history", f"/api/history{query}")
    get("/api/alerts")
    get("/api/alerts", "/api/alerts?page=0")
    get("/api/alerts/active")
    alert = active_alerts(ego, hostname)["cpu_load_high"]["id"]
    for alert_id, body_now in ((alert, {"note": "on it"}), (alert, {"until": "2000-01-01"}), (UNKNOWN_ID, {})):
        send("/api/alerts/{id}/ack", f"/api/alerts/{alert_id}/ack", json=body_now)
        delete("/api/alerts/{id}/ack", f"/api/alerts/{alert_id}/ack")
    for acks in ({"ids": [alert, UNKNOWN_ID], "note": "on it"}, {"ids": []}, {"ids": [UNKNOWN_ID]}):
        send("/api/alerts/acknowledge", "/api/alerts/acknowledge", json=acks)
    rule = {
        "name": unique_hostname("rule"),
        "measure": "swap",
        "steps": [{"severity": "info", "fire": 9, "resolve": 8}],
    }
    for rule_now in (rule, rule, rule | {"measure": "coffee"}):
        send("/api/alert-rules", json=rule_now)
        send("/api/alert-rules/preview", json=rule_now)
        send("/api/alert-rules/backtest", json=rule_now)
    get("/api/alert-rules")
    for name, headers in ((rule["name"], {}), (rule["name"], {"If-Match": '"x"'}), ("none", {}), ("cpu_load_high", {})):
        get("/api/alert-rules/{name}", f"/api/alert-rules/{name}")
        put("/api/alert-rules/{name}", f"/api/alert-rules/{name}", json=rule, headers=headers)
        delete("/api/alert-rules/{name}", f"/api/alert-rules/{name}")
    for name in (hostname, "nobody"):
        get("/api/hosts/{hostname}/alert-rules", f"/api/hosts/{name}/alert-rules")
        get("/api/hosts/{hostname}/disks", f"/api/hosts/{name}/disks")
        get("/api/history/processes", f"/api/history/processes?hostname={name}")
    for headers, body_now in ((key, body), (key, body), (key, body | {"command": "v"}), ({}, {})):
        send("/api/commands", json=body_now, headers=headers)
    get("/api/commands")
    get("/api/commands", "/api/commands?page=101&pageSize=100")
    for prefix in ("/api/commands", "/api/field/commands"):
        create(ego, hostname)
        get(f"{prefix}/pending/{{hostname}}", f"{prefix}/pending/{hostname}?limit=1")
        get(f"{prefix}/pending/{{hostname}}", f"{prefix}/pending/{hostname}?limit=9")
    for command_id in (finished, running, lost, pending_command(ego), UNKNOWN_ID):
        get("/api/commands/{id}", f"/api/commands/{command_id}")
        get("/api/commands/{id}/events", f"/api/commands/{command_id}/events")
        for what, body in (
            ("heartbeat", {"phase": "running"}),
            ("heartbeat", {}),
            ("output", {"seq": 0, "stream": "stdout", "data": "x"}),
            ("output", {}),
            ("cancel", {}),
            ("result", {"status": "failed"}),
            ("result", {"status": "failed"}),
            ("result", {"status": "succeeded"}),
            ("result", {}),
        ):
            send(f"/api/commands/{{id}}/{what}", f"/api/commands/{command_id}/{what}", json=body)
    ended = running_command(ego)
    for status in ("success", "success", "error", "nonsense"):
        send("/api/field/commands/result/{id}", f"/api/field/commands/result/{ended}", json={"status": status})
    for name in (silent, silent, "core-switch"):
        delete("/api/hosts/{hostname}", f"/api/hosts/{name}")
    get("/api/me")
    for shown in ({"link": "x"}, {"name": "nobody-here", "password": "x"}, {"name": "ada"}):
        send("/api/session", json=shown)
    get("/api/sessions")
    for token in ({"role": "viewer", "note": "x"}, {"hostname": hostname, "expiresInSeconds": 60}, {}):
        send("/api/tokens", json=token)
    made = ego.get("/api/tokens").json()["items"][0]
    get("/api/tokens")
    delete("/api/tokens/{id}", f"/api/tokens/{made['id']}")
    delete("/api/tokens/{id}", "/api/tokens/none")
    for code in ({"hostPattern": "oak-*", "labels": {"rack": "R1"}}, {"uses": 0}):
        send("/api/enrol-codes", json=code)
    get("/api/enrol-codes")
    code = ego.post("/api/enrol-codes", json={}).json()
    enrolling = {"code": code["code"], "hostname": unique_hostname(), "key": "k" * 43}
    for asked in (enrolling, enrolling, enrolling | {"key": "l" * 43}, {"hostname": "oak-9", "key": "k" * 43}, {}):
        send("/api/agents/enroll", json=asked)
    delete("/api/enrol-codes/{id}", f"/api/enrol-codes/{code['id']}")
    delete("/api/enrol-codes/{id}", "/api/enrol-codes/none")
    for labels in ({"rack": "R2", "room": None}, {"rack": ""}):
        send("/api/agents/{id}/labels", "/api/agents/oak-8/labels", json={"labels": labels})
    token = ego.post("/api/agents/enroll", json={"hostname": "oak-8", "key": "k" * 43})
    assert token.status_code == 202
    admitted = {"hostname": unique_hostname("titan"), "address": "10.0.0.10"}
    for asked in (admitted, admitted, admitted | {"address": "10.0.0.10:80"}):
        send("/api/agents/field", json=asked)
    get("/api/agents")
    for name, what in (("oak-8", "approve"), ("oak-8", "unlock"), ("oak-9", "revoke"), ("none", "revoke")):
        send(f"/api/agents/{{id}}/{what}", f"/api/agents/{name}/{what}")
    token = ego.post("/api/agents/enroll", json={"hostname": "oak-8", "key": "k" * 43}).json()["token"]
    for headers in ({"Authorization": f"Bearer {token}"}, {}):
        send("/api/agents/self/rotate", headers=headers)
    delete("/api/sessions/{id}", "/api/sessions/none")
    delete("/api/sessions")
    delete("/api/session")
    get("/api/audit")
    get("/api/views")
    for view in ({"address": "#/table"}, {"address": "#/table"}, {"address": "elsewhere"}):
        put("/api/views/{name}", "/api/views/night", json=view)
    for name in ("night", "none"):
        delete("/api/views/{name}", f"/api/views/{name}")
    get("/api/prometheus/targets")
    for port in ("9100", "0"):
        get("/api/prometheus/targets", params={"port": port})
    get("/metrics")
    get("/metrics/fleet")
    hours = {"weekdays": ["sun"], "from": "02:00", "to": "04:00", "zone": "Europe/Berlin"}
    here, name = f"host:{hostname}", unique_hostname("night")
    for path, made in (
        ("silences", {"where": here, "lastsSeconds": 60}),
        ("maintenance", {"where": here, "weekly": hours}),
        ("mute-times", {"name": name} | hours),
    ):
        field = "name" if path == "mute-times" else "id"
        for wanted in (made, made, {}):
            send(f"/api/{path}", json=wanted)
        newest = ego.get(f"/api/{path}").json()["items"][0][field]
        for id in (newest, "none"):
            put(f"/api/{path}/{{{field}}}", f"/api/{path}/{id}", json=made)
            get(f"/api/{path}")
            delete(f"/api/{path}/{{{field}}}", f"/api/{path}/{id}")
        get(f"/api/{path}", f"/api/{path}?state=over")
        get(f"/api/{path}", f"/api/{path}?state=asleep")
    for where in (here, "nonsense"):
        get("/api/selection", params={"where": where})
    get("/api/dispatch")
    for wanted in ({"stopped": True, "reason": "a test"}, {"stopped": False}, {}):
        put("/api/dispatch", json=wanted)
        send("/api/commands", json=body)
    channel = {"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:9/x"}
    for asked in (channel, channel, {}):
        send("/api/channels", json=asked)
    for name in ("hook", "none"):
        get("/api/channels/{name}", f"/api/channels/{name}")
        put("/api/channels/{name}", f"/api/channels/{name}", json={"kind": "webhook"})
        send("/api/channels/{name}/test", f"/api/channels/{name}/test")
    get("/api/channels")
    for routes in ([{"name": "all", "channels": ["hook"]}], [{"name": "all"}]):
        put("/api/routes", json={"routes": routes})
    get("/api/routes")
    get("/api/routes/reach")
    get("/api/heartbeat")
    for name in (hostname, "nobody"):
        get("/api/hosts/{hostname}/alert-routes", f"/api/hosts/{name}/alert-routes")
    get("/api/alerting")
    for wanted_now in ({"channels": {"hook": {"kind": "webhook", "url": "kept:"}}}, {"routes": [{}]}):
        for what in ("plan", "apply"):
            send(f"/api/alerting/{what}", json={"document": wanted_now})
    delete("/api/channels/{name}", "/api/channels/hook")
    get("/api/alert-groups")
    group = wait_until(lambda: ego.get("/api/alert-groups").json()["items"], 10)[0]
    for name in (group["id"], "none"):
        get("/api/alert-groups/{id}", f"/api/alert-groups/{name}")
        send("/api/alert-groups/{id}/ack", f"/api/alert-groups/{name}/ack", json={"note": "on it"})
    get("/api/deliveries")
    send("/api/deliveries/{id}/retry", "/api/deliveries/none/retry")
    assert checked == ROUTES


def test_the_required_keys_of_an_answer_are_all_its_keys(document: dict[str, Any]) -> None:
    sometimes = {
        "Receipt": {"duplicates", "rejected", "errors", "moreErrors", "dropped", "moreDropped"},
        "Problem": {"errors", "moreErrors"},
        "FieldError": {"index"},
        "Check": {"latencyMs"},
        "Histories": {"groupBy", "groups", "hosts"},
        "Snapshot": {"at", "resolution", "alerts"},  # of a moment of the past
        "Host": {"unverified"},
        "HostDetail": {"unverified"},
        "RuleOverride": {"steps", "for", "resolveFor", "subjects", "noData", "noDataAfter", "enabled"},
    }
    answered: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name in document["components"]["schemas"] and name not in answered:
                answered.add(name)
                walk(document["components"]["schemas"][name])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    for operation in operations(document).values():
        walk([resolved(document, answer) for answer in operation["responses"].values()])
    assert len(answered) > 15
    for name in answered:
        schema = document["components"]["schemas"][name]
        if "properties" in schema:
            left_out = schema["properties"].keys() - set(schema.get("required", []))
            assert left_out == sometimes.get(name.removesuffix("Schema"), set()), name


def test_the_frames_of_the_sockets_have_the_documented_forms(ego: EgoServer, document: dict[str, Any]) -> None:
    snapshot = operations(document)["GET", "/api/twin/state"]["responses"]["200"]
    content = resolved(document, snapshot)["content"]["application/json"]["schema"]
    details = operations(document)["GET", "/api/hosts/{hostname}"]["responses"]["200"]
    detail = resolved(document, details)["content"]["application/json"]["schema"]
    commands = operations(document)["GET", "/api/commands/{id}"]["responses"]["200"]
    one = resolved(document, commands)["content"]["application/json"]["schema"]
    hostname = unique_hostname()
    post(ego, make_sample(hostname) | FULL)
    settled(ego)
    with listening(ego, "/digital-twin") as twin, listening(ego, "/commands") as updates:
        assert problems_of(document, content, twin.wait_for("twin-state")) == []
        twin.ask("watch-host", {"hostname": hostname})
        assert problems_of(document, detail, twin.wait_for("host-detail")) == []
        create(ego, hostname)
        (item,) = claim(ego, hostname)
        act(ego, item["id"], "result", {"status": "succeeded", "stdout": "x"})
        updates.wait_for("command-update", lambda update: update["status"] == "succeeded")
        for update in updates.of("command-update"):
            assert problems_of(document, one, update) == []
