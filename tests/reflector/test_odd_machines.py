"""Recorded machines with random odd values: EGO accepts every sample, whatever the system answers."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror_stage.reflector import collector as module
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.parts import Part, Parts
from tests.reflector.recorded import MACHINES, RecordedMachine, RecordedPsutil, names
from tests.reflector.test_machines import assert_taken

NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2**31, 2**53 - 1, 2**53, 2**63, 10**400, -1.6, 100.1, math.nan, math.inf, True, None]),
    st.integers(-10, 2**70),
    st.floats(),
)
TEXTS = st.one_of(
    st.sampled_from(["", "\0", "\x1b[31m", "\u202eevil", "\udcc3", "x" * 5000, "eth0", "/", "..", "한글", "12", "max"]),
    st.text(max_size=20),
)
ODD = st.one_of(NUMBERS, TEXTS, st.lists(NUMBERS, max_size=3), st.dictionaries(TEXTS, NUMBERS, max_size=3))
ERRORS = st.sampled_from([OSError(5, "I/O"), ValueError("odd"), KeyError("MemTotal:"), AssertionError(), IndexError()])
FUNCTIONS = [
    "cpu_times", "virtual_memory", "swap_memory", "net_io_counters", "disk_partitions", "getloadavg", "cpu_count",
    "net_if_stats", "net_if_addrs", "disk_usage", "disk_io_counters", "sensors_temperatures",
]  # fmt: skip


class AtOnce:
    """A part that runs in the caller's thread. Threads would take most of the time of the test."""

    def __init__(self, _name: str, part: Part) -> None:
        self._part = part

    def has_ended(self, _within_seconds: float) -> bool:
        return True

    def outcome(self) -> Any:
        return self._part()


class OddPsutil(RecordedPsutil):
    """Answers as recorded, but the functions in `odd` answer with one random value replaced, or with an error."""

    def __init__(self, folder: Path, data: st.DataObject, odd: list[str]) -> None:
        super().__init__(folder)
        for name in odd:
            setattr(self, name, self._odd(getattr(super(), name, None) or (lambda **_options: {}), data))

    def _odd(self, answer: Any, data: st.DataObject) -> Any:
        if data.draw(st.integers(0, 3)) == 0:
            error = data.draw(ERRORS)

            def fails(*_args: Any, **_options: Any) -> Any:
                raise error

            return fails
        return lambda *args, **options: odd(answer(*args, **options), data)


class OddMachine(RecordedMachine):
    """A recorded machine with odd values in its system files and answers."""

    def __init__(self, folder: Path, data: st.DataObject) -> None:
        super().__init__(folder)
        functions = data.draw(st.lists(st.sampled_from(FUNCTIONS), max_size=4, unique=True))
        self.psutil = OddPsutil(folder, data, functions)
        self._data, self._texts = data, data.draw(st.booleans())
        self._wall = data.draw(st.sampled_from([0.0, -5e9, 1.7e9, 4.1e9, 5e9, 1e11]))

    def text(self, path: str) -> str:
        text = super().text(path)
        if self._texts and self._data.draw(st.integers(0, 5)) == 0:
            return text[: len(text) // 2] + self._data.draw(TEXTS)
        return text

    def hostname(self) -> str:
        return self._data.draw(TEXTS) if self._texts else super().hostname()

    def wall(self) -> float:
        return self._wall


def odd(value: Any, data: st.DataObject) -> Any:
    """The value with one of its inner values replaced."""
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**odd(vars(value), data))
    if hasattr(value, "_replace"):
        name = data.draw(st.sampled_from(value._fields))
        return value._replace(**{name: odd(getattr(value, name), data)})
    if isinstance(value, dict) and value:
        key = data.draw(st.sampled_from(list(value)))
        changed = dict(value)
        changed[data.draw(TEXTS) if data.draw(st.booleans()) else key] = odd(changed.pop(key), data)
        return changed
    if isinstance(value, list | tuple) and value:
        place = data.draw(st.integers(0, len(value) - 1))
        return type(value)([*value[:place], odd(value[place], data), *value[place + 1 :]])
    return data.draw(ODD)


def check(data: st.DataObject, name: str) -> None:
    machine = OddMachine(MACHINES / name, data)
    collector = Collector(
        machine=machine, parts=Parts(AtOnce), ego="http://10.0.0.100:3000", interval_seconds=5, agent_instance="0d1f"
    )
    for _ in range(2):
        assert_taken(collector.sample())


# The machines with small samples; the other one differs only in its size.
QUICK = [name for name in names() if name != "server-256-cores"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BASELINE_SECONDS", 0)


@given(st.data(), st.sampled_from(QUICK))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_odd_values_of_the_system_stop_no_sample(data: st.DataObject, name: str) -> None:
    check(data, name)


@pytest.mark.long
@pytest.mark.timeout(5400)
@given(st.data(), st.sampled_from(names()))
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_odd_values_of_the_system_stop_no_sample_in_a_long_search(data: st.DataObject, name: str) -> None:
    check(data, name)
