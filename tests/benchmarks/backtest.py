"""How long a back-test takes: `python -m tests.benchmarks.backtest`. 30 days of 2,000 hosts, made in SQL, on SQLite.

Each host breaches the rule every five days: in one quarter of an hour of five hundred, for ten minutes, noisily. Quarters are there
for all hosts, minutes where a back-test reads them. Printed are the seconds of three rules, and of a preview of each; the longest time
that the event loop waited meanwhile; and the CPU time of the longest piece, which other programs on the machine do not change.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gevent
from gevent import monkey
from sqlalchemy import create_engine, text

from mirror_stage.alerts import models as _alerts  # noqa: F401  (its tables)
from mirror_stage.alerts.domain import HUD, RULES, Rule
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.rules import rule_of
from mirror_stage.backtest.service import BackTest
from mirror_stage.core.config import Config
from mirror_stage.core.instants import MINUTE, SECOND
from mirror_stage.history.domain import METRICS
from mirror_stage.history.summary import columns_of
from mirror_stage.storage.db import Base, Storage, engine_options
from mirror_stage.twin import models as _twin  # noqa: F401  (its tables)
from mirror_stage.twin.domain import Host, Limits
from mirror_stage.twin.state import Twin
from tests.builders import SetClock, decoded, make_sample

MUST_SECONDS, MUST_STALL_SECONDS, MUST_PREVIEW_SECONDS = 10.0, 0.02, 0.3
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


STEP = {"severity": "warning", "fire": 80, "resolve": 70}


def own(**document: Any) -> Rule:
    return rule_of("own", {"measure": "cpuLoad", "steps": [STEP]} | document, None, HUD)


class Measured(NamedTuple):
    """Seconds, seconds of CPU, the longest stall of the event loop in seconds and in seconds of CPU, and the answer."""

    took: float
    cpu: float
    stall: float
    piece: float
    found: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"{self.cpu:.2f} s of CPU, stall {self.stall * 1000:.0f} ms (must: {MUST_STALL_SECONDS * 1000:g}),"
            f" {self.piece * 1000:.0f} ms of CPU"
        )


def measured(work: Callable[[], dict[str, Any]]) -> Measured:
    stalls, pieces, is_over = [0.0], [0.0], False

    def beat() -> None:
        while not is_over:
            before, used = time.perf_counter(), time.thread_time()
            gevent.sleep(0.001)
            stalls.append(time.perf_counter() - before - 0.001)
            pieces.append(time.thread_time() - used)

    beating = gevent.spawn(beat)
    gevent.sleep(0)
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    took, cpu, is_over = time.perf_counter() - began, time.process_time() - cpu, True
    beating.join()
    return Measured(took, cpu, max(stalls), max(pieces), found)


def live(hosts: int) -> list[Host]:
    """The hosts as the twin has them, each tenth of them breaching."""
    twin = Twin(hub="hub", hub_ip="10.0.0.1", ego="ego", stale_after_seconds=15, offline_after_seconds=60)
    for number in range(1, hosts + 1):
        name = f"host-{number}"
        twin.add(number, name, (0.0, 0.0, 0.0))
        at = NOW * SECOND
        tags = {"tier": "edge" if number % 2 else "db", "rack": f"R{number % 40}"}
        (sample,) = decoded(
            make_sample(name, at=at, cpu_percent=91 if number % 10 == 0 else 40, tags=tags), received_at=at
        )
        twin.fold(sample)
    return list(twin.hosts_by_name.values())


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
        clock: Any = SetClock(NOW * SECOND)
        backtest = BackTest(storage, clock, Limits(15 * SECOND, MINUTE), hub="hub", ego="ego")
        book = RuleBook(storage, clock, RULES, tell=lambda _at: None)
        gc.collect()
        gc.freeze()  # as EGO does at its start
        print(f"{chosen.hosts} hosts x {chosen.days} days, {config.sqlite_path.stat().st_size / 1e6:,.0f} MB")
        for name, rule in (
            ("every five days on each host", own()),
            ("the same with a wait", own(**{"for": "3m", "resolve_for": "2m"})),
            ("never", own(steps=[{"severity": "warning", "fire": 99, "resolve": 90}])),
        ):
            one = measured(partial(backtest.run, rule, chosen.days))
            is_well &= one.took <= MUST_SECONDS and one.stall <= MUST_STALL_SECONDS and one.found["complete"]
            print(
                f"{name}: {one.took:.2f} s (must: {MUST_SECONDS:g}), {one}, {one.found['total']} stretches, complete: {one.found['complete']}"
            )
        twin, document = live(chosen.hosts), {"measure": "cpuLoad", "steps": [STEP]}
        for name, said in (
            ("preview", {}),
            ("preview by the minute", {"where": "tier:edge -host:host-1*", "every": "minute"}),
        ):
            one = measured(partial(book.preview, document | said, twin))
            is_well &= one.took <= MUST_PREVIEW_SECONDS and one.stall <= MUST_STALL_SECONDS
            print(
                f"{name}: {one.took * 1000:.0f} ms (must: {MUST_PREVIEW_SECONDS * 1000:g}), {one}, {one.found['total']} of {one.found['hosts']} hosts"
            )
        storage.close()
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
