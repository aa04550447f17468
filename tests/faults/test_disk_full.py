"""T10: the disk is full. EGO refuses writes with the reason, still answers reads, and recovers by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import time
from collections.abc import Callable

import pytest

from tests.builders import make_sample
from tests.faults import print_figures, short_and_full
from tests.faults.load import stored_samples
from tests.servers import EgoServer, wait_until

RECOVER_SECONDS = 5.0


def limit_files(ego: EgoServer, size: int) -> None:
    """Let no file of the worker grow beyond `size` bytes, as if the disk were full."""
    resource.prlimit(ego.worker_pid(), resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize("seconds", short_and_full(2, 60))
def test_with_a_full_disk_ego_refuses_with_the_reason_and_recovers_by_itself(
    start_ego: Callable[..., EgoServer], seconds: int, slack: float
) -> None:
    ego = start_ego()
    start, number, refused, wrong = int(time.time() * 1000) - 600_000, 0, 0, 0
    acknowledged = set()

    def post() -> int:
        nonlocal number
        number += 1
        samples = [make_sample(f"h{n}", at=start + number) for n in range(50)]
        answer = ego.post_samples(*samples)
        if answer.status_code == 202:
            acknowledged.update((f"h{n}", start + number) for n in range(50))
        elif answer.status_code == 503:
            nonlocal refused, wrong
            refused += 1
            wrong += "storage-full" not in answer.json()["detail"] or "Retry-After" not in answer.headers
        return answer.status_code

    for _ in range(20):
        assert post() == 202
    log = ego.folder / "ego.db-wal"
    limit_files(ego, max(log.stat().st_size, (ego.folder / "ego.db").stat().st_size) + 8192)
    wait_until(lambda: post() == 503, 30, what="the disk is full")
    deadline, reads = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        assert post() in {503, 202}  # a checkpoint may make room in the log for a moment
        for path in ("/api/twin/state", "/api/hosts/h0/history?metrics=cpuLoad", "/api/alerts", "/api/health"):
            assert ego.get(path).status_code == 200, path
            reads += 1
    assert ego.get("/api/health/ready").status_code == 503
    limit_files(ego, resource.RLIM_INFINITY)
    freed = time.monotonic()
    wait_until(lambda: post() == 202, RECOVER_SECONDS * slack, what="it stores again")
    recovered = time.monotonic() - freed
    wait_until(ego.is_ready, RECOVER_SECONDS * slack)
    stored = stored_samples(ego)
    lost = acknowledged - stored.keys()
    with contextlib.closing(sqlite3.connect(ego.folder / "ego.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    print_figures("T10", refused=refused, otherwise_worded=wrong, reads=reads, recovered_s=recovered, lost=len(lost))
    assert refused > 0
    assert (wrong, len(lost)) == (0, 0)
    assert os.path.exists(log)
