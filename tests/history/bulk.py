"""Writes a long history of many hosts into a database, whether its EGO runs or not."""

from __future__ import annotations

import time

from tests.servers import EgoServer

COLUMNS = (
    "at_second, host_id, at_ms, reported_after_ms, received_after_ms, cpu_load, memory_used_percent, swap_used_percent,"
    " load_average, uptime_seconds, cpu_temperature, net_bytes_tx, net_bytes_rx, net_capacity_gbps,"
    " fullest_disk_percent, tx_gbps, rx_gbps"
)
VALUES = "at, id, 0, 0, 20, (at + id) % 100, id % 100, 1.5, 0.5, at % 100000, 40.0, at * 1000, at * 3000, 10.0, 50.0, 0.1, 0.2"
ROWS_AT_ONCE = 200_000


def fill_history(ego: EgoServer, *, hosts: int, rows: int, until: int | None = None, stem: str = "old") -> None:
    """Insert `rows` samples of `hosts` hosts, one a second of each, that end two minutes before `until` (default: now)."""
    is_postgresql = "MIRROR_STAGE_DB_URL" in ego.settings
    last = (until or int(time.time())) - 120
    first = last - rows // hosts
    numbers = (
        f"generate_series(1, {hosts}) AS n(id)"
        if is_postgresql
        else (
            f"(WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {hosts}) SELECT id FROM n) AS n"
        )
    )
    ego.rows(f"INSERT INTO host_metrics (hostname) SELECT '{stem}-' || id FROM {numbers}")
    step = max(1, ROWS_AT_ONCE // hosts)
    for second in range(first, last, step):
        stop = min(second + step, last)
        seconds = (
            f"generate_series(CAST({second} AS bigint), {stop - 1}) AS s(at)"
            if is_postgresql
            else (
                f"(WITH RECURSIVE s(at) AS (SELECT {second} UNION ALL SELECT at + 1 FROM s WHERE at + 1 < {stop})"
                " SELECT at FROM s) AS s"
            )
        )
        chosen = (
            f"(SELECT id FROM host_metrics WHERE substr(hostname, 1, {len(stem) + 1}) = '{stem}-' ORDER BY id) AS h"
        )
        values = VALUES.replace("%", "%%") if is_postgresql else VALUES
        ego.rows(f"INSERT INTO host_metric_samples ({COLUMNS}) SELECT {values} FROM {seconds} CROSS JOIN {chosen}")
