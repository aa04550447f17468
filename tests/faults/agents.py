"""Short functions for what agents and operators do with commands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import requests

from tests.servers import EgoServer, wait_until

Answer = TypeVar("Answer")


def create(ego: EgoServer, hostname: str, **members: Any) -> str:
    """The id of a new command."""
    answer = ego.post("/api/commands", json={"hostname": hostname, "command": "true"} | members)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def claim(ego: EgoServer, hostname: str, **headers: str) -> list[str]:
    """The ids of the commands that this host's agent gets now."""
    answer = ego.get(f"/api/commands/pending/{hostname}", headers=headers)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()]


def claimed(ego: EgoServer, hostname: str, **members: Any) -> str:
    """The id of a new command that its agent has claimed."""
    id = create(ego, hostname, **members)
    assert claim(ego, hostname) == [id]
    return id


def report(ego: EgoServer, id: str, stdout: str = "done", status: str = "succeeded") -> requests.Response:
    return ego.post(f"/api/commands/{id}/result", json={"status": status, "exitCode": 0, "stdout": stdout})


def command(ego: EgoServer, id: str) -> dict[str, Any]:
    """The command as it is now."""
    answer = ego.get(f"/api/commands/{id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def end_lease(ego: EgoServer, *ids: str) -> None:
    """End all leases, as if the agent had been silent for a whole lease. EGO notices within a second."""
    marks = ", ".join("?" for _ in ids)
    ego.rows(f"UPDATE commands SET lease_until = started_at WHERE status = 'running' AND id IN ({marks})", *ids)


def lose(ego: EgoServer, *ids: str) -> None:
    """Let running commands become lost. This takes longer if the machine stalls EGO for 5 s, because EGO then moves all leases."""
    end_lease(ego, *ids)
    wait_until(lambda: all(command(ego, id)["reason"] == "lost" for id in ids), 40, what="the commands are lost")


def at_once(*works: Callable[[], Answer]) -> list[Answer]:
    """What each function returns. All begin at the same moment, each in its own thread. Raises the first error."""
    barrier = threading.Barrier(len(works))
    answers: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def run(number: int, work: Callable[[], Answer]) -> None:
        barrier.wait()
        try:
            answers[number] = work()
        except BaseException as error:  # raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers


def batches_of(things: Sequence[Answer], count: int) -> list[Sequence[Answer]]:
    return [things[start : start + count] for start in range(0, len(things), count)]
