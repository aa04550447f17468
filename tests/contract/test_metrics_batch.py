"""docs/contract.md, section 1, Metrics: what a batch may look like, and what its receipt says."""

from __future__ import annotations

import gzip
import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import DIAGNOSTICS_KEYS, ago, assert_problem, detail, instant, post, settled, shown
from tests.servers import EgoServer

MIB = 2**20

FULL: dict[str, Any] = {
    "cpu_load": 42.5,
    "memory_used_percent": 63.25,
    "load_average": 1.72,
    "uptime_seconds": 7200.5,
    "agent_version": "0.1.0",
    "platform": "Linux-x86_64",
    "cpu_temperature": 55.5,
    "gpu_temperature": 61,
    "net_bytes_tx": 2**53 - 1,
    "net_bytes_rx": 12.0,
    "disk_read_bytes": 2**53 - 1,
    "ip": "10.0.0.10",
    "ipv4": "10.0.0.11",
    "rack": "R1",
    "position": {"x": 13.2, "y": 1.1, "z": -4.5},
    "memory_total_bytes": 64 * 2**30,
    "memory_available_bytes": 20 * 2**30,
    "system_manufacturer": "Maker",
    "system_model": "Model",
    "bios_version": "1.0",
    "cpu_model": "CPU 3000",
    "os_distro": "Debian",
    "os_release": "12",
    "os_kernel": "6.1.0",
    "cpu_physical_cores": 8,
    "cpu_logical_cores": 16,
    "primary_interface_speed_mbps": 10_000,
    "tags": {"room": "cellar", "tier": "gold", "display_name": "Titan Eins", "colour": "grün"},
    "cpu_per_core": [10, 20.5],
    "swap_used_percent": 3.5,
    "disks": [
        {
            "device": "/dev/sda1", "mountpoint": "/", "fstype": "ext4", "total_bytes": 1000, "used_bytes": 283,
            "used_percent": 28.3,
        }
    ],
    "interfaces": [
        {
            "name": "eth0", "bytes_sent": 1, "bytes_recv": 2, "packets_sent": 3, "packets_recv": 4, "errin": 5,
            "errout": 6, "dropin": 7, "dropout": 8, "speed_mbps": 1000, "is_up": True,
        }
    ],
    "temperatures": {"Package id 0": 55.5},
    "top_processes": [{"pid": 1, "name": "systemd", "username": "root", "cpu_percent": 0.5, "memory_percent": 0.1}],
    "command_policy": "allow_list",
}  # fmt: skip


def test_a_batch_is_acknowledged_with_its_count_and_the_time_of_its_arrival(ego: EgoServer) -> None:
    answer = ego.post_samples(make_sample(unique_hostname()), make_sample(unique_hostname()))
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    body = answer.json()
    assert body.keys() == {"accepted", "receivedAt"}
    assert body["accepted"] == 2
    assert abs((instant(body["receivedAt"]) - datetime.now(UTC)).total_seconds()) < 5


def test_the_same_sample_again_is_accepted_and_counted_as_a_duplicate(ego: EgoServer) -> None:
    first, second = make_sample(unique_hostname()), make_sample(unique_hostname())
    assert "duplicates" not in post(ego, first)
    again = post(ego, first)
    assert (again["accepted"], again["duplicates"]) == (1, 1)
    mixed = post(ego, first, second)
    assert (mixed["accepted"], mixed["duplicates"]) == (2, 1)
    both = post(ego, first, second)
    assert (both["accepted"], both["duplicates"]) == (2, 2)


def test_a_sample_twice_in_one_batch_is_stored_once(ego: EgoServer) -> None:
    sample = make_sample(unique_hostname())
    receipt = post(ego, sample, sample)
    assert (receipt["accepted"], receipt["duplicates"]) == (2, 1)


def test_of_two_samples_of_one_instant_that_differ_the_first_stays(ego: EgoServer) -> None:
    hostname, at = unique_hostname(), ago(1)
    post(ego, make_sample(hostname, at=at, cpu_percent=10))
    assert post(ego, make_sample(hostname, at=at, cpu_percent=20))["duplicates"] == 1
    assert shown(ego, hostname)["metrics"]["cpuLoad"] == 10


def test_every_spelling_of_an_instant_is_the_same_instant_to_the_millisecond(ego: EgoServer) -> None:
    hostname = unique_hostname()
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)  # older samples are pruned meanwhile
    utc = f"{at:%Y-%m-%dT%H:%M:%S}"
    seoul, newfoundland = (
        f"{at.astimezone(timezone(timedelta(hours=hours))):%Y-%m-%dT%H:%M:%S}" for hours in (9, -3.5)
    )
    assert "duplicates" not in post(ego, make_sample(hostname, at=f"{utc}.123Z"))
    for spelling in (
        f"{utc}.123+00:00",
        f"{utc}.123",
        f"{utc}.123456Z",
        f"{utc}.123999+00:00",
        f"{seoul}.123+09:00",
        f"{newfoundland}.123-03:30",
        f"{utc}.123Z".replace("T", " "),
        f" {utc}.123Z ",
    ):
        assert post(ego, make_sample(hostname, at=spelling)).get("duplicates") == 1, spelling
    assert "duplicates" not in post(ego, make_sample(hostname, at=f"{utc}.124Z"))


