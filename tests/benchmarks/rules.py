"""What judging a sample by the rules costs: `python -m tests.benchmarks.rules`. CPU time, on one core.

The sample is a usual one with three disks, whose values breach no rule. Printed are microseconds a sample for the built-in
rules and for TWENTY rules (selectors, overrides, waits, subjects, several severities), and the ratio to what folding it into
the twin costs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mirror_stage.alerts.domain import HUD, RULES, Rule
from mirror_stage.alerts.judge import Judge
from mirror_stage.alerts.rules import rule_of
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.instants import SECOND
from mirror_stage.metrics.domain import Sample
from mirror_stage.twin.domain import Host, fold
from tests.builders import SetClock, decoded, make_sample

MUST_MICROSECONDS = 5.0
HOSTS, TIMES = 500, 100


def _rule(number: int, **document: Any) -> Rule:
    step = {"severity": "warning", "fire": 90, "resolve": 80}
    return rule_of(f"own_{number}", {"steps": [step]} | document, None, HUD)


TWO = [{"severity": "warning", "fire": 80, "resolve": 70}, {"severity": "critical", "fire": 95, "resolve": 90}]
OWN = (
    _rule(1, measure="cpuLoad", where="tier:edge -tag:env=lab", **{"for": "3m", "resolve_for": "2m"}),
    _rule(2, measure="memoryUsedPercent", where="host:web-*", overrides=[{"where": "host:web-9", "for": "30m"}]),
    _rule(3, measure="swap", no_data="keep"),
    _rule(4, measure="disk.usedPercent", subjects=["*", "!/snap/*"], steps=TWO),
    _rule(5, measure="memoryAvailableBytes", above=False, steps=[{"severity": "warning", "fire": 2**28, "resolve": 2**29}]),
    _rule(6, measure="loadAverage", where="rack:R1,R2"),
    _rule(7, measure="cpuTemperature", where="room:*"),
    _rule(8, measure="rxGbps", where="tier:edge"),
    _rule(9, measure="cpuLoad", where="tag:team=shop"),
    _rule(10, measure="memoryUsedPercent", where="-rack:R9", no_data="keep"),
)  # fmt: skip
TWENTY = (*RULES, *OWN)


def _hosts(clock: SetClock) -> list[Host]:
    tags = {"tier": "edge", "env": "prod", "team": "shop", "room": "Hall 1"}
    disks = [
        {"mountpoint": mount, "device": f"/dev/{n}", "total_bytes": 2**40, "used_bytes": 2**39, "used_percent": 50.0}
        for n, mount in enumerate(("/", "/data", "/var"))
    ]
    hosts = []
    for n in range(HOSTS):
        made = make_sample(
            f"web-{n}", at=clock.now(), rack=f"R{n % 20}", tags=tags, disks=disks, swap_used_percent=3.0, cpu_temperature=50.0,
            memory_available_bytes=2**33,
        )  # fmt: skip
        hosts.append(Host(n, f"web-{n}", "host", (0.0, 0.0, 0.0), sample=decoded(made, received_at=clock.now())[0]))
    return hosts


def microseconds(work: Callable[[Host], object], hosts: list[Host]) -> float:
    """CPU time of one call, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(TIMES // 5):
            for host in hosts:
                work(host)
        best = min(best, time.process_time() - began)
    return best / (HOSTS * (TIMES // 5)) * 1e6


def _judging(rules: tuple[Rule, ...], now: int) -> Callable[[Host], object]:
    judge, alerts = Judge(rules), OpenAlerts()
    return lambda host: judge.judge(host, alerts.of(host.hostname), now, alerts.pending_of(host.hostname))


def main() -> int:
    clock = SetClock()
    hosts = _hosts(clock)
    assert not any(Judge(TWENTY).judge(host, {}, clock.now()) for host in hosts)
    built_in, twenty = (microseconds(_judging(rules, clock.now()), hosts) for rules in (RULES, TWENTY))

    def later(sample: Sample | None) -> Sample:
        assert sample is not None
        return replace(sample, at=sample.at + SECOND, received_at=sample.received_at + SECOND)

    samples = {host.hostname: later(host.sample) for host in hosts}
    folding = microseconds(lambda host: fold(host, samples[host.hostname]), hosts)
    print(
        f"{len(RULES)} built-in rules {built_in:.2f} µs a sample; {len(TWENTY)} rules {twenty:.2f} µs (must: {MUST_MICROSECONDS:g} µs)"
    )
    print(f"ratio to folding the sample ({folding:.2f} µs): {built_in / folding:.2f} and {twenty / folding:.2f}")
    return 0 if twenty <= MUST_MICROSECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
