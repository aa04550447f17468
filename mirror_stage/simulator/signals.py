"""Curves over time with exact sums, integrals and lags. Pure: time is an argument.

A counter is the integral of a rate, and a temperature follows a load with a lag. Both have closed formulas here, so that
a sample can be computed for any instant without earlier samples.
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
    """One instant with the phase of each common wave, computed once for all signals."""

    __slots__ = ("at", "phases", "seconds")

    def __init__(self, at: Instant):
        self.at, self.seconds = at, at / SECOND
        self.phases = tuple(cmath.exp(1j * omega * self.seconds) for omega in OMEGAS)


@dataclass(frozen=True)
class Signal:
    """A mean plus one wave for each common period, stored as phasors. `surge` is what a rush hour adds.

    All signals have the same periods, so the sum of signals is again one signal, at the cost of one.
    """

    mean: float
    waves: tuple[complex, ...] = NO_WAVES
    surge: float = 0.0

    def at(self, moment: Moment) -> float:
        """The value at a moment, without a surge."""
        return float(self.mean + sum(map(mul, self.waves, moment.phases)).real)

    @property
    def swing(self) -> float:
        """The largest possible distance from the mean, without a surge."""
        return sum(map(abs, self.waves))

    @property
    def peak(self) -> float:
        """An upper bound of the value, surge included."""
        return self.mean + self.swing + self.surge

    def scaled(self, factor: float) -> Signal:
        """This signal times a factor."""
        return Signal(self.mean * factor, tuple(wave * factor for wave in self.waves), self.surge * factor)

    def lagged(self, tau_seconds: float) -> Signal:
        """This signal x behind a first-order low-pass filter: the y with tau y' = x - y."""
        waves = (wave / (1 + 1j * omega * tau_seconds) for wave, omega in zip(self.waves, OMEGAS))
        return Signal(self.mean, tuple(waves), self.surge)

    def ripple(self) -> Signal:
        """The integral of the waves alone: in T seconds the integral of the signal grows by mean * T + the ripple's change.

        The caller adds the mean's part from its own start: counted from 1970, a float would lose single bytes.
        """
        return Signal(0.0, tuple(wave / (1j * omega) for wave, omega in zip(self.waves, OMEGAS)))


def total(signals: Iterable[Signal]) -> Signal:
    """The sum of signals."""
    mean, waves, surge = 0.0, NO_WAVES, 0.0
    for signal in signals:
        mean, surge = mean + signal.mean, surge + signal.surge
        waves = tuple(map(complex.__add__, waves, signal.waves))
    return Signal(mean, waves, surge)


@dataclass(frozen=True)
class Ramp:
    """Rises from 0 to `height` (falls if negative) from second `after` on within `over` seconds, and stays there."""

    after: float
    over: float
    height: float

    def at(self, seconds: float) -> float:
        """The value at a second."""
        return self.height * min(1.0, max(0.0, (seconds - self.after) / self.over))

    def integral(self, seconds: float) -> float:
        """The integral from the beginning to a second."""
        rising = min(self.over, max(0.0, seconds - self.after))
        return self.height * (rising * rising / (2 * self.over) + max(0.0, seconds - self.after - self.over))

    def lagged(self, seconds: float, tau_seconds: float) -> float:
        """The value of this ramp behind the low-pass filter of `Signal.lagged`."""
        begun, done = max(0.0, seconds - self.after), max(0.0, seconds - self.after - self.over)
        return self.height / self.over * (_follow(begun, tau_seconds) - _follow(done, tau_seconds))


Ramps = tuple[Ramp, ...]


def hump(after: float, rise: float, hold: float, fall: float, height: float) -> Ramps:
    """The ramps that rise to a height, hold it, and fall back to 0."""
    return Ramp(after, rise, height), Ramp(after + rise + hold, fall, -height)


def _follow(seconds: float, tau_seconds: float) -> float:
    """The low-pass filter's answer to a rise of 1 per second, `seconds` after that began."""
    return seconds - tau_seconds * -math.expm1(-seconds / tau_seconds)