@pytest.mark.parametrize("timestamp", ["2000-01-01T00:00:00Z", "2100-12-31T23:59:59.999Z", "20260301T120000Z"])
def test_the_years_2000_to_2100_are_taken(ego: EgoServer, timestamp: str) -> None:
    assert post(ego, make_sample(unique_hostname(), at=timestamp))["accepted"] == 1


def test_every_field_of_a_sample_arrives_in_the_twin(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(0)) | FULL)
    entry = shown(ego, hostname)
    assert entry["metrics"] == {
        "cpuLoad": 42.5,
        "memoryUsedPercent": 63.25,
        "loadAverage": 1.72,
        "uptimeSeconds": 7200.5,
        "cpuTemperature": 55.5,
        "gpuTemperature": 61,
        "memoryTotalBytes": 64 * 2**30,
        "memoryAvailableBytes": 20 * 2**30,
        "swapUsedPercent": 3.5,
        "netBytesTx": 2**53 - 1,
        "netBytesRx": 12,
        "netThroughputGbps": None,
        "diskReadBytesPerSecond": None,
        "netCapacityGbps": 10,
        "fullestDiskPercent": 28.3,
        "diskDaysToFull": None,
    }
    assert {key: entry[key] for key in ("displayName", "label", "ip", "rack", "room", "tier", "role")} == {
        "displayName": "Titan Eins",
        "label": "Titan Eins\n10.0.0.10\nR1",
        "ip": "10.0.0.10",
        "rack": "R1",
        "room": "cellar",
        "tier": "gold",
        "role": "host",
    }
    assert (entry["agentVersion"], entry["platform"]) == ("0.1.0", "Linux-x86_64")
    assert (entry["position"], entry["positionSource"]) == ({"x": 13.2, "y": 1.1, "z": -4.5}, "sample")

    found = detail(ego, hostname)
    assert {key: found[key] for key in entry if key != "lastSeen"} == {k: entry[k] for k in entry if k != "lastSeen"}
    assert found["hardware"] == {
        "systemManufacturer": "Maker",
        "systemModel": "Model",
        "biosVersion": "1.0",
        "cpuModel": "CPU 3000",
        "cpuPhysicalCores": 8,
        "cpuLogicalCores": 16,
        "memoryTotalBytes": 64 * 2**30,
        "osDistro": "Debian",
        "osRelease": "12",
        "osKernel": "6.1.0",
    }
    assert found["diagnostics"] == {
        "cpuPerCore": [10, 20.5],
        "swapUsedPercent": 3.5,
        "disks": [
            {
                "device": "/dev/sda1", "mountpoint": "/", "fstype": "ext4", "totalBytes": 1000, "usedBytes": 283,
                "usedPercent": 28.3,
            }
        ],
        "interfaces": [
            {
                "name": "eth0", "bytesSent": 1, "bytesRecv": 2, "packetsSent": 3, "packetsRecv": 4, "errIn": 5,
                "errOut": 6, "dropIn": 7, "dropOut": 8, "speedMbps": 1000, "isUp": True,
            }
        ],
        "topProcesses": [
            {"pid": 1, "name": "systemd", "username": "root", "cpuPercent": 0.5, "memoryPercent": 0.1}
        ],
        "temperatures": {"Package id 0": 55.5},
        "tags": FULL["tags"],
    }  # fmt: skip
    assert found["commandPolicy"] == "allow_list"
    assert found["lastPollAt"] is None
    for name in ("firstSeen", "reportedAt", "lastSeen"):
        assert abs((instant(found[name]) - datetime.now(UTC)).total_seconds()) < 10, name


def test_a_value_that_a_sample_does_not_have_is_null_and_its_key_is_there(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname))
    entry = shown(ego, hostname)
    unknown = {"cpuTemperature", "gpuTemperature", "memoryTotalBytes", "memoryAvailableBytes", "swapUsedPercent"}
    unknown |= {"netBytesTx", "netBytesRx", "netThroughputGbps", "netCapacityGbps", "diskReadBytesPerSecond"}
    unknown |= {"fullestDiskPercent", "diskDaysToFull"}
    assert {name for name, value in entry["metrics"].items() if value is None} == unknown
    assert [entry[name] for name in ("rack", "room", "tier", "severity")] == [None] * 4
    assert entry["displayName"] == hostname
    found = detail(ego, hostname)
    assert set(found["hardware"].values()) == {None}
    assert found["diagnostics"].keys() == DIAGNOSTICS_KEYS
    assert found["diagnostics"]["tags"] == {}
    assert {value for name, value in found["diagnostics"].items() if name != "tags"} == {None}
    assert found["commandPolicy"] is None


