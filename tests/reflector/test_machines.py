"""The collector on recorded machines. To add a machine, add a folder; `recorded.py` describes its contents."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from mirror_stage.core.instants import EARLIEST, from_text
from mirror_stage.metrics.decoder import decode_fast, decode_slow
from mirror_stage.reflector import collector as module
from mirror_stage.reflector.collector import Collector
from tests.reflector.recorded import MACHINES, RecordedMachine, names

REQUIRED = ("cpu_load", "memory_used_percent", "load_average", "uptime_seconds")


def collector_of(name: str, **options: Any) -> Collector:
    machine = RecordedMachine(MACHINES / name)
    return Collector(machine=machine, ego=machine.answers.get("ego"), interval_seconds=5, **options)


def summary(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample, and the summaries of its lists that an `expected.json` may name."""
    interfaces, disks = sample.get("interfaces", []), sample.get("disks", [])
    return sample | {
        "speeds": {row["name"]: row["speed_mbps"] for row in interfaces if "speed_mbps" in row},
        "disks": {row["mountpoint"]: row["used_percent"] for row in disks},
        "read_only_disks": [row["mountpoint"] for row in disks if row.get("is_read_only")],
        "core_7": dict(enumerate(sample.get("cpu_per_core", []))).get(7),
        "number_of_cores": len(sample.get("cpu_per_core", [])),
        "number_of_interfaces": len(interfaces),
        "number_of_disks": len(disks),
        "listed_interfaces": [row["name"] for row in interfaces],
        "listed_disks": [row["mountpoint"] for row in disks],
    }


def as_known_to_every_ego(sample: dict[str, Any]) -> dict[str, Any]:
    """The sample as an older EGO accepts it: every required value is there, and the timestamp is not too early."""
    known = dict.fromkeys(REQUIRED, 0) | {name: value for name, value in sample.items() if name != "unknown"}
    if from_text(sample["timestamp"]) < EARLIEST:
        known["timestamp"] = "2026-03-01T12:00:00.000Z"
    return known


def assert_taken(sample: dict[str, Any]) -> None:
    """Check that EGO's own decoders accept the sample, and that it names its unknown values."""
    assert [name for name in REQUIRED if name not in sample] == sample.get("unknown", [])
    raw = memoryview(orjson.dumps(as_known_to_every_ego(sample)))
    slow, errors, _ = decode_slow(raw)
    assert errors == []
    assert slow == decode_fast(raw)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0)


@pytest.mark.parametrize("name", names())
def test_a_sample_of_a_recorded_machine_is_as_expected(name: str) -> None:
    expected = json.loads((MACHINES / name / "expected.json").read_text())
    collector = collector_of(name)
    for sample in (collector.sample(), collector.sample()):
        found = summary(sample)
        for field, value in expected.items():
            if field.startswith("listed_"):
                assert set(value) <= set(found[field]), field
            else:
                assert found.get(field) == value, field
        assert_taken(sample)


@pytest.mark.parametrize("name", [name for name in names() if not (MACHINES / name / "proc/diskstats").exists()])
def test_without_the_counters_of_the_system_disk_reads_are_unknown(name: str) -> None:
    assert "disk_read_bytes" not in collector_of(name).sample()
