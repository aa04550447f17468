"""Two machines report under one name: the twin shows one of them, and no rate mixes their counters."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.access.domain import EGO
from mirror_stage.twin.domain import Host, Newest
from tests.builders import make_sample
from tests.pipeline.conftest import Bench

GIGABYTE = 10**9


def host_of(bench: Bench) -> Host:
    return bench.twin.hosts_by_name["localhost"]


def sent(bench: Bench, uptime: int, gigabytes: float, **fields: Any) -> dict[str, Any]:
    counters = {"net_bytes_tx": int(gigabytes * GIGABYTE), "net_bytes_rx": 0, "uptime_seconds": uptime}
    return make_sample("localhost", at=bench.clock.now(), **counters | fields)


def test_two_machines_that_alternate_give_no_rate_and_do_not_flicker(bench: Bench) -> None:
    shown, rates = [], []
    for n in range(20):
        bench.clock.advance(2.5)
        first = n % 2 == 0
        sample = sent(bench, (86_400 if first else 777_600) + n * 5 // 2, (1 if first else 14_000) + n / 1000)
        bench.post(sample | {"ip": "10.0.0.5" if first else "10.0.0.6"})
        shown.append(host_of(bench).ip)
        rates.append(host_of(bench).rates)
    assert shown[:3] == [
        "10.0.0.5",
        "10.0.0.6",
        "10.0.0.5",
    ]  # a name may move to a new machine; when the first one reports again, there are two
    assert set(shown[2:]) == {"10.0.0.5"}
    assert all(rate is None or rate.tx_gbps < 0.01 for rate in rates)
    assert rates[-1] is not None  # the machine that is shown has its own rate
    rival = host_of(bench).rival
    assert rival is not None
    assert (rival.sample.ip, rival.since is not None) == ("10.0.0.6", True)
    assert bench.alerts_heard() == [("fired", "identity_conflict")]
    [alert] = bench.open_alerts.all()
    assert alert.message == "localhost: 2 machines report under this name: 10.0.0.5 and 10.0.0.6"


def test_the_second_machine_is_shown_when_the_first_falls_silent_and_the_conflict_ends(bench: Bench) -> None:
    for n in range(4):
        bench.clock.advance(5)
        bench.post(sent(bench, 86_400 + n * 5 if n % 2 == 0 else 777_600 + n * 5, 1))
    assert host_of(bench).sample.uptime_seconds < 100_000  # type: ignore[union-attr,operator]
    bench.clock.advance(70)
    bench.post(sent(bench, 777_600 + 85, 2))
    assert host_of(bench).sample.uptime_seconds > 700_000  # type: ignore[union-attr,operator]
    for n in range(70):
        bench.clock.advance(5)
        bench.post(sent(bench, 777_685 + (n + 1) * 5, 2))
    assert host_of(bench).rival is None
    assert [alert for alert in bench.alerts_heard() if alert[0] == "resolved"] == [("resolved", "identity_conflict")]


@pytest.mark.parametrize(
    "change",
    [
        {"primary_interface": "bond0"},
        {"agent_instance": "another"},
        {"agent_version": "9.9.9"},
        {"uptime_seconds": 86_405 + 3_600},
    ],
    ids=["interface", "instance", "version", "uptime"],
)
def test_a_change_of_the_source_gives_one_sample_without_a_rate(bench: Bench, change: dict[str, Any]) -> None:
    same = {"primary_interface": "eth0", "agent_instance": "one"}
    bench.post(sent(bench, 86_400, 1, **same))
    bench.clock.advance(5)
    bench.post(sent(bench, 86_405, 1.1, **same | change))
    assert host_of(bench).rates is None
    bench.clock.advance(5)
    change = change if "uptime_seconds" not in change else {"uptime_seconds": 86_410 + 3_600}
    bench.post(sent(bench, 86_410, 1.2, **same | change))
    assert host_of(bench).rates is not None


def test_a_rate_beyond_twice_the_capacity_is_unknown(bench: Bench) -> None:
    speed = {"primary_interface_speed_mbps": 1000}
    bench.post(sent(bench, 86_400, 1, **speed))
    bench.clock.advance(5)
    bench.post(sent(bench, 86_405, 3, **speed))  # 3.2 Gbit/s
    assert host_of(bench).rates is None
    bench.clock.advance(5)
    bench.post(sent(bench, 86_410, 4, **speed))  # 1.6 Gbit/s: a reported speed may be a little wrong
    assert host_of(bench).rates is not None


def test_a_reboot_is_the_same_machine(bench: Bench) -> None:
    bench.post(sent(bench, 86_400, 5))
    bench.clock.advance(120)
    bench.post(sent(bench, 90, 0.1))
    assert host_of(bench).rival is None
    bench.clock.advance(5)
    bench.post(sent(bench, 95, 0.2))
    assert host_of(bench).rates is not None


def test_a_backlog_from_before_a_reboot_is_the_same_machine(bench: Bench) -> None:
    bench.post(sent(bench, 30, 5))
    old = sent(bench, 86_400, 1) | {"timestamp": "2025-11-01T12:20:00Z"}
    bench.post(old)
    assert host_of(bench).rival is None
    assert host_of(bench).sample.uptime_seconds == 30  # type: ignore[union-attr]


def test_names_that_differ_only_in_case_are_two_hosts_and_a_conflict_until_one_leaves(bench: Bench) -> None:
    names = ("titan-01", "Titan-01")
    bench.post(*(make_sample(name, at=bench.clock.now()) for name in (*names, "titan-02")))
    assert {"titan-01", "Titan-01", "titan-02"} <= set(bench.twin.hosts_by_name)
    bench.post(*(make_sample(name, at=bench.clock.advance(5)) for name in (*names, "titan-02")))
    assert {(alert.hostname, alert.metric, alert.subject) for alert in bench.open_alerts.all()} == {
        (name, "identity_conflict", "Titan-01 and titan-01") for name in names
    }
    bench.remover.remove("Titan-01", EGO)
    for _ in range(10):
        bench.post(make_sample("titan-01", at=bench.clock.advance(10)))
    assert bench.open_alerts.all() == []


def test_a_conflict_of_names_outlives_a_restart(bench: Bench) -> None:
    bench.post(*(make_sample(name, at=bench.clock.advance(5)) for name in ("titan-01", "Titan-01") * 2))
    before = {alert.id for alert in bench.open_alerts.all()}
    bench.saver.save()
    after = bench.again()
    for _ in range(10):
        after.post(*(make_sample(name, at=after.clock.advance(10)) for name in ("titan-01", "Titan-01")))
    assert len(before) == 2
    assert {alert.id for alert in after.open_alerts.all()} == before


def test_after_a_restart_edge_and_twin_agree_which_of_two_machines_is_shown(bench: Bench) -> None:
    def post(n: int) -> None:
        bench.clock.advance(2.5)
        is_first = n % 2 == 0
        bench.post(sent(bench, (86_400 if is_first else 777_600) + n * 5 // 2, (1 if is_first else 14_000) + n / 1000))

    post(0)
    bench.saver.save()
    for n in range(1, 7):
        post(n)
    bench = bench.again()  # killed: the samples since the save are folded again
    for n in range(7, 12):
        post(n)
        host = host_of(bench)
        assert bench.known.newest_of("localhost") == Newest(host.sample, host.late, host.rival)
    assert host_of(bench).rates is not None
