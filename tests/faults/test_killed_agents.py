"""T15: the agent is killed at each step of a command. The command runs at most once and ends in time."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from mirror_stage.core.instants import SECOND, from_text
from tests.faults import print_figures, short_and_full
from tests.faults.agents import command, create, lose
from tests.reflector.processes import AgentProcess, running_agent
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo, scripted_ego
from tests.servers import EgoServer, running_ego, wait_until

FOUND_OUT_WITHIN = 5 * SECOND  # docs/contract.md, promise P7


@dataclass(frozen=True)
class Point:
    """Where the agent is killed: at a request, before EGO hears of it or before the agent hears EGO's answer."""

    at: str
    before: bool
    ends: frozenset[tuple[str, str | None]]
    runs: frozenset[int]


SUCCEEDED = ("succeeded", None)
RESTARTED = ("failed", "agent_restarted")
POINTS = {
    "before the claim": Point("/pending/", True, frozenset({SUCCEEDED}), frozenset({1})),
    "after the claim": Point("/pending/", False, frozenset({SUCCEEDED}), frozenset({1})),
    "as it starts": Point("/heartbeat", True, frozenset({SUCCEEDED, RESTARTED}), frozenset({0, 1})),
    "while it runs": Point("/output", False, frozenset({RESTARTED}), frozenset({1})),
    "before posting": Point("/result", True, frozenset({SUCCEEDED}), frozenset({1})),
    "after posting": Point("/result", False, frozenset({SUCCEEDED}), frozenset({1})),
}


@dataclass
class KillingProxy:
    """Stands between an agent and EGO, and kills the agent once, at one point."""

    ego: EgoServer
    scripted: ScriptedEgo
    agent: AgentProcess | None = None
    point: Point | None = None
    fired: threading.Event = field(default_factory=threading.Event)

    def arm(self, point: Point) -> None:
        self.point = point
        self.fired.clear()

    def pass_on(self, asked: Asked) -> Reply:
        """EGO's answer to one request."""
        if self._is_due(asked, before=True):
            self._fire()
            return Reply(503)  # the agent is dead, and EGO never gets the request
        answer = requests.request(
            asked.method,
            self.ego.url + asked.path,
            json=asked.content,
            headers={name: text for name, text in asked.headers.items() if name.startswith("X-")},
            timeout=40,
        )
        if self._is_due(asked, before=False) and not ("/pending/" in asked.path and answer.json() == []):
            self._fire()
        return Reply(answer.status_code, answer.content, kind=answer.headers["Content-Type"])

    def _is_due(self, asked: Asked, *, before: bool) -> bool:
        point = self.point
        return point is not None and point.at in asked.path and point.before == before and not self.fired.is_set()

    def _fire(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.fired.set()


@contextmanager
def killing_proxy(ego: EgoServer, folder: Path) -> Iterator[KillingProxy]:
    """An agent that allows commands, behind a proxy that can kill it."""
    with scripted_ego() as scripted:
        proxy = KillingProxy(ego, scripted)
        scripted.decide = proxy.pass_on
        with running_agent(folder, scripted.url, "--allow-commands", "--interval-seconds", "60") as agent:
            proxy.agent = agent
            wait_until(lambda: scripted.of("/pending/"), what="the agent asks for commands")
            yield proxy


def killed_at(proxy: KillingProxy, name: str, marker: Path) -> dict[str, Any]:
    """The command after its agent was killed at a point and started again."""
    point, agent = POINTS[name], proxy.agent
    assert agent is not None
    sleep = 30 if name == "while it runs" else 0.3
    script = f"sh -c 'echo $$ >>{marker}; echo begun; sleep {sleep}'"
    if name == "before the claim":  # the agent polls already: it is killed at its next poll
        create(proxy.ego, agent.hostname, command="true")
        proxy.arm(point)
        proxy.fired.wait(10)
        id = create(proxy.ego, agent.hostname, command=script)
    else:
        proxy.arm(point)
        id = create(proxy.ego, agent.hostname, command=script)
    assert proxy.fired.wait(10), f"nothing happened {name}"
    lease = command(proxy.ego, id)["leaseUntil"]  # none while the command is pending, or after it has ended
    agent.start()
    wait_until(lambda: command(proxy.ego, id)["status"] not in {"pending", "running"}, 20, what=f"an end, {name}")
    ended = command(proxy.ego, id)
    assert lease is None or from_text(ended["completedAt"]) <= from_text(lease) + FOUND_OUT_WITHIN
    return ended


@pytest.fixture(scope="module")
def own_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


@pytest.mark.parametrize("times", short_and_full(1, 20))
def test_a_killed_agent_runs_a_command_at_most_once_and_reports_its_end(
    own_ego: EgoServer, tmp_path: Path, times: int
) -> None:
    ends: Counter[str] = Counter()
    with killing_proxy(own_ego, tmp_path) as proxy:
        for number in range(times):
            for name, point in POINTS.items():
                marker = tmp_path / f"{number}-{name.replace(' ', '-')}"
                ended = killed_at(proxy, name, marker)
                pids = marker.read_text().split() if marker.exists() else []
                assert (ended["status"], ended["reason"]) in point.ends, name
                assert len(pids) in point.runs, name
                if name == "while it runs":
                    assert ended["stdout"] == "begun\n", "what was streamed stays"
                    assert "agent died" in ended["stderr"]
                assert not any(psutil.pid_exists(int(pid)) and _is_alive(int(pid)) for pid in pids), (
                    "a process of the command runs on"
                )
                ends[ended["reason"] or ended["status"]] += 1
    kills = times * len(POINTS)
    print_figures("T15", kills=f"{kills}/{kills}", run_twice=0, **ends)


def test_the_command_of_an_agent_that_never_returns_is_lost_and_takes_a_late_report(
    own_ego: EgoServer, tmp_path: Path
) -> None:
    with killing_proxy(own_ego, tmp_path) as proxy:
        agent = proxy.agent
        assert agent is not None
        proxy.arm(POINTS["before posting"])
        id = create(own_ego, agent.hostname, command="echo kept")
        assert proxy.fired.wait(10)
        lose(own_ego, id)
        agent.start()
        late = wait_until(lambda: (now := command(own_ego, id))["status"] == "succeeded" and now, what="a late report")
        assert (late["late"], late["stdout"]) == (True, "kept\n")


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and os.getpgid(pid) == pid
    except (psutil.Error, OSError):
        return False
