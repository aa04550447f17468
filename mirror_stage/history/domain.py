"""What the history keeps, how exactly and for how long: the metrics, the resolutions, the buckets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mirror_stage.instants import DAY, HOUR, Instant
from mirror_stage.metrics.domain import OLDEST_TIER


@dataclass(frozen=True, slots=True)
class Metric:
    """A number whose past can be asked for. The history counts it in whole units of 1 / `scale`.

    Whole numbers, because their sums are exact in whatever order they are added: a rollup of rollups equals a rollup of
    samples, on every database. And small: SQLite stores one in 1 to 4 bytes.
    """

    name: str  # on the wire
    column: str  # of the samples; the rollups have `<column>_min`, `_max`, `_sum` and `_count`
    scale: int
    most: float | None = None


METRICS: tuple[Metric, ...] = (
    Metric("cpuLoad", "cpu_load", 10),
    Metric("memoryUsedPercent", "memory_used_percent", 10),
    Metric("swapUsedPercent", "swap_used_percent", 10),
    Metric("loadAverage", "load_average", 100),
    Metric("cpuTemperature", "cpu_temperature", 10),
    Metric("gpuTemperature", "gpu_temperature", 10),
    Metric("rxGbps", "rx_gbps", 100_000),
    Metric("txGbps", "tx_gbps", 100_000),
    Metric("utilization", "utilization_ratio", 10_000, most=1),
    Metric("fullestDiskPercent", "fullest_disk_percent", 10),
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
