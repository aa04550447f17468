"""Integrals and lags of the signal curves agree with calculus."""

from __future__ import annotations

import cmath
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.core.instants import SECOND
from mirror_stage.simulator.signals import PERIODS_SECONDS, Moment, Ramp, Signal, hump, total

AT = 1_790_000_000_000
wave = st.builds(cmath.rect, st.floats(0, 10), st.floats(0, math.tau))
signals = st.builds(
    Signal, st.floats(0, 100), st.lists(wave, min_size=len(PERIODS_SECONDS), max_size=len(PERIODS_SECONDS)).map(tuple)
)
ramps = st.builds(Ramp, st.floats(0, 100), st.floats(1, 100), st.floats(-10, 10))
taus = st.floats(1, 3_600)
seconds = st.floats(-50, 1_000)


@settings(max_examples=50, deadline=None)
@given(signals, st.integers(0, 86_400_000))
def test_the_ripple_is_the_integral_without_the_mean(signal: Signal, offset: int) -> None:
    begin, end = (Moment(AT + offset + step * SECOND) for step in (0, 2))
    middle = Moment(AT + offset + SECOND)
    mean_rate = (signal.ripple().at(end) - signal.ripple().at(begin)) / 2
    assert mean_rate == pytest.approx(signal.at(middle) - signal.mean, abs=0.02 * signal.swing + 1e-6)


@settings(max_examples=50, deadline=None)
@given(signals, taus, st.integers(0, 86_400_000))
def test_a_lagged_signal_solves_its_equation(signal: Signal, tau: float, offset: int) -> None:
    lagged = signal.lagged(tau)
    before, now, after = (Moment(AT + offset + step * 50) for step in (-1, 0, 1))
    slope = (lagged.at(after) - lagged.at(before)) / 0.1
    assert tau * slope + lagged.at(now) == pytest.approx(signal.at(now), abs=1e-3 * (1 + signal.swing))
    assert lagged.swing <= signal.swing


@settings(max_examples=50, deadline=None)
@given(st.lists(signals, max_size=4), st.integers(0, 86_400_000))
def test_a_sum_is_the_sum_at_every_instant(parts: list[Signal], offset: int) -> None:
    moment = Moment(AT + offset)
    assert total(parts).at(moment) == pytest.approx(sum(part.at(moment) for part in parts), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(signals, st.integers(0, 86_400_000))
def test_a_signal_stays_within_its_peak(signal: Signal, offset: int) -> None:
    assert signal.mean - signal.swing - 1e-9 <= signal.at(Moment(AT + offset)) <= signal.peak + 1e-9


@settings(max_examples=50, deadline=None)
@given(ramps, seconds)
def test_the_slope_of_the_integral_of_a_ramp_is_the_value_of_the_ramp(ramp: Ramp, at: float) -> None:
    slope = (ramp.integral(at + 1e-3) - ramp.integral(at - 1e-3)) / 2e-3
    assert slope == pytest.approx(ramp.at(at), abs=0.01)


@settings(max_examples=50, deadline=None)
@given(ramps, seconds, taus)
def test_a_lagged_ramp_solves_the_equation_of_a_first_order_lag(ramp: Ramp, at: float, tau: float) -> None:
    slope = (ramp.lagged(at + 1e-3, tau) - ramp.lagged(at - 1e-3, tau)) / 2e-3
    assert tau * slope + ramp.lagged(at, tau) == pytest.approx(ramp.at(at), abs=0.02)


def test_a_hump_rises_holds_and_returns_to_zero() -> None:
    rise, fall = hump(10, rise=60, hold=240, fall=120, height=5.0)
    heights = [rise.at(second) + fall.at(second) for second in (0, 10, 40, 70, 310, 370, 430, 1_000)]
    assert heights == [0, 0, 2.5, 5, 5, 2.5, 0, 0]
