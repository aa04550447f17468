"""Ten minutes of 500 hosts with a retention of minutes: the file does not grow, and answers do not slow down."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

import pytest

from tests.builders import make_sample
from tests.faults import percentile, print_figures
from tests.servers import EgoServer

HOSTS, A_REQUEST, EVERY_SECONDS, MINUTES = 500, 50, 5, 10
SETTINGS = {
    "MIRROR_STAGE_RETENTION_RAW_HOURS": "0.05",  # three minutes
    "MIRROR_STAGE_RETENTION_1M_DAYS": "0.003",
    "MIRROR_STAGE_RETENTION_15M_DAYS": "0.02",
}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_file_and_the_answers_stay_flat(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str]
) -> None:
    ego = start_ego(database_settings | SETTINGS)
    sizes, p99s, refused = [], [], 0
    started, turn = time.monotonic(), 0
    for _ in range(MINUTES):
        seconds = []
        for _ in range(60 // EVERY_SECONDS):
            time.sleep(max(0.0, started + turn * EVERY_SECONDS - time.monotonic()))
            turn += 1
            for first in range(0, HOSTS, A_REQUEST):
                samples = [
                    make_sample(f"h{n}", net_bytes_tx=turn * 10**6, net_bytes_rx=0, cpu_percent=n % 70)
                    for n in range(first, first + A_REQUEST)
                ]
                asked = time.monotonic()
                refused += ego.post_samples(*samples).status_code != http.client.ACCEPTED
                seconds.append(time.monotonic() - asked)
        sizes.append(size_of(ego))
        p99s.append(percentile(seconds, 99) * 1000)
    print_figures(
        "soak",
        samples=turn * HOSTS,
        refused=refused,
        megabytes=[round(size / 1e6, 1) for size in sizes],
        p99_ms=[round(value) for value in p99s],
        left=ego.rows("SELECT count(*) FROM host_metric_samples")[0][0],
        minutes=ego.rows("SELECT count(*) FROM host_metrics_1m")[0][0],
    )
    assert refused == 0
    assert max(sizes[-3:]) <= 1.15 * max(sizes[4:7])  # the first minutes fill the tiers
    assert sorted(p99s[-4:])[1] <= 2 * max(p99s[1:5]) + 20


def size_of(ego: EgoServer) -> int:
    """Bytes of the database, without SQLite's log, which has its own limit."""
    if "MIRROR_STAGE_DB_URL" in ego.settings:
        return int(ego.rows("SELECT pg_database_size(current_database())")[0][0])
    return (ego.folder / "ego.db").stat().st_size
