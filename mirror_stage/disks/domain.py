"""When a disk will be full, from how full it was. Pure: no Flask, no SQL, no clock.

The trend is a Theil-Sen estimate: the median of the slopes between all pairs of points. A burst, a clean-up or a gap moves it little.
The points are the medians of six hours, of seven days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

HOUR_SECONDS, DAY_SECONDS = 3_600, 86_400
POINT_SECONDS = 6 * HOUR_SECONDS
TREND_SECONDS = 7 * DAY_SECONDS
SPAN_LEAST_SECONDS = 2 * DAY_SECONDS  # without points so far apart there is no forecast
POINTS_LEAST = 5
RESIZED = 0.01  # a disk whose size changes by more than 1 % begins anew
STEADY = 4.0  # the trends of a day and of a week agree, if neither is more than four times the other
DAY_LEVELS_LEAST = 6  # so many hours of the last day have to be known for its trend
USED_LEAST_RATIO = 0.6  # a disk that is less full is not forecast
FULL_RATIO = 0.01  # with less free than this it is full
DAYS_MAX = 3_650.0  # what is further away than ten years is no forecast

Level = tuple[int, int, int]  # (second of the hour, bytes in use at its end, usable bytes)


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast a disk fills, in bytes a day: the 20th percentile of its slopes, their median, the 80th percentile.

    `is_steady`: the last day goes the same way as the last week.
    """

    slow: float
    likely: float
    fast: float
    is_steady: bool


@dataclass(slots=True)
class Forecasts:
    """The forecasts of a host's disks by mountpoint. `is_calm`: none of them fills steadily. Treat it as a value."""

    by_mount: Mapping[str, Forecast]
    is_calm: bool = field(init=False)  # each sample asks for it

    def __post_init__(self) -> None:
        self.is_calm = not any(one.is_steady for one in self.by_mount.values())


def forecast(levels: Sequence[Level]) -> Forecast | None:
    """The trend of a disk from its levels, in order of time; None: they do not tell enough yet."""
    levels = _of_this_size(levels)
    points = _medians(levels)
    if len(points) < POINTS_LEAST or points[-1][0] - points[0][0] < SPAN_LEAST_SECONDS:
        return None
    slopes = _slopes(points)
    likely = median(slopes)
    last = levels[-1][0]
    of_day = [(float(second), float(used)) for second, used, _ in levels if second > last - DAY_SECONDS]
    is_steady = False
    if len(of_day) >= DAY_LEVELS_LEAST and likely > 0:
        daily = median(_slopes(of_day))
        is_steady = likely / STEADY <= daily <= likely * STEADY
    return Forecast(slopes[len(slopes) // 5], likely, slopes[len(slopes) * 4 // 5], is_steady)


def _of_this_size(levels: Sequence[Level]) -> Sequence[Level]:
    """The levels since the disk has the size that it has now."""
    size = levels[-1][2] if levels else 0
    for n in range(len(levels) - 1, -1, -1):
        if abs(levels[n][2] - size) > RESIZED * size:
            return levels[n + 1 :]
    return levels


def _medians(levels: Sequence[Level]) -> list[tuple[float, float]]:
    """(second, bytes in use) in the middle of each six hours, in order of time."""
    by_point: dict[int, list[int]] = defaultdict(list)
    for second, used, _ in levels:
        by_point[second // POINT_SECONDS].append(used)
    return [((point + 0.5) * POINT_SECONDS, median(used)) for point, used in sorted(by_point.items())]


def _slopes(points: Sequence[tuple[float, float]]) -> list[float]:
    """The slopes between all pairs of points, in bytes a day, in rising order."""
    return sorted((y - x) / (t - s) * DAY_SECONDS for (s, x), (t, y) in combinations(points, 2))


def is_full(used: int, total: int) -> bool:
    """Whether a disk has next to nothing free."""
    return total > 0 and total - used < FULL_RATIO * total


def days_range(used: int, total: int, trend: Forecast) -> tuple[float | None, float | None, float | None]:
    """In how many days the disk is full: at the earliest, likely, at the latest. None: not within ten years."""
    if is_full(used, total):
        return 0.0, 0.0, 0.0
    free = total - used
    earliest, likely, latest = (
        free / slope if slope > 0 else DAYS_MAX for slope in (trend.fast, trend.likely, trend.slow)
    )
    return _within(earliest), _within(likely), _within(latest)


def _within(days: float) -> float | None:
    return round(days, 1) if days < DAYS_MAX else None


def days_to_full(used: int, total: int, trend: Forecast | None) -> float | None:
    """What a rule judges, so that it fires at N days if the disk is likely full within N and at the latest within 2N.

    0 for a full disk. DAYS_MAX for one that is not filling: less than 60 % full, or the last day disagrees with the week. None:
    nothing is known.
    """
    if is_full(used, total):
        return 0.0
    if trend is None or total <= 0:
        return None
    if not trend.is_steady or trend.slow <= 0 or used < USED_LEAST_RATIO * total:
        return DAYS_MAX
    free = total - used
    return min(DAYS_MAX, max(free / trend.likely, free / trend.slow / 2))


def soonest_full(levels_by_mount: Mapping[str, tuple[int, int]], forecasts: Forecasts) -> float | None:
    """In how many days the first of a host's disks is full, to a tenth; None: none of them fills, or nothing is known."""
    days = (days_to_full(*level, forecasts.by_mount.get(mount)) for mount, level in levels_by_mount.items())
    return min((round(one, 1) for one in days if one is not None and one < DAYS_MAX), default=None)
