"""A part that hangs or raises costs its own value and nothing else."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from mirror_stage.reflector.parts import PARTS_MAX, Parts


class Gate:
    """A part that hangs until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.starts = 0

    def part(self) -> str:
        self.starts += 1
        self.opened.wait(30)
        return "open"


def broken() -> str:
    raise OSError("no such sensor")


def test_values_come_by_name_in_the_order_asked_for():
    assert list(Parts().read({"b": lambda: 2, "a": lambda: 1}).items()) == [("b", 2), ("a", 1)]


def test_parts_run_side_by_side_in_native_threads_of_their_name():
    together = threading.Barrier(3)
    names = Parts().read(dict.fromkeys(["x", "y", "z"], lambda: (together.wait(5), threading.current_thread().name)[1]))
    assert names == {"x": "part x", "y": "part y", "z": "part z"}


def test_a_hanging_part_costs_its_own_value_and_no_more_than_the_deadline():
    gate, parts = Gate(), Parts(deadline_seconds=0.2)
    began = time.monotonic()
    values = parts.read({"hangs": gate.part, "works": lambda: 1})
    assert values == {"works": 1}
    assert time.monotonic() - began < 2
    gate.opened.set()


def test_a_hanging_part_gets_no_second_thread_and_comes_back_when_it_has_returned():
    gate, parts = Gate(), Parts(deadline_seconds=0.2)
    assert parts.read({"hangs": gate.part}) == {}
    began = time.monotonic()
    for _ in range(5):
        assert parts.read({"hangs": gate.part}) == {}
    assert time.monotonic() - began < 0.8, "the agent must not wait five times 0.2 s for a part that hangs"
    assert gate.starts == 1
    gate.opened.set()
    assert parts.read({}) == {}
    _wait_for_threads("part hangs")
    assert parts.read({"hangs": gate.part}) == {"hangs": "open"}
    assert gate.starts == 2


def test_several_hanging_parts_share_one_deadline():
    gate, parts = Gate(), Parts(deadline_seconds=0.2)
    began = time.monotonic()
    parts.read({f"hangs {n}": gate.part for n in range(10)})
    assert time.monotonic() - began < 1.6, "not ten times 0.2 s"
    gate.opened.set()


def test_a_raising_part_costs_its_own_value_and_is_logged_once(caplog: pytest.LogCaptureFixture):
    parts = Parts()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert parts.read({"raises": broken, "works": lambda: 1}) == {"works": 1}
    assert [record.getMessage() for record in caplog.records] == ["cannot read raises: OSError: no such sensor"]


def test_a_hanging_part_is_logged_once(caplog: pytest.LogCaptureFixture):
    gate, parts = Gate(), Parts(deadline_seconds=0.05)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            parts.read({"hangs": gate.part})
    assert [record.getMessage() for record in caplog.records] == [
        "cannot read hangs: TimeoutError: no answer within 0.05 s"
    ]
    gate.opened.set()


def test_no_more_threads_than_the_limit_however_many_parts_hang():
    gate, parts = Gate(), Parts(deadline_seconds=0.2)
    parts.read({f"hangs {n}": gate.part for n in range(PARTS_MAX + 20)})
    assert gate.starts == PARTS_MAX
    assert parts.read({"works": lambda: 1}) == {}
    gate.opened.set()
    for n in range(PARTS_MAX):
        _wait_for_threads(f"part hangs {n}")
    assert parts.read({"works": lambda: 1}) == {"works": 1}


def test_a_part_that_cannot_be_started_costs_its_own_value():
    def start(name: str, part: object) -> object:
        raise RuntimeError("can't start new thread")

    assert Parts(start).read({"works": lambda: 1}) == {}  # type: ignore[arg-type]


def _wait_for_threads(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(5)
