"""REST routes of commands: forms, status codes and limits. The other files test what the service decides."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from mirror_stage.commands.schemas import CommandSchema, PendingSchema
from tests.builders import unique_hostname
from tests.commands.bench import INSTANCE, UNKNOWN

JOURNAL = {"X-Reflector-Instance": INSTANCE, "X-Reflector-Journal": "1"}


@pytest.fixture
def host() -> str:
    return unique_hostname("routes")


def create(client: FlaskClient, host: str, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/commands", json={"hostname": host, "command": "uptime"} | fields)
    assert answer.status_code == 201, answer.json
    return answer.json


def claim(client: FlaskClient, host: str, **headers: str) -> list[dict[str, Any]]:
    answer = client.get(f"/api/commands/pending/{host}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json  # type: ignore[return-value]


def test_a_command_is_queued_claimed_and_reported(client: FlaskClient, host: str) -> None:
    command = create(client, host)
    assert command.keys() == CommandSchema().fields.keys()
    assert (command["status"], command["timeoutSeconds"]) == ("pending", 30)
    (item,) = claim(client, host)
    assert item.keys() == PendingSchema().fields.keys()
    assert item["id"] == command["id"]
    url = f"/api/commands/{command['id']}"
    assert client.post(f"{url}/heartbeat", json={"phase": "started"}).json.keys() == {
        "leaseUntil",
        "cancelRequested",
        "signedCancel",
    }
    chunk = {"seq": 0, "stream": "stdout", "data": "hel"}
    assert client.post(f"{url}/output", json=chunk).json["cancelRequested"] is False
    result = {"status": "succeeded", "exitCode": 0, "stdout": "hello\n", "stderr": "", "durationSeconds": 0.25}
    done = client.post(f"{url}/result", json=result)
    assert (done.status_code, done.json["status"], done.json["stdout"]) == (201, "succeeded", "hello\n")
    assert client.post(f"{url}/result", json=result).status_code == 200
    assert client.post(f"{url}/result", json=result | {"exitCode": 1}).status_code == 409
    assert client.get(url).json == done.json
    events = client.get(f"{url}/events").json
    assert [event["name"] for event in events["items"]] == ["created", "claimed", "reported"]
    assert client.get("/api/commands", query_string={"hostname": host}).json == {
        "items": [done.json],
        "total": 1,
        "page": 1,
        "pageSize": 20,
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"command": ""}, "command"),
        ({"command": "x" * 8_193}, "command"),
        ({"command": "나" * 2_731}, "command"),
        ({"command": 5}, "command"),
        ({"command": "a\0b"}, "command"),
        ({"hostname": "a/b"}, "hostname"),
        ({"hostname": ""}, "hostname"),
        ({"hostname": None}, "hostname"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"timeoutSeconds": 600.5}, "timeoutSeconds"),
        ({"timeoutSeconds": "30"}, "timeoutSeconds"),
        ({"timeoutSeconds": True}, "timeoutSeconds"),
        ({"expiresInSeconds": -1}, "expiresInSeconds"),
        ({"expiresInSeconds": 1e300}, "expiresInSeconds"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x": "y" * 16_384}}, "metadata"),
        ({"metadata": {"x": 10**20 - 1}}, "metadata"),
        ({"metadata": {"x": [-12345678901234567890]}}, "metadata"),
        ({"metadata": {"x": 10**399 + 1}}, "metadata"),
        ({"metadata": {"x": 10**401}}, "metadata"),
        ({"retryOf": "last"}, "retryOf"),
        ({"retryOf": UNKNOWN}, "retryOf"),
    ],
)
def test_a_bad_command_is_400_and_the_answer_names_the_field(client: FlaskClient, fields: Any, field: str) -> None:
    answer = client.post("/api/commands", json={"hostname": "refused", "command": "uptime"} | fields)
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert client.get("/api/commands?hostname=refused").json["total"] == 0


def test_half_of_a_surrogate_pair_is_400(client: FlaskClient) -> None:
    for body in (
        r'{"hostname": "a", "command": "\ud800"}',
        r'{"hostname": "a", "command": "x", "metadata": {"\ud800": 1}}',
    ):
        assert client.post("/api/commands", data=body, content_type="application/json").status_code == 400


def test_optional_fields_may_be_null_and_unknown_fields_are_ignored(client: FlaskClient, host: str) -> None:
    optional = dict.fromkeys(("timeoutSeconds", "metadata", "expiresInSeconds", "retryOf"))
    command = create(client, host, **optional, later="addition")
    assert (command["timeoutSeconds"], command["metadata"], command["retryOf"]) == (30, None, None)
    assert "later" not in command


def test_the_longest_command_and_metadata_fit(client: FlaskClient, host: str) -> None:
    metadata = {"x": "y" * (16_384 - 8)}
    assert create(client, host, command="x" * 8_192, metadata=metadata)["metadata"] == metadata


def test_a_hostname_is_the_same_host_on_every_route(client: FlaskClient, host: str) -> None:
    command = create(client, f"  {host}e\u0301 ")
    assert command["hostname"] == f"{host}é"
    assert [item["id"] for item in claim(client, f"{host}e\u0301")] == [command["id"]]
    assert client.get("/api/commands", query_string={"hostname": f" {host}é"}).json["total"] == 1
    assert client.get("/api/commands/pending/a%25b").status_code == 400


def test_idempotency_keys(client: FlaskClient, host: str) -> None:
    body, key = {"hostname": host, "command": "uptime"}, {"Idempotency-Key": f"key-{host}"}
    first = client.post("/api/commands", json=body, headers=key)
    again = client.post("/api/commands", json=body | {"timeoutSeconds": 30}, headers=key)
    other = client.post("/api/commands", json=body | {"timeoutSeconds": 31}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 422)
    assert first.json == again.json
    too_long = client.post("/api/commands", json=body, headers={"Idempotency-Key": "x" * 256})
    assert too_long.status_code == 400


def test_head_claims_nothing(client: FlaskClient, host: str) -> None:
    create(client, host)
    for url in (f"/api/commands/pending/{host}", f"/api/field/commands/pending/{host}"):
        answer = client.head(url)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert len(claim(client, host)) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=6", "limit=x", "wait=31", "wait=-1", "wait=nan"])
def test_a_poll_out_of_bounds_is_400(client: FlaskClient, query: str) -> None:
    assert client.get(f"/api/commands/pending/a?{query}").status_code == 400


def test_an_agent_with_a_journal_gets_the_same_command_again(client: FlaskClient, host: str) -> None:
    create(client, host)
    assert claim(client, host, **JOURNAL) == claim(client, host, **JOURNAL) != []
    assert claim(client, host, **JOURNAL | {"X-Reflector-Journal": "0"}) == []
    broken = JOURNAL | {"X-Reflector-Instance": "me"}
    assert client.get(f"/api/commands/pending/{host}", headers=broken).status_code == 400


def test_a_result_of_8_mib_is_read_and_cut(client: FlaskClient, host: str) -> None:
    command = create(client, host)
    claim(client, host)
    url = f"/api/commands/{command['id']}/result"
    done = client.post(url, json={"status": "failed", "stdout": "x" * 8_000_000, "stderr": "", "exitCode": 2})
    assert done.status_code == 201
    head, note, tail = done.json["stdout"].split("\n")
    assert (len(head + tail), done.json["stdoutBytes"], done.json["truncated"]) == (65_536, 8_000_000, True)
    assert note == "[7934464 bytes are left out here]"
    assert client.post(url, json={"status": "failed", "stdout": "x" * 8_400_000}).status_code == 413


def test_output_that_cannot_be_stored_does_not_cost_the_result(client: FlaskClient, host: str) -> None:
    command = create(client, host)
    claim(client, host)
    body = r'{"status": "succeeded", "stdout": "a\u0000b\ud800c", "exitCode": 0}'
    done = client.post(f"/api/commands/{command['id']}/result", data=body, content_type="application/json")
    assert (done.status_code, done.json["stdout"]) == (201, "a\ufffdb\ufffdc")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "success"},
        {"status": "running"},
        {"status": "succeeded", "exitCode": "0"},
        {"status": "succeeded", "exitCode": 0.5},
        {"status": "succeeded", "exitCode": 10**18},
        {"status": "succeeded", "stdout": 5},
        {"status": "succeeded", "durationSeconds": -1},
        {"status": "succeeded", "reason": "rejected"},
        {"status": "failed", "reason": "lost"},
        {"status": "failed", "stdoutBytes": -1},
    ],
)
def test_a_bad_result_is_400(client: FlaskClient, host: str, body: dict[str, Any]) -> None:
    command = create(client, host)
    claim(client, host)
    assert client.post(f"/api/commands/{command['id']}/result", json=body).status_code == 400


def test_cancel_answers_200_202_and_409(client: FlaskClient, host: str) -> None:
    first, second = create(client, host), create(client, host)
    assert client.post(f"/api/commands/{second['id']}/cancel").status_code == 200
    claim(client, host)
    answer = client.post(f"/api/commands/{first['id']}/cancel")
    assert (answer.status_code, answer.json["status"], answer.json["cancelRequested"]) == (202, "running", True)
    assert client.post(f"/api/commands/{second['id']}/cancel").status_code == 409


@pytest.mark.parametrize("id", [UNKNOWN, "last", "%F0%9F", "x" * 500])
def test_an_unknown_command_is_404(client: FlaskClient, id: str) -> None:
    url = f"/api/commands/{id}"
    answers = [client.get(url), client.get(f"{url}/events"), client.post(f"{url}/cancel")]
    answers.append(client.post(f"{url}/result", json={"status": "succeeded"}))
    answers.append(client.post(f"{url}/heartbeat", json={"phase": "running"}))
    answers.append(client.post(f"{url}/output", json={"seq": 0, "stream": "stdout", "data": ""}))
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.mimetype for answer in answers} == {"application/problem+json"}


@pytest.mark.parametrize(
    "query",
    [
        "page=0", "page=1000000000", "page=1e3", "page=-1", "pageSize=0", "pageSize=101", "pageSize=1000000", "page=101&pageSize=100",
        "status=done", "hostname=", "hostname=a%2Fb", "search=%00", "search=" + "x" * 8_193,
    ],
)  # fmt: skip
def test_a_list_out_of_bounds_is_400(client: FlaskClient, query: str) -> None:
    assert client.get(f"/api/commands?{query}").status_code == 400


def test_the_last_page_that_may_be_asked_for_is_answered(client: FlaskClient) -> None:
    answer = client.get("/api/commands?page=100&pageSize=100&search=" + "%25" * 2_000)
    assert answer.json == {"items": [], "total": 0, "page": 100, "pageSize": 100}


def test_agents_in_the_field_get_items_and_may_say_success(client: FlaskClient, host: str) -> None:
    for n, (word, status, reason) in enumerate(
        [
            ("success", "succeeded", None),
            ("error", "failed", None),
            ("failed", "failed", None),
            ("timeout", "timeout", "exec_timeout"),
        ]
    ):
        command = create(client, host, command=f"echo {n}", timeoutSeconds=12.5)
        answer = client.get(f"/api/field/commands/pending/{host}")
        assert answer.json == {"items": [{"id": command["id"], "command": f"echo {n}", "timeout": 12.5}]}
        body = {"status": word, "stdout": "hello\n", "stderr": "", "exitCode": 0}
        done = client.post(f"/api/field/commands/result/{command['id']}", json=body)
        assert (done.status_code, done.json["status"], done.json["reason"]) == (201, status, reason)
    assert client.get(f"/api/field/commands/pending/{host}").json == {"items": []}
    assert client.post("/api/field/commands/result/x", json={"status": "success"}).status_code == 404