def test_null_in_an_optional_field_means_unknown(ego: EgoServer) -> None:
    hostname = unique_hostname()
    optional = FULL.keys() - make_sample().keys()
    assert len(optional) == 29
    post(ego, make_sample(hostname, **dict.fromkeys(optional)))
    entry = shown(ego, hostname)
    assert entry["metrics"]["cpuTemperature"] is None
    assert entry["positionSource"] == "computed"


def test_a_nested_row_needs_only_its_name(ego: EgoServer) -> None:
    hostname = unique_hostname()
    rows = {"disks": [{"mountpoint": "/"}], "interfaces": [{"name": "eth0"}], "top_processes": [{"name": "sh"}]}
    post(ego, make_sample(hostname, **rows))
    diagnostics = detail(ego, hostname)["diagnostics"] if shown(ego, hostname) else {}
    for name, naming in (("disks", "mountpoint"), ("interfaces", "name"), ("topProcesses", "name")):
        (row,) = diagnostics[name]
        assert {key for key, value in row.items() if value is not None} == {naming}


def test_unknown_keys_are_ignored_everywhere(ego: EgoServer) -> None:
    hostname = unique_hostname()
    sample = make_sample(hostname, from_the_future={"a": [1, 2.5e10, None]}, disks=[{"mountpoint": "/", "new": [[]]}])
    answer = ego.post("/api/metrics/batch", json={"samples": [sample], "also": "unknown"})
    assert answer.status_code == 202
    assert shown(ego, hostname)


AT_THE_LIMIT: dict[str, Any] = {
    "hostname of 120 characters": {"hostname": "h" * 120},
    "idle": {"cpu_load": 0, "memory_used_percent": 0, "uptime_seconds": 0},
    "all memory": {"memory_used_percent": 100, "swap_used_percent": 100},
    "more than one core": {"cpu_load": 6_400},
    "a negative load average": {"load_average": -0.01},
    "below zero": {"cpu_temperature": -40, "gpu_temperature": -0.0},
    "64 tags": {"tags": {f"t{n}": "x" for n in range(64)}},
    "1,024 cores": {"cpu_per_core": [1.5] * 1024},
    "64 disks": {"disks": [{"mountpoint": f"/{n}"} for n in range(64)]},
    "64 interfaces": {"interfaces": [{"name": f"eth{n}"} for n in range(64)]},
    "256 temperatures": {"temperatures": {f"s{n}": 1 for n in range(256)}},
    "50 processes": {"top_processes": [{"name": f"p{n}"} for n in range(50)]},
    "texts of 200": {"agent_version": "v" * 200, "platform": "p" * 200},
    "texts of 160": {"cpu_model": "c" * 160, "os_kernel": "k" * 160},
    "a rack of 64": {"rack": "R" * 64},
    "empty collections": {"tags": {}, "disks": [], "interfaces": [], "temperatures": {}, "top_processes": []},
    "an unknown speed": {"primary_interface_speed_mbps": 0},
    "whole numbers written as fractions": {"net_bytes_tx": 12.0, "memory_total_bytes": 1e12, "cpu_logical_cores": 4.0},
}


@pytest.mark.parametrize("fields", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT.keys())
def test_a_sample_at_its_limits_is_taken(ego: EgoServer, fields: dict[str, Any]) -> None:
    assert post(ego, make_sample(unique_hostname()) | fields)["accepted"] == 1


def test_a_hostname_is_trimmed_and_brought_to_nfc(ego: EgoServer) -> None:
    composed = unicodedata.normalize("NFC", unique_hostname("호스트-é"))
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed
    at = ago(1)
    post(ego, make_sample(composed, at=at))
    assert post(ego, make_sample(f" \t{decomposed} ", at=at))["duplicates"] == 1
    assert shown(ego, composed)["hostname"] == composed


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ({"ip": "10.9.8.7", "ipv4": "10.1.1.1"}, "10.9.8.7"),
        ({"ipv4": "10.1.1.1"}, "10.1.1.1"),
        ({"ip": None, "ipv4": None}, "127.0.0.1"),
        ({}, "127.0.0.1"),
    ],
)
def test_ip_wins_over_ipv4_and_without_both_the_peer_counts(
    sqlite_ego: EgoServer, addresses: dict[str, Any], expected: str
) -> None:
    hostname = unique_hostname()
    post(sqlite_ego, make_sample(hostname, **addresses))
    assert shown(sqlite_ego, hostname)["ip"] == expected


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ({"x": 1.5, "y": 2, "z": -3}, (1.5, 2, -3)),
        ({"x": 4}, (4, 0, 0)),
        ({"z": 4}, (0, 0, 4)),
        ({}, (0, 0, 0)),
        ({"x": None, "y": 7, "z": None}, (0, 7, 0)),
    ],
)
def test_each_coordinate_defaults_to_zero(
    sqlite_ego: EgoServer, position: dict[str, Any], expected: tuple[float]
) -> None:
    hostname = unique_hostname()
    post(sqlite_ego, make_sample(hostname, position=position))
    entry = shown(sqlite_ego, hostname)
    assert entry["position"] == dict(zip("xyz", expected, strict=True))
    assert entry["positionSource"] == "sample"


