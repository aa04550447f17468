"""Curves over time that can be summed, integrated and delayed exactly. Pure: time is an argument.

A counter is the integral of a rate and a temperature follows a load with inertia; both are closed forms here, so that
a fleet's sample at an instant needs neither the sample before it nor any state.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import mul

from mirror_stage.core.instants import SECOND, Instant

DAY_SECONDS = 86_400.0
PERIODS_SECONDS = (DAY_SECONDS, DAY_SECONDS / 2, 5_413.0, 1_201.0, 331.0, 97.0, 29.0)
OMEGAS = tuple(math.tau / period for period in PERIODS_SECONDS)
NO_WAVES = (0j,) * len(OMEGAS)


class Moment:
    """One instant, made once for all the signals that are asked for it: where each of the common waves stands then."""

    __slots__ = ("at", "phases", "seconds")

    def __init__(self, at: Instant):
        self.at, self.seconds = at, at / SECOND
        self.phases = tuple(cmath.exp(1j * omega * self.seconds) for omega in OMEGAS)


@dataclass(frozen=True, slots=True)
class Signal:
    """A mean with a wave of each common period around it, each wave as its phasor; `surge` is what a rush hour adds.

    Because the periods are common, the sum of any number of signals is one signal and costs no more than one.
    """

    mean: float
    waves: tuple[complex, ...] = NO_WAVES
    surge: float = 0.0

    def at(self, moment: Moment) -> float:
        """The value at a moment, without a surge."""
        return float(self.mean + sum(map(mul, self.waves, moment.phases)).real)

    @property
    def swing(self) -> float:
        """How far the value can be from the mean, at most, without a surge."""
        return sum(map(abs, self.waves))

    @property
    def peak(self) -> float:
        """What the value never exceeds, surge included."""
        return self.mean + self.swing + self.surge

    def scaled(self, factor: float) -> Signal:
        """The same curve, higher or lower."""
        return Signal(self.mean * factor, tuple(wave * factor for wave in self.waves), self.surge * factor)

    def lagged(self, tau_seconds: float) -> Signal:
        """What follows this signal with inertia: y where tau y' = x - y (a first-order low-pass)."""
        waves = (wave / (1 + 1j * omega * tau_seconds) for wave, omega in zip(self.waves, OMEGAS, strict=True))
        return Signal(self.mean, tuple(waves), self.surge)

    def ripple(self) -> Signal:
        """The integral without what mean and surge add: within T seconds the integral grows by mean T + the ripple's change.

        The mean's part is left to the caller, who knows since when to count: since 1970, a float has no room for bytes.
        """
        return Signal(0.0, tuple(wave / (1j * omega) for wave, omega in zip(self.waves, OMEGAS, strict=True)))


def total(signals: Iterable[Signal]) -> Signal:
    """The sum of signals."""
    mean, waves, surge = 0.0, NO_WAVES, 0.0
    for signal in signals:
        mean, surge = mean + signal.mean, surge + signal.surge
        waves = tuple(map(complex.__add__, waves, signal.waves))
    return Signal(mean, waves, surge)


@dataclass(frozen=True, slots=True)
class Ramp:
    """Rises from 0 to `height` within `over` seconds, beginning `after` seconds; stays there. Falls if negative."""

    after: float
    over: float
    height: float

    def at(self, seconds: float) -> float:
        """The value at a second."""
        return self.height * min(1.0, max(0.0, (seconds - self.after) / self.over))

    def integral(self, seconds: float) -> float:
        """The area from the beginning to a second."""
        rising = min(self.over, max(0.0, seconds - self.after))
        return self.height * (rising * rising / (2 * self.over) + max(0.0, seconds - self.after - self.over))

    def lagged(self, seconds: float, tau_seconds: float) -> float:
        """The value of what follows this ramp with inertia."""
        begun, done = max(0.0, seconds - self.after), max(0.0, seconds - self.after - self.over)
        return self.height / self.over * (_follow(begun, tau_seconds) - _follow(done, tau_seconds))


Ramps = tuple[Ramp, ...]


def hump(after: float, rise: float, hold: float, fall: float, height: float) -> Ramps:
    """Up to a height, some seconds there, and down again."""
    return Ramp(after, rise, height), Ramp(after + rise + hold, fall, -height)


def _follow(seconds: float, tau_seconds: float) -> float:
    """How far a follower has come, `seconds` after the thing that it follows began to rise by 1 a second."""
    return seconds - tau_seconds * -math.expm1(-seconds / tau_seconds)
