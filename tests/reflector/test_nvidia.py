"""Cards with NVIDIA's own driver: the agent calls nvidia-smi rarely, never waits for it, and wakes no card."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from mirror_stage.reflector import nvidia
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.machine import Machine
from mirror_stage.reflector.nvidia import NvidiaCards
from mirror_stage.reflector.parts import Parts
from tests.servers import wait_until


def with_program(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> Path:
    """Put a fake `nvidia-smi` into PATH. Returns the file that gets a line for each call."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho called >> {folder}/calls\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "calls"


class Answers(Machine):
    """A machine whose `nvidia-smi` answers at once."""

    def __init__(self, root: Path, answer: str) -> None:
        super().__init__(root)
        self.answer, self.asked = answer, 0

    def program(self, name: str) -> str | None:
        return name

    def output_of(self, words: Sequence[str], within_seconds: float) -> str:
        self.asked += 1
        if not self.answer:
            raise subprocess.CalledProcessError(9, list(words))
        return self.answer


@pytest.mark.parametrize(
    ("answer", "celsius"),
    [
        ("NVIDIA T4, 41\n", {"nvidia:NVIDIA T4": 41.0}),
        ("A, 41\nA, 42\nA, 43\n", {"nvidia:A": 41.0, "nvidia:A #2": 42.0, "nvidia:A #3": 43.0}),
        ("A, [N/A]\nB, [Unknown Error]\n", {}),
        ("A, 255\nB, 51\n", {"nvidia:B": 51.0}),
        ("No devices were found\n", {}),
        ("", {}),
    ],
)
def test_cards_of_one_name_get_numbers_and_cards_without_a_temperature_are_left_out(
    answer: str, celsius: dict[str, float]
) -> None:
    assert nvidia.temperatures(answer) == celsius


def test_a_program_that_answers_is_in_the_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_program(monkeypatch, tmp_path, 'echo "NVIDIA A100, 149"')
    sample = Collector(parts=Parts(deadline_seconds=5)).sample()
    assert sample["gpu_temperature"] == 149.0
    assert sample["temperatures"]["nvidia:NVIDIA A100"] == 149.0


def test_a_program_that_hangs_does_not_hold_up_the_beat_and_is_not_called_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nvidia, "WITHIN_SECONDS", 6.0)
    calls = with_program(monkeypatch, tmp_path, "exec sleep 30")
    collector = Collector(parts=Parts(deadline_seconds=2.0))
    collector.sample()
    wait_until(calls.exists)
    began = time.monotonic()
    sample = collector.sample()
    assert time.monotonic() - began < 2.0, "it is not waited for again"
    assert "cpu_load" in sample
    assert calls.read_text().split() == ["called"]


def test_three_reads_in_a_row_call_nvidia_smi_once_and_use_its_answer(tmp_path: Path) -> None:
    machine = Answers(tmp_path, "A, 41\n")
    cards = NvidiaCards(machine)
    assert [cards.read() for _ in range(3)] == [{"nvidia:A": 41.0}] * 3
    assert machine.asked == 1


def test_nvidia_smi_without_a_driver_is_not_called_again_at_the_next_reads(tmp_path: Path) -> None:
    machine = Answers(tmp_path, "")
    cards = NvidiaCards(machine)
    with pytest.raises(subprocess.CalledProcessError):
        cards.read()
    assert [cards.read() for _ in range(3)] == [{}] * 3
    assert machine.asked == 1


@pytest.mark.parametrize(("state", "asked"), [("suspended", 0), ("active", 1)])
def test_a_suspended_card_is_not_woken(tmp_path: Path, state: str, asked: int) -> None:
    card = "0000:01:00.0"
    (tmp_path / f"proc/driver/nvidia/gpus/{card}").mkdir(parents=True)
    (tmp_path / f"sys/bus/pci/devices/{card}/power").mkdir(parents=True)
    (tmp_path / f"sys/bus/pci/devices/{card}/power/runtime_status").write_text(state + "\n")
    machine = Answers(tmp_path, "A, 41\n")
    NvidiaCards(machine).read()
    assert machine.asked == asked


@pytest.mark.parametrize(
    ("status", "asked"), [("Enabled (fine-grained)", 1), ("Disabled by default", 2), ("Not supported", 2)]
)
def test_a_card_that_may_sleep_is_asked_rarely(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, asked: int
) -> None:
    cards, machine = card_with_power(tmp_path, status)
    for seconds in (1000, 1031):
        monkeypatch.setattr(nvidia, "time", SimpleNamespace(monotonic=lambda seconds=seconds: float(seconds)))
        assert cards.read() == {"nvidia:A": 41.0}
    assert machine.asked == asked


def test_the_answer_of_a_card_that_may_sleep_holds_until_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cards, machine = card_with_power(tmp_path, "Enabled (fine-grained)")
    for seconds in (1000, 1150, 1299, 1300):
        monkeypatch.setattr(nvidia, "time", SimpleNamespace(monotonic=lambda seconds=seconds: float(seconds)))
        assert cards.read() == {"nvidia:A": 41.0}
    assert machine.asked == 2


def card_with_power(root: Path, status: str) -> tuple[NvidiaCards, Answers]:
    """A card whose driver says this of its sleep."""
    card = root / "proc/driver/nvidia/gpus/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "power").write_text(f"Runtime D3 status:          {status}\nVideo Memory:               Active\n")
    machine = Answers(root, "A, 41\n")
    return NvidiaCards(machine), machine


def test_a_broken_card_does_not_cost_the_answers_of_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lost = "Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost"
    with_program(monkeypatch, tmp_path, f'echo "A, 41"; echo "{lost}"; echo "A, 43"; exit 15')
    assert NvidiaCards(Machine()).read() == {"nvidia:A": 41.0, "nvidia:A #2": 43.0}
