"""What the tables of an operating system say, by example."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from mirror_stage.reflector import readings


class Temp(NamedTuple):
    label: str
    current: float | None
    high: float | None = None
    critical: float | None = None


class Part(NamedTuple):
    device: str
    mountpoint: str
    fstype: str
    opts: str = "rw"


class Times(NamedTuple):
    user: float = 0
    system: float = 0
    idle: float = 0
    iowait: float = 0
    guest: float = 0
    guest_nice: float = 0


class WindowsTimes(NamedTuple):
    user: float = 0
    system: float = 0
    idle: float = 0


@pytest.mark.parametrize(
    ("name", "before", "after", "percent"),
    [
        ("half busy", Times(user=10, idle=10), Times(user=11, idle=11), 50.0),
        ("waiting for a disk is not busy", Times(), Times(user=1, idle=1, iowait=2), 25.0),
        ("guest time is within user time", Times(), Times(user=2, guest=2, idle=2), 50.0),
        ("a counter that falls counts as nothing", Times(idle=10, iowait=5), Times(user=1, idle=11, iowait=4), 50.0),
        ("idle", Times(), Times(idle=5), 0.0),
        ("no time passed", Times(user=1, idle=1), Times(user=1, idle=1), None),
        ("elsewhere there are fewer kinds of time", WindowsTimes(), WindowsTimes(user=1, system=2, idle=1), 75.0),
    ],
)
def test_busy_percent(name: str, before: Times, after: Times, percent: float | None):
    assert readings.busy_percent(before, after) == percent, name


DESKTOP = {
    "acpitz": [Temp("", 27.8)],
    "nvme": [Temp("Composite", 88.0)],
    "k10temp": [Temp("Tctl", 90.0), Temp("Tdie", 63.0), Temp("Tccd1", 65.5)],
    "amdgpu": [Temp("edge", 51.0), Temp("junction", 58.0), Temp("mem", 56.0)],
}


@pytest.mark.parametrize(
    ("name", "chips", "cpu", "gpu"),
    [
        ("a desktop: neither the disk nor an offset scale", DESKTOP, 65.5, 58.0),
        ("two sockets", {"coretemp": [Temp("Core 0", 41.0), Temp("Core 0", 55.0)]}, 55.0, None),
        ("k10temp without Tdie", {"k10temp": [Temp("Tctl", 61.0)]}, 61.0, None),
        ("zenpower", {"zenpower": [Temp("Tdie", 48.0), Temp("SVI2_P_Core", 12.0)]}, 48.0, None),
        ("a single-board computer", {"cpu_thermal": [Temp("", 52.1)]}, 52.1, None),
        ("the board where no CPU tells", {"acpitz": [Temp("", 30.0), Temp("", 44.0)]}, 44.0, None),
        ("the board does not outbid the CPU", {"acpitz": [Temp("", 99.0)], "coretemp": [Temp("", 40.0)]}, 40.0, None),
        ("sensors that are not connected", {"coretemp": [Temp("a", 65261.85), Temp("b", None)]}, None, None),
        ("GPUs of two makers", {"nouveau": [Temp("", 60.0)], "radeon": [Temp("", 70.0)]}, None, 70.0),
        ("none", {}, None, None),
    ],
)  # fmt: skip
def test_cpu_and_gpu_are_told_apart(name: str, chips: dict[str, list[Temp]], cpu: float | None, gpu: float | None):
    assert (readings.hottest_cpu(chips), readings.hottest_gpu(chips)) == (cpu, gpu), name


def test_temperatures_are_named_by_chip_and_label():
    assert readings.temperatures(
        {
            "coretemp": [Temp("Core 0", 41.0), Temp("Core 1", 42.0), Temp("Core 0", 55.0)],
            "acpitz": [Temp("", 27.8), Temp("", 29.8)],
            "nct6775": [Temp("AUXTIN0", 255.0), Temp("SYSTIN", float("nan")), Temp("PCH", 0.0)],
        }
    ) == {
        "coretemp:Core 0": 41.0,
        "coretemp:Core 1": 42.0,
        "coretemp:Core 0 #2": 55.0,
        "acpitz:1": 27.8,
        "acpitz:2": 29.8,
        "nct6775:PCH": 0.0,
    }


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
    assert readings.default_interface(IPV4_HEADER + ipv4_routes, ipv6_routes) == interface, name


def test_a_device_is_one_disk_and_an_image_is_none():
    mounted = [
        Part("/dev/sda2", "/etc/hosts", "ext4"),
        Part("/dev/sda2", "/", "ext4"),
        Part("/dev/loop3", "/snap/core22/1122", "squashfs"),
        Part("/dev/sr0", "/media/cdrom", "iso9660"),
        Part("D:\\", "D:\\", ""),
        Part("/dev/sdb1", "/srv", "xfs"),
    ]
    assert [disk.mountpoint for disk in readings.physical_disks(mounted)] == ["/", "/srv"]


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\n", "BCM2835"),
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("", None),
    ],
)
def test_the_cpu_has_its_name_under_many_keys(cpuinfo: str, model: str | None):
    assert readings.cpu_model(cpuinfo) == model


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (" Dell Inc.\n", "Dell Inc."),
        ("Raspberry Pi 4 Model B\0", "Raspberry Pi 4 Model B"),
        ("To Be Filled By O.E.M.", None),
        ("\n", None),
        (None, None),
        ("x" * 200, "x" * 160),
    ],
)
def test_a_placeholder_means_nothing(text: str | None, meaning: str | None):
    assert readings.meaningful(text) == meaning


def test_only_what_json_can_carry_goes_to_the_wire():
    name = b"caf\xc3".decode(errors="surrogateescape")
    clean = readings.for_the_wire(
        {
            "a": None,
            "b": float("nan"),
            "c": name,
            "d": [{"e": "x\0y", "f": None}, float("inf"), 1.5],
            name: 0,
            "g": "한글 😀",
        }
    )
    assert clean == {"c": "caf\ufffd", "d": [{"e": "xy"}, 1.5], "caf\ufffd": 0, "g": "한글 😀"}
    json.dumps(clean, allow_nan=False).encode()
