"""Cards with NVIDIA's own driver, which no sensor of the system shows: `nvidia-smi`, where it is."""

from __future__ import annotations

import subprocess
import time

from mirror_stage.reflector.machine import Machine

PROGRAM = "nvidia-smi"
QUESTION = ("--query-gpu=name,temperature.gpu", "--format=csv,noheader,nounits")
EVERY_SECONDS = 30.0
SHARE = 0.02  # of the time, at most, it runs: without its daemon each call starts the driver, which takes a second
WITHIN_SECONDS = 10.0  # a part that takes so long is left out of some samples; its answer stands in the next ones
AFTER_FAILURE_SECONDS = 600.0
KEPT_SECONDS = 150.0

_CARDS, _DEVICES = "/proc/driver/nvidia/gpus", "/sys/bus/pci/devices"


class NvidiaCards:
    """The temperatures of these cards, asked for now and then."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._celsius: dict[str, float] = {}
        self._known_until = 0.0
        self._due = 0.0

    def read(self) -> dict[str, float]:
        """°C by card. Those of the last answer as long as it is fresh; none where there is no program."""
        if time.monotonic() >= self._due:
            program = self._machine.program(PROGRAM)
            self._due = time.monotonic() + (EVERY_SECONDS if program is not None else AFTER_FAILURE_SECONDS)
            if program is not None and not self._sleeps():
                self._due = time.monotonic() + AFTER_FAILURE_SECONDS  # unless it answers
                self._ask(program)
        return self._celsius if time.monotonic() < self._known_until else {}

    def _ask(self, program: str) -> None:
        began = time.monotonic()
        try:
            answer = self._machine.output_of([program, *QUESTION], WITHIN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{PROGRAM} does not answer within {WITHIN_SECONDS:g} s") from error
        self._celsius = temperatures(answer)
        now = time.monotonic()
        self._known_until = now + KEPT_SECONDS
        self._due = now + max(EVERY_SECONDS, (now - began) / SHARE)

    def _sleeps(self) -> bool:
        """Whether all cards are suspended: the question would wake them, and a laptop's battery pays."""
        cards = self._machine.names(_CARDS)
        states = [self._machine.text(f"{_DEVICES}/{card}/power/runtime_status").strip() for card in cards]
        return bool(states) and all(state == "suspended" for state in states)


def temperatures(answer: str) -> dict[str, float]:
    """°C by card of `nvidia-smi`'s lines `name, celsius`; a card that does not tell ([N/A]) is left out."""
    found: dict[str, float] = {}
    for line in answer.splitlines():
        name, _, celsius = line.rpartition(",")
        key, count = f"nvidia:{name.strip()}", 2
        while key in found:
            key, count = f"nvidia:{name.strip()} #{count}", count + 1
        if celsius.strip().isdigit():
            found[key] = float(celsius)
    return found
