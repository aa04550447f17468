"""Faults: what EGO promises while something breaks. Each test has a short form, and a full one marked `long`."""

from __future__ import annotations

from typing import Any

import pytest


def short_and_full(short: Any, full: Any, *, minutes: int = 30) -> list[Any]:
    """The two forms of a fault test, for `parametrize`: the short one in `make test-faults`, the full one in `make test-long`."""
    return [pytest.param(short, id="short"), pytest.param(full, id="full", marks=_marks(minutes))]


def _marks(minutes: int) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long, pytest.mark.timeout(minutes * 60)]


# For slow tests of what both databases do in the same way: on PostgreSQL only in the full form.
on_postgresql_in_full = pytest.mark.parametrize(
    "database_settings", ["sqlite", pytest.param("postgresql", marks=_marks(30))], indirect=True
)


def print_figures(test: str, **figures: object) -> None:
    """Print one line with what was measured: `T1: kills 3/3, missing 0`."""
    print(f"{test}: " + ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in figures.items()))


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
