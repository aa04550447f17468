"""EGO is stopped and continued: its own pause does not count as silence of the hosts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import requests

from tests.builders import make_sample
from tests.faults.slow_database import slowed_commits
from tests.servers import EgoServer, wait_until

HOSTS = [f"watched-{n:02d}" for n in range(60)]
LIMITS = {"MIRROR_STAGE_STALE_AFTER_SECONDS": "3", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "6"}


class ReportingHosts:
    """Hosts that report each second, and one host that never reports again."""

    def __init__(self, ego: EgoServer):
        self.ego, self.refused, self._ended = ego, 0, threading.Event()
        self._thread = threading.Thread(target=self._report)

    def __enter__(self) -> ReportingHosts:
        self.ego.post_samples(make_sample("silent")).raise_for_status()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _report(self) -> None:
        while not self._ended.wait(1):
            try:
                self.ego.post_samples(*map(make_sample, HOSTS), timeout=2).raise_for_status()
            except requests.RequestException:
                self.refused += 1


def look(ego: EgoServer, seconds: float) -> tuple[set[str], set[str]]:
    """(statuses of the reporting hosts during `seconds`, hosts with an offline alert until then)."""
    statuses: set[str] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        hosts = ego.get("/api/twin/state").json()["hosts"]
        statuses |= {host["status"] for host in hosts if host["hostname"] in HOSTS}
        time.sleep(0.2)
    rows = ego.rows("SELECT hostname FROM alerts WHERE metric = 'host_offline'")
    return statuses, {hostname for (hostname,) in rows}


@pytest.mark.timeout(120)
def test_after_a_stop_of_the_process_no_reporting_host_counts_as_silent(start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego(LIMITS)
    with ReportingHosts(ego) as hosts:
        wait_until(lambda: "silent" in look(ego, 0.2)[1], 20, what="the silent host has an alert")
        os.kill(ego.worker_pid(), signal.SIGSTOP)
        try:
            time.sleep(10)
        finally:
            os.kill(ego.worker_pid(), signal.SIGCONT)
        statuses, offline = look(ego, 8)
    assert hosts.refused >= 2  # the fault fired: requests met a server that stood still ...
    assert "EGO stood still for" in ego.log  # ... and it noticed
    assert (statuses, offline) == ({"online"}, {"silent"})
    assert ego.rows("SELECT count(*) FROM alerts WHERE resolved_at < created_at") == [(0,)]


@pytest.mark.timeout(120)
def test_while_commits_hang_no_reporting_host_counts_as_silent(start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego(LIMITS)
    with ReportingHosts(ego) as hosts:
        time.sleep(2)
        with slowed_commits(ego, held_seconds=12, free_seconds=30):
            began = time.monotonic()
            statuses, _ = look(ego, 13)
        _, offline = look(ego, 4)
    assert time.monotonic() - began > 13
    assert hosts.refused >= 2  # the fault fired: commits hung
    assert "offline" not in statuses
    assert not offline & set(HOSTS)
