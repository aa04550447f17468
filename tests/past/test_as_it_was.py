"""The twin as it was at an instant equals what the live twin showed at that instant, whatever came before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mirror_stage.access.domain import EGO
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.history.keeping import Keeper
from mirror_stage.twin.encode import host_entry, link_entry
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench

HOSTS = ("a", "b", "c")
CLOCK_OFFSETS = dict(
    zip(HOSTS, (0, -100 * SECOND, 80 * SECOND), strict=True)
)  # the clock of b is behind, that of c ahead


@dataclass
class Showing:
    """What the live twin showed at an instant."""

    at: Instant
    hosts: list[dict[str, Any]]
    links: list[dict[str, Any]]
    alerts: set[tuple[str, str, str]]


def different(shown: list[dict[str, Any]], past: list[dict[str, Any]]) -> list[str]:
    """The differences of two lists of entries, one line each."""
    if [entry.get("hostname") for entry in shown] != [entry.get("hostname") for entry in past]:
        return [f"{[entry['hostname'] for entry in entries]}" for entries in (shown, past)]
    return [
        f"{was.get('hostname', was.get('id'))}: {name} was {was[name]}, and the past says {now[name]}"
        for was, now in zip(shown, past, strict=True)
        for name in was
        if was[name] != now[name]
    ]


@dataclass
class Fleet:
    """A fleet that reports, moves, falls silent and is removed; and an EGO that restarts."""

    bench: Bench
    shown: list[Showing] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        clock: Any = self.bench.clock
        self.keeper = Keeper(self.bench.storage, clock, Config().kept_by_resolution)
        self.keeper.begin()

    def post(self, host: str, *, late_seconds: float = 0, **fields: Any) -> None:
        self.sent += 12_345_678
        at = self.bench.clock.now() + CLOCK_OFFSETS[host] - int(late_seconds * SECOND)
        if late_seconds:
            at -= self.sent % 997  # no instant twice: the history does not store when a sample was sent again
        traffic = {
            "net_bytes_tx": self.sent,
            "net_bytes_rx": 2 * self.sent,
            "uptime_seconds": 7200 + self.sent // 10**6,
        }
        self.bench.post(make_sample(host, at=at, **traffic, **fields))

    def show(self) -> None:
        """Run the jobs of a second, then remember what the twin shows."""
        bench = self.bench
        bench.owner.sweep()
        bench.owner.tick()
        hosts = bench.frames.hosts()
        bench.saver.save()
        alerts = {(alert.hostname, alert.metric, alert.severity) for alert in self.bench.open_alerts.all()}
        entries = [host_entry(host) for host in hosts]
        links = [link_entry(host) for host in hosts if host.role != "hub"]
        self.shown.append(Showing(self.bench.clock.now(), entries, links, alerts))

    def check(self) -> None:
        past = past_of(self.bench)
        for showing in self.shown:
            moment = past.moment(showing.at)
            entries = [host_entry(host) for host in moment.hosts]
            links = [link_entry(host) for host in moment.hosts if host.role != "hub"]
            assert moment.resolution == "raw"
            assert different(showing.hosts, entries) == [], showing.at
            assert different(showing.links, links) == [], showing.at
            assert {(alert.hostname, alert.metric, alert.severity) for alert in moment.alerts} == showing.alerts


samples = st.fixed_dictionaries(
    {"cpu_percent": st.sampled_from([5.5, 42.0, 95.0])},
    optional={
        "rack": st.sampled_from(["R1", "R2"]),
        "position": st.just({"x": 1, "y": 2, "z": 3}),
        "primary_interface_speed_mbps": st.sampled_from([10, 1000]),
        "memory_total_bytes": st.just(2**34),
        "tags": st.sampled_from([{"uplink": "a"}, {"uplink": "b", "display_name": "B's own"}, {"room": "attic"}]),
    },
)
steps = st.one_of(
    st.tuples(st.just("post"), st.sampled_from(HOSTS), samples),
    st.tuples(st.just("post"), st.sampled_from(HOSTS), samples),
    st.tuples(st.just("late"), st.sampled_from(HOSTS), st.floats(1, 9)),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from([1, 4, 14, 16, 61, 400, 4000])),
    st.tuples(st.just("forget"), st.sampled_from(HOSTS), st.none()),
    st.tuples(st.just("restart"), st.just(""), st.none()),
)


def run(fleet: Fleet, given_steps: list[tuple[str, str, Any]]) -> None:
    note(f"steps: {given_steps}")
    for what, host, value in given_steps:
        clock, twin = fleet.bench.clock, fleet.bench.twin
        clock.advance(1)
        if what == "post":
            fleet.post(host, **value)
        elif what == "late":
            known = twin.hosts_by_name.get(host)
            if known is not None and (known.late is None or known.late.count < 2):  # three would re-anchor its clock
                fleet.post(host, late_seconds=value, cpu_percent=66)
        elif what == "wait":
            clock.advance(value)
            fleet.keeper.keep()  # roll up what is over, as EGO does every few seconds
        elif what == "forget" and host in twin.hosts_by_name:
            fleet.bench.remover.remove(host, EGO)
        elif what == "restart":
            fleet.bench = fleet.bench.again()
        fleet.show()
    fleet.check()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=1, max_size=25))
def test_the_twin_as_it_was_is_what_it_showed(
    new_bench: Callable[[], Bench], given_steps: list[tuple[str, str, Any]]
) -> None:
    run(Fleet(new_bench()), given_steps)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=1, max_size=60))
def test_the_twin_as_it_was_is_what_it_showed_at_length(
    new_bench: Callable[[], Bench], given_steps: list[tuple[str, str, Any]]
) -> None:
    run(Fleet(new_bench()), given_steps)


def test_an_alert_has_the_severity_of_that_moment_also_between_its_two_thresholds(bench: Bench) -> None:
    """Between 0.95 and 1.0 the severity of a congested link follows from the values before (hysteresis)."""
    link_bytes_per_second, sent = 125_000_000, 0
    shown: dict[Instant, list[str]] = {}
    for share in (0.0, 0.93, 0.97, 1.0, 0.97, 0.92, 0.97):
        bench.clock.advance(1)
        sent += int(share * link_bytes_per_second)
        traffic = {"net_bytes_tx": sent, "net_bytes_rx": 0, "primary_interface_speed_mbps": 1000}
        bench.post(make_sample("a", at=bench.clock.now(), **traffic))
        bench.saver.save()
        shown[bench.clock.now()] = [alert.severity for alert in bench.open_alerts.all()]
    assert [one[:1] for severities in shown.values() for one in severities] == [*"wwccww"]
    bench = bench.again()
    past = past_of(bench)
    told = {at: [alert.severity for alert in past.moment(at).alerts] for at in shown}
    assert told == shown
    assert [host.severity for host in past.moment(max(shown) - 2 * SECOND).hosts if host.hostname == "a"] == [
        "critical"
    ]
