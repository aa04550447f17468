"""docs/contract.md, section 1: a REFLECTOR that was in the field before EGO, replayed from a recording, needs only a new endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builders import unique_hostname
from tests.contract.wire import (
    UNKNOWN_ID,
    assert_problem,
    claim,
    command,
    create,
    detail,
    instant,
    link_of,
    running_command,
    settled,
    shown,
)
from tests.servers import EgoServer

RECORDING = json.loads((Path(__file__).parent.parent / "fixtures" / "field-reflector.json").read_text())
RECORDED_ID = "11111111-1111-4111-8111-111111111111"
ENDPOINT = ("/api/commands", "/api/field/commands")  # what it was set to, and what it is set to now


def replay(ego: EgoServer, request: dict[str, Any], hostname: str, command_id: str = "") -> requests.Response:
    """The answer to one recorded request, for a host and a command of this test's own."""
    path = request["path"].replace(*ENDPOINT).replace("field-01", hostname).replace(RECORDED_ID, command_id)
    body = request["body"]
    if body is not None and "samples" in body:
        body = {"samples": [sample | {"hostname": hostname} for sample in body["samples"]]}
    text = None if body is None else json.dumps(body)
    return requests.request(request["method"], ego.url + path, headers=request["headers"], data=text, timeout=10)


def test_the_recording_is_accepted_unchanged_and_its_command_ends(ego: EgoServer) -> None:
    hostname = unique_hostname("field")
    created = create(ego, hostname, "echo hello", timeoutSeconds=20)
    kinds = []
    item: dict[str, Any] = {}
    for request in RECORDING["requests"]:
        answer = replay(ego, request, hostname, item.get("id", ""))
        if request["path"] == "/api/metrics/batch":
            kinds.append("batch")
            assert answer.status_code == 202
            assert (answer.json()["accepted"], "duplicates" in answer.json()) == (1, False)
        elif request["method"] == "GET":
            kinds.append("pending")
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.json().keys() == {"items"}
            (item,) = answer.json()["items"]
            assert item == {"id": created["id"], "command": "echo hello", "timeout": 20}
            assert command(ego, created["id"])["status"] == "running"
        else:
            kinds.append("result")
            assert answer.status_code == 201
            ended = command(ego, created["id"])
            assert (ended["status"], ended["reason"], ended["exitCode"]) == ("succeeded", None, 0)
            assert (ended["stdout"], ended["stderr"]) == ("hello\n", "")
            assert instant(ended["completedAt"]) >= instant(ended["startedAt"])
            assert replay(ego, request, hostname, item["id"]).status_code == 200
    assert kinds == ["batch", "pending", "result", "batch", "batch"]
    assert replay(ego, RECORDING["requests"][1], hostname).json() == {"items": []}


def test_its_samples_are_in_the_twin_with_all_their_values(ego: EgoServer) -> None:
    hostname = unique_hostname("field")
    batches = [request for request in RECORDING["requests"] if request["path"] == "/api/metrics/batch"]
    for request in batches:
        assert replay(ego, request, hostname).status_code == 202
    first, second, third = (request["body"]["samples"][0] for request in batches)
    host = shown(ego, hostname)
    assert (host["status"], host["agentVersion"], host["rack"]) == ("online", "0.1.0-dev", "R1")
    assert (host["position"], host["positionSource"]) == ({"x": 1, "y": 2, "z": 3}, "sample")
    assert host["metrics"]["cpuLoad"] == third["cpu_load"]
    assert host["metrics"]["netCapacityGbps"] is None  # no interface reported its speed
    seconds = (instant_of(third) - instant_of(second)).total_seconds()
    link = link_of(settled(ego), hostname)
    sent, received = (third[name] - second[name] for name in ("net_bytes_tx", "net_bytes_rx"))
    assert link["txGbps"] == pytest.approx(sent * 8 / seconds / 1e9, rel=1e-3)
    assert link["rxGbps"] == pytest.approx(received * 8 / seconds / 1e9, rel=1e-3)
    diagnostics = detail(ego, hostname)["diagnostics"]
    assert diagnostics["cpuPerCore"] == third["cpu_per_core"]
    assert [row["name"] for row in diagnostics["interfaces"]] == [row["name"] for row in third["interfaces"]]
    assert diagnostics["temperatures"] == {}
    assert diagnostics["tags"]["environment"] == "production"
    assert len(diagnostics["topProcesses"]) == len(first["top_processes"])


def instant_of(sample: dict[str, Any]) -> Any:
    """When a recorded sample was taken, to the millisecond, as EGO keeps it."""
    text = sample["timestamp"]
    return instant(text[: text.index(".") + 4] + "Z")


WORDS = {
    "success": ("succeeded", None),
    "error": ("failed", None),
    "failed": ("failed", None),
    "timeout": ("timeout", "exec_timeout"),
}


@pytest.mark.parametrize(("word", "expected"), WORDS.items())
def test_its_statuses_success_and_error_are_understood(
    ego: EgoServer, word: str, expected: tuple[str, str | None]
) -> None:
    command_id = running_command(ego)
    body = {"status": word, "stdout": "o", "stderr": "e", "exitCode": 1}
    path = f"/api/field/commands/result/{command_id}"
    assert ego.post(path, json=body).status_code == 201
    ended = command(ego, command_id)
    assert ((ended["status"], ended["reason"]), ended["stdout"], ended["exitCode"]) == (expected, "o", 1)
    assert ego.post(path, json=body).status_code == 200
    assert_problem(ego.post(path, json=body | {"stdout": "other"}), 409)


@pytest.mark.parametrize("status", ["done", "running", "", 1, None])
def test_an_unknown_status_is_refused(sqlite_ego: EgoServer, status: Any) -> None:
    command_id = running_command(sqlite_ego)
    assert_problem(
        sqlite_ego.post(f"/api/field/commands/result/{command_id}", json={"status": status}), 400, naming="status"
    )
    assert command(sqlite_ego, command_id)["status"] == "running"


def test_it_takes_its_turn_with_the_newer_agents_of_its_host(ego: EgoServer) -> None:
    hostname = unique_hostname("field")
    ids = [create(ego, hostname)["id"] for _ in range(7)]
    items = ego.get(f"/api/field/commands/pending/{hostname}").json()["items"]
    assert [item["id"] for item in items] == ids[:5]
    assert all(item.keys() == {"id", "command", "timeout"} for item in items)
    assert [item["id"] for item in claim(ego, hostname)] == ids[5:]


def test_a_result_for_nothing_or_for_what_was_never_handed_out_is_refused(ego: EgoServer) -> None:
    body = {"status": "success"}
    assert_problem(ego.post(f"/api/field/commands/result/{UNKNOWN_ID}", json=body), 404)
    waiting = create(ego, unique_hostname())["id"]
    assert_problem(ego.post(f"/api/field/commands/result/{waiting}", json=body), 409)
    assert command(ego, waiting)["status"] == "pending"
