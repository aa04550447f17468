"""Recorded machines with random odd values, from the collector through the wire into the twin.

Whatever a machine or an agent says: no host is silenced, no rate is above the capacity, and no alert is left open.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror_stage.alerts.domain import HOST_OFFLINE, Rule
from mirror_stage.alerts.measures import RULE_MEASURES
from mirror_stage.core.instants import SECOND, to_text
from mirror_stage.core.problems import Invalid
from mirror_stage.metrics.decoder import SAMPLE_BYTES_MAX, decode_batch
from mirror_stage.metrics.domain import Receipt, stamp
from mirror_stage.metrics.importance import DIAGNOSTICS_MAX
from mirror_stage.reflector import collector as module
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.parts import Parts
from mirror_stage.twin.domain import Host, Status
from tests.faults import print_figures
from tests.pipeline.conftest import Bench
from tests.reflector.recorded import MACHINES, RecordedMachine, names
from tests.reflector.test_odd_machines import QUICK, AtOnce, OddMachine, odd

EVERY_SECONDS = 10
FOLLOWED_AFTER = 8  # samples: a rival that holds the name must be silent for a minute
SETTLED_AFTER = 32  # more of them: a rival is forgotten after 5 minutes, and its alert ends 30 s later
SILENT_SECONDS = 75
CLOCKS_OFF = [-5e9, -86_400.0, -3_600.0, -301.0, -299.0, -7.0, 0.5, 299.0, 301.0, 86_400.0, 5e8, 4e9]
UPTIMES = [0.0, 1.0, 59.0, 3_600.0, 777_600.0, 4.3e9]
ODD_SAMPLES_MAX = 5
COUNTED: Counter[str] = Counter()  # examples and odd samples so far; the long search prints them


# What an agent may say rightly or wrongly, and what raises alerts or gives wrong rates if it is believed.
ALARMING: dict[str, list[Any]] = {
    "cpu_load": [99.0, 75.0, 25_600.0],
    "memory_used_percent": [96.0, 85.0, 100.0],
    "swap_used_percent": [98.0, 87.0, None],
    "cpu_temperature": [95.0, 80.0, 127.0, None],
    "gpu_temperature": [95.0, 75.0, -128.0],
    "disks": [[{"mountpoint": mount, "used_percent": used}] for mount in ("/", "/srv") for used in (91, 98, 100)]
    + [[]],
    "net_bytes_tx": [0, 10**9, 10**12, 10**15, 2**53 - 1, None],
    "net_bytes_rx": [0, 10**9, 10**12, 10**15, 2**53 - 1, None],
    "uptime_seconds": UPTIMES,
    "primary_interface": ["eth0", "bond0", "tun0"],
    "primary_interface_speed_mbps": [0, 10, 1_000, 400_000],
    "tags": [{"link_speed_mbps": text} for text in ("0.001", "10", "1000", "-1", "fast")],
    "agent_version": ["other/2"],
    "agent_instance": ["another"],
    "ip": ["10.9.8.7"],
    "interval_seconds": [0.01, 60, 3_600, 1e9],
    "timestamp": ["1970-01-01T00:00:09Z", "2025-11-01T12:20:00Z", "2025-11-01T12:31:00Z", "2099-12-31T23:59:59Z"],
}


class LivingMachine(OddMachine):
    """An odd machine on which time passes. Before each sample its clock and its uptime may jump, and its clock may stop."""

    def __init__(self, folder: Path, data: st.DataObject, seconds: Callable[[], float]) -> None:
        super().__init__(folder, data)
        self._draw, self._seconds, self._began_at = data.draw, seconds, seconds()
        self._stopped_at: float | None = None
        self.jump()

    def jump(self) -> None:
        if self._stopped_at is not None and self._draw(st.booleans()):
            return  # the clock still stands
        self._off = self._draw(st.sampled_from(CLOCKS_OFF)) if self._draw(st.booleans()) else 0.0
        self._up = self._draw(st.sampled_from(UPTIMES)) if self._draw(st.booleans()) else None
        self._stopped_at = self._seconds() if self._draw(st.booleans()) else None

    def wall(self) -> float:
        return (self._stopped_at or self._seconds()) + self._off

    def now(self) -> float:
        return super().now() + self._seconds() - self._began_at

    def since_boot(self) -> float:
        return super().since_boot() + self._seconds() - self._began_at if self._up is None else self._up


class Network:
    """One EGO, and one machine that reports to it."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self._began_at = bench, bench.clock.now()
        collector = collector_of(RecordedMachine(MACHINES / name))
        collector.sample()
        self._usual = collector.sample()

    def restart(self) -> None:
        """EGO ends and starts again."""
        self.bench = self.bench.again()

    def seconds(self) -> float:
        return self.bench.clock.now() / SECOND

    @property
    def host(self) -> Host:
        return self.bench.twin.hosts_by_name[self._usual["hostname"]]

    def healthy(self) -> dict[str, Any]:
        """A sample of the machine as it is when nothing is odd."""
        now = self.bench.clock.now()
        passed = (now - self._began_at) / SECOND
        sent = {name: self._usual.get(name, 0) + int(1_000 * passed) for name in ("net_bytes_tx", "net_bytes_rx")}
        return (
            self._usual | sent | {"timestamp": to_text(now), "uptime_seconds": self._usual["uptime_seconds"] + passed}
        )

    def post(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a sample. Returns the reasons why EGO refuses it; none if it is stored."""
        try:
            batch = decode_batch(json.dumps({"samples": [sample]}).encode())
        except Invalid as why:
            return [{"message": why.detail}]  # Infinity and NaN are no JSON
        if not batch.errors:
            [receipt] = self.bench.edge.commit([stamp(batch.samples, self.bench.clock.now())])
            assert receipt == Receipt(1, 0) or receipt == Receipt(1, 1)
            self.show()
        return batch.errors

    def report(self, samples: int) -> None:
        """So many healthy samples."""
        for _ in range(samples):
            self.pass_by(EVERY_SECONDS)
            assert self.post(self.healthy()) == []

    def pass_by(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)
        self.bench.elapsed_seconds += 1  # EGO sweeps each second; only the last sweep matters here
        self.show()

    def show(self) -> None:
        """Sweep, record and make a frame, as the scheduler does, and check what browsers see."""
        self.bench.owner.sweep()
        self.bench.saver.record()
        self.bench.owner.tick()
        for link in orjson.loads(self.bench.frames.body())["links"]:
            assert 0 <= link["utilization"] <= 1
            assert max(link["rxGbps"], link["txGbps"]) <= most_believed(link["capacityGbps"])

    def open_alerts(self) -> set[str]:
        return {alert.metric for alert in self.bench.open_alerts.of(self.host.hostname).values()}


def collector_of(machine: RecordedMachine) -> Collector:
    return Collector(machine=machine, parts=Parts(AtOnce), interval_seconds=5, agent_instance="0d1f")


def most_believed(capacity_gbps: float | None) -> float:
    return 800 if capacity_gbps is None else 2 * capacity_gbps


def as_another_agent(sample: dict[str, Any], data: st.DataObject) -> tuple[dict[str, Any], bool]:
    """The sample as an agent of another make may send it, and whether EGO must take it: no strict field is malformed."""
    lists = [name for name in DIAGNOSTICS_MAX if sample.get(name)]
    kind = data.draw(st.sampled_from(["alarming", "alarming", "diagnostics" if lists else "alarming", "anything"]))
    if kind == "anything":
        name = data.draw(st.sampled_from(sorted(sample)))
        return sample | {name: odd(sample[name], data)}, False
    if kind == "diagnostics":
        name = data.draw(st.sampled_from(lists))
        entries = odd(sample[name], data)
        if isinstance(entries, list):
            entries = entries * data.draw(st.sampled_from([1, 1, 30]))
        sample = sample | {name: entries}
    else:
        for name in data.draw(st.lists(st.sampled_from(sorted(ALARMING)), min_size=1, max_size=3, unique=True)):
            sample = sample | {name: data.draw(st.sampled_from(ALARMING[name]))}
    return sample, is_of_the_form(sample)


def is_of_the_form(sample: dict[str, Any]) -> bool:
    """Whether a sample is JSON, which NaN is not, without a number beyond the range of a float, and no larger than EGO takes."""
    try:
        text = json.dumps(sample, allow_nan=False)
        json.loads(text, parse_int=finite)
        return len(text) <= SAMPLE_BYTES_MAX
    except ValueError:
        return False


def finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]}… is too large")
    return number


def check(bench: Bench, data: st.DataObject, name: str) -> None:
    network = Network(bench, name)
    assert network.post(network.healthy()) == []
    machine = LivingMachine(MACHINES / name, data, network.seconds)
    collector = collector_of(machine)
    COUNTED["examples"] += 1
    for _ in range(data.draw(st.integers(1, ODD_SAMPLES_MAX))):
        COUNTED["odd samples"] += 1
        network.pass_by(EVERY_SECONDS)
        if data.draw(st.integers(0, 9)) == 0:
            network.restart()
        if data.draw(st.booleans()):
            machine.jump()
            errors = network.post(collector.sample())
            assert not errors, errors
        else:
            sample, is_taken = as_another_agent(network.healthy(), data)
            errors = network.post(sample)
            assert not (errors and is_taken), errors
    network.report(FOLLOWED_AFTER)
    assert network.host.status == Status.ONLINE
    assert network.host.sample is not None
    assert network.host.sample.at == network.bench.clock.now()  # the twin has followed it back to the right time
    network.report(SETTLED_AFTER)
    assert network.host.rates is not None or "net_bytes_tx" not in network.healthy()
    assert network.open_alerts() <= lasting_alerts(network.bench, network.host)
    network.pass_by(SILENT_SECONDS)
    assert network.open_alerts() == {HOST_OFFLINE}
    network.post(network.healthy())
    assert HOST_OFFLINE not in network.open_alerts()


def lasting_alerts(bench: Bench, host: Host) -> set[str]:
    """The rules that a host's newest values do not resolve."""
    found = set()
    for rule in bench.rules:
        measure = RULE_MEASURES[rule.measure]
        several = (measure.values(host) or {}).values() if measure.values is not None else ()
        values = [measure.value(host)] if measure.value is not None else several
        if any(value is not None and rule.resolve_at is not None and lasts(rule, value) for value in values):
            found.add(rule.name)
    return found


def lasts(rule: Rule, value: float) -> bool:
    """Whether a value does not resolve an alert."""
    assert rule.resolve_at is not None
    return value > rule.resolve_at if rule.is_above else value < rule.resolve_at


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0)


@given(st.data(), st.sampled_from(QUICK))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_odd_machines_are_seen_and_leave_nothing_behind(
    new_bench: Callable[..., Bench], data: st.DataObject, name: str
) -> None:
    bench = new_bench()
    with closing(bench.storage):
        check(bench, data, name)


@pytest.fixture
def counted() -> Iterator[None]:
    COUNTED.clear()
    yield
    print_figures("odd machines", **dict(COUNTED))


@pytest.mark.long
@pytest.mark.timeout(10_800)
@pytest.mark.usefixtures("counted")
@given(st.data(), st.sampled_from(names()))
@settings(max_examples=4_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_odd_machines_are_seen_and_leave_nothing_behind_in_a_long_search(
    new_bench: Callable[..., Bench], data: st.DataObject, name: str
) -> None:
    bench = new_bench()
    with closing(bench.storage):
        check(bench, data, name)
