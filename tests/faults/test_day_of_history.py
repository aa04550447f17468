"""With a day of samples in the database EGO is back in seconds, and rollups and pruning keep pace beside the ingest.

The full form needs 45 GB for SQLite; `HOURS_OF_HISTORY` makes the day shorter, `SAMPLES_PER_SECOND` the load heavier.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest

from mirror_stage.core.instants import SECOND, from_text
from tests.builders import make_sample
from tests.faults import on_postgresql_in_full, percentile, print_figures, short_and_full
from tests.faults.load import Connection, Probe
from tests.fleet import simulated_fleet
from tests.history.bulk import fill_history_of
from tests.servers import EgoServer, wait_until

READY_SECONDS = 5.0
OVERDUE_SECONDS = 180  # of the history are past their retention at the start
PRUNED_SECONDS = 120  # at the end of the load the oldest sample may be so long past its retention
HOURS = float(os.environ.get("HOURS_OF_HISTORY", "24"))
RATE = int(os.environ.get("SAMPLES_PER_SECOND", "4500"))
KNOWN = "SELECT count(*) FROM host_metrics WHERE at IS NOT NULL"
OLDEST = "SELECT min(at_second) FROM host_metric_samples"
NEWEST = "SELECT max(at_second) FROM host_metric_samples"

# hosts, hours of history at one sample a second, samples a second of the load, seconds of load
FORMS = short_and_full((100, 0.05, 100, 6), (5_000, HOURS, RATE, 150), minutes=180)


@on_postgresql_in_full
@pytest.mark.parametrize("form", FORMS)
def test_a_day_of_many_hosts_delays_no_start_and_house_keeping_keeps_pace(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], form: tuple[int, float, int, int]
) -> None:
    hosts, hours, rate, seconds = form
    ego = start_ego(database_settings | {"MIRROR_STAGE_RETENTION_RAW_HOURS": str(hours)})
    with simulated_fleet(ego, hosts=hosts, rate=max(rate, hosts), commands=False):
        wait_until(lambda: ego.rows(KNOWN)[0][0] >= hosts, 120, what="the whole fleet")
    ego.stop()
    figures: dict[str, object] = {"hosts": hosts, "hours": hours, "database": database_settings or "sqlite"}
    figures["empty_ready_s"] = ready_seconds(ego)
    figures["empty_computing_s"] = empty = ego.cpu_seconds()
    ego.stop()

    began = time.monotonic()
    last = ego.rows(OLDEST)[0][0]
    first = last - int(hours * 3600) - OVERDUE_SECONDS
    figures["rows_before"] = fill_history_of(ego, first=first, last=last)
    figures["filling_s"] = time.monotonic() - began
    for tier, bucket in (("1m", 60), ("15m", 900)):  # as if EGO had rolled all of it up
        done = last // bucket * bucket
        ego.rows("UPDATE history_tiers SET closed_until = ?, done_until = ? WHERE resolution = ?", done, done, tier)
    ego.rows("UPDATE history_tiers SET pruned_until = ? WHERE resolution = 'raw'", first // 60 * 60)
    figures["full_ready_s"] = ready_seconds(ego)
    figures["full_ready_computing_s"] = ego.cpu_seconds()

    for how in ("stopped", "killed"):
        late: list[float] = []
        began = time.time()
        with simulated_fleet(ego, hosts=hosts, rate=rate, commands=False) as fleet:
            wait_until(lambda began=began: ego.rows(NEWEST)[0][0] > began, 60, what="the load has begun")
            with Probe(probing(ego), 0.2) as probed:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    time.sleep(1)
                    late.append(seconds_behind(ego))
                if how == "killed":
                    ego.kill()
                else:
                    figures["stop_s"] = ego.stop()
            figures[f"{how}_samples_per_s"] = fleet.end().result["samplesPerSecond"]
        figures[f"{how}_rollups_behind_s"] = max(late)
        figures[f"{how}_probe_p50_ms"] = percentile(probed.seconds, 50) * 1000
        figures[f"{how}_probe_p99_ms"] = percentile(probed.seconds, 99) * 1000
        figures[f"{how}_overdue_s"] = overdue = int(time.time()) - int(hours * 3600) - ego.rows(OLDEST)[0][0]
        figures[f"{how}_ready_s"] = ready_seconds(ego)
        figures[f"{how}_computing_s"] = computing = ego.cpu_seconds()  # other programs on these cores do not count
        shown = ego.get("/api/twin/state").json()["hosts"]
        assert len(shown) == hosts + 2  # the probe and the hub
        print_figures(how, **figures)
        assert computing <= max(READY_SECONDS, 2 * empty)  # a machine that others use computes more slowly
        assert seconds < OVERDUE_SECONDS / 2 or overdue < PRUNED_SECONDS
    assert "took longer than" not in ego.log, ego.log[-2000:]


def ready_seconds(ego: EgoServer) -> float:
    ego.start(wait=False)
    return ego.wait_ready(120)


def probing(ego: EgoServer) -> Callable[[], None]:
    """A function that posts one sample. It measures how long a commit takes beside the load."""

    def probe() -> None:
        connection = Connection(ego.port)
        try:
            sample = make_sample("probe", at=int(time.time() * SECOND))
            connection.post("/api/metrics/batch", json.dumps({"samples": [sample]}).encode())
        finally:
            connection.close()

    return probe


def seconds_behind(ego: EgoServer) -> float:
    """How many seconds after its end the newest minute that is not rolled up yet waits by now."""
    detail = ego.get("/api/health/ready").json()["checks"]["history"]["detail"]
    return time.time() - from_text(detail.removeprefix("rolled up to ")[:24]) / SECOND - 60
