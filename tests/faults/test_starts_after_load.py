"""EGO starts and cleans up in time with a long history, after a clean stop and after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults import on_postgresql_in_full, percentile, print_figures, short_and_full
from tests.faults.load import Connection, Probe
from tests.fleet import simulated_fleet
from tests.history.bulk import fill_history
from tests.servers import EgoServer, wait_until

READY_SECONDS = 5.0
KNOWN = "SELECT count(*) FROM host_metrics WHERE at IS NOT NULL"
NEWEST = "SELECT max(at_second) FROM host_metric_samples"

# hosts, samples a second, seconds of load, samples that are stored before
FORMS = short_and_full((200, 200, 3, 50_000), (5_000, 12_000, 150, 30_000_000))


@on_postgresql_in_full
@pytest.mark.parametrize("form", FORMS)
def test_ego_is_back_in_seconds_after_a_stop_and_after_a_kill_under_load(
    start_ego: Callable[..., EgoServer],
    database_settings: dict[str, str],
    form: tuple[int, int, int, int],
) -> None:
    hosts, rate, seconds, before = form
    ego = start_ego(database_settings)
    fill_history(ego, hosts=hosts, rows=before)
    figures: dict[str, object] = {"hosts": hosts, "rows_before": before}
    probe_body = iter(range(10**9))

    def probe() -> None:
        connection = Connection(ego.port)
        try:
            at = int(time.time() * 1000)
            sample = (
                f'"hostname":"probe","timestamp":"{_text(at)}","load_average":0.1,"uptime_seconds":{next(probe_body)}'
            )
            body = (
                f'{{"samples":[{{{sample},"cpu_load":1,"memory_used_percent":2,"agent_version":"1","platform":"x"}}]}}'
            )
            assert connection.post("/api/metrics/batch", body.encode()).status == 202
        finally:
            connection.close()

    for how in ("stopped", "killed"):
        began = time.time()
        with simulated_fleet(ego, hosts=hosts, rate=rate, commands=False) as fleet:
            wait_until(lambda: ego.rows(KNOWN)[0][0] >= hosts, 120, what="the whole fleet")
            wait_until(lambda began=began: ego.rows(NEWEST)[0][0] > began, 60, what="the load has begun")
            with Probe(probe, every=0.2) as probed:
                time.sleep(seconds)
            check = ego.get("/api/health/ready").json()["checks"]["history"]
            if how == "killed":
                ego.kill()
            else:
                figures["stop_s"] = ego.stop()
            figures[f"{how}_samples_per_s"] = fleet.end().result["samplesPerSecond"]
        ego.start(wait=False)
        figures[f"{how}_ready_s"] = ego.wait_ready(120)
        figures[f"{how}_computing_s"] = computing = ego.cpu_seconds()  # other programs on these cores do not count
        figures[f"{how}_probe_p50_ms"] = percentile(probed.seconds, 50) * 1000
        figures[f"{how}_probe_p99_ms"] = percentile(probed.seconds, 99) * 1000
        figures[f"{how}_history"] = check["detail"]
        assert not probed.failures, probed.failures[:3]
        shown = {host["hostname"]: host for host in ego.get("/api/twin/state").json()["hosts"]}
        assert len(shown) == hosts + 2  # the probe and the hub
        assert computing <= READY_SECONDS, figures
    figures["samples"] = ego.rows("SELECT count(*) FROM host_metric_samples")[0][0]
    print_figures("starts after load", **figures)
    assert "took longer than" not in ego.log, ego.log[-2000:]


def _text(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at / 1000)) + f".{at % 1000:03d}Z"
