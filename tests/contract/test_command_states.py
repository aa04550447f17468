"""docs/contract.md, section 4: the state table, cell by cell, as far as REST can show it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.builders import unique_hostname
from tests.contract.wire import (
    act,
    assert_problem,
    claim,
    command,
    create,
    events,
    expired_command,
    finished_command,
    lost_command,
    pending_command,
    running_command,
)
from tests.servers import EgoServer

RESULT = {"status": "succeeded", "exitCode": 0}
BODIES: dict[str, dict[str, Any]] = {
    "heartbeat": {"phase": "running"},
    "output": {"seq": 0, "stream": "stdout", "data": "x"},
    "result": RESULT,
    "other result": {"status": "failed", "exitCode": 1},
    "cancel": {},
}


def cancelled_command(ego: EgoServer) -> str:
    """The id of a command that was cancelled before anybody fetched it."""
    command_id = pending_command(ego)
    assert act(ego, command_id, "cancel").status_code == 200
    return command_id


def closed_command(ego: EgoServer) -> str:
    """The id of a lost command that was closed: it takes no late report."""
    command_id = lost_command(ego)
    assert act(ego, command_id, "cancel").status_code == 200
    return command_id


def reported_late(ego: EgoServer) -> str:
    """The id of a lost command whose report came late."""
    command_id = lost_command(ego)
    assert act(ego, command_id, "result", RESULT).status_code == 201
    return command_id


# standing: (how a command gets there, its status and reason, {act: (code, status and reason afterwards)})
Cell = tuple[int, tuple[str, str | None]]
TABLE: dict[str, tuple[Callable[[EgoServer], str], tuple[str, str | None], dict[str, Cell]]] = {
    "pending": (
        pending_command,
        ("pending", None),
        {
            "heartbeat": (409, ("pending", None)),
            "output": (409, ("pending", None)),
            "result": (409, ("pending", None)),
            "cancel": (200, ("failed", "cancelled")),
        },
    ),
    "running": (
        running_command,
        ("running", None),
        {
            "heartbeat": (200, ("running", None)),
            "output": (200, ("running", None)),
            "result": (201, ("succeeded", None)),
            "other result": (201, ("failed", None)),
            "cancel": (202, ("running", None)),
        },
    ),
    "lost": (
        lost_command,
        ("timeout", "lost"),
        {
            "heartbeat": (409, ("timeout", "lost")),
            "output": (409, ("timeout", "lost")),
            "result": (201, ("succeeded", None)),
            "other result": (201, ("failed", None)),
            "cancel": (200, ("timeout", "lost")),
        },
    ),
    "succeeded": (
        finished_command,
        ("succeeded", None),
        {
            "heartbeat": (409, ("succeeded", None)),
            "output": (409, ("succeeded", None)),
            "result": (200, ("succeeded", None)),
            "other result": (409, ("succeeded", None)),
            "cancel": (409, ("succeeded", None)),
        },
    ),
    "cancelled": (
        cancelled_command,
        ("failed", "cancelled"),
        {
            "heartbeat": (409, ("failed", "cancelled")),
            "output": (409, ("failed", "cancelled")),
            "result": (409, ("failed", "cancelled")),
            "cancel": (409, ("failed", "cancelled")),
        },
    ),
    "expired": (
        expired_command,
        ("timeout", "expired"),
        {
            "heartbeat": (409, ("timeout", "expired")),
            "output": (409, ("timeout", "expired")),
            "result": (409, ("timeout", "expired")),
            "cancel": (409, ("timeout", "expired")),
        },
    ),
    "closed": (
        closed_command,
        ("timeout", "lost"),
        {
            "heartbeat": (409, ("timeout", "lost")),
            "output": (409, ("timeout", "lost")),
            "result": (409, ("timeout", "lost")),
            "cancel": (409, ("timeout", "lost")),
        },
    ),
    "reported late": (
        reported_late,
        ("succeeded", None),
        {
            "heartbeat": (409, ("succeeded", None)),
            "output": (409, ("succeeded", None)),
            "result": (200, ("succeeded", None)),
            "other result": (409, ("succeeded", None)),
            "cancel": (409, ("succeeded", None)),
        },
    ),
}
REFUSING = {name: [what for what, (code, _) in cells.items() if code == 409] for name, (_, _, cells) in TABLE.items()}
MOVING = [(name, what) for name, (_, _, cells) in TABLE.items() for what, (code, _) in cells.items() if code != 409]


def standing(ego: EgoServer, command_id: str) -> tuple[str, str | None]:
    """A command's status and reason."""
    found = command(ego, command_id)
    return found["status"], found["reason"]


