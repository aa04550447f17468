"""Which interface is the primary one, and how fast it is, in examples."""

from __future__ import annotations

import pytest

from mirror_stage.reflector import links
from mirror_stage.reflector.links import Kind, Link

IPV4_HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def ipv4(interface: str, *, to: str = "00000000", mask: str = "00000000", flags: str = "0003", metric: int = 0) -> str:
    return f"{interface}\t{to}\t0100A8C0\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0   \n"


def ipv6(interface: str, *, to: str = "0" * 32, prefix: str = "00", flags: str = "00000003", metric: int = 1024) -> str:
    return f"{to} {prefix} {'0' * 32} 00 {'f' * 32} {metric:08x} 00000001 00000000 {flags} {interface:>8}\n"


@pytest.mark.parametrize(
    ("name", "ipv4_routes", "ipv6_routes", "interface"),
    [
        ("one", ipv4("eth0") + ipv4("eth0", to="0000A8C0", mask="00FFFFFF", flags="0001"), "", "eth0"),
        ("the lowest metric", ipv4("wlan0", metric=600) + ipv4("eth0", metric=100), "", "eth0"),
        ("the first of equals", ipv4("eth1") + ipv4("eth0"), "", "eth1"),
        ("a network is no default", ipv4("docker0", to="000011AC", mask="0000FFFF"), "", None),
        ("half of the world is no default", ipv4("tun0", mask="00000080") + ipv4("eth0", metric=50), "", "eth0"),
        ("both halves of the world are one", ipv4("tun0", mask="00000080") + ipv4("tun0", to="00000080", mask="00000080"), "", "tun0"),
        ("a whole one before two halves", ipv4("tun0", mask="00000080") + ipv4("tun0", to="00000080", mask="00000080") + ipv4("eth0", metric=9), "", "eth0"),
        ("halves over two interfaces", ipv4("tun0", mask="00000080") + ipv4("tun1", to="00000080", mask="00000080"), "", None),
        ("a line that cannot be read", "eth9 torn\n" + ipv4("eth0"), "torn\n", "eth0"),
        ("one that is down", ipv4("eth0", flags="0002") + ipv4("eth1", metric=9), "", "eth1"),
        ("one that refuses", ipv4("eth0", flags="0201"), "", None),
        ("never loopback", ipv4("lo"), ipv6("lo"), None),
        ("IPv6 where there is no other", "", ipv6("eth0", to="fe80" + "0" * 28, prefix="40") + ipv6("eth2"), "eth2"),
        ("IPv6 that refuses", "", ipv6("lo", flags="00200200") + ipv6("eth0", flags="00000200"), None),
        ("IPv4 before IPv6", ipv4("eth0", metric=900), ipv6("eth1", metric=1), "eth0"),
        ("no table", "", "", None),
    ],
)  # fmt: skip
def test_the_interface_of_the_default_route(name: str, ipv4_routes: str, ipv6_routes: str, interface: str | None):
    assert links.default_interface(IPV4_HEADER + ipv4_routes, ipv6_routes) == interface, name


def network(*given: Link) -> dict[str, Link]:
    return {link.name: link for link in given}


def wired(name: str, speed: float, up: bool = True) -> Link:
    return Link(name, Kind.WIRED, up, speed)


def bond(mode: str, *under: str, active: str = "") -> Link:
    return Link("bond0", Kind.BOND, True, 99, under=under, bond_mode=mode, active=active)


def stacked(name: str, *under: str) -> Link:
    return Link(name, Kind.STACKED, True, 10_000, under=under)


LACP = bond("802.3ad", "eth0", "eth1", "eth2")
TAP = Link("tap0", Kind.VIRTUAL, True, 10_000)


@pytest.mark.parametrize(
    ("what", "given", "name", "mbps"),
    [
        ("a card", [wired("eth0", 1000)], "eth0", 1000),
        ("a card that does not tell", [wired("eth0", 0)], "eth0", None),
        ("a driver of before 2010", [wired("eth0", 65535)], "eth0", None),
        ("a tunnel", [Link("tun0", Kind.VIRTUAL, True, 10)], "tun0", None),
        ("the active one of a bond", [bond("active-backup", "eth0", "eth1", active="eth1"), wired("eth0", 10000), wired("eth1", 1000)], "bond0", 1000),
        ("a bond without an active one", [bond("active-backup", "eth0"), wired("eth0", 10000, up=False)], "bond0", None),
        ("those of a bond that are up", [LACP, wired("eth0", 1000), wired("eth1", 1000), wired("eth2", 1000, up=False)], "bond0", 2000),
        ("a bond of which one does not tell", [bond("balance-rr", "eth0", "eth1"), wired("eth0", 1000), wired("eth1", 0)], "bond0", None),
        ("each sends the same", [bond("broadcast", "eth0", "eth1"), wired("eth0", 1000), wired("eth1", 100)], "bond0", 100),
        ("a bridge on a bond", [stacked("br0", "bond0", "tap0"), TAP, bond("802.3ad", "eth0"), wired("eth0", 2500)], "br0", 2500),
        ("a bridge of taps", [stacked("br0", "tap0"), TAP], "br0", None),
        ("a VLAN whose parent is out of sight", [Link("eth0", Kind.HIDDEN_PARENT, True, 1000)], "eth0", 1000),
        ("a circle", [stacked("a", "b"), stacked("b", "a")], "a", None),
        ("by name where no system tells", [Link("en0", speed_mbps=1000)], "en0", 1000),
        ("a tunnel by name", [Link("tun0", speed_mbps=10)], "tun0", None),
    ],
)  # fmt: skip
def test_a_link_is_as_fast_as_the_wires_under_it(what: str, given: list[Link], name: str, mbps: float | None):
    assert links.capacity_mbps(name, network(*given)) == mbps, what


CONTAINERS_HOST = network(
    Link("lo", Kind.VIRTUAL, True),
    wired("eth0", 1000),
    wired("eth1", 1000),
    Link("docker0", Kind.STACKED, True, under=("veth1",)),
    Link("veth1", Kind.VIRTUAL, True),
)
TRAFFIC = {"lo": 9999, "eth0": 10, "eth1": 20, "docker0": 500, "veth1": 500}


@pytest.mark.parametrize(
    ("what", "addressed", "former", "name"),
    [
        ("the wire with most traffic", {"eth0", "eth1", "docker0"}, None, "eth1"),
        ("one with an address", {"eth0", "docker0"}, None, "eth0"),
        ("it stays, though another overtakes it", {"eth0", "eth1"}, "eth0", "eth0"),
        ("it goes when it loses its address", {"eth1"}, "eth0", "eth1"),
    ],
)
def test_without_a_route_the_busiest_physical_interface_with_an_address_is_and_stays_primary(
    what: str, addressed: set[str], former: str | None, name: str
):
    assert links.busiest(CONTAINERS_HOST, TRAFFIC, addressed, former) == name, what


def test_a_container_without_a_physical_interface_has_a_primary_one():
    inside = network(Link("lo", Kind.VIRTUAL, True), Link("eth0", Kind.VIRTUAL, True), Link("tun0", Kind.VIRTUAL, True))
    assert links.busiest(inside, {"lo": 1, "eth0": 5, "tun0": 50}, {"eth0"}, None) == "eth0"


def test_a_member_of_a_bridge_is_not_primary_beside_its_bridge():
    bridged = network(Link("br0", Kind.STACKED, True, under=("eth0",)), wired("eth0", 1000))
    assert links.busiest(bridged, {"br0": 1, "eth0": 50}, {"br0"}, None) == "br0"
