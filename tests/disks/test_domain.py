"""When a disk will be full: a steady growth is found, and a burst, a clean-up, a gap or another size is none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.disks.domain import DAYS_MAX, HOUR_SECONDS, Level, days_range, days_to_full, forecast

GIB = 2**30
SIZE = 1_000 * GIB
NOW = 1_762_000_200 // HOUR_SECONDS * HOUR_SECONDS


def hourly(*used_gib: float, size: int = SIZE) -> list[Level]:
    """The levels of the last hours, the newest last."""
    first = NOW - len(used_gib) * HOUR_SECONDS
    return [(first + n * HOUR_SECONDS, int(used * GIB), size) for n, used in enumerate(used_gib)]


def growing(days: int, to_gib: float, gib_a_day: float) -> list[float]:
    return [to_gib - gib_a_day * n / 24 for n in reversed(range(days * 24))]


@settings(deadline=None)
@given(st.integers(3, 7), st.floats(620, 980), st.floats(2, 60), st.floats(0, 0.3), st.integers(0, 2**16))
def test_a_steady_growth_is_forecast_whatever_its_noise(
    days: int, used: float, rate: float, noise: float, seed: int
) -> None:
    rng = random.Random(seed)
    levels = hourly(*(one + rng.uniform(-noise, noise) * rate / 10 for one in growing(days, used, rate)))
    trend = forecast(levels)
    assert trend is not None
    assert trend.is_steady
    earliest, likely, latest = days_range(int(used * GIB), SIZE, trend)
    true = (1_000 - used) / rate
    assert likely == pytest.approx(true, rel=0.1, abs=0.06)
    assert (earliest or 0) <= (likely or 0) <= (latest or DAYS_MAX)
    judged = days_to_full(int(used * GIB), SIZE, trend)
    assert judged == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize(
    ("used", "why"),
    [
        ([700.0] * 24 * 7, "it does not grow"),
        ([500.0] * 24 * 6 + [800.0] * 24, "a burst"),
        ([500.0] * 24 * 6 + growing(1, 900, 400), "only since today"),
        (growing(6, 900, 50) + [900.0] * 24, "no more since today"),
        ([700.0 + n % 24 for n in range(24 * 7)], "it is cleaned each night"),
        (list(reversed(growing(7, 900, 30))), "it shrinks"),
        (growing(7, 550, 40), "it is less than 60 % full"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_no_steady_growth_is_never_full(used: list[float], why: str) -> None:
    trend = forecast(hourly(*used))
    assert trend is not None, why
    assert days_to_full(int(used[-1] * GIB), SIZE, trend) == DAYS_MAX, why


def test_a_full_disk_is_full_in_0_days_and_does_not_recover_while_it_is() -> None:
    full = int(0.995 * SIZE)
    grown = forecast(hourly(*growing(3, 995, 30)))
    stands = forecast(hourly(*[995.0] * 24 * 7))
    assert grown is not None
    assert [days_to_full(full, SIZE, trend) for trend in (grown, stands, None)] == [0, 0, 0]
    assert days_range(full, SIZE, grown) == (0, 0, 0)


def test_two_days_of_levels_are_needed_and_a_gap_is_no_growth() -> None:
    assert forecast([]) is None
    assert forecast(hourly(*growing(2, 900, 30)[:40])) is None
    levels = hourly(*growing(7, 900, 30))
    trend = forecast(levels[:60] + levels[130:])
    assert trend is not None
    assert trend.likely == pytest.approx(30 * GIB, rel=0.02)


def test_a_disk_of_another_size_begins_anew() -> None:
    before, after = hourly(*growing(7, 900, 30)), hourly(*growing(1, 900, 30), size=2 * SIZE)
    assert forecast(before[:-24] + after) is None
    assert days_to_full(900 * GIB, 2 * SIZE, None) is None
