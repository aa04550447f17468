"""EGO is killed while alerts fire and resolve: each transition that follows from the history has one row."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
import requests

from mirror_stage.alerts.domain import RULES, Alert, Key
from mirror_stage.alerts.evaluation import evaluate
from mirror_stage.metrics.domain import Sample
from mirror_stage.twin.domain import Host
from tests.builders import make_sample
from tests.servers import EgoServer, wait_until

HOSTS = [f"flapping-{n}" for n in range(8)]


def flap(ego: EgoServer, ended: threading.Event, chance: random.Random) -> None:
    """Post CPU loads above and below the limit, as fast as EGO accepts them, until EGO is killed."""
    while not ended.is_set():
        samples = [make_sample(host, cpu_percent=chance.choice((95, 5))) for host in HOSTS]
        try:
            ego.post_samples(*samples, timeout=5)
        except requests.RequestException:
            return


def expected(ego: EgoServer) -> Counter[tuple[str, str]]:
    """(alert id, transition) of each transition that follows from the stored samples."""
    rows = ego.rows("""
        SELECT h.hostname, s.at_second * 1000 + s.at_ms, s.cpu_load FROM host_metric_samples s
        JOIN host_metrics h ON h.id = s.host_id ORDER BY 2
    """)
    found: Counter[tuple[str, str]] = Counter()
    open_alerts: dict[str, dict[Key, Alert]] = {host: {} for host in HOSTS}
    for hostname, at, load in rows:
        sample = Sample(
            hostname=hostname,
            reported_at=at,
            agent_version="0.1.0",
            platform="Linux",
            cpu_load=load,
            memory_used_percent=40.0,
            load_average=0.5,
            uptime_seconds=7200,
            received_at=at,
            at=at,
        )
        host = Host(1, hostname, "host", (0.0, 0.0, 0.0), sample=sample)
        for step in evaluate(RULES, host, open_alerts[hostname], at):
            if step.event is not None:
                found[step.alert.id, step.event] += 1
            open_alerts[hostname] = {step.alert.key: step.alert} if step.alert.status == "active" else {}
    return found


def recorded(ego: EgoServer) -> Counter[tuple[str, str]]:
    return Counter(ego.rows("SELECT alert_id, transition FROM alert_events"))


def cut(ego: EgoServer, times: int) -> None:
    chance, behind = random.Random(9), 0
    for _ in range(times):
        ended = threading.Event()
        client = threading.Thread(target=flap, args=(ego, ended, chance))
        client.start()
        time.sleep(chance.uniform(0.3, 1.5))
        ego.kill()
        ended.set()
        client.join()
        assert ego.process is not None
        assert ego.process.returncode == -9  # the fault fired
        behind += recorded(ego) != expected(ego)  # some kills came after a sample was stored and before its alert was
        ego.start()
        wait_until(lambda: recorded(ego) == expected(ego), 3, what="each transition is recorded")
        assert set(recorded(ego).values()) == {1}
    active = ego.rows(
        "SELECT hostname, metric, count(*) FROM alerts WHERE status = 'active' GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert active == []
    print(f"alerts: kills {times}, of them between samples and alerts {behind}, events {sum(recorded(ego).values())}")
    assert behind > 0


@pytest.mark.timeout(240)
def test_each_transition_of_an_alert_has_its_row_once_after_a_kill(start_ego: Callable[..., EgoServer]) -> None:
    cut(start_ego(), 4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_each_transition_of_an_alert_has_its_row_once_after_a_hundred_kills(
    start_ego: Callable[..., EgoServer],
) -> None:
    cut(start_ego(), 100)
