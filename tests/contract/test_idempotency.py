"""docs/contract.md, section 1, Commands: `Idempotency-Key`."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest
import requests

from tests.builders import unique_hostname
from tests.contract.wire import assert_problem, claim, command
from tests.servers import EgoServer


def send(ego: EgoServer, body: Any, key: str | None) -> requests.Response:
    """The answer to one request to create a command."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key is not None else {})
    return ego.post("/api/commands", data=body if isinstance(body, str) else json.dumps(body), headers=headers)


def test_the_same_request_again_is_the_same_command(ego: EgoServer) -> None:
    key, body = str(uuid.uuid4()), {"hostname": unique_hostname(), "command": "reboot", "timeoutSeconds": 5}
    first = send(ego, body, key)
    assert first.status_code == 201
    for _ in range(2):
        again = send(ego, body, key)
        assert (again.status_code, again.json()) == (200, first.json())
    assert len(claim(ego, body["hostname"])) == 1


def test_the_same_request_in_another_order_of_keys_is_the_same(ego: EgoServer) -> None:
    key, hostname = str(uuid.uuid4()), unique_hostname()
    first = send(ego, '{"hostname": "%s", "command": "w", "metadata": {"a": 1, "b": 2}}' % hostname, key)
    again = send(ego, '{ "metadata": {"b": 2, "a": 1},\n "command": "w", "hostname": "%s"}' % hostname, key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


OTHERS: dict[str, dict[str, Any]] = {
    "another command": {"command": "halt"},
    "another timeout": {"timeoutSeconds": 6},
    "another expiry": {"expiresInSeconds": 60},
    "metadata": {"metadata": {"a": 1}},
    "another host": {"hostname": "another-host"},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_another_request_under_the_same_key_is_refused_and_queues_nothing(
    ego: EgoServer, other: dict[str, Any]
) -> None:
    key, body = str(uuid.uuid4()), {"hostname": unique_hostname(), "command": "reboot", "timeoutSeconds": 5}
    first = send(ego, body, key).json()
    total = ego.get("/api/commands").json()["total"]
    assert_problem(send(ego, body | other, key), 422)
    assert ego.get("/api/commands").json()["total"] == total
    assert send(ego, body, key).json()["id"] == first["id"]  # the key still stands for the first


def test_other_keys_and_no_key_are_other_commands(ego: EgoServer) -> None:
    body = {"hostname": unique_hostname(), "command": "reboot"}
    ids = {send(ego, body, key).json()["id"] for key in (str(uuid.uuid4()), str(uuid.uuid4()), None, None)}
    assert len(ids) == 4


def test_the_answer_is_the_command_as_it_stands_now(ego: EgoServer) -> None:
    key, body = str(uuid.uuid4()), {"hostname": unique_hostname(), "command": "reboot"}
    first = send(ego, body, key).json()
    claim(ego, body["hostname"])
    again = send(ego, body, key)
    assert again.status_code == 200
    assert again.json() == command(ego, first["id"])
    assert again.json()["status"] == "running"
    assert claim(ego, body["hostname"]) == []


def test_a_refused_request_does_not_use_up_its_key(ego: EgoServer) -> None:
    key, body = str(uuid.uuid4()), {"hostname": unique_hostname(), "command": "reboot"}
    assert_problem(send(ego, body | {"timeoutSeconds": -1}, key), 400, naming="timeoutSeconds")
    assert send(ego, body, key).status_code == 201


def test_ten_equal_requests_at_once_are_one_command(ego: EgoServer) -> None:
    key, body = str(uuid.uuid4()), {"hostname": unique_hostname(), "command": "reboot"}
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(send(ego, body, key))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [*[200] * 9, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(claim(ego, body["hostname"])) == 1


@pytest.mark.parametrize("key", ["k", "key with blanks; and=signs", "k" * 255])
def test_a_key_may_be_any_text_of_a_header(ego: EgoServer, key: str) -> None:
    body = {"hostname": unique_hostname(), "command": "reboot"}
    key = key if len(key) == 255 else f"{key} {body['hostname']}"
    if len(key) == 255:
        key = f"{key[:200]}{uuid.uuid4()}".ljust(255, "k")
    assert [send(ego, body, key).status_code for _ in range(2)] == [201, 200]


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_is_refused(sqlite_ego: EgoServer, key: str) -> None:
    body = {"hostname": unique_hostname(), "command": "reboot"}
    assert_problem(send(sqlite_ego, body, key), 400)
    assert claim(sqlite_ego, body["hostname"]) == []
