"""Writes a long history of many hosts into a database, whether its EGO runs or not."""

from __future__ import annotations

import contextlib
import sqlite3
import time

import psycopg

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


def fill_history_of(ego: EgoServer, *, first: int, last: int) -> int:
    """Insert a sample of every known host for each second from `first` to before `last`; the number of rows.

    EGO must not run. It is quick: a crash meanwhile would spoil the database.
    """
    url, rows = ego.settings.get("MIRROR_STAGE_DB_URL"), 0
    known = "SELECT id FROM host_metrics WHERE at IS NOT NULL ORDER BY id"
    with contextlib.ExitStack() as stack:
        if url:
            connection = stack.enter_context(psycopg.connect(url, autocommit=True))
            connection.execute("SET synchronous_commit = off")
            series = "generate_series(CAST({0} AS bigint), {1} - 1) AS s(at)"
        else:
            opened = sqlite3.connect(ego.environment["MIRROR_STAGE_SQLITE_PATH"], isolation_level=None)
            connection = stack.enter_context(contextlib.closing(opened))  # type: ignore[assignment]
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
                connection.execute(f"PRAGMA {pragma}")  # type: ignore[arg-type]
            series = "(WITH RECURSIVE s(at) AS (SELECT {0} UNION ALL SELECT at + 1 FROM s WHERE at + 1 < {1}) SELECT at FROM s) AS s"
        for second in range(first, last, 100):
            seconds = series.format(second, min(second + 100, last))
            insert = (
                f"INSERT INTO host_metric_samples ({COLUMNS}) SELECT {VALUES} FROM {seconds} CROSS JOIN ({known}) AS h"
            )
            rows += connection.execute(insert).rowcount  # type: ignore[arg-type]
        if url:
            connection.execute("ANALYZE host_metric_samples")
    return rows
