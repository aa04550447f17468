"""One odd value costs that value, never the host: bad diagnostics are dropped, and unknown values may be declared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import assert_problem, detail, post
from tests.servers import EgoServer

# name: (the list, what an agent sends, what the host shows, how many entries are left out)
LISTS: dict[str, tuple[str, Any, Any, int]] = {
    "71 interfaces": ("interfaces", [{"name": f"e{n}"} for n in range(71)], [f"e{n}" for n in range(64)], 7),
    "a core switch's primary interface, the last of 71": (
        "interfaces",
        [{"name": f"e{n}"} for n in range(70)] + [{"name": "uplink"}],
        [*(f"e{n}" for n in range(63)), "uplink"],
        7,
    ),
    "a full disk, the last of 65": (
        "disks",
        [{"mountpoint": f"/{n}", "used_percent": 5} for n in range(64)] + [{"mountpoint": "/srv", "used_percent": 99}],
        [*(f"/{n}" for n in range(63)), "/srv"],
        1,
    ),
    "the hottest of 257 sensors": (
        "temperatures",
        {f"s{n}": 30 for n in range(256)} | {"hot": 90},
        {f"s{n}": 30 for n in range(255)} | {"hot": 90},
        1,
    ),
    "an interface that is up perhaps": ("interfaces", [{"name": "a", "is_up": 1}, {"name": "b"}], ["b"], 1),
    "an interface with 2^63 bytes": ("interfaces", [{"name": "a"}, {"name": "b", "bytes_sent": 2**63}], ["a"], 1),
    "an empty disk": ("disks", [{}], None, 1),
    "a disk's share in quotes": ("disks", [{"mountpoint": "/", "used_percent": "9"}, {"mountpoint": "/b"}], ["/b"], 1),
    "20,000 bytes of empty disks": ("disks", [{}] * 5_000, None, 5_000),
    "disks that are a word": ("disks", "all", None, 1),
    "a core without a load": ("cpu_per_core", [1, None, 2.5], [1, 2.5], 1),
    "1,025 cores": ("cpu_per_core", [1] * 1_025, [1] * 1_024, 1),
    "a sensor without a value": ("temperatures", {"a": None, "b": 41.5}, {"b": 41.5}, 1),
    "a process without a name": ("top_processes", [{"pid": 1}, {"name": "init"}], ["init"], 1),
    "51 processes": ("top_processes", [{"name": f"p{n}"} for n in range(51)], [f"p{n}" for n in range(50)], 1),
}
SHOWN = {
    "interfaces": ("interfaces", "name"),
    "disks": ("disks", "mountpoint"),
    "top_processes": ("topProcesses", "name"),
    "cpu_per_core": ("cpuPerCore", None),
    "temperatures": ("temperatures", None),
}


@pytest.fixture
def ego(sqlite_ego: EgoServer) -> EgoServer:
    """A sample is read before storage is reached, so one database is enough."""
    return sqlite_ego


@pytest.mark.parametrize(("field", "sent", "shown", "count"), LISTS.values(), ids=LISTS.keys())
def test_an_odd_entry_costs_that_entry(ego: EgoServer, field: str, sent: Any, shown: Any, count: int) -> None:
    hostname = unique_hostname()
    receipt = post(ego, make_sample(hostname), make_sample(hostname + "x", primary_interface="uplink", **{field: sent}))
    assert receipt["accepted"] == 2
    assert receipt["dropped"] == [{"index": 1, "field": field, "count": count}]
    name, key = SHOWN[field]
    found = detail(ego, hostname + "x")["diagnostics"][name]
    assert (found if key is None or found is None else [row[key] for row in found]) == shown


def test_a_sample_that_declares_unknown_values_is_accepted(ego: EgoServer) -> None:
    hostname = unique_hostname()
    needed = ["cpu_load", "memory_used_percent", "load_average", "uptime_seconds"]
    blind = {name: value for name, value in make_sample(hostname).items() if name not in needed}
    assert_problem(ego.post_samples(blind), 400)
    post(ego, blind | {"unknown": needed, "load_average": None})
    metrics = ego.get(f"/api/hosts/{hostname}").json()["metrics"]
    assert [metrics[name] for name in ("cpuLoad", "memoryUsedPercent", "loadAverage", "uptimeSeconds")] == [None] * 4
    history = ego.get(f"/api/hosts/{hostname}/history", params={"metrics": "cpuLoad", "stepSeconds": 60}).json()
    assert set(history["metrics"]["cpuLoad"]["avg"]) == {None}


def test_a_host_whose_clock_is_at_1970_has_a_clock_skew(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at="1970-01-01T00:01:40Z"))
    assert ego.get(f"/api/hosts/{hostname}").json()["status"] == "online"
    assert "clock_skew" in {
        row["metric"] for row in ego.get("/api/alerts/active").json() if row["hostname"] == hostname
    }


def test_a_name_that_ends_with_a_dot_is_the_same_name(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname + "."))
    assert ego.get(f"/api/hosts/{hostname}").json()["hostname"] == hostname
    assert ego.get(f"/api/hosts/{hostname}.").json()["hostname"] == hostname


def test_small_letters_of_a_timestamp_are_taken(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at="2026-03-01t12:00:00.5z"))
    assert ego.get(f"/api/hosts/{hostname}").json()["reportedAt"] == "2026-03-01T12:00:00.500Z"


@pytest.mark.parametrize("celsius", [65261.85, 255, 128, 127.0, -128, -273.15, 1e300])
def test_what_a_sensor_without_a_chip_reports_is_no_temperature(ego: EgoServer, celsius: float) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, cpu_temperature=celsius, gpu_temperature=celsius, temperatures={"a": celsius}))
    host = ego.get(f"/api/hosts/{hostname}").json()
    assert (host["metrics"]["cpuTemperature"], host["metrics"]["gpuTemperature"]) == (None, None)
    assert host["diagnostics"]["temperatures"] == {"a": celsius}
    assert hostname not in {row["hostname"] for row in ego.get("/api/alerts/active").json()}
