"""Samples of the machine that the tests run on, and of machines that lack something."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import psutil
import pytest

from mirror_stage.core.instants import to_text
from mirror_stage.metrics.decoder import decode_fast, decode_slow
from mirror_stage.reflector import collector as module
from mirror_stage.reflector.collector import Collector, Loads, OwnName, TopProcesses, instant_of
from mirror_stage.reflector.container import Container
from mirror_stage.reflector.machine import Machine
from mirror_stage.reflector.network import Network, WayToEgo
from mirror_stage.reflector.parts import Parts
from tests.servers import wait_until

REQUIRED = {
    "hostname", "timestamp", "cpu_load", "memory_used_percent", "load_average", "uptime_seconds", "agent_version",
    "platform",
}  # fmt: skip


QUICK_SECONDS = 0.6
LATE_PARTS = {"part sensors", "part hardware"}


def quick() -> Parts:
    return Parts(deadline_seconds=QUICK_SECONDS)


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return Collector(
        hostname="titan-01", rack="R1", tags={"room": "a"}, position={"x": 1.0}, agent_version="1.2.3"
    ).sample()


def test_a_sample_passes_the_schema_by_both_decoders(sample: dict[str, Any]):
    raw = memoryview(orjson.dumps(sample))
    slow, errors, _ = decode_slow(raw)
    assert errors == []
    assert slow == decode_fast(raw)


def test_a_sample_has_the_values_that_every_machine_has(sample: dict[str, Any]):
    assert sample.keys() >= REQUIRED | {
        "cpu_per_core",
        "memory_total_bytes",
        "cpu_logical_cores",
        "os_kernel",
        "interfaces",
    }
    assert (sample["hostname"], sample["rack"], sample["agent_version"]) == ("titan-01", "R1", "1.2.3")
    assert sample["position"] == {"x": 1.0}
    assert sample["tags"]["room"] == "a"
    assert len(sample["cpu_per_core"]) == psutil.cpu_count()
    assert sample["memory_total_bytes"] == psutil.virtual_memory().total
    assert 0 < len(sample["top_processes"]) <= 5


def test_a_sample_has_no_null_and_a_speed_of_zero_only_where_the_primary_interface_has_none(sample: dict[str, Any]):
    assert None not in sample.values()
    speeds = {row["name"]: row["speed_mbps"] for row in sample["interfaces"] if "speed_mbps" in row}
    assert all(speed > 0 for speed in speeds.values())
    if "primary_interface_speed_mbps" in sample:
        assert sample["primary_interface_speed_mbps"] == speeds.get(sample["primary_interface"], 0)


def test_the_instant_is_utc_with_milliseconds(sample: dict[str, Any]):
    assert len(sample["timestamp"]) == len("2025-11-01T02:15:00.000Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(sample["timestamp"])).total_seconds()) < 60


def test_the_primary_interface_is_not_loopback(sample: dict[str, Any]):
    primary = sample["tags"].get("primary_interface")
    if primary is None:
        pytest.skip("no default route here")
    assert primary != "lo"
    row = next(row for row in sample["interfaces"] if row["name"] == primary)
    assert (row["bytes_sent"], row["bytes_recv"]) == (sample["net_bytes_tx"], sample["net_bytes_rx"])


def test_the_loads_of_the_first_sample_are_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0.3)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        wait_until(lambda: sum(psutil.Process(burner.pid).cpu_times()[:2]) > 0)
        # Each part of a sample has a second, which may be too short on a busy machine.
        first = wait_until(lambda: sample if "cpu_load" in (sample := Collector().sample()) else None)
    finally:
        burner.kill()
        burner.wait()
    assert first["cpu_load"] > 0
    assert any(row["cpu_percent"] > 0 for row in first["top_processes"])  # the burner or a busier process


def test_a_load_that_cannot_be_told_is_the_last_one_twice_and_then_unknown():
    class Times(NamedTuple):
        user: float
        idle: float

    loads = Loads()
    idle = [20, 24, 22, 20, 18, 16, 20]  # it runs backwards four times
    seen = [loads.update([Times(seconds, seconds_idle)], 5.0 * seconds) for seconds, seconds_idle in enumerate(idle)]
    assert seen == [[], [20.0], [20.0], [20.0], [], [], [20.0]]


def test_a_load_that_was_never_told_is_unknown():
    class Times(NamedTuple):
        user: float
        idle: float

    loads = Loads()
    idle = [20, 16, 20]  # it runs backwards first
    seen = [loads.update([Times(seconds, seconds_idle)], 5.0 * seconds) for seconds, seconds_idle in enumerate(idle)]
    assert seen == [[], [], [20.0]]


def test_a_second_sample_at_once_still_has_a_load():
    collector = Collector()
    samples = [collector.sample() for _ in range(3)]
    assert all("cpu_load" in sample and "cpu_per_core" in sample for sample in samples)


def test_a_hanging_sensor_costs_its_own_value_until_it_answers(monkeypatch: pytest.MonkeyPatch):
    gate = threading.Event()
    calls = []

    def hangs() -> dict[str, list[Temperature]]:
        calls.append(1)
        gate.wait(30)
        return {"coretemp": [Temperature("Package", 61.0)]}

    collector = Collector(parts=quick())
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    collector.sample()
    monkeypatch.setattr(psutil, "sensors_temperatures", hangs)
    began = time.monotonic()
    sample = collector.sample()
    assert time.monotonic() - began < 2 * QUICK_SECONDS
    assert "cpu_temperature" not in sample
    assert sample.keys() >= REQUIRED
    began = time.monotonic()
    collector.sample()
    assert time.monotonic() - began < QUICK_SECONDS, "it is not waited for again"
    assert len(calls) == 1
    gate.set()
    wait_until(lambda: not any(thread.name == "part sensors" for thread in threading.enumerate()))
    assert collector.sample()["cpu_temperature"] == 61.0


def test_sensors_that_always_answer_late_are_in_the_next_samples_until_their_answer_is_old(
    monkeypatch: pytest.MonkeyPatch,
):
    gate = threading.Semaphore(0)

    def late() -> dict[str, Any]:
        gate.acquire(timeout=30)
        return {"cpu_temperature": 61.0}

    monkeypatch.setattr(module, "sensors", lambda _machine: late())
    monkeypatch.setattr(module, "hardware", lambda _machine: late() and {"cpu_model": "EPYC"})
    collector = Collector(parts=quick())
    sample = collector.sample()
    assert not {"cpu_temperature", "cpu_model"} & sample.keys()
    gate.release(2)
    wait_until(lambda: not any(thread.name in LATE_PARTS for thread in threading.enumerate()))
    for _ in range(2):  # the sensors hang again
        sample = collector.sample()
        assert (sample["cpu_temperature"], sample["cpu_model"]) == (61.0, "EPYC")
    monkeypatch.setattr(module, "SENSORS_KEPT_SECONDS", 0)
    sample = collector.sample()
    assert ("cpu_temperature" in sample, sample["cpu_model"]) == (False, "EPYC")
    gate.release(2)


class Folders(Machine):
    def is_folder(self, mountpoint: str) -> bool:
        return True


def test_a_dead_mount_costs_its_own_row(monkeypatch: pytest.MonkeyPatch):
    gate = threading.Event()
    usage = psutil.disk_usage("/")

    def disk_usage(mountpoint: str) -> Any:
        if mountpoint == "/dead":
            gate.wait(30)
        return usage

    mounted = [Mounted("/dev/a", "/", "ext4"), Mounted("/dev/b", "/dead", "ext4"), Mounted("/dev/c", "/home", "ext4")]
    monkeypatch.setattr(psutil, "disk_usage", disk_usage)
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounted)
    collector = Collector(parts=quick(), machine=Folders())
    assert [disk["mountpoint"] for disk in collector.sample()["disks"]] == ["/", "/home"]
    assert [disk["mountpoint"] for disk in collector.sample()["disks"]] == ["/", "/home"]
    gate.set()
    wait_until(lambda: not any(thread.name == "part disk /dead" for thread in threading.enumerate()))
    assert [disk["mountpoint"] for disk in collector.sample()["disks"]] == ["/", "/dead", "/home"]


@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        ("sensors_temperatures", set()),
        ("swap_memory", {"swap_used_percent"}),
        ("disk_partitions", {"disks"}),
        ("pids", {"top_processes"}),
        ("net_if_stats", set()),
        ("net_if_addrs", set()),
        (
            "net_io_counters",
            {
                "interfaces",
                "net_bytes_tx",
                "net_bytes_rx",
                "ip",
                "tags",
                "primary_interface",
                "primary_interface_speed_mbps",
            },
        ),
    ],
)
@pytest.mark.parametrize("error", [NotImplementedError, AttributeError, OSError, ValueError, KeyError])
def test_a_function_of_the_platform_that_fails_costs_only_its_own_fields(
    broken: str, lost: set[str], error: type[Exception], monkeypatch: pytest.MonkeyPatch, sample: dict[str, Any]
):
    def fails(*_args: object, **_options: object) -> object:
        raise error("not here")

    monkeypatch.setattr(psutil, broken, fails, raising=False)
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0.02)
    without = Collector(parts=Parts(deadline_seconds=30)).sample()
    volatile = {"rack", "position", "tags", "cpu_temperature", "gpu_temperature", "temperatures", "ip"}
    if sample.get("primary_interface_speed_mbps") == 0:  # unknown, and sent only while another interface has a speed
        volatile.add("primary_interface_speed_mbps")
    assert sample.keys() - volatile - lost <= without.keys()
    assert not lost & without.keys() - {"tags"}


def test_a_machine_without_sensors_sends_no_temperatures_and_logs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    with caplog.at_level(logging.WARNING):
        sample = Collector(parts=quick()).sample()
    assert not {"cpu_temperature", "gpu_temperature", "temperatures"} & sample.keys()
    assert caplog.records == []


def test_a_machine_without_swap_has_no_swap_percent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap(0, 0.0))
    assert "swap_used_percent" not in Collector(parts=quick()).sample()


@pytest.mark.parametrize(
    ("limit", "used", "percent"),
    [
        ("max", "50", 40.0),  # no limit: the machine's swap counts
        ("100", "50", 50.0),
        ("100", "150", 100.0),  # the limit was lowered
        ("0", "0", None),  # it may not swap
        ("2000", "50", 40.0),  # more than the machine has
    ],
)
def test_the_swap_of_a_container_is_what_it_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, used: str, percent: float | None
):
    for name, text in {"cgroup.controllers": "", "memory.swap.max": limit, "memory.swap.current": used}.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (tmp_path / ".dockerenv").touch()
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap(1000, 40.0))
    machine = Machine(tmp_path)
    assert module.swap(machine, Container(machine)) == {"swap_used_percent": percent}


def test_three_samples_read_the_hardware_once_and_all_have_it(monkeypatch: pytest.MonkeyPatch):
    reads = []

    def hardware(_machine: Machine) -> dict[str, Any]:
        reads.append(1)
        return {"cpu_model": "EPYC"}

    monkeypatch.setattr(module, "hardware", hardware)
    collector = Collector(parts=quick())
    assert [collector.sample()["cpu_model"] for _ in range(3)] == ["EPYC"] * 3
    assert len(reads) == 1


def test_hardware_that_could_not_be_read_is_read_again(monkeypatch: pytest.MonkeyPatch):
    answers = iter([OSError("busy"), {"cpu_model": "EPYC"}])

    def hardware(_machine: Machine) -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "hardware", hardware)
    collector = Collector(parts=quick())
    assert ["cpu_model" in collector.sample() for _ in range(3)] == [False, True, True]


def test_a_tag_from_the_settings_wins_over_a_measured_one(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100)
    machine.speeds["eth0"] = 1000
    sample = Collector(tags={"primary_interface_speed_mbps": "10000"}, parts=quick(), machine=machine).sample()
    assert sample["tags"] == {"primary_interface": "eth0", "primary_interface_speed_mbps": "10000"}
    assert sample["primary_interface_speed_mbps"] == 1000


def test_an_unknown_speed_is_left_out_everywhere(tmp_path: Path):
    sample = Collector(parts=quick(), machine=Interfaces(tmp_path, eth0=100)).sample()
    assert "primary_interface_speed_mbps" not in sample
    assert sample["tags"] == {"primary_interface": "eth0"}
    assert all("speed_mbps" not in row for row in sample["interfaces"])


def test_a_primary_interface_of_unknown_speed_does_not_take_the_speed_of_another(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, eth1=1)
    machine.speeds["eth1"] = 10_000
    assert Network(machine=machine).read()["primary_interface_speed_mbps"] == 0


def test_the_address_is_that_of_the_primary_interface_unless_one_is_set(tmp_path: Path):
    machine = Interfaces(tmp_path, docker0=1, eth0=100)
    assert Network(machine=machine).read()["ip"] == "10.0.0.2"
    assert Network("10.9.9.9", machine).read()["ip"] == "10.9.9.9"


def test_the_name_of_the_primary_interface_changes_with_its_counters(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, wlan0=9_000)
    network = Network(machine=machine)
    first = network.read()
    assert (first["primary_interface"], first["net_bytes_tx"]) == ("eth0", 100)
    machine.default = "wlan0"
    moved = network.read()
    assert moved["primary_interface"] == "wlan0"
    assert "net_bytes_tx" not in moved, "an older EGO would compute a rate from the counters of two interfaces"
    later = network.read()
    assert (later["primary_interface"], later["net_bytes_tx"]) == ("wlan0", 9_000)


def test_a_driver_that_says_0_for_a_moment_makes_no_rate_from_0(tmp_path: Path):
    machine, seen = Interfaces(tmp_path, eth0=10**13), []
    network = Network(machine=machine)
    for sent in (10**13, 0, 10**13 + 5, 0, 0, 7):  # at last it really begins anew
        machine.sent["eth0"] = sent
        seen.append(network.read().get("net_bytes_tx"))
    assert seen == [10**13, None, 10**13 + 5, None, 0, 7]


def test_an_interface_that_was_unplugged_is_not_listed_and_may_come_back(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, usb0=7)
    network = Network(machine=machine)
    assert [row["name"] for row in network.read()["interfaces"]] == ["eth0", "usb0"]
    del machine.sent["eth0"]
    gone = network.read()
    assert [row["name"] for row in gone["interfaces"]] == ["usb0"]
    assert "net_bytes_tx" not in gone
    machine.sent["eth0"] = 3
    network.read()
    assert network.read()["net_bytes_tx"] == 3


def test_the_route_to_ego_is_preferred_to_the_default_route(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, eth1=200, tun0=300)
    machine.routes = {"10.0.0.100": "10.0.0.2", "fd00::1": "fe80::2"}
    for ego in ("http://10.0.0.100:3000", "http://[fd00::1]:3000/ego"):
        way = WayToEgo(ego, machine)
        assert way.resolve() == {}
        fields = Network(None, machine, way).read()
        assert (fields["primary_interface"], fields["ip"]) == ("eth1", "10.0.0.2"), ego


def test_an_ego_on_this_machine_or_without_a_route_does_not_choose_the_primary_interface(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, eth1=200)
    machine.routes = {"127.0.0.1": "127.0.0.1"}
    for ego in ("http://127.0.0.1:3000", "http://10.99.0.1:3000", None):
        way = WayToEgo(ego, machine)
        way.resolve()
        assert Network(None, machine, way).read()["primary_interface"] == "eth0", ego


def test_a_default_route_in_another_table_is_found(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, eth1=50)
    machine.default = None
    machine.routes = {"198.51.100.1": "10.0.0.2"}
    assert Network(machine=machine).read()["primary_interface"] == "eth1"


def test_without_a_route_the_primary_interface_has_the_set_address_or_is_the_busiest_up(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, eth1=200, docker0=1000)
    machine.default = None
    fields = Network(machine=machine).read()
    assert (fields["primary_interface"], fields["ip"], fields["net_bytes_tx"]) == ("eth1", "10.0.0.2", 200)
    assert Network("10.0.0.1", machine).read()["primary_interface"] == "eth0"
    machine.down.add("eth1")
    assert Network(machine=machine).read()["primary_interface"] == "eth0"


@pytest.mark.parametrize("name", ["lon0", "local", "dummynet"])
def test_an_interface_with_a_name_like_that_of_loopback_can_be_primary(tmp_path: Path, name: str):
    machine = Interfaces(tmp_path, lo=100, dummy0=100, **{name: 200})
    machine.default = name
    assert Network(machine=machine).read()["net_bytes_tx"] == 200
    machine.default = "dummy0"
    assert Network("10.0.0.3", machine).read()["primary_interface"] == name


def test_a_missing_primary_interface_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    machine = Interfaces(tmp_path, lo=100)
    machine.default = None
    network = Network(machine=machine)
    for _ in range(3):
        assert "primary_interface" not in network.read()
    assert [record.getMessage() for record in caplog.records] == [
        "found no interface that leads to a network: samples have no address and no counters until there is one"
    ]


def test_of_too_many_interfaces_the_primary_one_is_sent_and_the_cut_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    machine = Interfaces(tmp_path, **{f"veth{n}": 10**6 + n for n in range(200)}, eth0=10)
    collector = Collector(machine=machine, parts=quick())
    for _ in range(3):
        names = [row["name"] for row in collector.sample()["interfaces"]]
        assert len(names) == 64
        assert "eth0" in names
        assert "veth3" not in names
    assert [record.getMessage() for record in caplog.records if "interfaces" in record.getMessage()] == [
        "a sample's interfaces has more than 64 entries; the most important ones are kept: 201"
    ]


def test_one_interface_that_fails_costs_no_other_its_state(tmp_path: Path):
    machine = Interfaces(tmp_path, eth0=100, eth1=5)
    machine.write("sys/class/net/eth0/operstate", "up")
    machine.write("sys/class/net/eth0/speed", "1000")
    machine.write("sys/class/net/eth1/operstate", "down")

    def fails() -> Any:
        raise OSError(22, "Invalid argument")

    machine.psutil.net_if_stats = fails
    rows = {row["name"]: row for row in Network(machine=machine).read()["interfaces"]}
    assert (rows["eth0"]["is_up"], rows["eth0"]["speed_mbps"], rows["eth1"]["is_up"]) == (True, 1000, False)


def test_the_address_of_an_interface_label_belongs_to_the_interface(tmp_path: Path):
    machine = Interfaces(tmp_path, venet0=7)
    machine.default = "venet0"
    labelled = {"venet0:0": [SimpleNamespace(family=socket.AF_INET, address="10.4.4.4")]}
    machine.psutil.net_if_addrs = lambda: labelled
    assert Network(machine=machine).read()["ip"] == "10.4.4.4"


def test_an_interface_whose_files_cannot_be_read_is_listed_with_the_others(tmp_path: Path):
    machine = Interfaces(tmp_path, **{"eth0": 100, "ibr10:30": 0, "cali7b9c": 3})
    (tmp_path / "sys/class/net/cali7b9c/uevent").unlink()
    (tmp_path / "sys/class/net/cali7b9c/uevent").mkdir()
    names = [row["name"] for row in Network(machine=machine).read()["interfaces"]]
    assert names == ["eth0", "ibr10:30", "cali7b9c"]


def test_the_cache_of_zfs_is_the_machines_not_a_guests(tmp_path: Path):
    machine = Interfaces(tmp_path)
    machine.write("proc/spl/kstat/zfs/arcstats", f"size 4 {2**34}\nc_min 4 0\n")
    machine.psutil.virtual_memory = lambda: SimpleNamespace(total=2**35, available=2**30, percent=96.9)
    assert module.memory(machine, Container(machine))["memory_available_bytes"] == 2**30 + 2**34
    machine.write("proc/self/mounts", "lxcfs /proc/meminfo fuse.lxcfs rw,nosuid 0 0\n")
    assert module.memory(machine, Container(machine))["memory_available_bytes"] == 2**30


def test_a_counter_too_large_for_json_wraps_around(tmp_path: Path):
    assert Network(machine=Interfaces(tmp_path, eth0=2**53 + 5)).read()["net_bytes_tx"] == 5


def test_a_system_file_is_read_whole_though_proc_gives_it_in_pieces():
    assert "[stack]" in Machine().text("/proc/self/maps")  # one of its last lines, behind far more than 4 KiB


@pytest.mark.parametrize(
    ("wall", "instant"),
    [
        (12.5, "1970-01-01T00:00:12.500Z"),
        (-3600.0, "1970-01-01T00:01:40.000Z"),
        (1772366400.0, "2026-03-01T12:00:00.000Z"),
        (6e9, "2100-01-01T00:01:40.000Z"),
    ],
)
def test_a_time_outside_the_range_of_the_contract_becomes_its_limit_plus_the_uptime(wall: float, instant: str):
    assert to_text(instant_of(wall, since_boot=100.0)) == instant


def test_a_machine_that_ran_for_years_with_a_clock_beyond_2100_is_still_within_the_contract():
    assert to_text(instant_of(6e9, since_boot=365 * 86_400.0 + 5)) == "2100-01-01T00:00:05.000Z"


def test_the_name_of_the_machine_is_asked_again_and_a_bad_one_does_not_replace_a_good_one():
    class Renamed(Machine):
        names = iter(["localhost", "titan-01.", "(none)/", "", "타이탄.lan"])

        def hostname(self) -> str:
            return next(self.names)

    name = OwnName(Renamed())
    assert [name.now() for _ in range(5)] == ["localhost", "titan-01", "titan-01", "titan-01", "타이탄.lan"]
    assert Collector(hostname="set", machine=Renamed(), parts=quick()).sample()["hostname"] == "set"


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("x" * 300, "x" * 120),
        ("titan/01", "titan01"),
        ("titan\udcc3-01", "titan\ufffd-01"),
        ("\u202e", "nameless-host"),
    ],
)
def test_a_machine_that_never_had_a_valid_name_keeps_what_is_valid_of_it(name: str, sent: str):
    class Named(Machine):
        def hostname(self) -> str:
            return name

    assert Collector(machine=Named(), parts=quick()).sample()["hostname"] == sent


def test_every_sample_says_how_often_and_from_which_agent():
    sample = Collector(interval_seconds=30, agent_instance="0d1f", parts=quick()).sample()
    assert (sample["interval_seconds"], sample["agent_instance"]) == (30, "0d1f")


@pytest.mark.parametrize(
    ("broken", "unknown"),
    [
        ("cpu_times", "cpu_load"),
        ("virtual_memory", "memory_used_percent"),
        ("getloadavg", "load_average"),
    ],
)
def test_a_required_value_that_cannot_be_read_is_unknown_and_the_sample_goes_out(
    broken: str, unknown: str, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_args: object, **_options: object) -> object:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(psutil, broken, fails)
    sample = Collector(parts=quick()).sample()
    assert sample["unknown"] == [unknown]
    assert unknown not in sample


def test_a_change_by_the_last_check_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap(524288, -1.6))
    collector = Collector(parts=quick())
    for _ in range(3):
        assert "swap_used_percent" not in collector.sample()
    said = [record.getMessage() for record in caplog.records if "swap" in record.getMessage()]
    assert said == ["a sample's swap_used_percent is not within 0 to 100: -1.6"]


def test_a_hanging_name_service_costs_no_value(monkeypatch: pytest.MonkeyPatch):
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: gate.wait(30))
    collector = Collector(ego="http://ego.lan:3000", parts=quick())
    try:
        assert collector.sample().keys() >= REQUIRED
        began = time.monotonic()
        collector.sample()
        assert time.monotonic() - began < QUICK_SECONDS, "it is not waited for again"
    finally:
        gate.set()


def test_scanning_many_processes_costs_a_bounded_share_of_a_core(monkeypatch: pytest.MonkeyPatch):
    processes = TopProcesses()
    looks = []
    processor_seconds = [0.0]

    def look() -> None:
        looks.append(1)
        processes._known = {1: (psutil.Process(), 0.0)}
        processes._looked_at = time.monotonic()
        processor_seconds[0] += 0.1

    monkeypatch.setattr(processes, "_look", look)
    monkeypatch.setattr(time, "thread_time", lambda: processor_seconds[0])
    for _ in range(10):
        processes.read()
    assert len(looks) == 2, "the baseline and one scan; the next scan is due in 25 s"


def test_a_process_that_is_gone_or_hidden_is_skipped(monkeypatch: pytest.MonkeyPatch):
    hidden = os.getpid()

    class Hidden(psutil.Process):
        def cpu_times(self) -> Any:
            if self.pid == hidden:
                raise psutil.AccessDenied(self.pid)
            return super().cpu_times()

    monkeypatch.setattr(psutil, "Process", Hidden)
    monkeypatch.setattr(psutil, "pids", lambda: [hidden, os.getppid(), 2**22 + 1])
    processes = TopProcesses()
    processes.read()
    assert [row["pid"] for row in processes.read()["top_processes"]] == [os.getppid()]


def test_the_collector_imports_no_library_of_the_server():
    heavy = ["flask", "gevent", "sqlalchemy", "marshmallow", "msgspec", "orjson", "requests"]
    code = f"import sys, mirror_stage.reflector.collector; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert answer.stdout.strip() == "[]"


def test_a_part_that_never_returns_blocks_neither_the_sample_nor_the_exit():
    code = (
        "import time, psutil; psutil.sensors_temperatures = lambda: time.sleep(60)\n"
        "from mirror_stage.reflector.collector import Collector; from mirror_stage.reflector.parts import Parts\n"
        "print('cpu_load' in Collector(parts=Parts(deadline_seconds=0.3)).sample())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=10)
    assert answer.stdout.strip() == "True"


def test_a_sample_costs_far_less_than_one_percent_of_a_core(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SCAN_SHARE", float("inf"))  # scan the processes for every sample
    collector = Collector()
    collector.sample()
    began, walked, count = time.process_time(), time.perf_counter(), 20
    for _ in range(count):
        collector.sample()
    milliseconds = 1000 * (time.process_time() - began) / count
    wall = 1000 * (time.perf_counter() - walked) / count
    share = milliseconds / 5000
    print(
        f"\n{milliseconds:.1f} ms of CPU and {wall:.1f} ms in all per sample, "
        f"{len(psutil.pids())} processes: {share:.3%} of a core at 5 s"
    )
    assert milliseconds < 50, "1 % of a core at 5 s"


class Temperature(NamedTuple):
    label: str
    current: float
    high: float | None = None
    critical: float | None = None


class Mounted(NamedTuple):
    device: str
    mountpoint: str
    fstype: str
    opts: str = "rw"


class Swap(NamedTuple):
    total: int
    percent: float


class Interfaces(Machine):
    """A machine with interfaces; `sent` has the bytes that each has sent. The default route goes over eth0.

    The nth interface has the address 10.0.0.n. Interfaces named eth, wlan or usb are physical. docker is a
    bridge without members, and tun is a tunnel.
    """

    def __init__(self, root: Path, **sent: int) -> None:
        super().__init__(root)
        self.sent, self.speeds, self.down = sent, dict.fromkeys(sent, 0), set[str]()
        self.default: str | None = "eth0"
        self.routes: dict[str, str] = {}
        self.psutil = SimpleNamespace(
            **{name: getattr(psutil, name) for name in dir(psutil) if not name.startswith("_")}
            | {"net_io_counters": self.counters, "net_if_stats": self.stats, "net_if_addrs": self.addresses}
        )
        for name in sent:
            kind = "bridge/stp_state" if name.startswith("docker") else "tun_flags" if name.startswith("tun") else ""
            self.write(f"sys/class/net/{name}/{kind or 'uevent'}", "")
            if name.startswith(("eth", "wlan", "usb")):
                self.write(f"sys/class/net/{name}/device/uevent", "")

    def write(self, path: str, text: str) -> None:
        file = Path(self._root) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def text(self, path: str) -> str:
        if path == "/proc/net/route":
            return f"Iface\n{self.default}\t00000000\t0\t0003\t0\t0\t0\t00000000\n" if self.default else ""
        return super().text(path)

    def local_address(self, remote: tuple[Any, ...]) -> str | None:
        return self.routes.get(remote[0])

    def counters(self, pernic: bool, nowrap: bool) -> dict[str, Any]:
        assert pernic
        assert not nowrap, "psutil's own correction would hide a reset, and it takes a lock"
        zeros = dict.fromkeys(("packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout"), 0)
        return {name: SimpleNamespace(bytes_sent=sent, bytes_recv=sent, **zeros) for name, sent in self.sent.items()}

    def stats(self) -> dict[str, Any]:
        return {n: SimpleNamespace(isup=n not in self.down, speed=self.speeds[n]) for n in self.sent}

    def addresses(self) -> dict[str, list[Any]]:
        of_link = SimpleNamespace(family=socket.AF_PACKET, address="02:00:00:00:00:01")
        return {"lo": [SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")]} | {
            n: [
                of_link,
                SimpleNamespace(family=socket.AF_INET, address=f"10.0.0.{i}"),
                SimpleNamespace(family=socket.AF_INET6, address=f"fe80::{i}%{n}"),
            ]
            for i, n in enumerate(self.sent, start=1)
        }
