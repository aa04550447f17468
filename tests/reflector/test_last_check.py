"""The last check of a sample: an odd value costs that value and never the whole sample."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from mirror_stage.metrics.schemas import SampleSchema
from mirror_stage.reflector import last_check
from mirror_stage.reflector.last_check import fit
from tests.reflector.test_machines import assert_taken

GOOD: dict[str, Any] = {
    "hostname": "titan-01", "timestamp": "2026-03-01T12:00:00.000Z", "cpu_load": 12.5, "memory_used_percent": 40.0,
    "load_average": 0.5, "uptime_seconds": 100.0, "agent_version": "1", "platform": "Linux-x86_64",
    "net_bytes_tx": 1, "net_bytes_rx": 2, "primary_interface": "eth0", "interval_seconds": 5, "agent_instance": "0d1f",
}  # fmt: skip


def fitted(**odd: Any) -> dict[str, Any]:
    sample, _ = fit(GOOD | odd)
    assert_taken(sample)
    return sample


def test_a_valid_sample_is_left_unchanged() -> None:
    assert fit(GOOD) == (GOOD, [])


def test_the_table_knows_each_field_of_the_contract() -> None:
    additions = {"interval_seconds", "agent_instance", "primary_interface"}
    assert set(last_check.TABLE) | {"unknown", "ipv4"} == set(SampleSchema().fields) | additions | {"unknown"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("swap_used_percent", -1.6),
        ("swap_used_percent", 199.2),
        ("net_bytes_tx", -1),
        ("net_bytes_tx", 2**53),
        ("net_bytes_rx", 1.5),
        ("net_bytes_rx", True),
        ("net_bytes_rx", "12"),
        ("cpu_temperature", math.nan),
        ("gpu_temperature", math.inf),
        ("gpu_temperature", 10**400),
        ("memory_total_bytes", -5),
        ("ip", "fe80::1"),
        ("ip", "10.0.0.256"),
        ("ip", 10),
        ("position", [1, 2, 3]),
        ("tags", ["a"]),
        ("cpu_per_core", "12"),
        ("cpu_per_core", 12),
        ("disks", {"a": 1}),
        ("temperatures", [1]),
        ("command_policy", "maybe"),
        ("interval_seconds", 0),
        ("agent_instance", ""),
        ("primary_interface", ""),
        ("cpu_logical_cores", -1),
        ("primary_interface_speed_mbps", -1),
    ],
)
def test_a_value_that_the_contract_refuses_is_left_out_with_a_complaint(field: str, value: Any) -> None:
    sample, complaints = fit(GOOD | {field: value})
    assert field not in sample
    assert [complaint.field for complaint in complaints] == [field]
    assert_taken(sample)


@pytest.mark.parametrize("field", last_check.REQUIRED)
@pytest.mark.parametrize("value", [None, -1, math.nan, "12", True, 10**400, [1]])
def test_a_required_value_that_is_impossible_is_named_as_unknown(field: str, value: Any) -> None:
    sample = fitted(**{field: value})
    assert field not in sample
    assert sample["unknown"] == [field]


def test_a_complete_sample_names_no_unknown_value() -> None:
    assert "unknown" not in fitted()


@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("cpu_model", "x" * 161, "x" * 160),
        ("rack", "R" * 65, "R" * 64),
        ("primary_interface", "e" * 65, "e" * 64),
        ("platform", "", "unknown"),
        ("agent_version", "v" * 201, "v" * 200),
        ("os_distro", "a\x1b[31mb\u202ec\0d\u2066", "a[31mbcd"),
        ("os_distro", "caf\udcc3 한글 😀", "caf\ufffd 한글 😀"),
        ("hostname", "titan\u202e/01%\n", "titan01"),
        ("hostname", "h" * 130, "h" * 120),
        ("hostname", "\0", "nameless-host"),
        ("hostname", None, "nameless-host"),
        ("tags", {"a": "b\0", "c": 1, "d\u200f": "e"}, {"a": "b", "d": "e"}),
        ("cpu_per_core", [1, None, math.nan, "2", 3.5], [1, 3.5]),
        ("disks", [{}, {"mountpoint": "/", "used_percent": 120, "total_bytes": -1}, None, 7], [{"mountpoint": "/"}]),
        ("interfaces", [{"name": "eth0", "bytes_sent": 2**60, "is_up": 1}, {"bytes_sent": 1}], [{"name": "eth0"}]),
        ("temperatures", {"a": None, "b": 41.0, "c": math.inf}, {"b": 41.0}),
        ("top_processes", [{"pid": 1}, {"name": "init", "pid": -1, "cpu_percent": 3}], [{"name": "init", "cpu_percent": 3}]),
        ("position", {"x": 1, "y": math.nan}, {"x": 1}),
        ("net_bytes_tx", 12.0, 12),
    ],
)  # fmt: skip
def test_an_odd_value_keeps_its_valid_part_or_gets_a_default(field: str, value: Any, left: Any) -> None:
    assert fitted(**{field: value})[field] == left


def interfaces(count: int) -> list[dict[str, Any]]:
    return [{"name": f"veth{n}", "is_up": n % 2 == 0, "bytes_sent": n, "bytes_recv": 0} for n in range(count)]


@pytest.mark.parametrize(
    ("field", "value", "most", "kept", "left_out"),
    [
        ("interfaces", interfaces(71), 64, {"veth70", "veth0"}, {"veth1"}),
        (
            "disks",
            [{"mountpoint": f"/{n}", "used_percent": n} for n in range(70)] + [{"mountpoint": "/", "used_percent": 1}],
            64, {"/", "/69"}, {"/3"},
        ),
        (
            "temperatures", {f"nvme:{n}": 60.0 + n / 10 for n in range(300)} | {"coretemp:Core 0": 40.0},
            256, {"coretemp:Core 0", "nvme:299"}, {"nvme:3"},
        ),
        ("tags", {f"t{n}": "" for n in range(99)} | {"uplink": "sw"}, 62, {"uplink", "t0"}, {"t98"}),
        (
            "top_processes", [{"name": str(n), "cpu_percent": n} for n in range(60)], 50, {"59"}, {"3"},
        ),
    ],
)  # fmt: skip
def test_a_list_that_is_too_long_keeps_its_most_important_entries(
    field: str, value: Any, most: int, kept: set[str], left_out: set[str]
) -> None:
    entries = fitted(**{field: value})[field]
    naming: Callable[[Any], str] = (
        str if isinstance(entries, dict) else lambda row: row.get("name") or row.get("mountpoint")
    )
    names = {naming(entry) for entry in entries}
    assert len(entries) == most
    assert kept <= names
    assert not left_out & names


def test_the_primary_interface_and_those_below_it_stay_whatever_is_cut() -> None:
    """71 interfaces are cut to 64, then halved, because the disks fill the sample."""
    bond = [{"name": "bond0", "is_up": True}, {"name": "eth0", "is_up": False}, {"name": "eth1"}]
    wide = [{"name": f"veth{n}{'x' * 1_000}", "is_up": True, "bytes_sent": 10**9} for n in range(68)]
    sample, complaints = fit(
        GOOD | {"primary_interface": "bond0", "under_primary": {"eth0", "eth1"}, "interfaces": wide + bond}
    )
    assert_taken(sample)
    names = [row["name"] for row in sample["interfaces"]]
    assert names[-3:] == ["bond0", "eth0", "eth1"]
    assert len(names) == 32
    assert [(one.field, one.why) for one in complaints] == [
        ("interfaces", "has more than 64 entries; the most important ones are kept"),
        ("interfaces", "makes the sample larger than 63 KiB and is cut"),
    ]


def test_more_cpus_than_the_wire_takes_are_cut() -> None:
    assert fitted(cpu_per_core=[1.0] * 2000)["cpu_per_core"] == [1.0] * 1024


def test_a_sample_is_never_larger_than_the_wire_takes() -> None:
    long = "가" * 900
    sample = fitted(
        disks=[{"mountpoint": f"/{n}{long}", "device": long, "used_percent": n} for n in range(64)],
        interfaces=[{"name": f"{n}{long}"} for n in range(64)],
        temperatures={f"{n}{long}": 40.0 for n in range(256)},
        tags={f"{n}{long}": long for n in range(60)} | {"uplink": "sw"},
        cpu_per_core=[100.0] * 1024,
    )
    assert len(json.dumps(sample, ensure_ascii=False).encode()) <= 64 * 1024
    assert sample["disks"][-1]["used_percent"] == 63, "the fullest disk is kept"
    assert sample["tags"]["uplink"] == "sw"


def test_complaints_that_differ_only_in_the_value_are_one() -> None:
    _, complaints = fit(GOOD | {"disks": [{"mountpoint": f"/{n}", "used_percent": -n} for n in range(1, 9)]})
    assert [(complaint.field, complaint.why) for complaint in complaints] == [
        ("disks.used_percent", "is not within 0 to 100")
    ]
