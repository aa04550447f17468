"""T16: EGO is killed in the middle of each transition of a command. What it answered is kept, nothing happens twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import requests

from mirror_stage.core.instants import from_text
from tests.builders import unique_hostname
from tests.faults.agents import claim, claimed, command, create, end_lease, lose, report
from tests.servers import EgoServer, wait_until

INSTANCE = {"X-Reflector-Instance": "11111111-2222-4333-8444-555555555555", "X-Reflector-Journal": "1"}
KILLED_WITHIN_SECONDS = 0.04  # a transition takes some milliseconds: the kill falls before, in and after it


@dataclass
class Run:
    """One command whose transition is interrupted; `answer` is what the client heard of it, if anything."""

    ego: EgoServer
    hostname: str = field(default_factory=lambda: unique_hostname("cut"))
    id: str = ""
    answer: requests.Response | None = None

    @property
    def heard(self) -> bool:
        """Whether EGO answered that the transition happened."""
        return self.answer is not None and self.answer.status_code in {200, 201, 202}

    def standing(self) -> tuple[str, str | None]:
        """(status, reason) of the command now."""
        now = command(self.ego, self.id)
        return now["status"], now["reason"]

    def moves(self) -> list[str]:
        """The statuses of its recorded transitions, in order."""
        return [event["status"] for event in self.ego.get(f"/api/commands/{self.id}/events").json()["items"]]


def post(run: Run, path: str, body: object = None) -> requests.Response:
    return run.ego.post(f"/api/commands/{run.id}/{path}", json=body)


def prepare_nothing(run: Run) -> None:
    run.id = ""


def prepare_pending(run: Run) -> None:
    run.id = create(run.ego, run.hostname)


def prepare_running(run: Run) -> None:
    run.id = claimed(run.ego, run.hostname)


def prepare_journalled(run: Run) -> None:
    run.id = create(run.ego, run.hostname)
    assert claim(run.ego, run.hostname, **INSTANCE) == [run.id]


def prepare_lost(run: Run) -> None:
    run.id = claimed(run.ego, run.hostname)
    lose(run.ego, run.id)


def prepare_nearly_lost(run: Run) -> None:
    run.id = claimed(run.ego, run.hostname)
    end_lease(run.ego, run.id)


def prepare_nearly_expired(run: Run) -> None:
    run.id = create(run.ego, run.hostname, expiresInSeconds=0.2)


def act_create(run: Run) -> requests.Response:
    answer = run.ego.post("/api/commands", json={"hostname": run.hostname, "command": "true"})
    run.id = answer.json()["id"]
    return answer


def act_claim(run: Run) -> requests.Response:
    return run.ego.get(f"/api/commands/pending/{run.hostname}")


def act_wait(run: Run) -> requests.Response:
    """Wait for EGO, which makes this transition by itself, until EGO is killed."""
    while True:
        answer = run.ego.get(f"/api/commands/{run.id}")
        if answer.json()["reason"] in {"lost", "expired"}:
            return answer


def check_created(run: Run) -> None:
    if run.heard:
        assert run.standing() == ("pending", None)
        assert claim(run.ego, run.hostname) == [run.id]
    assert run.ego.get("/api/commands", params={"hostname": run.hostname}).json()["total"] <= 1


def check_claimed(run: Run) -> None:
    if run.heard:
        assert run.answer is not None
        assert [item["id"] for item in run.answer.json()] == [run.id]
        assert run.standing() == ("running", None)
        assert claim(run.ego, run.hostname) == []
    else:
        again = claim(run.ego, run.hostname)  # the agent asks again; without a journal it may have lost the command
        assert again in ([], [run.id])
    assert run.moves() == ["pending", "running"]
    assert command(run.ego, run.id)["leaseUntil"] is not None


def check_started(run: Run) -> None:
    again = claim(run.ego, run.hostname, **INSTANCE)
    assert again == [] if run.heard else again in ([], [run.id])
    assert run.standing() == ("running", None)


def check_beaten(run: Run) -> None:
    now = command(run.ego, run.id)
    assert (now["status"], now["reason"]) == ("running", None)
    if run.heard:
        assert run.answer is not None
        assert from_text(now["leaseUntil"]) >= from_text(run.answer.json()["leaseUntil"])


def check_reported(run: Run) -> None:
    if run.heard:
        assert run.standing() == ("succeeded", None)
    again = report(run.ego, run.id)  # the agent did not hear the answer, or sends once more: the same outcome
    assert again.status_code in ({200} if run.heard else {200, 201})
    assert run.standing() == ("succeeded", None)
    assert run.moves().count("succeeded") == 1
    assert report(run.ego, run.id, stdout="another").status_code == 409


def check_lost(run: Run) -> None:
    wait_until(lambda: run.standing() == ("timeout", "lost"), 10, what="the lease is noticed")
    assert run.moves() == ["pending", "running", "timeout"]
    assert claim(run.ego, run.hostname) == []


def check_late(run: Run) -> None:
    if run.heard:
        assert run.standing() == ("succeeded", None)
    again = report(run.ego, run.id)
    assert again.status_code in ({200} if run.heard else {200, 201})
    now = command(run.ego, run.id)
    assert (now["status"], now["late"]) == ("succeeded", True)
    assert run.moves() == ["pending", "running", "timeout", "succeeded"]


def check_cancelled(run: Run) -> None:
    if run.heard:
        assert run.standing() == ("failed", "cancelled")
        assert claim(run.ego, run.hostname) == []
    else:
        assert run.standing() in (("failed", "cancelled"), ("pending", None))


def check_expired(run: Run) -> None:
    assert claim(run.ego, run.hostname) == []
    wait_until(lambda: run.standing() == ("timeout", "expired"), 10, what="it expires")
    assert run.moves() == ["pending", "timeout"]


Step = Callable[[Run], None]
Act = Callable[[Run], requests.Response]
TRANSITIONS: dict[str, tuple[Step, Act, Step]] = {
    "create": (prepare_nothing, act_create, check_created),
    "claim": (prepare_pending, act_claim, check_claimed),
    "start": (prepare_journalled, lambda run: post(run, "heartbeat", {"phase": "started"}), check_started),
    "heartbeat": (prepare_running, lambda run: post(run, "heartbeat", {"phase": "running"}), check_beaten),
    "result": (prepare_running, lambda run: report(run.ego, run.id), check_reported),
    "lease over": (prepare_nearly_lost, act_wait, check_lost),
    "late result": (prepare_lost, lambda run: report(run.ego, run.id), check_late),
    "cancel": (prepare_pending, lambda run: post(run, "cancel"), check_cancelled),
    "expiry": (prepare_nearly_expired, act_wait, check_expired),
}


def interrupted(run: Run, act: Act, delay: float) -> bool:
    """Kill EGO `delay` seconds after a transition begins. Returns whether the client got an answer before."""

    def client() -> None:
        try:
            run.answer = act(run)
        except (requests.RequestException, ValueError):
            run.answer = None

    thread = threading.Thread(target=client)
    thread.start()
    time.sleep(delay)
    run.ego.kill()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert run.ego.process is not None
    assert run.ego.process.returncode == -9  # the fault fired
    return run.heard


def cut(ego: EgoServer, times: int) -> None:
    """Interrupt every transition `times` times, restarting on the same database each time."""
    chance = random.Random(16)
    heard = kills = 0
    bystander = claimed(ego, unique_hostname("long"), timeoutSeconds=600)
    for prepare, act, check in TRANSITIONS.values():
        for _ in range(times):
            run = Run(ego)
            prepare(run)
            slow = act is act_wait  # EGO looks each second
            delay = chance.uniform(0, 1.2 if slow else KILLED_WITHIN_SECONDS)
            heard += interrupted(run, act, delay)
            kills += 1
            ego.start()
            check(run)
    running = ego.rows("SELECT count(*) FROM commands WHERE status = 'running' AND lease_until IS NULL")
    print(
        f"T16: transitions {len(TRANSITIONS)}, kills {kills}, heard of {heard}, running without lease {running[0][0]}"
    )
    assert times == 1 or 0 < heard < kills  # kills came before and after the commit
    assert running == [(0,)]
    assert command(ego, bystander)["status"] == "running"  # no false `lost`


@pytest.mark.timeout(240)
def test_each_transition_survives_a_kill(start_ego: Callable[..., EgoServer]) -> None:
    cut(start_ego(), 1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_each_transition_survives_twenty_kills(start_ego: Callable[..., EgoServer]) -> None:
    cut(start_ego(), 20)
