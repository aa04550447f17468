"""What a sample is after normalising and stamping."""

from __future__ import annotations

import pytest

from mirror_stage.core.instants import DAY, HOUR, MINUTE, from_text, to_text
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.metrics.domain import capacity_gbps
from tests.builders import decoded, make_sample

NOW = from_text("2026-03-01T12:00:00Z")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("titan-01", "titan-01"),
        ("  titan-01\t", "titan-01"),
        ("한글-호스트", "한글-호스트"),
        ("e\u0301", "\u00e9"),
        ("a b", "a b"),
        ("x" * 120, "x" * 120),
        ("titan-01. .", "titan-01"),
    ],
)
def test_a_hostname_has_one_form(given: str, expected: str) -> None:
    assert normalise_hostname(given) == expected
    assert normalise_hostname(expected) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "   ",
        ".",
        "..",
        "a/b",
        "a\\b",
        "50%",
        "x" * 121,
        "a\x00b",
        "a\x1bb",
        "a\u202eb",
        "a\u200fb",
        "a\u0085b",
        "a\u2028b",
    ],
)
def test_what_cannot_be_a_hostname_is_refused_with_the_reason(given: str) -> None:
    with pytest.raises(BadField) as refused:
        normalise_hostname(given)
    assert refused.value.field == "hostname"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-01T02:15:00.123456Z", "2025-11-01T02:15:00.123Z"),
        ("2025-11-01T02:15:00.1239999999Z", "2025-11-01T02:15:00.123Z"),
        ("2025-11-01T02:15:00", "2025-11-01T02:15:00.000Z"),
        ("2025-11-01 02:15:00+09:00", "2025-10-31T17:15:00.000Z"),
        ("20251101T021500Z", "2025-11-01T02:15:00.000Z"),
        ("2025-11-01T02:15Z", "2025-11-01T02:15:00.000Z"),
        ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00.500Z"),
        ("2017-01-01T08:59:60+09:00", "2017-01-01T00:00:00.000Z"),
        ("20161231T235960Z", "2017-01-01T00:00:00.000Z"),
    ],
)
def test_a_timestamp_is_iso_8601_to_the_millisecond(text: str, expected: str) -> None:
    assert to_text(decoded(make_sample(at=text))[0].reported_at) == expected


TAGS = {"primary_interface_speed_mbps": "2500", "interface_speed_mbps": "1000", "link_speed_mbps": "100"}


class _Interface:
    def __init__(self, name: str, speed_mbps: float | None, is_up: bool = True):
        self.name, self.speed_mbps, self.is_up = name, speed_mbps, is_up


UNKNOWING = [_Interface(f"eth{mbps}", mbps) for mbps in (-1, 65_535, 2**31 - 1, 2**32 - 1, 2**64 - 1)]


@pytest.mark.parametrize(
    ("name", "tags", "field", "interfaces", "expected"),
    [
        ("the first tag wins", TAGS, 10_000, [], 2.5),
        ("then the second", {"interface_speed_mbps": "1000", "link_speed_mbps": "100"}, 10_000, [], 1.0),
        ("then the third", {"link_speed_mbps": "100"}, 10_000, [], 0.1),
        ("then the field", {}, 10_000, [_Interface("eth0", 1000)], 10.0),
        ("then the fastest real interface", None, None, [_Interface("eth0", 1000), _Interface("eth1", 2500), _Interface("docker0", 10_000)], 2.5),
        ("not one that is down", None, None, [_Interface("eth0", 1000), _Interface("eth1", 2500, is_up=False)], 1.0),
        ("what a driver says that does not know is no speed", None, None, [_Interface("eth0", 1000), *UNKNOWING], 1.0),
        ("nor is it one where nobody knows", None, None, UNKNOWING, None),
        ("a tag that is no number is unknown", {"link_speed_mbps": "fast"}, 10_000, [], None),
        ("nan is unknown", {"link_speed_mbps": "nan"}, None, [], None),
        ("0 is unknown", None, 0, [_Interface("eth0", 1000)], None),
        ("nothing is unknown", None, None, None, None),
    ],
)  # fmt: skip
def test_capacity_comes_from_the_first_that_says_it(name: str, tags, field, interfaces, expected: float | None) -> None:
    assert capacity_gbps(tags, field, interfaces) == expected, name


