"""The kill switch: nothing is taken or handed out, what waits is cancelled, what runs is told to stop, and all hear of it."""

from __future__ import annotations

import json
import time
from typing import Any

import gevent
import pytest
from flask.testing import FlaskClient

from mirror_stage.access.domain import ADMIN, OPERATOR, VIEWER, Actor, actor_of_person
from mirror_stage.access.gate import Gate
from mirror_stage.commands.service import END_AT_ONCE
from mirror_stage.core import signed
from mirror_stage.core.problems import Conflict, Unavailable
from mirror_stage.core.signed import key_of, statement_of
from tests.commands.bench import AGENT, CommandBench
from tests.commands.bench import OPERATOR as OLAF


def stop(bench: CommandBench, reason: str | None = "an attack") -> None:
    bench.commands.stop_dispatch(reason, OLAF)
    bench.commands.keep_stopped(OLAF)


def test_while_it_is_stopped_nothing_is_taken_and_nothing_is_handed_out(bench: CommandBench) -> None:
    bench.create()
    stop(bench)
    why = r"dispatch is stopped since 2025-11-01T12:26:40\.000Z \(an attack\); an admin resumes it"
    with pytest.raises(Conflict, match=why):
        bench.create()
    with pytest.raises(Unavailable, match=why):
        bench.claim()
    bench.commands.resume_dispatch(OLAF)
    assert bench.claim() == [], "the command that waited was cancelled"
    bench.create()
    assert len(bench.claim()) == 1


def test_a_stop_at_the_command_line_counts_at_once_and_the_job_does_the_rest(bench: CommandBench) -> None:
    pending, running = bench.create(host="a"), bench.running(host="b")
    bench.commands.stop_dispatch("why", OLAF)
    with pytest.raises(Unavailable):
        bench.claim("a")
    bench.commands.keep_stopped()
    assert bench.get(pending).reason == "cancelled"
    assert bench.get(running).cancel_requested


def test_what_runs_gets_a_signed_cancel_and_its_result_is_taken(bench: CommandBench) -> None:
    running = bench.running()
    stop(bench)
    lease = bench.commands.heartbeat(running.id, AGENT)
    assert lease.cancel_requested
    root = key_of(str(bench.signer.root))
    found = statement_of(json.loads(str(lease.signed_cancel)), root, signed.CANCEL, bench.clock.now())
    assert found["id"] == running.id
    ended, is_first = bench.report(running, "failed", reason="cancelled")
    assert (ended.reason, is_first) == ("cancelled", True)


def test_hundreds_of_commands_end_in_pieces(bench: CommandBench) -> None:
    count = 2 * END_AT_ONCE + 1
    made = [bench.create(host=f"host-{number}") for number in range(count)]
    running = [bench.running(host=f"busy-{number}") for number in range(END_AT_ONCE + 1)]
    stop(bench)
    assert {bench.get(command).reason for command in made} == {"cancelled"}
    assert all(bench.get(command).cancel_requested for command in running)
    assert bench.record(made[0]) == [(1, "created"), (2, "cancelled")]
    assert {event.note for event in bench.commands.events_of(made[0].id, OLAF)} == {None, "dispatch is stopped"}


def test_it_survives_a_restart_and_the_first_reason_stays(bench: CommandBench) -> None:
    stop(bench, "first")
    bench.restart()
    assert bench.commands.stop_dispatch("second", OLAF).reason == "first"
    bench.commands.keep_stopped()
    assert not bench.commands.dispatch_check()["ok"]
    with pytest.raises(Conflict, match="first"):
        bench.create()


def test_clients_are_told_once_that_it_was_stopped_and_that_it_was_resumed(bench: CommandBench) -> None:
    for _ in range(3):
        stop(bench)
    bench.commands.resume_dispatch(OLAF)
    for _ in range(3):
        bench.commands.keep_stopped()
    told = [
        (namespace, payload["stopped"])
        for namespace, event, payload in bench.realtime.published
        if event == "dispatch-update"
    ]
    assert told == [("/commands", True), ("/digital-twin", True), ("/commands", False), ("/digital-twin", False)]


def test_stop_and_resume_are_rows_of_the_audit(bench: CommandBench) -> None:
    stop(bench)
    stop(bench)
    bench.commands.resume_dispatch(OLAF)
    bench.commands.resume_dispatch(OLAF)
    rows = bench.sql("SELECT what, detail, actor FROM audit WHERE what LIKE 'dispatch-%' ORDER BY seq")
    assert [tuple(row) for row in rows] == [
        ("dispatch-stopped", "an attack", "operator"),
        ("dispatch-resumed", None, "operator"),
    ]


def test_a_waiting_agent_hears_of_it_at_once(bench: CommandBench) -> None:
    poll = gevent.spawn(bench.claim, wait=20.0)
    gevent.sleep(0)
    began = time.monotonic()
    stop(bench)
    with pytest.raises(Unavailable):
        poll.get(timeout=5)
    assert time.monotonic() - began < 5, "the promise"


# ------------------------------------------------------------------ REST


@pytest.fixture
def asking(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> list[Actor]:
    """Whoever is put into this list asks from then on."""
    who = [person(ADMIN)]
    monkeypatch.setattr(
        client.application.extensions["mirror_stage"][Gate], "actor_of", lambda _environ, _auth=None: who[-1]
    )
    return who


def person(role: str) -> Actor:
    return actor_of_person(role, role, None, credential="", principal=1)


def put(client: FlaskClient, **wanted: Any) -> tuple[int, dict[str, Any]]:
    answer = client.put("/api/dispatch", json=wanted)
    return answer.status_code, answer.json


def test_operators_stop_and_only_admins_resume(client: FlaskClient, asking: list[Actor]) -> None:
    asking.append(person(VIEWER))
    assert put(client, stopped=True)[0] == 403
    assert client.get("/api/dispatch").json == {"stopped": False, "reason": None, "at": None, "by": None}
    asking.append(person(OPERATOR))
    status, state = put(client, stopped=True, reason="drill")
    assert (status, state["stopped"], state["reason"], state["by"]) == (200, True, "drill", "operator")
    try:
        status, refused = put(client, stopped=False)
        assert (status, "has the role operator" in refused["detail"]) == (403, True)
        refused = client.post("/api/commands", json={"hostname": "x", "command": "uptime"})
        assert (refused.status_code, "drill" in refused.json["detail"]) == (409, True)
        asking.append(person(ADMIN))
        for path in ("/api/commands/pending/x", "/api/field/commands/pending/x"):
            answer = client.get(path)
            assert (answer.status_code, "drill" in answer.json["detail"]) == (503, True)
        assert client.get("/api/info").json["dispatch"] == state
        ready = client.get("/api/health/ready").json
        assert ready["checks"]["dispatch"]["ok"] is False
        assert "drill" in ready["checks"]["dispatch"]["detail"]
    finally:
        asking.append(person(ADMIN))
        assert put(client, stopped=False)[0] == 200
    assert client.get("/api/info").json["dispatch"]["stopped"] is False
    assert client.get("/api/health/ready").json["checks"]["dispatch"]["ok"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"stopped": "yes"},
        {"stopped": 1},
        {"stopped": None},
        {"stopped": True, "reason": ""},
        {"stopped": True, "reason": "x" * 501},
    ],
)
def test_a_bad_wish_changes_nothing(client: FlaskClient, asking: list[Actor], body: dict[str, Any]) -> None:
    assert client.put("/api/dispatch", json=body).status_code == 400
    assert client.get("/api/dispatch").json["stopped"] is False
