"""Samples of the machine that the tests run on, and of machines that lack something."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import psutil
import pytest

from mirror_stage.metrics.decoder import decode_fast, decode_slow
from mirror_stage.reflector import collector as module
from mirror_stage.reflector.collector import Collector, Network, TopProcesses
from mirror_stage.reflector.parts import Parts

REQUIRED = {
    "hostname", "timestamp", "cpu_load", "memory_used_percent", "load_average", "uptime_seconds", "agent_version",
    "platform",
}  # fmt: skip


QUICK_SECONDS = 0.6


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


def test_a_sample_has_what_every_machine_has(sample: dict[str, Any]):
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


def test_nothing_in_a_sample_is_unknown_or_an_unknown_speed(sample: dict[str, Any]):
    assert None not in sample.values()
    assert all(row["speed_mbps"] > 0 for row in sample["interfaces"] if "speed_mbps" in row)
    assert sample.get("primary_interface_speed_mbps", 1) > 0


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


def test_the_very_first_loads_are_measured_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0.3)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        wait_until(lambda: sum(psutil.Process(burner.pid).cpu_times()[:2]) > 0)
        first = Collector().sample()
    finally:
        burner.kill()
        burner.wait()
    assert first["cpu_load"] > 0
    assert any(row["cpu_percent"] > 0 for row in first["top_processes"])  # the burner, or who is busier beside it


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
    collector.sample()
    monkeypatch.setattr(psutil, "sensors_temperatures", hangs, raising=False)
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
    collector = Collector(parts=quick())
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
        ("net_if_stats", {"primary_interface_speed_mbps"}),
        ("net_if_addrs", {"ip"}),
        (
            "net_io_counters",
            {"interfaces", "net_bytes_tx", "net_bytes_rx", "ip", "tags", "primary_interface_speed_mbps"},
        ),
    ],
)
@pytest.mark.parametrize("error", [NotImplementedError, AttributeError, OSError])
def test_what_a_platform_does_not_offer_costs_its_own_field(
    broken: str, lost: set[str], error: type[Exception], monkeypatch: pytest.MonkeyPatch, sample: dict[str, Any]
):
    def fails(*_args: object, **_options: object) -> object:
        raise error("not here")

    monkeypatch.setattr(psutil, broken, fails, raising=False)
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0.02)
    without = Collector(parts=quick()).sample()
    volatile = {"rack", "position", "tags", "cpu_temperature", "gpu_temperature", "temperatures"}
    assert sample.keys() - volatile - lost <= without.keys()
    assert not lost & without.keys() - {"tags"}


def test_a_machine_without_sensors_says_nothing_and_logs_nothing(
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


def test_the_hardware_is_read_rarely_and_stands_in_every_sample(monkeypatch: pytest.MonkeyPatch):
    reads = []

    def hardware() -> dict[str, Any]:
        reads.append(1)
        return {"cpu_model": "EPYC"}

    monkeypatch.setattr(module, "hardware", hardware)
    collector = Collector(parts=quick())
    assert [collector.sample()["cpu_model"] for _ in range(3)] == ["EPYC"] * 3
    assert len(reads) == 1


def test_an_unreadable_hardware_is_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    answers = iter([OSError("busy"), {"cpu_model": "EPYC"}])

    def hardware() -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "hardware", hardware)
    collector = Collector(parts=quick())
    assert ["cpu_model" in collector.sample() for _ in range(3)] == [False, True, True]


def test_a_tag_of_the_hosts_owner_outbids_what_was_measured(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, eth0=100)
    machine.speeds["eth0"] = 1000
    sample = Collector(tags={"primary_interface_speed_mbps": "10000"}, parts=quick()).sample()
    assert sample["tags"] == {"primary_interface": "eth0", "primary_interface_speed_mbps": "10000"}
    assert sample["primary_interface_speed_mbps"] == 1000


def test_an_unknown_speed_is_left_out_everywhere(monkeypatch: pytest.MonkeyPatch):
    Machine(monkeypatch, eth0=100)
    sample = Collector(parts=quick()).sample()
    assert "primary_interface_speed_mbps" not in sample
    assert sample["tags"] == {"primary_interface": "eth0"}
    assert all("speed_mbps" not in row for row in sample["interfaces"])


def test_the_address_is_the_primary_interfaces_unless_one_is_given(monkeypatch: pytest.MonkeyPatch):
    Machine(monkeypatch, docker0=1, eth0=100)
    assert Network().read()["ip"] == "10.0.0.2"
    assert Network("10.9.9.9").read()["ip"] == "10.9.9.9"


def test_counters_of_another_primary_interface_never_meet_those_of_the_former(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, eth0=100, wlan0=9_000)
    network = Network()
    assert network.read()["net_bytes_tx"] == 100
    machine.default = "wlan0"
    assert "net_bytes_tx" not in network.read()
    assert network.read()["net_bytes_tx"] == 9_000


def test_an_interface_that_was_unplugged_is_not_listed_and_may_come_back(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, eth0=100, usb0=7)
    network = Network()
    assert [row["name"] for row in network.read()["interfaces"]] == ["eth0", "usb0"]
    del machine.sent["eth0"]
    gone = network.read()
    assert [row["name"] for row in gone["interfaces"]] == ["usb0"]
    assert "net_bytes_tx" not in gone
    machine.sent["eth0"] = 3
    assert network.read()["net_bytes_tx"] == 3


def test_without_a_default_route_it_is_the_one_that_owns_the_given_address_or_the_only_one(
    monkeypatch: pytest.MonkeyPatch,
):
    machine = Machine(monkeypatch, eth0=100, eth1=200)
    machine.default = None
    assert "tags" not in Network().read()
    assert Network("10.0.0.2").read()["tags"] == {"primary_interface": "eth1"}
    machine.down.add("eth0")
    assert Network().read()["tags"] == {"primary_interface": "eth1"}


def test_of_too_many_interfaces_the_busiest_are_listed(monkeypatch: pytest.MonkeyPatch):
    Machine(monkeypatch, **{f"veth{n}": n for n in range(200)}, eth0=10_000)
    names = [row["name"] for row in Network().read()["interfaces"]]
    assert len(names) == 64
    assert "eth0" in names
    assert "veth3" not in names


def test_looking_through_many_processes_costs_a_bounded_share(monkeypatch: pytest.MonkeyPatch):
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
    assert len(looks) == 2, "the baseline and one look; the next is due in 25 s"


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


def test_the_agent_needs_nothing_of_the_server():
    heavy = ["flask", "gevent", "sqlalchemy", "marshmallow", "msgspec", "orjson", "requests"]
    code = f"import sys, mirror_stage.reflector.collector; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert answer.stdout.strip() == "[]"


def test_a_part_that_hangs_for_ever_does_not_hold_up_the_end_of_the_process():
    code = (
        "import time, psutil; psutil.sensors_temperatures = lambda: time.sleep(60)\n"
        "from mirror_stage.reflector.collector import Collector; from mirror_stage.reflector.parts import Parts\n"
        "print('cpu_load' in Collector(parts=Parts(deadline_seconds=0.3)).sample())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=10)
    assert answer.stdout.strip() == "True"


def test_a_sample_costs_far_less_than_one_percent_of_a_core(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SCAN_SHARE", float("inf"))  # a look through the processes each time
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


class Counted(NamedTuple):
    bytes_sent: int
    bytes_recv: int
    packets_sent: int = 0
    packets_recv: int = 0
    errin: int = 0
    errout: int = 0
    dropin: int = 0
    dropout: int = 0


class Stats(NamedTuple):
    isup: bool
    speed: int


class Address(NamedTuple):
    family: int
    address: str


class Machine:
    """Interfaces by the bytes they have sent; the default route goes over eth0, the nth has the address 10.0.0.n."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **sent: int) -> None:
        self.sent, self.speeds, self.default, self.down = sent, dict.fromkeys(sent, 0), "eth0", set[str]()
        monkeypatch.setattr(psutil, "net_io_counters", self.counters)
        monkeypatch.setattr(
            psutil, "net_if_stats", lambda: {n: Stats(n not in self.down, self.speeds[n]) for n in self.sent}
        )
        monkeypatch.setattr(psutil, "net_if_addrs", self.addresses)
        monkeypatch.setattr(module, "outgoing_address", lambda: None)
        monkeypatch.setattr(module.readings, "default_interface", lambda _ipv4, _ipv6: self.default)

    default: str | None

    def counters(self, pernic: bool, nowrap: bool) -> dict[str, Counted]:
        assert pernic
        assert not nowrap, "psutil's own correction would hide a reset, and takes a lock"
        return {name: Counted(sent, sent) for name, sent in self.sent.items()}

    def addresses(self) -> dict[str, list[Address]]:
        of_link = [Address(socket.AF_PACKET, "02:00:00:00:00:01")]
        loopback = {"lo": [Address(socket.AF_INET, "127.0.0.1")]}
        return loopback | {
            n: [*of_link, Address(socket.AF_INET, f"10.0.0.{i}")] for i, n in enumerate(self.sent, start=1)
        }


def wait_until(is_so: Callable[[], bool], seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.005)
