"""Reads the temperatures of NVIDIA cards with `nvidia-smi`: NVIDIA's driver offers no sensor that psutil can read."""

from __future__ import annotations

import re
import subprocess
import time

from mirror_stage.metrics.domain import believed_celsius
from mirror_stage.reflector.machine import Machine

PROGRAM = "nvidia-smi"
QUESTION = ("--query-gpu=name,temperature.gpu", "--format=csv,noheader,nounits")
EVERY_SECONDS = 30.0
RARELY_SECONDS = 300.0  # where a card may sleep: each question keeps it awake for up to two minutes
SHARE = 0.02  # of the time that it may run: without NVIDIA's daemon each call loads the driver, which takes a second
WITHIN_SECONDS = 10.0  # longer than a part's deadline: some samples lack the value, the next ones have it
AFTER_FAILURE_SECONDS = 600.0
KEPT_SECONDS = 150.0

_CARDS, _DEVICES = "/proc/driver/nvidia/gpus", "/sys/bus/pci/devices"


class NvidiaCards:
    """The temperatures of the NVIDIA cards, asked for every EVERY_SECONDS or less often."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._celsius: dict[str, float] = {}
        self._known_until = 0.0
        self._due = 0.0

    def read(self) -> dict[str, float]:
        """°C by card, from the last answer while it is fresh; empty if there is none."""
        if time.monotonic() >= self._due:
            program = self._machine.program(PROGRAM)
            self._due = time.monotonic() + (EVERY_SECONDS if program is not None else AFTER_FAILURE_SECONDS)
            if program is not None and not self._sleeps():
                self._due = time.monotonic() + AFTER_FAILURE_SECONDS  # replaced below if it answers
                self._ask(program)
        return self._celsius if time.monotonic() < self._known_until else {}

    def _ask(self, program: str) -> None:
        began = time.monotonic()
        try:
            answer = self._machine.output_of([program, *QUESTION], WITHIN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{PROGRAM} does not answer within {WITHIN_SECONDS:g} s") from error
        except subprocess.CalledProcessError as error:
            answer = (error.stdout or b"").decode(errors="replace")
            if not temperatures(answer):  # else one card is broken, and the others have answered
                raise
        self._celsius = temperatures(answer)
        now = time.monotonic()
        every = max(RARELY_SECONDS if self._may_sleep() else EVERY_SECONDS, (now - began) / SHARE)
        self._known_until, self._due = now + max(KEPT_SECONDS, every + WITHIN_SECONDS), now + every

    def _may_sleep(self) -> bool:
        """Whether a card is powered down while nobody uses it, as in a laptop with two cards."""
        powers = (self._machine.text(f"{_CARDS}/{card}/power") for card in self._machine.names(_CARDS))
        return any(re.search(r"Runtime D3 status:\s*Enabled", power) for power in powers)

    def _sleeps(self) -> bool:
        """Whether all cards are suspended. Asking would wake them, which costs a laptop's battery."""
        cards = self._machine.names(_CARDS)
        states = [self._machine.text(f"{_DEVICES}/{card}/power/runtime_status").strip() for card in cards]
        return bool(states) and all(state == "suspended" for state in states)


def temperatures(answer: str) -> dict[str, float]:
    """°C by card of `nvidia-smi`'s lines `name, celsius`; a card that does not tell ([N/A], 255) is left out."""
    found: dict[str, float] = {}
    for line in answer.splitlines():
        name, _, celsius = line.rpartition(",")
        key, count = f"nvidia:{name.strip()}", 2
        while key in found:
            key, count = f"nvidia:{name.strip()} #{count}", count + 1
        if celsius.strip().isdigit() and believed_celsius(float(celsius)) is not None:
            found[key] = float(celsius)
    return found
