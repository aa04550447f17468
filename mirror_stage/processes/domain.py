"""Which processes of a host are noted, and since when one uses so much. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MINUTE_SECONDS = 60
NOTED_MOST = 8  # of a host and minute
OF_MEMORY = 3  # so many of them are those with the most memory
NAME_MOST, USER_MOST = 64, 32  # characters; what is longer is cut
CPU_MOST = 100.0 * 4_096  # percent of one core; what is more cannot be
CPU_LEAST, MEMORY_LEAST = 5.0, 1.0  # percent: of less nobody asks since when
SAME_LEVEL = 0.5  # as long as it used at least half as much as now
DIP_MINUTES = 2  # so many minutes with less do not end it
GAP_SECONDS = 5 * MINUTE_SECONDS  # what happened in a longer gap is not known

Row = tuple[str, str | None, float | None, float | None, int]  # (name, user, CPU %, memory %, how many processes)


def rows_of(processes: Iterable[Any]) -> list[Row]:
    """The rows to note of a sample's `top_processes`: those of one name and user together, the busiest first.

    CPU is in percent of one core, memory in percent of the host's: at most 100, since what processes share counts in each.
    A value that cannot be is None.
    """
    together: dict[tuple[str, str | None], tuple[float | None, float | None, int]] = {}
    for process in processes:
        key = process.name[:NAME_MOST], process.username and process.username[:USER_MOST]
        cpu, memory, count = together.get(key, (None, None, 0))
        together[key] = (
            _added(cpu, _believed(process.cpu_percent, CPU_MOST)),
            _added(memory, _believed(process.memory_percent, 100.0)),
            count + 1,
        )
    rows = [
        (name, user, _rounded(cpu, 1), _rounded(memory and min(memory, 100.0), 2), count)
        for (name, user), (cpu, memory, count) in together.items()
    ]
    rows.sort(key=_busiest)
    if len(rows) <= NOTED_MOST:
        return rows
    largest = sorted(rows, key=lambda row: -(row[3] or 0))[:OF_MEMORY]
    busy = [row for row in rows if row not in largest][: NOTED_MOST - OF_MEMORY]
    return sorted([*busy, *largest], key=_busiest)


def _busiest(row: Row) -> tuple[float, float]:
    return -(row[2] or 0), -(row[3] or 0)


def _believed(value: float | None, most: float) -> float | None:
    return value if value is not None and 0 <= value <= most else None


def _added(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


@dataclass(frozen=True, slots=True)
class Since:
    """Since which second a process uses so much. `is_exact` False: at least since then; what was before is not known."""

    second: int
    is_exact: bool


def since_when(seconds: Sequence[int], values: Sequence[float | None], least: float) -> Since | None:
    """Since when a process uses at least half of what it uses in the last minute; None if that is less than `least`.

    `seconds` are the minutes of which something is known, in order; in a minute of None it was not among the busiest.
    """
    if not values or values[-1] is None or values[-1] < least:
        return None
    enough = values[-1] * SAME_LEVEL
    since = seconds[-1]
    less = 0
    for n in range(len(values) - 2, -1, -1):
        if seconds[n + 1] - seconds[n] > GAP_SECONDS:
            return Since(since, is_exact=False)
        value = values[n]
        if value is not None and value >= enough:
            since, less = seconds[n], 0
            continue
        less += 1
        if less > DIP_MINUTES:
            return Since(since, is_exact=True)
    return Since(since, is_exact=less > 0)