VIRTUAL = (
    "lo lo0 docker0 br-1a2b br0 br0.10 veth7@if2 cali12ab34 azv9f8e7d6c5b4 gke52f3a1b2c3d eni0a1b2c3d4e5 nodelocaldns kube-ipvs0"
    " antrea-gw0 ovn-k8s-mp0 genev_sys_6081 vif3.0 xenbr0 epair0a utun4 gif0 stf0 awdl0 llw0 anpi1 pflog0 wg0-mullvad wt0 ham0"
    " hassio natbr0 kvmbr0.7 qbr1a2b3c qvo1a2b3c qvb1a2b3c waydroid0 awg0 tinc0 n2n0 bat0 nordtun singtun0 ovpnc1 vpn0 brlan vmenet0 ng0"
    " outline-tun0 lan-br br_vlan10 warp0 netmaker nm-home sing-box easytier pan0 macvlan-shim"
)
WINDOWS_VIRTUAL = ["vEthernet (WSL)", "vEthernet (Default Switch)", "VMware Network Adapter VMnet8", "Tailscale"]
WINDOWS_VIRTUAL += [
    "VirtualBox Host-Only Network",
    "Loopback Pseudo-Interface 1",
    "Teredo Tunneling Pseudo-Interface",
    "TAP-Windows6",
    "VPN - VPN Client",
    "Hyper-V Virtual Ethernet Adapter",
    "Microsoft Wi-Fi Direct Virtual Adapter",
]
WIRED = "eth0 eth0.10 eno1 enp3s0f1np1 enP2p1s0 ens5 enx001122334455 enc600 em0 igb1 ix0 vtnet0 re0 en0 bond0 team0 lagg0 wlan0 usb0"


@pytest.mark.parametrize("name", [*VIRTUAL.split(), *WINDOWS_VIRTUAL])
def test_a_virtual_interface_of_any_system_is_known_by_its_name(name: str) -> None:
    assert capacity_gbps(None, None, [_Interface("Ethernet", 1000), _Interface(name, 10_000)]) == 1.0


@pytest.mark.parametrize("name", [*WIRED.split(), "Ethernet 2", "Wi-Fi", "Local Area Connection", "Site LAN", "Green"])
def test_the_name_of_a_card_is_not_taken_for_a_virtual_one(name: str) -> None:
    assert capacity_gbps(None, None, [_Interface(name, 10_000)]) == 10.0


@pytest.mark.parametrize(
    ("name", "offsets", "kept"),
    [
        ("a right clock is believed", [0], [0]),
        ("so is one 5 min ahead", [5 * MINUTE], [5 * MINUTE]),
        ("further ahead is not", [5 * MINUTE + 1], [0]),
        ("nor is a year of 2099; distances stay", [70 * 365 * DAY - 10_000, 70 * 365 * DAY], [-10_000, 0]),
        ("an hour late is history", [-HOUR], [-HOUR]),
        ("behind everything kept is not believed", [-731 * DAY, -731 * DAY - 5000], [-5000, 0]),
        ("believed and unbelieved together", [-1000, DAY], [-1000, 0]),
    ],
)
def test_a_clock_that_cannot_be_right_is_not_believed(name: str, offsets: list[int], kept: list[int]) -> None:
    samples = decoded(*(make_sample(at=NOW + offset) for offset in offsets), received_at=NOW)
    assert sorted(sample.at - NOW for sample in samples) == sorted(kept), name


def test_samples_are_stamped_in_time_order_and_the_newest_of_each_host_is_known() -> None:
    given = [make_sample("a", at=NOW - 1000), make_sample("b", at=NOW - 3000), make_sample("a", at=NOW - 2000)]
    stamped = decoded(*given, received_at=NOW)
    assert [(s.hostname, s.at - NOW, s.is_newest_of_request) for s in stamped] == [
        ("b", -3000, True),
        ("a", -2000, False),
        ("a", -1000, True),
    ]
