"""`make bench-history`: a year of 50 hosts in SQLite and PostgreSQL; its size, and how fast queries are."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from mirror_stage.app import create_app
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, to_text
from mirror_stage.history.domain import METRICS, RAW, ROLLUPS, Resolution
from mirror_stage.history.summary import columns_of
from mirror_stage.storage.db import Storage
from mirror_stage.web.services import Services
from tests.servers import PostgresqlServer

HOSTS, EVERY_SECONDS, REPEATED = 50, 5, 7
YEAR_ROWS = {"1m": 30 * 1440, "15m": 365 * 96}  # rows of one host that each tier keeps of a year
HOST_YEAR_MEGABYTES = 15.0
SLICE = {"raw": 3600, "1m": 6 * 3600, "15m": 4 * 86_400}  # seconds that one INSERT fills

# (name, query, the most ms that it may take)
QUESTIONS: list[tuple[str, str, float]] = [
    ("30 days, one host, one metric", "/api/hosts/h7/history?metrics=cpuLoad&from={-30d}", 150),
    ("30 days by minutes, one metric", "/api/hosts/h7/history?metrics=cpuLoad&from={-29.9d}&stepSeconds=300", 1000),
    ("a year, one metric", "/api/hosts/h7/history?metrics=cpuLoad&from={-365d}", 500),
    ("24 hours, all metrics", "/api/hosts/h7/history?from={-24h}", 500),
    ("an hour of samples, all metrics", "/api/hosts/h7/history?from={-1h}", 500),
    ("3 hours of samples, one metric", "/api/hosts/h7/history?metrics=cpuLoad&from={-3h}", 500),
    ("24 hours, 20 hosts, one metric", "/api/history?metrics=cpuLoad&from={-24h}&" + "&".join(f"hostname=h{n}" for n in range(1, 21)), 2000),
    ("24 hours, across all hosts", "/api/history?metrics=cpuLoad&from={-24h}&groupBy=all", 2000),
    ("30 days by hours, across all hosts", "/api/history?metrics=cpuLoad&from={-30d}&stepSeconds=3600&groupBy=rack", 3000),
    ("a year as CSV, all metrics", "/api/hosts/h7/history?from={-365d}&stepSeconds=900&format=csv", 10_000),
]  # fmt: skip


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Flask]:
    """An EGO without a server around it, on this database."""
    app = create_app(config)
    try:
        yield app
    finally:
        app.extensions["mirror_stage"][Storage].close()


def insert_of(resolution: Resolution, dialect: str) -> str:
    """The INSERT of made-up rows between `since` and `until`, all hosts in turn, as they arrive."""
    step = EVERY_SECONDS if resolution is RAW else resolution.seconds
    if dialect == "sqlite":
        number = "abs(random() % 1000)"
        series = (
            f"WITH RECURSIVE instant(at) AS (SELECT :since UNION ALL SELECT at + {step} FROM instant WHERE at + {step} < :until),"
            f" host(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM host WHERE id < {HOSTS})"
        )
        source = "instant CROSS JOIN host"
    else:
        number, series = "(random() * 1000)::int::bigint", ""
        instants = f"generate_series(CAST(:since AS bigint), CAST(:until AS bigint) - 1, {step}) AS instant(at)"
        source = f"{instants} CROSS JOIN generate_series(1, {HOSTS}) AS host(id)"
    if resolution is RAW:
        columns = (
            "at_second, host_id, at_ms, reported_after_ms, received_after_ms, cpu_load, memory_used_percent, swap_used_percent,"
            " load_average, uptime_seconds, cpu_temperature, net_bytes_tx, net_bytes_rx, net_capacity_gbps,"
            " fullest_disk_percent, tx_gbps, rx_gbps"
        )
        share = f"{number} / 10.0"
        values = (
            f"at, id, {number}, 0, 20 + {number}, {share}, {share}, {share}, {number} / 250.0, at / 10.0, 20 + {number} / 20.0,"
            f" at * 1000 + {number}, at * 3000 + {number}, 10.0, {share}, {number} / 700.0, {number} / 700.0"
        )
        return f"INSERT INTO {resolution.table} ({columns}) {series} SELECT {values} FROM {source}"
    samples = resolution.seconds // EVERY_SECONDS
    summaries = []
    for metric in METRICS:
        base = metric.scale if metric.most else min(metric.scale, 1000) * 10
        summaries += [f"{number} * {base} / 2000", f"{base} / 2 + {number} * {base} / 2000"]
        summaries += [f"({base} / 4 + {number} * {base} / 2000) * {samples}", "NULL"]
    values = ", ".join(("id", "at", str(samples), *summaries))
    columns = ", ".join(columns_of())
    return f"INSERT INTO {resolution.table} ({columns}) {series} SELECT {values} FROM {source} WHERE true"


def fill(ego: Services, resolution: Resolution, days: float, say: Callable[[str], None]) -> int:
    """Insert made-up rows up to a minute ago; the number of rows."""
    dialect = "postgresql" if ego[Storage].is_postgresql else "sqlite"
    statement = text(insert_of(resolution, dialect))
    until = ego[Clock].now() // 1000 // 900 * 900
    first, rows = until - int(days * 86_400), 0
    for since in range(first, until, SLICE[resolution.name]):
        span = {"since": since, "until": min(until, since + SLICE[resolution.name])}
        rows += ego[Storage].write(lambda tx, span=span: tx.execute(statement, span).rowcount)  # type: ignore[misc]
        say(f"{resolution.name}: {rows:,} rows")
    return rows


def size_of(ego: Services) -> int:
    """Bytes on the disk."""
    if ego[Storage].is_postgresql:
        tables = " + ".join(f"pg_total_relation_size('{resolution.table}')" for resolution in (RAW, *ROLLUPS))
        return int(ego[Storage].read(lambda tx: tx.execute(text(f"SELECT {tables}")).scalar()) or 0)
    engine = ego[Storage].engine
    assert engine is not None
    with engine.connect().execution_options(reading=True) as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ego[Config].sqlite_path.stat().st_size


def ask(app: Flask, question: str) -> tuple[float, int]:
    """(the fewest milliseconds of some requests, the size of the answer in bytes)."""
    ego: Services = app.extensions["mirror_stage"]
    now = ego[Clock].now()
    while "{-" in question:
        before, _, rest = question.partition("{-")
        ago, _, after = rest.partition("}")
        question = before + to_text(now - int(float(ago[:-1]) * {"h": HOUR, "d": DAY}[ago[-1]])) + after
    took, size = [], 0
    for _ in range(REPEATED):
        started = time.perf_counter()
        answer = app.test_client().get(question)
        size = len(answer.get_data())
        took.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 200, answer.get_data(as_text=True)[:300]
    return statistics.median(took), size


def measure(name: str, config: Config, days: float) -> bool:
    """Fill a database, then print its size and how fast it answers. Returns whether every limit is held."""
    is_held = True

    def say(line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {line:<60}", end="", file=sys.stderr, flush=True)

    with opened(config) as app:
        ego: Services = app.extensions["mirror_stage"]
        hosts = ", ".join(f"({n}, 'h{n}', 'R{n % 5}', 0, 0, 0)" for n in range(1, HOSTS + 1))
        columns = "id, hostname, rack, place_x, place_y, place_z"
        ego[Storage].write(lambda tx: tx.execute(text("DELETE FROM host_metrics")))
        ego[Storage].write(lambda tx: tx.execute(text(f"INSERT INTO host_metrics ({columns}) VALUES {hosts}")))
        empty = size_of(ego)
        raw = fill(ego, RAW, min(days, 1), say)
        with_raw = size_of(ego)
        per_host_year = 0.0
        for resolution in ROLLUPS:
            before = size_of(ego)
            rows = fill(ego, resolution, min(days, 30 if resolution.name == "1m" else 365), say)
            per_row = (size_of(ego) - before) / rows
            per_host_year += per_row * YEAR_ROWS[resolution.name] / 1e6
            print(f"\r{name}: {resolution.name}: {rows:,} rows, {per_row:.0f} bytes a row" + " " * 20)
        if ego[Storage].is_postgresql:
            for table in (RAW.table, *(resolution.table for resolution in ROLLUPS)):
                ego[Storage].write(
                    lambda tx, table=table: tx.execute(text(f"SET LOCAL statement_timeout = 0; ANALYZE {table}"))
                )  # type: ignore[misc]
        until = ego[Clock].now() // 1000 // 900 * 900
        ego[Storage].write(
            lambda tx: tx.execute(text("UPDATE history_tiers SET closed_until = :at, done_until = :at"), {"at": until})
        )
        limit = "" if ego[Storage].is_postgresql else f" (at most {HOST_YEAR_MEGABYTES:g})"
        is_held &= ego[Storage].is_postgresql or per_host_year <= HOST_YEAR_MEGABYTES
        print(
            f"{name}: {(with_raw - empty) / raw:.0f} bytes a raw sample; {per_host_year:.1f} MB a host-year of rollups{limit}"
        )
        for label, question, most in QUESTIONS:
            took, size = ask(app, question)
            is_held &= took <= most
            print(f"{name}: {label:<36} {took:8.1f} ms (at most {most:g}), {size / 1000:,.0f} kB")
    return is_held


def main() -> int:
    """Return 0 if every limit is held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=365, help="of rollups (default 365); fewer for a try")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    chosen = parser.parse_args()
    is_held = True
    if chosen.only != "postgresql":
        with tempfile.TemporaryDirectory(prefix="mirror-stage-bench-") as folder:
            is_held &= measure("sqlite", Config(sqlite_path=Path(folder) / "ego.db"), chosen.days)
    if chosen.only != "sqlite":
        server = PostgresqlServer().start()
        try:
            is_held &= measure("postgresql", Config(db_url=server.new_database()), chosen.days)
        finally:
            server.remove()
    print("every limit is held" if is_held else "a limit is NOT held")
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