def test_a_batch_has_at_most_a_thousand_samples(ego: EgoServer) -> None:
    hostname = unique_hostname()
    samples = [make_sample(hostname, at=f"2026-03-01T12:{n // 60:02d}:{n % 60:02d}Z") for n in range(1001)]
    assert_problem(ego.post_samples(*samples), 400, naming="samples")
    receipt = post(ego, *samples[:1000])
    assert receipt["accepted"] == 1000
    assert "duplicates" not in receipt  # nothing of the refused batch was stored


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_the_content_type_is_json_with_or_without_a_charset(sqlite_ego: EgoServer, content_type: str) -> None:
    body = json.dumps({"samples": [make_sample(unique_hostname())]})
    answer = sqlite_ego.post("/api/metrics/batch", data=body, headers={"Content-Type": content_type})
    assert answer.status_code == 202


def test_a_byte_order_mark_before_the_body_is_left_out(ego: EgoServer) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"samples": [make_sample(unique_hostname())]}).encode()
    for headers, data in ({}, body), ({"Content-Encoding": "gzip"}, gzip.compress(body)):
        answer = ego.post("/api/metrics/batch", data=data, headers={"Content-Type": "application/json", **headers})
        assert answer.status_code == 202, answer.text


def test_gzip_is_unpacked(ego: EgoServer) -> None:
    body = gzip.compress(json.dumps({"samples": [make_sample(unique_hostname()) for _ in range(50)]}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = ego.post("/api/metrics/batch", data=body, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 50)


def test_a_chunked_body_is_taken(ego: EgoServer) -> None:
    body = json.dumps({"samples": [make_sample(unique_hostname())]}).encode()
    chunks = (body[start : start + 50] for start in range(0, len(body), 50))
    answer = ego.post("/api/metrics/batch", data=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202


def test_four_mebibytes_are_taken_and_one_byte_more_is_not(ego: EgoServer) -> None:
    body = json.dumps({"samples": [make_sample(unique_hostname())]}).encode()
    headers = {"Content-Type": "application/json"}
    answer = ego.post("/api/metrics/batch", data=body.ljust(4 * MIB), headers=headers)
    assert answer.status_code == 202
    url, too_long = f"{ego.url}/api/metrics/batch", body.ljust(4 * MIB + 1)
    assert_problem(requests.post(url, data=too_long, headers=headers, timeout=20), 413)


def test_a_lenient_batch_stores_the_good_ones_and_names_the_others(ego: EgoServer) -> None:
    good, bad = make_sample(unique_hostname()), make_sample(unique_hostname(), cpu_load=-1)
    answer = ego.post_samples(bad, good, bad, headers={"Prefer": "handling=lenient"})
    assert answer.status_code == 202
    body = answer.json()
    assert body.keys() == {"accepted", "rejected", "errors", "receivedAt"}
    assert (body["accepted"], body["rejected"]) == (1, 2)
    assert [(row["index"], row["field"]) for row in body["errors"]] == [(0, "cpu_load"), (2, "cpu_load")]
    assert shown(ego, good["hostname"])


def test_a_strict_batch_names_every_bad_sample_and_stores_nothing(ego: EgoServer) -> None:
    good = make_sample(unique_hostname())
    bad = make_sample(unique_hostname(), cpu_load=-1, memory_used_percent=101)
    unnamed = make_sample(unique_hostname())
    del unnamed["hostname"]
    problem = assert_problem(ego.post_samples(good, bad, unnamed, good, bad), 400)
    named = {(row["index"], row["field"]) for row in problem["errors"]}
    of_bad = {"cpu_load", "memory_used_percent"}
    assert named == {(1, field) for field in of_bad} | {(4, field) for field in of_bad} | {(2, "hostname")}
    hosts = {host["hostname"] for host in settled(ego)["hosts"]}
    assert not hosts & {good["hostname"], bad["hostname"]}
    assert "duplicates" not in post(ego, good)
