"""docs/contract.md, section 2: uplinks, rates and capacity; an unknown value is never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import ago, link_of, now, post, settled, shown
from tests.servers import EgoServer

GIGABIT = 125_000_000  # bytes


@pytest.fixture
def ego(sqlite_ego: EgoServer) -> EgoServer:
    """Links and rates are worked out in memory, so one database is enough."""
    return sqlite_ego


def hang(ego: EgoServer, uplinks: dict[str, str | None]) -> dict[str, str]:
    """Where each host hangs in the twin, after each asked for an uplink; in the order given."""
    for hostname, uplink in uplinks.items():
        post(ego, make_sample(hostname, tags={"uplink": uplink} if uplink else {}))
    frame = settled(ego)
    found = {}
    for hostname in uplinks:
        link = link_of(frame, hostname)
        assert link["id"] == f"{link['source']}::{hostname}"
        (host,) = [host for host in frame["hosts"] if host["hostname"] == hostname]
        assert host["uplink"] == link["source"]
        found[hostname] = link["source"]
    return found


def test_a_host_hangs_from_the_uplink_that_it_names_else_from_the_hub(ego: EgoServer) -> None:
    switch, one, two, three = (unique_hostname() for _ in range(4))
    asked = {one: switch, switch: None, two: "nobody", three: three}  # the uplink may come after those that hang on it
    assert hang(ego, asked) == {one: switch, switch: "core-switch", two: "core-switch", three: "core-switch"}


def test_all_hosts_of_a_circle_hang_from_the_hub_and_the_hosts_below_them_stay(ego: EgoServer) -> None:
    a, b, c, below, beside = (unique_hostname() for _ in range(5))
    assert hang(ego, {a: None, b: a, c: b, below: c, beside: a}) == {
        a: "core-switch",
        b: a,
        c: b,
        below: c,
        beside: a,
    }
    assert hang(ego, {a: c, b: a, c: b, below: c, beside: a}) == {
        a: "core-switch",
        b: "core-switch",
        c: "core-switch",
        below: c,
        beside: a,
    }
    assert hang(ego, {a: None, b: a, c: b}) == {a: "core-switch", b: a, c: b}  # the circle was cut


def test_naming_the_hub_is_hanging_from_the_hub(ego: EgoServer) -> None:
    hostname = unique_hostname()
    assert hang(ego, {hostname: "core-switch"}) == {hostname: "core-switch"}


def test_the_first_sample_has_no_rate(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, net_bytes_tx=1, net_bytes_rx=1, tags={"link_speed_mbps": "1000"}))
    frame = settled(ego)
    assert shown(ego, hostname)["metrics"]["netThroughputGbps"] is None
    link = link_of(frame, hostname)
    assert {name: link[name] for name in link.keys() - {"id", "source", "target"}} == {
        "throughputGbps": 0,
        "rxGbps": 0,
        "txGbps": 0,
        "utilization": 0,
        "capacityGbps": 1,
        "measured": False,
    }


def test_two_samples_have_rates_and_the_busier_direction_fills_the_link(ego: EgoServer) -> None:
    hostname, start, tags = unique_hostname(), now(), {"primary_interface_speed_mbps": "10000"}
    post(ego, make_sample(hostname, at=ago(20, start), net_bytes_tx=5, net_bytes_rx=7, tags=tags))
    counters = {"net_bytes_tx": 5 + 11 * GIGABIT, "net_bytes_rx": 7 + 31 * GIGABIT}
    post(ego, make_sample(hostname, at=ago(10, start), tags=tags, **counters))
    frame = settled(ego)
    link, host = link_of(frame, hostname), shown(ego, hostname)
    assert link["measured"] is True
    assert link["txGbps"] == pytest.approx(1.1, rel=1e-6)
    assert link["rxGbps"] == pytest.approx(3.1, rel=1e-6)
    assert link["throughputGbps"] == pytest.approx(link["txGbps"] + link["rxGbps"])
    assert link["utilization"] == pytest.approx(link["rxGbps"] / 10)
    assert host["metrics"]["netThroughputGbps"] == pytest.approx(link["throughputGbps"])
    assert host["metrics"]["netCapacityGbps"] == link["capacityGbps"] == 10


def test_utilization_never_exceeds_one(ego: EgoServer) -> None:
    hostname, start, tags = unique_hostname(), now(), {"primary_interface_speed_mbps": "1000"}
    post(ego, make_sample(hostname, at=ago(20, start), net_bytes_tx=0, net_bytes_rx=0, tags=tags))
    post(ego, make_sample(hostname, at=ago(10, start), net_bytes_tx=15 * GIGABIT, net_bytes_rx=0, tags=tags))
    link = link_of(settled(ego), hostname)
    assert link["txGbps"] == pytest.approx(1.5, rel=1e-6)
    assert link["utilization"] == 1


# what follows a sample with tx 100, rx 100, uptime 1000: and whether that gives a rate
NEXT: dict[str, tuple[dict[str, Any], bool]] = {
    "more of both": ({"net_bytes_tx": 200, "net_bytes_rx": 200, "uptime_seconds": 1010}, True),
    "the same of both": ({"net_bytes_tx": 100, "net_bytes_rx": 100, "uptime_seconds": 1010}, True),
    "the sent counter fell": ({"net_bytes_tx": 99, "net_bytes_rx": 200, "uptime_seconds": 1010}, False),
    "the received counter fell": ({"net_bytes_tx": 200, "net_bytes_rx": 0, "uptime_seconds": 1010}, False),
    "the uptime fell": ({"net_bytes_tx": 200, "net_bytes_rx": 200, "uptime_seconds": 5}, False),
    "no sent counter": ({"net_bytes_rx": 200, "uptime_seconds": 1010}, False),
    "no received counter": ({"net_bytes_tx": 200, "uptime_seconds": 1010}, False),
    "null counters": ({"net_bytes_tx": None, "net_bytes_rx": None, "uptime_seconds": 1010}, False),
}


@pytest.mark.parametrize(("fields", "is_measured"), NEXT.values(), ids=NEXT.keys())
def test_a_rate_that_two_samples_cannot_give_is_unknown(
    ego: EgoServer, fields: dict[str, Any], is_measured: bool
) -> None:
    hostname, start = unique_hostname(), now()
    before = {"net_bytes_tx": 100, "net_bytes_rx": 100, "uptime_seconds": 1000}
    post(ego, make_sample(hostname, at=ago(20, start)) | before)
    post(ego, make_sample(hostname, at=ago(10, start)) | fields)
    frame = settled(ego)
    assert link_of(frame, hostname)["measured"] is is_measured
    assert (shown(ego, hostname)["metrics"]["netThroughputGbps"] is not None) is is_measured


def test_after_a_reset_the_next_pair_of_samples_has_a_rate_again(ego: EgoServer) -> None:
    hostname, start, seen = unique_hostname(), now(), []
    for seconds, counter, uptime in ((40, 900, 1000), (30, 1000, 1010), (20, 10, 3), (10, 10 + GIGABIT * 10, 13)):
        counters = {"net_bytes_tx": counter, "net_bytes_rx": counter, "uptime_seconds": uptime}
        post(ego, make_sample(hostname, at=ago(seconds, start)) | counters)
        seen.append(shown(ego, hostname)["metrics"]["netThroughputGbps"])
    assert [rate is None for rate in seen] == [True, False, True, False]
    assert seen[3] == pytest.approx(2, rel=1e-6)


def eth(name: str, speed: float | None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "speed_mbps": speed, "is_up": True} | fields


CAPACITY: dict[str, tuple[dict[str, Any], float | None]] = {
    "nothing is known": ({}, None),
    "the first tag": ({"tags": {"primary_interface_speed_mbps": "10000", "interface_speed_mbps": "1"}}, 10),
    "the second tag": ({"tags": {"interface_speed_mbps": "2500", "link_speed_mbps": "1"}}, 2.5),
    "the third tag": ({"tags": {"link_speed_mbps": "100"}, "primary_interface_speed_mbps": 1}, 0.1),
    "the field": ({"primary_interface_speed_mbps": 40_000, "interfaces": [eth("eth0", 1)]}, 40),
    "a tag with a fraction": ({"tags": {"link_speed_mbps": "1000.5"}}, 1.0005),
    "a tag of zero": ({"tags": {"primary_interface_speed_mbps": "0"}}, None),
    "a negative tag": ({"tags": {"primary_interface_speed_mbps": "-1"}}, None),
    "a tag in words": ({"tags": {"primary_interface_speed_mbps": "fast"}}, None),
    "a tag that is no number": ({"tags": {"primary_interface_speed_mbps": "NaN"}}, None),
    "an endless tag": ({"tags": {"primary_interface_speed_mbps": "inf"}}, None),
    "an empty tag": ({"tags": {"primary_interface_speed_mbps": ""}}, None),
    "a field of zero": ({"primary_interface_speed_mbps": 0}, None),
    "the fastest interface": ({"interfaces": [eth("eth0", 1000), eth("eth1", 25_000), eth("eth2", 10)]}, 25),
    "not one that is down": ({"interfaces": [eth("eth0", 1000), eth("eth1", 25_000, is_up=False)]}, 1),
    "not the loopback": ({"interfaces": [eth("eth0", 1000), eth("lo", 65_536)]}, 1),
    "not a virtual one": (
        {"interfaces": [eth("eth0", 1000), *(eth(name, 10_000) for name in ("docker0", "br-1a2b", "veth7", "virbr0"))]},
        1,
    ),
    "interfaces of unknown speed": ({"interfaces": [eth("eth0", None), eth("eth1", 0)]}, None),
}


@pytest.mark.parametrize(("fields", "expected"), CAPACITY.values(), ids=CAPACITY.keys())
def test_the_capacity_is_the_first_that_is_known(
    sqlite_ego: EgoServer, fields: dict[str, Any], expected: float | None
) -> None:
    hostname, start = unique_hostname(), now()
    post(sqlite_ego, make_sample(hostname, at=ago(20, start), net_bytes_tx=0, net_bytes_rx=0, **fields))
    post(sqlite_ego, make_sample(hostname, at=ago(10, start), net_bytes_tx=GIGABIT, net_bytes_rx=0, **fields))
    frame = settled(sqlite_ego)
    link = link_of(frame, hostname)
    assert link["capacityGbps"] == shown(sqlite_ego, hostname)["metrics"]["netCapacityGbps"] == expected
    assert link["measured"] is True
    assert (link["utilization"] > 0) is (expected is not None)
