"""The SQL that summarises a tier: samples per host and bucket, with min, max, sum and count of each metric.

Rollups and queries share this SQL. All numbers are whole, in units of 1 / `scale` of the metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mirror_stage.history.domain import METRICS, RAW, UNITS_MAX, Metric, Resolution

SUMMARIES = ("min", "max", "sum", "count")

# Metrics that are not a column of the samples. For utilization see `utilization_ratio` in twin/throughput.py.
_DERIVED = {
    "utilization_ratio": "CASE WHEN tx_gbps > rx_gbps THEN tx_gbps ELSE rx_gbps END / net_capacity_gbps",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """The SELECT that sums up the rows of `source` that match `where`, in buckets of `seconds`.

    Columns: host_id, bucket (its first second), samples, then min, max, sum and count of each of `metrics`, then `also`,
    if it is given.
    """

    source: Resolution
    seconds: int
    where: str
    metrics: Sequence[Metric] = METRICS
    table: str = ""  # if it is not the table of `source` alone
    instant: str = "at_second"
    also: str = ""  # one more column, the same in all rows of a host

    def sql(self, dialect: str) -> str:
        expressions = [_expressions(metric, self.source, dialect) for metric in self.metrics]
        samples = "count(*)" if self.source is RAW else "sum(samples)"
        chosen = [
            "host_id",
            f"{self.instant} - {self.instant} % {self.seconds} AS bucket",
            f"CAST({samples} AS {_whole(dialect)}) AS samples",
            *(expression for four in expressions for expression in four),
            *([f"min({self.also}) AS {self.also}"] if self.also else []),
        ]
        return f"SELECT {', '.join(chosen)} FROM {self.table or self.source.table} WHERE {self.where} GROUP BY 1, 2"


def columns_of(metrics: Iterable[Metric] = METRICS) -> tuple[str, ...]:
    """The columns of a rollup, in the order of the columns of a Summary."""
    return ("host_id", "at_second", "samples", *(f"{m.column}_{what}" for m in metrics for what in SUMMARIES))


def with_later_metrics(resolution: Resolution) -> str:
    """The SELECT of a continuous aggregate with all columns of a rollup.

    An aggregate cannot get a new column. Metrics that came after it was made have no value there, and the count 0.
    """
    unknown = (
        f"CAST({'0' if what == 'count' else 'NULL'} AS bigint) AS {metric.column}_{what}"
        for metric in METRICS
        if not metric.is_aggregated
        for what in SUMMARIES
    )
    return f"(SELECT {', '.join(('*', *unknown))} FROM {resolution.table})"


def _expressions(metric: Metric, source: Resolution, dialect: str) -> tuple[str, str, str, str]:
    """The SQL of min, max, sum and count of a metric. The count is NULL if it equals the number of samples."""
    name = metric.column
    if source is RAW:
        value = _DERIVED.get(name, name)
        least, most, total = (
            _units(f"min({value})", metric, dialect),
            _units(f"max({value})", metric, dialect),
            f"sum({_units(value, metric, dialect)})",
        )
        count = f"nullif(count({value}), count(*))"
    else:
        least, most, total = f"min({name}_min)", f"max({name}_max)", f"sum({name}_sum)"
        count = f"nullif(sum(coalesce({name}_count, samples)), sum(samples))"
    whole = _whole(dialect)
    return (
        f"{least} AS {name}_min",
        f"{most} AS {name}_max",
        f"CAST({total} AS {whole}) AS {name}_sum",
        f"CAST({count} AS {whole}) AS {name}_count",
    )


def _units(value: str, metric: Metric, dialect: str) -> str:
    """The SQL of a value in whole units: limited to what four bytes and the metric allow, halves rounded away from zero."""
    most = UNITS_MAX if metric.most is None else round(metric.most * metric.scale)
    scaled = f"({value}) * {metric.scale}"
    held = f"CASE WHEN {scaled} > {most} THEN {most} WHEN {scaled} < -{most} THEN -{most} ELSE {scaled} END"
    if dialect == "sqlite":
        return f"CAST(round({held}) AS INTEGER)"
    # PostgreSQL's round() of a double rounds halves to even.
    return f"CAST(trunc({held} + sign({value}) * 0.5) AS bigint)"


def _whole(dialect: str) -> str:
    return "INTEGER" if dialect == "sqlite" else "bigint"
