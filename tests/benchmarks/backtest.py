"""How long a back-test takes: `python -m tests.benchmarks.backtest`. 30 days of 2,000 hosts, made in SQL, on SQLite.

Each host breaches the rule every five days: in one quarter of an hour of five hundred, for ten minutes, noisily. Quarters are there
for all hosts, minutes where a back-test reads them. Printed are the seconds of three rules, and the longest time that the event
loop waited meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gevent
from gevent import monkey
from sqlalchemy import create_engine, text

from mirror_stage.alerts import models as _alerts  # noqa: F401  (its tables)
from mirror_stage.alerts.domain import HUD, Rule
from mirror_stage.alerts.rules import rule_of
from mirror_stage.backtest.service import BackTest
from mirror_stage.core.config import Config
from mirror_stage.core.instants import MINUTE, SECOND
from mirror_stage.history.domain import METRICS
from mirror_stage.history.summary import columns_of
from mirror_stage.storage.db import Base, Storage, engine_options
from mirror_stage.twin import models as _twin  # noqa: F401  (its tables)
from mirror_stage.twin.domain import Limits
from tests.builders import SetClock

MUST_SECONDS, MUST_STALL_SECONDS = 10.0, 0.02
NOW = SetClock().now() // 900_000 * 900
HOT = "(h.id * 7919 + q.n * 31) % 500 = 7"
AFTER_HOT = "(h.id * 7919 + (q.n - 1) * 31) % 500 = 7"


def fill(storage: Storage, hosts: int, days: int) -> None:
    """Store the hosts, their quarters, and the minutes of the hot quarters and of those after them."""
    quarters = days * 96
    first = NOW - quarters * 900
    columns = ", ".join(columns_of())
    of_host = "INSERT INTO host_metrics (id, hostname, first_seen_at, at) SELECT id, 'host-' || id, 1, 1 FROM"
    ids = (
        f"(WITH RECURSIVE h(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM h WHERE id < {hosts}) SELECT id FROM h) AS h"
    )
    each = f"(WITH RECURSIVE q(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM q WHERE n + 1 < {quarters}) SELECT n FROM q) AS q"
    minutes = "(WITH RECURSIVE m(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM m WHERE k < 14) SELECT k FROM m) AS m"

    def values(least: str, most: str) -> str:
        units = [
            f"({least}) * 10, ({most}) * 10, (({least}) + ({most})) * 5 * s, NULL"
            if one.name == "cpuLoad"
            else "100, 200, 1800, NULL"
            for one in METRICS
        ]
        return ", ".join(units)

    least, most = f"CASE WHEN {HOT} THEN 20 ELSE 10 END", f"CASE WHEN {HOT} THEN 91 ELSE 40 + q.n % 9 END"
    noisy = (
        f"CASE WHEN {HOT} AND m.k < 10 THEN 62 + m.k * 3 ELSE 12 END",
        f"CASE WHEN {HOT} AND m.k < 10 THEN 91 ELSE 45 END",
    )
    assert storage.engine is not None
    with storage.engine.begin() as tx:
        for statement in (
            f"{of_host} {ids}",
            f"INSERT INTO host_metrics_15m ({columns}) SELECT h.id, {first} + q.n * 900, 180, {values(least, most).replace('* s', '* 180')}"
            f" FROM {ids} CROSS JOIN {each}",
            f"INSERT INTO host_metrics_1m ({columns}) SELECT h.id, {first} + q.n * 900 + m.k * 60, 12, {values(*noisy).replace('* s', '* 12')}"
            f" FROM {ids} CROSS JOIN {each} CROSS JOIN {minutes} WHERE {HOT} OR {AFTER_HOT}",
            f"INSERT INTO history_tiers VALUES ('1m', {NOW}, {NOW}, 0, 0), ('15m', {NOW}, {NOW}, 0, 0)",
        ):
            tx.execute(text(statement))


def own(**document: Any) -> Rule:
    step = {"severity": "warning", "fire": 80, "resolve": 70}
    return rule_of("own", {"measure": "cpuLoad", "steps": [step]} | document, None, HUD)


def measured(storage: Storage, rule: Rule, days: int) -> tuple[float, float, float, dict[str, Any]]:
    """(seconds, seconds of CPU, the longest stall of the event loop, the answer) of a back-test."""
    clock: Any = SetClock(NOW * SECOND)
    stalls, is_over = [0.0], False

    def beat() -> None:
        while not is_over:
            before = time.perf_counter()
            gevent.sleep(0.001)
            stalls.append(time.perf_counter() - before - 0.001)

    beating = gevent.spawn(beat)
    began, cpu = time.perf_counter(), time.process_time()
    found = BackTest(storage, clock, Limits(15 * SECOND, MINUTE), hub="hub", ego="ego").run(rule, days)
    took, cpu, is_over = time.perf_counter() - began, time.process_time() - cpu, True
    beating.join()
    return took, cpu, max(stalls), found


def main() -> int:
    monkey.patch_all()
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=30)
    chosen = parser.parse_args()
    is_well = True
    with tempfile.TemporaryDirectory() as folder:
        config = Config(sqlite_path=Path(folder) / "ego.db")
        storage = Storage(config)
        engine = create_engine(config.database_url, **engine_options(config))  # type: ignore[arg-type]
        storage.open(engine)
        Base.metadata.create_all(engine)
        fill(storage, chosen.hosts, chosen.days)
        gc.collect()
        gc.freeze()  # as EGO does at its start
        print(f"{chosen.hosts} hosts x {chosen.days} days, {config.sqlite_path.stat().st_size / 1e6:,.0f} MB")
        for name, rule in (
            ("every five days on each host", own()),
            ("the same with a wait", own(**{"for": "3m", "resolve_for": "2m"})),
            ("never", own(steps=[{"severity": "warning", "fire": 99, "resolve": 90}])),
        ):
            took, cpu, stall, found = measured(storage, rule, chosen.days)
            is_well &= took <= MUST_SECONDS and stall <= MUST_STALL_SECONDS and found["complete"]
            print(
                f"{name}: {took:.2f} s (must: {MUST_SECONDS:g}), {cpu:.2f} s of CPU, stall {stall * 1000:.0f} ms (must: {MUST_STALL_SECONDS * 1000:g}),"
                f" {found['total']} stretches, complete: {found['complete']}"
            )
        storage.close()
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
