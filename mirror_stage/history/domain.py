"""What the history keeps, how exactly and for how long: the metrics, the resolutions, the buckets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mirror_stage.core.instants import DAY, HOUR, Instant
from mirror_stage.metrics.domain import OLDEST_TIER
from mirror_stage.metrics.measures import MEASURES


@dataclass(frozen=True, slots=True)
class Metric:
    """A number whose past can be asked for. The history counts it in whole units of 1 / `scale`.

    Whole numbers, because their sums are exact in whatever order they are added: a rollup of rollups equals a rollup of
    samples, on every database. And small: SQLite stores one in 1 to 4 bytes.
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

UNITS_MAX = 2_000_000_000  # of a scaled value, either side of 0: what four bytes hold, and a load of 1e300 is none


@dataclass(frozen=True, slots=True)
class Resolution:
    """A tier of the history: a row per host and bucket of `seconds`, kept for `kept` unless the settings say otherwise."""

    name: str  # on the wire
    table: str
    seconds: int
    kept: Instant


RESOLUTIONS: tuple[Resolution, ...] = (  # each is made of the one before it
    Resolution("raw", "host_metric_samples", 1, 24 * HOUR),
    Resolution("1m", "host_metrics_1m", 60, 30 * DAY),
    Resolution("15m", "host_metrics_15m", 900, OLDEST_TIER),
)

RAW, *ROLLUPS = RESOLUTIONS


POINTS = 500  # of an answer whose question names no step
STEPS_SECONDS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """What of the past is asked for: whole buckets of `step_seconds`, in seconds since 1970, from a tier that has them."""

    since: int
    until: int
    step_seconds: int
    resolution: Resolution

    @property
    def points(self) -> int:
        return (self.until - self.since) // self.step_seconds

    def pages(self, buckets: int) -> list[Window]:
        """The same in windows of at most so many buckets."""
        length = max(1, buckets) * self.step_seconds
        starts = range(self.since, self.until, length)
        return [Window(start, min(start + length, self.until), self.step_seconds, self.resolution) for start in starts]


def window(
    since: Instant, until: Instant, step_seconds: int | None, now: Instant, kept_by_resolution: Mapping[str, Instant]
) -> Window:
    """The window of a range, widened to whole buckets, in the coarsest tier that has its step.

    Without a step there are about POINTS buckets. A step of a minute or more is rounded up to whole minutes; where only
    a coarser tier still has the range's beginning, to whole buckets of that.
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
    """(tier, since, until) of each part of a window: what its tier has not rolled up yet comes from the tiers below."""
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

    `values` are fields of a Sample, `rates_gbps` what it sends and receives. `last_seen_at` is the arrival of the newest
    sample by EGO's clock; None for a bucket, which ends at `until` by the host's.
    """

    host_id: int
    until: Instant
    values: Mapping[str, Any]
    rates_gbps: tuple[float, float] | None = None
    last_seen_at: Instant | None = None
    utilization: float | None = None
