"""A real agent and a real EGO: what it measures is seen, and an EGO that was away misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults import print_figures, short_and_full
from tests.reflector.processes import AgentProcess, running_agent
from tests.servers import EgoServer, running_ego, wait_until


@pytest.fixture(scope="module")
def own_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


def host(ego: EgoServer, hostname: str) -> dict[str, Any] | None:
    """The host as EGO shows it; None while it knows none."""
    answer = ego.get(f"/api/hosts/{hostname}")
    return dict(answer.json()) if answer.status_code == 200 else None


def history(ego: EgoServer, hostname: str) -> list[int]:
    """The instants of a host's samples in the history table, in ms."""
    rows = ego.rows(
        "SELECT s.at_ms + s.at_second * 1000 FROM host_metric_samples s JOIN host_metrics h ON h.id = s.host_id "
        "WHERE h.hostname = ? ORDER BY 1",
        hostname,
    )
    return [int(at) for (at,) in rows]


def test_a_host_appears_with_all_that_was_set_and_measured(own_ego: EgoServer, tmp_path: Path) -> None:
    flags = ("--rack", "R7", "--tags", "room=a", "--position", "1,2,3", "--interval-seconds", "1")
    with running_agent(tmp_path, own_ego.url, *flags) as agent:
        shown = wait_until(lambda: host(own_ego, agent.hostname), what="the host appears")
        assert (shown["status"], shown["rack"], shown["position"]) == ("online", "R7", {"x": 1, "y": 2, "z": 3})
        assert (shown["room"], shown["commandPolicy"]) == ("a", "off")
        assert shown["metrics"]["cpuLoad"] is not None
        assert shown["hardware"]["osKernel"]
        wait_until(lambda: len(history(own_ego, agent.hostname)) >= 3)
        assert agent.stop() < 2.0
    assert list((agent.state / "spool").iterdir()) == []


@pytest.mark.parametrize("seconds_away", short_and_full(4, 120))
def test_an_ego_that_was_away_has_neither_gap_nor_duplicate(tmp_path: Path, seconds_away: int) -> None:
    with (
        running_ego(tmp_path) as ego,
        running_agent(tmp_path, ego.url, "--interval-seconds", "1") as agent,
    ):
        wait_until(lambda: len(history(ego, agent.hostname)) >= 2)
        ego.kill()
        wait_until(lambda: _waiting(agent) >= seconds_away - 1, seconds_away + 5, what="samples wait on disk")
        ego.start()
        wait_until(lambda: _waiting(agent) == 0, 45, what="the backlog was delivered")
        known = len(history(ego, agent.hostname))
        wait_until(lambda: len(history(ego, agent.hostname)) >= known + 2)
        instants = history(ego, agent.hostname)
    gaps = [after - before for before, after in pairwise(instants)]
    print_figures(
        "outage", seconds=seconds_away, samples=len(instants), widest_gap_ms=max(gaps), least_gap_ms=min(gaps)
    )
    assert max(gaps) < 1700, "one second lies between two samples"
    assert min(gaps) > 300


def _waiting(agent: AgentProcess) -> int:
    """How many samples wait on the agent's disk."""
    return sum(path.read_bytes().count(b"\n") for path in (agent.state / "spool").iterdir())
