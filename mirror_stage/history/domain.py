"""The metrics of the history, its tiers with their retention, and the window of a query. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mirror_stage.core.instants import DAY, HOUR, Instant
from mirror_stage.metrics.domain import LONGEST_RETENTION
from mirror_stage.metrics.measures import MEASURES


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that the history can be queried for. Rollups store it as a whole number of units of 1 / `scale`.

    Sums of whole numbers are exact in any order, so a rollup of rollups equals a rollup of samples, on every database.
    They are also small: SQLite stores one in 1 to 4 bytes.
    """

    name: str  # on the wire
    column: str  # of the samples; the rollups have `<column>_min`, `_max`, `_sum` and `_count`
    scale: float
    most: float | None = None
    is_aggregated: bool = True


METRICS: tuple[Metric, ...] = tuple(
    Metric(one.wire, one.name, one.scale, one.most, one.is_aggregated) for one in MEASURES if one.scale is not None
)

METRICS_BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}

UNITS_MAX = (
    2_000_000_000  # a scaled value is limited to ± this, so that it fits into four bytes; an agent may report 1e300
)


def units_of(metric: Metric, value: float) -> int:
    """A value as a rollup counts it: in whole units, halves away from zero, limited to what four bytes and the metric allow."""
    most = UNITS_MAX if metric.most is None else metric.most * metric.scale
    scaled = max(-most, min(most, value * metric.scale))
    return int(scaled + (0.5 if scaled >= 0 else -0.5))


@dataclass(frozen=True, slots=True)
class Resolution:
    """A tier of the history: one row per host and bucket of `seconds`. `kept` is the default of its retention."""

    name: str  # on the wire
    table: str
    seconds: int
    kept: Instant


RESOLUTIONS: tuple[Resolution, ...] = (  # each tier is computed from the one before it
    Resolution("raw", "host_metric_samples", 1, 24 * HOUR),
    Resolution("1m", "host_metrics_1m", 60, 30 * DAY),
    Resolution("15m", "host_metrics_15m", 900, LONGEST_RETENTION),
)

RAW, *ROLLUPS = RESOLUTIONS

EVER = (0, 2**40)  # seconds


POINTS = 500  # about so many in an answer, if the query names no step
STEPS_SECONDS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """The time range of a query in seconds since 1970, in whole buckets of `step_seconds`, and the tier to read."""

    since: int
    until: int
    step_seconds: int
    resolution: Resolution

    @property
    def points(self) -> int:
        return (self.until - self.since) // self.step_seconds

    def within(self, first: int, end: int) -> Window:
        """The buckets of this window that touch the seconds from `first` to before `end`; it may be empty."""
        since = max(self.since, first - first % self.step_seconds)
        return replace(self, since=since, until=max(since, min(self.until, _up(end, self.step_seconds))))

    def pages(self, buckets: int) -> list[Window]:
        """This window, cut into windows of at most `buckets` buckets each."""
        length = max(1, buckets) * self.step_seconds
        starts = range(self.since, self.until, length)
        return [Window(start, min(start + length, self.until), self.step_seconds, self.resolution) for start in starts]


def window(
    since: Instant, until: Instant, step_seconds: int | None, now: Instant, kept_by_resolution: Mapping[str, Instant]
) -> Window:
    """The window for a range: widened to whole buckets, read from the coarsest tier whose buckets divide the step.

    Without a step the window has about POINTS buckets. A step of a minute or more is rounded up to whole minutes. If only
    a coarser tier still keeps the beginning of the range, the step is rounded up to whole buckets of that tier.
    """
    if step_seconds is None:
        least = (until - since) / 1000 / POINTS
        step_seconds = next((step for step in STEPS_SECONDS if step >= least), STEPS_SECONDS[-1])
    minute = ROLLUPS[0].seconds
    step = step_seconds if step_seconds < minute else _up(step_seconds, minute)
    tier = max(n for n, resolution in enumerate(RESOLUTIONS) if step % resolution.seconds == 0)
    while tier < len(RESOLUTIONS) - 1 and since < now - kept_by_resolution[RESOLUTIONS[tier].name]:
        tier += 1
        step = _up(step, RESOLUTIONS[tier].seconds)
    first, last = since // 1000, -(-until // 1000)
    return Window(first - first % step, _up(last, step), step, RESOLUTIONS[tier])


def _up(number: int, whole: int) -> int:
    return -(-number // whole) * whole


def segments(asked: Window, done_until_by_resolution: Mapping[str, int]) -> list[tuple[Resolution, int, int]]:
    """(tier, since, until) of each part of a window. What its tier has not rolled up yet is read from the finer tiers."""
    parts: list[tuple[Resolution, int, int]] = []
    since = asked.since
    for resolution in reversed(RESOLUTIONS[: RESOLUTIONS.index(asked.resolution) + 1]):
        until = asked.until if resolution is RAW else min(asked.until, done_until_by_resolution[resolution.name])
        if until > since:
            parts.append((resolution, since, until))
            since = until
    return parts


@dataclass(frozen=True, slots=True)
class Reading:
    """What the history knows of a host at a moment: its newest sample, or the means of a bucket.

    `values` are fields of a Sample. `rates_gbps` are the rates (sent, received). `last_seen_at` is when the newest sample
    arrived, by EGO's clock; None for a bucket. `until` is the end of the bucket, or the time of the sample, by the host's
    clock.
    """

    host_id: int
    until: Instant
    values: Mapping[str, Any]
    rates_gbps: tuple[float, float] | None = None
    last_seen_at: Instant | None = None
    utilization: float | None = None
