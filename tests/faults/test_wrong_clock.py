"""After a start with a clock that is 40 days ahead, EGO deletes nothing, reports it, and recovers at the right time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirror_stage.core.instants import DAY, HOUR, MINUTE, Instant
from tests.builders import make_sample
from tests.faults import on_postgresql_in_full
from tests.faults.agents import claimed
from tests.faults.stepped_clock import SteppedClock
from tests.servers import EgoServer, wait_until

TABLES = (
    "host_metric_samples", "host_metrics_1m", "commands", "command_events", "alerts", "host_identities",
)  # fmt: skip


def true_now() -> Instant:
    return int(time.time() * 1000)


def counts(ego: EgoServer) -> dict[str, int]:
    return {table: int(ego.rows(f"SELECT count(*) FROM {table}")[0][0]) for table in TABLES}


def history_check(ego: EgoServer) -> dict[str, Any]:
    return dict(ego.get("/api/health/ready").json()["checks"]["history"])


@on_postgresql_in_full
def test_a_start_forty_days_ahead_deletes_nothing_and_ego_recovers_by_itself(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], tmp_path: Path
) -> None:
    clock = SteppedClock(tmp_path)
    ego = start_ego(database_settings | clock.settings)
    for age in (3 * HOUR, 2 * HOUR, HOUR, 5 * MINUTE, 0):
        assert ego.post_samples(make_sample("titan", at=true_now() - age, cpu_percent=99.9)).status_code == 202
    id = claimed(ego, "titan", timeoutSeconds=60)
    assert ego.post(f"/api/commands/{id}/result", json={"hostname": "titan", "status": "succeeded"}).ok
    ego.post_samples(make_sample("titan", at=true_now(), cpu_percent=1)).raise_for_status()
    wait_until(
        lambda: ego.rows("SELECT count(*) FROM host_metrics_1m")[0][0] >= 3, 30, what="minutes that are rolled up"
    )
    wait_until(
        lambda: ego.rows("SELECT count(*) FROM alerts WHERE status = 'resolved'")[0][0], 10, what="an alert's end"
    )
    ego.stop()
    before = counts(ego)
    assert all(before.values()), before

    clock.step_to(40 * DAY / 1000)
    ego.start()
    wait_until(lambda: not history_check(ego)["ok"], 20, what="the clock is doubted")
    ego.post_samples(make_sample("titan", at=true_now())).raise_for_status()
    marks = "SELECT closed_until FROM history_tiers WHERE resolution = '1m'"
    ahead = (true_now() + 39 * DAY) // 1000
    wait_until(lambda: ego.rows(marks)[0][0] > ahead, 30, what="the keeper has run by the wrong clock: the fault fired")
    old = true_now() - 30 * HOUR  # past the retention of samples by any clock
    ego.post_samples(make_sample("titan", at=old)).raise_for_status()
    kept = f"SELECT count(*) FROM host_metric_samples WHERE at_second = {old // 1000}"
    wait_until(lambda: not ego.rows(kept)[0][0], 30, what="EGO prunes, and what it prunes is old by the true time")
    assert "960" in history_check(ego)["detail"]
    assert "nothing old is removed" in history_check(ego)["detail"]
    ego.stop()
    after = counts(ego)
    assert all(after[table] >= before[table] for table in TABLES), (before, after)

    clock.step_to(0)
    ego.start()
    assert ego.rows(marks)[0][0] <= true_now() // 1000
    assert "it is set back to now" in ego.log
    assert ego.post_samples(make_sample("titan", at=true_now())).status_code == 202
    wait_until(lambda: history_check(ego)["ok"], 20, what="the clock is believed again")