@pytest.mark.parametrize("name", TABLE)
def test_an_illegal_act_is_a_conflict_and_changes_nothing(ego: EgoServer, name: str) -> None:
    reach, stands, _ = TABLE[name]
    command_id = reach(ego)
    if name != "pending":
        assert claim(ego, command(ego, command_id)["hostname"]) == []
    before, record = command(ego, command_id), events(ego, command_id)
    assert (before["status"], before["reason"]) == stands
    for what in REFUSING[name]:
        assert_problem(act(ego, command_id, what.rsplit(maxsplit=1)[-1], BODIES[what]), 409)
    assert command(ego, command_id) == before
    assert events(ego, command_id) == record


@pytest.mark.parametrize(("name", "what"), MOVING)
def test_a_legal_act_leads_where_the_table_says(ego: EgoServer, name: str, what: str) -> None:
    reach, _, cells = TABLE[name]
    command_id = reach(ego)
    code, expected = cells[what]
    answer = act(ego, command_id, what.rsplit(maxsplit=1)[-1], BODIES[what])
    assert answer.status_code == code, answer.text
    assert standing(ego, command_id) == expected
    versions = [row["version"] for row in events(ego, command_id)]
    assert versions == list(range(1, command(ego, command_id)["version"] + 1))


def test_a_lost_command_keeps_the_late_report_of_its_host_and_says_so(ego: EgoServer) -> None:
    command_id = lost_command(ego)
    lost = command(ego, command_id)
    assert (lost["late"], lost["leaseUntil"], lost["exitCode"]) == (False, None, None)
    assert lost["completedAt"] is not None
    answer = act(ego, command_id, "result", RESULT | {"stdout": "after all"})
    assert answer.status_code == 201
    late = answer.json()
    assert (late["status"], late["reason"], late["late"], late["stdout"]) == ("succeeded", None, True, "after all")
    assert act(ego, command_id, "result", RESULT | {"stdout": "after all"}).status_code == 200
    assert_problem(act(ego, command_id, "result", RESULT | {"stdout": "or not"}), 409)
    assert [(row["status"], row["reason"]) for row in events(ego, command_id)] == [
        ("pending", None),
        ("running", None),
        ("timeout", "lost"),
        ("succeeded", None),
    ]


def test_a_running_command_that_is_cancelled_waits_for_its_agent(ego: EgoServer) -> None:
    command_id = running_command(ego)
    answer = act(ego, command_id, "cancel")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["cancelRequested"]) == ("running", True)
    assert act(ego, command_id, "cancel").status_code == 202  # asking twice changes nothing
    ended = act(ego, command_id, "result", {"status": "failed", "reason": "cancelled"})
    assert (ended.status_code, ended.json()["status"], ended.json()["reason"]) == (201, "failed", "cancelled")


def test_a_result_that_races_with_a_cancel_wins(ego: EgoServer) -> None:
    command_id = running_command(ego)
    assert act(ego, command_id, "cancel").status_code == 202
    ended = act(ego, command_id, "result", RESULT)
    assert (ended.status_code, ended.json()["status"], ended.json()["reason"]) == (201, "succeeded", None)


def test_a_cancel_needs_no_body(ego: EgoServer) -> None:
    command_id = pending_command(ego)
    assert requests.post(f"{ego.url}/api/commands/{command_id}/cancel", timeout=10).status_code == 200
    assert standing(ego, command_id) == ("failed", "cancelled")


def test_of_many_results_at_once_one_wins(ego: EgoServer) -> None:
    bodies = [RESULT | {"exitCode": n // 2} for n in range(8)]  # four different ones, each twice
    for _ in range(5):
        command_id = running_command(ego)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(act, [ego] * 8, [command_id] * 8, ["result"] * 8, bodies))
        assert sorted(answer.status_code for answer in answers) == [200, 201, *[409] * 6]
        assert len(events(ego, command_id)) == 3


def test_many_pollers_get_every_command_once_and_in_order(ego: EgoServer) -> None:
    hostname = unique_hostname()
    ids = [create(ego, hostname)["id"] for _ in range(40)]
    got: list[list[str]] = []

    def poll() -> None:
        while True:
            items = [item["id"] for item in claim(ego, hostname)]
            if not items:
                return
            got.append(items)

    threads = [threading.Thread(target=poll) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(command_id for items in got for command_id in items) == sorted(ids)
    places = [[ids.index(command_id) for command_id in items] for items in got]
    assert all(items == sorted(items) for items in places)
    assert all(items[-1] - items[0] == len(items) - 1 for items in places)  # no claim skips one that waits
