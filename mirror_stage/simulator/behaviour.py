"""Computes the changing values of a machine's sample at an instant. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.simulator.fleet import Machine
from mirror_stage.simulator.scenarios import AS_USUAL, Change
from mirror_stage.simulator.signals import Moment, Signal

LOAD_AVERAGE_TAU, MEMORY_TAU, CPU_HEAT_TAU, GPU_HEAT_TAU = 60.0, 1_800.0, 40.0, 90.0  # seconds
IDLE_CPU_CELSIUS, IDLE_GPU_CELSIUS = 12.0, 10.0  # above the air temperature
GPU_HEAT_CELSIUS = 38.0  # at full load
THROTTLES_AT_CELSIUS = 99.0  # at this temperature a chip throttles, so it gets no hotter
MEMORY_SPAN = 0.16  # the share of the memory that changes with the load
LEAST_LOAD = 0.004
BYTES_PER_PACKET = 870
SENT_PER_READ_BYTE = 8  # most of what a machine sends comes from its memory, one byte of eight from a disk
CORE_PATTERN = (0.72, 1.31, 0.88, 1.07, 1.22, 0.64, 1.12, 1.04)  # its mean is 1


@dataclass(frozen=True)
class Vitals:
    """The changing values of one sample: ratios, °C, seconds, and byte counters since the last boot."""

    at: Instant
    load: float
    load_average: float
    memory: float
    disk_shift: float
    uptime_seconds: float
    cpu_celsius: float
    gpu_celsius: float | None
    bytes_tx: int
    bytes_rx: int

    @property
    def core_loads(self) -> list[float]:
        """The loads of eight cores; the other cores repeat them."""
        turn = self.at // (5 * SECOND) % len(CORE_PATTERN)
        return [min(1.0, self.load * weight) for weight in CORE_PATTERN[turn:] + CORE_PATTERN[:turn]]


@dataclass(frozen=True)
class Start:
    """When a machine last booted, and the values of the integrals at that time."""

    at: Instant
    sent: float
    received: float
    surged: float


class Behaviour:
    """One machine in a scenario that began at `began_at`. Its vitals depend only on the instant, not on earlier calls."""

    def __init__(self, machine: Machine, change: Change = AS_USUAL, began_at: Instant = 0):
        self.machine, self._change = machine, change
        self._began_at, self._began = began_at, began_at / SECOND
        self._load_average = machine.load.lagged(LOAD_AVERAGE_TAU)
        self._memory = machine.load.lagged(MEMORY_TAU)
        self._heat = machine.load.lagged(CPU_HEAT_TAU)
        self._gpu_heat = machine.gpu_load.lagged(GPU_HEAT_TAU) if machine.gpu_load is not None else None
        self._sent, self._received = machine.sends.ripple(), machine.receives.ripple()
        self._start = self._start_at(0)

    def is_silent(self, at: Instant) -> bool:
        """Whether the machine sends nothing at an instant."""
        outage = self._change.outage
        return outage is not None and outage.covers(at / SECOND - self._began)

    def vitals(self, moment: Moment) -> Vitals:
        """The machine's vitals at a moment."""
        machine, since = self.machine, moment.seconds - self._began
        load = machine.load.at(moment) + machine.load.surge * self._surge(since)
        memory = MEMORY_SPAN * (self._lagged(self._memory, moment, MEMORY_TAU) - machine.load.mean)
        heat = machine.heat_celsius * min(1.0, self._lagged(self._heat, moment, CPU_HEAT_TAU))
        skew = self._change.skew
        start = self._last_start(moment.at)
        return Vitals(
            at=moment.at if skew is None else moment.at + int(skew.at(since) * SECOND),
            load=min(1.0, load),
            load_average=self._lagged(self._load_average, moment, LOAD_AVERAGE_TAU) * 2 * machine.hardware.cores,
            memory=machine.memory + memory,
            disk_shift=memory / 4,
            uptime_seconds=(moment.at - start.at) / SECOND,
            cpu_celsius=min(THROTTLES_AT_CELSIUS, self._air(since, CPU_HEAT_TAU) + IDLE_CPU_CELSIUS + heat),
            gpu_celsius=self._gpu_celsius(moment),
            bytes_tx=self._bytes(machine.sends, self._sent.at(moment) - start.sent, moment, start),
            bytes_rx=self._bytes(machine.receives, self._received.at(moment) - start.received, moment, start),
        )

    def _gpu_celsius(self, moment: Moment) -> float | None:
        if self._gpu_heat is None:
            return None
        heat = GPU_HEAT_CELSIUS * min(1.0, self._lagged(self._gpu_heat, moment, GPU_HEAT_TAU))
        air = self._air(moment.seconds - self._began, GPU_HEAT_TAU)
        return min(THROTTLES_AT_CELSIUS, air + IDLE_GPU_CELSIUS + heat)

    def _surge(self, since: float) -> float:
        return sum(ramp.at(since) for ramp in self._change.surge)

    def _lagged(self, signal: Signal, moment: Moment, tau_seconds: float) -> float:
        """The value of a lagged signal plus its surge, which lags as much."""
        since = moment.seconds - self._began
        return signal.at(moment) + signal.surge * sum(ramp.lagged(since, tau_seconds) for ramp in self._change.surge)

    def _air(self, since: float, tau_seconds: float) -> float:
        """The air temperature around a chip, with the chip's thermal lag."""
        return self.machine.air_celsius + sum(ramp.lagged(since, tau_seconds) for ramp in self._change.air)

    def _bytes(self, signal: Signal, ripple: float, moment: Moment, start: Start) -> int:
        """A byte counter: the integral of its signal since the last boot."""
        surged = self._surged(moment.seconds) - start.surged
        return int(signal.mean * (moment.at - start.at) / SECOND + ripple + signal.surge * surged)

    def _surged(self, seconds: float) -> float:
        return sum(ramp.integral(seconds - self._began) for ramp in self._change.surge)

    def _last_start(self, at: Instant) -> Start:
        started = at - (at - self.machine.boot_offset) % self.machine.boots_every
        if self._change.restarts_after is not None:
            restarted = self._began_at + int(self._change.restarts_after * SECOND)
            started = max(started, restarted) if restarted <= at else started
        if started != self._start.at:  # kept, because it stays the same for weeks
            self._start = self._start_at(started)
        return self._start

    def _start_at(self, at: Instant) -> Start:
        moment = Moment(at)
        return Start(at, self._sent.at(moment), self._received.at(moment), self._surged(moment.seconds))
