"""How fast EGO accepts samples on each engine, what that costs, and whether each case reaches its limit and its aim.

Each case has an EGO of its own. All hosts are known before the measurement. The fleet and the viewers compute on
the same machine: read CPU seconds and ratios rather than rates, and see that the fleet's own share stays below a core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.engines import ENGINES, Engines
from tests.faults.browsers import GoodBrowser
from tests.fleet import simulated_fleet
from tests.servers import EgoServer

SECONDS = 8
SEED_SECONDS = 3
VIEWERS = 10


@dataclass(frozen=True)
class Goal:
    """The limit and the aim of a figure: at least these with `at_least` (rates), else at most these."""

    must: float
    aim: float
    at_least: bool = False

    def verdict(self, figure: float) -> str:
        """`aim`, `must` or `MISSED`, whichever is reached."""
        reached = [name for name, bound in (("must", self.must), ("aim", self.aim)) if self._holds(figure, bound)]
        return reached[-1] if reached else "MISSED"

    def _holds(self, figure: float, bound: float) -> bool:
        return figure >= bound if self.at_least else figure <= bound


@dataclass(frozen=True)
class Case:
    """One load: hosts, samples in a request, connections, requests a second (None: as fast as answers come)."""

    name: str
    hosts: int
    batch: int
    connections: int
    goals: dict[str, Goal]
    requests_per_second: float | None = None
    viewers: int = 0
    loses_to: str | None = None  # the case whose rate this one is compared with
    loss: Goal = Goal(15, 5)  # percent


ONE_BY_ONE = {"samples/s": Goal(1_500, 2_500, at_least=True), "p99 ms": Goal(25, 15)}
BATCHES = {"samples/s": Goal(8_000, 16_000, at_least=True), "p99 ms": Goal(100, 100), "CPU-s/1,000": Goal(0.11, 0.06)}
OPEN_LOOP = {"p99 ms": Goal(25, 10), "core %": Goal(30, 20)}

CASES = (
    Case("1 a request, 10 hosts", 10, 1, 16, ONE_BY_ONE),
    Case("1 a request, 100 hosts", 100, 1, 16, ONE_BY_ONE),
    Case("1 a request, 1,000 hosts", 1_000, 1, 16, ONE_BY_ONE),
    Case("1 a request, 5,000 hosts", 5_000, 1, 16, {}, loses_to="1 a request, 10 hosts"),
    Case("batch 100, 1,000 hosts", 1_000, 100, 4, BATCHES),
    Case("the same, 10 viewers", 1_000, 100, 4, {}, viewers=VIEWERS, loses_to="batch 100, 1,000 hosts"),
    Case("200 requests/s, 10 viewers", 1_000, 1, 16, OPEN_LOOP, requests_per_second=200, viewers=VIEWERS),
)
COLUMNS = ("samples/s", "p50 ms", "p99 ms", "CPU-s/1,000", "core %", "fleet's core %", "refused")


def measure(case: Case, ego: EgoServer) -> dict[str, float]:
    """The figures of a case, by the names of COLUMNS."""
    with simulated_fleet(ego, hosts=case.hosts, batch=100, rate="max", seconds=SEED_SECONDS, commands=False) as seed:
        seed.wait(SEED_SECONDS + 30)
    rate = "max" if case.requests_per_second is None else case.requests_per_second * case.batch
    with viewers(ego, case.viewers):
        cpu_before = ego.cpu_seconds()
        options = {"batch": case.batch, "concurrency": case.connections, "rate": rate, "seconds": SECONDS}
        with simulated_fleet(ego, hosts=case.hosts, commands=False, **options) as fleet:
            result = fleet.wait(SECONDS + 30).result
        cpu_seconds = ego.cpu_seconds() - cpu_before
    return {
        "samples/s": result["samplesPerSecond"],
        "p50 ms": result["latencyMs"]["p50"],
        "p99 ms": result["latencyMs"]["p99"],
        "CPU-s/1,000": 1_000 * cpu_seconds / result["accepted"],
        "core %": 100 * cpu_seconds / result["seconds"],
        "fleet's core %": 100 * result["cpuShare"],
        "refused": result["refused"] + result["unanswered"] + result["skipped"],
    }


@contextlib.contextmanager
def viewers(ego: EgoServer, count: int) -> Iterator[None]:
    """Run `count` browsers that read every full frame."""
    browsers = [GoodBrowser(ego.port) for _ in range(count)]
    try:
        yield
    finally:
        for browser in browsers:
            browser.close()


def verdicts(case: Case, figures: dict[str, float], rates: dict[str, float]) -> list[str]:
    """Which goals the case reaches, in words."""
    found = [f"{name} {goal.verdict(figures[name])}" for name, goal in case.goals.items()]
    if case.loses_to is not None:
        loss = 100 * (1 - figures["samples/s"] / rates[case.loses_to])
        found.append(f"loses {loss:.0f} % {case.loss.verdict(loss)}")
    return found


def main() -> int:
    """Measure the cases on the engines, print a table, and write JSON if `--json` names a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="?", default="", help="only the cases whose names contain these words")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args()
    print(f"{'':42}" + "".join(f"{column:>16}" for column in COLUMNS))
    measured: list[dict[str, Any]] = []
    with Engines() as engines:
        for engine in asked.engine or ENGINES:
            rates: dict[str, float] = {}
            for case in wanted(asked.words):
                with engines.ego(engine) as ego:
                    figures = measure(case, ego)
                rates[case.name] = figures["samples/s"]
                found = verdicts(case, figures, rates)
                measured.append({"engine": engine, "case": case.name, "figures": figures, "verdicts": found})
                cells = "".join(f"{figures[name]:>16,.{3 if name.startswith('CPU') else 1}f}" for name in COLUMNS)
                print(f"{engine + ': ' + case.name:42}{cells}   {' · '.join(found)}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1))
    return 0


def wanted(words: str) -> list[Case]:
    """The cases whose names contain these words, and those that they are compared with."""
    compared = {case.loses_to for case in CASES if words in case.name}
    return [case for case in CASES if words in case.name or case.name in compared]


if __name__ == "__main__":
    sys.exit(main())
