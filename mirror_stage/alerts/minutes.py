"""The minutes of the hosts that are under way, for the rules that judge the mean of each whole minute. Pure.

The sums are those of the rollups: in whole units, so the mean of a minute is the same here, in the history, and after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from mirror_stage.alerts.domain import Rule
from mirror_stage.core.instants import MINUTE, Instant
from mirror_stage.history.domain import METRICS_BY_NAME, Metric, units_of
from mirror_stage.metrics.domain import Sample


def mean(units: int | None, count: int, metric: Metric) -> float | None:
    """The mean of a minute; None: no sample has the value."""
    return units / count / metric.scale if units is not None and count else None


@dataclass(frozen=True, slots=True)
class Whole:
    """A minute that is over, by its beginning: the means of its metrics, and the minute of the sample that came next."""

    at: Instant
    next_at: Instant
    means: Mapping[str, float | None]

    @property
    def end(self) -> Instant:
        return self.at + MINUTE


@dataclass(slots=True)
class _UnderWay:
    """A minute, with the metrics that were needed from its beginning on."""

    at: Instant
    metrics: tuple[Metric, ...]
    sums: list[int]
    counts: list[int]

    def keep(self, needed: tuple[Metric, ...]) -> None:
        """Sum up no other metrics than these from now on."""
        kept = [n for n, metric in enumerate(self.metrics) if metric in needed]
        self.metrics = tuple(self.metrics[n] for n in kept)
        self.sums, self.counts = [self.sums[n] for n in kept], [self.counts[n] for n in kept]


class Minutes:
    """The minute under way of each host. Samples come in order of time."""

    def __init__(self) -> None:
        self.metrics: tuple[Metric, ...] = ()
        self._by_host: dict[str, _UnderWay] = {}

    def need(self, rules: Iterable[Rule]) -> None:
        """Sum up from now on what these rules judge by the minute. A metric that is new is not judged for the minute under way."""
        names = {rule.measure for rule in rules if rule.is_by_minute}
        metrics = tuple(METRICS_BY_NAME[name] for name in sorted(names))
        if metrics == self.metrics:
            return
        self.metrics = metrics
        for minute in self._by_host.values():
            minute.keep(metrics)
        if not metrics:
            self._by_host.clear()

    def take(self, sample: Sample) -> Whole | None:
        """Add a host's newest sample. Returns the minute that is over because of it."""
        if not self.metrics:
            return None
        at = sample.at - sample.at % MINUTE
        minute, found = self._by_host.get(sample.hostname), None
        if minute is None or minute.at != at:
            if minute is not None and minute.at < at and minute.metrics:
                found = _whole(minute, at)
            # Of a host that is new here nobody knows whether other samples of this minute came before. After a clock that was set back
            # some did.
            metrics = () if minute is None or at < minute.at else self.metrics
            minute = _UnderWay(at, metrics, [0] * len(metrics), [0] * len(metrics))
            self._by_host[sample.hostname] = minute
        for n, metric in enumerate(minute.metrics):
            value = _READ[metric.name](sample)
            if value is not None:
                minute.sums[n] += units_of(metric, value)
                minute.counts[n] += 1
        return found

    def restore(self, hostname: str, at: Instant, sums: Sequence[int | None], counts: Sequence[int]) -> None:
        """Put back the minute under way of a host, with the sums of `metrics` that the history has of it."""
        self._by_host[hostname] = _UnderWay(at, self.metrics, [units or 0 for units in sums], list(counts))

    def forget(self, hostname: str) -> None:
        """Drop the minute of a host that has left."""
        self._by_host.pop(hostname, None)


def _whole(minute: _UnderWay, next_at: Instant) -> Whole:
    sums = zip(minute.metrics, minute.sums, minute.counts, strict=True)
    return Whole(minute.at, next_at, {metric.name: mean(units, count, metric) for metric, units, count in sums})


def _utilization(sample: Sample) -> float | None:
    if sample.tx_gbps is None or sample.rx_gbps is None or not sample.net_capacity_gbps:
        return None
    return max(sample.tx_gbps, sample.rx_gbps) / sample.net_capacity_gbps


# How each metric is read from a sample, as the rollups read it.
_READ: Mapping[str, Callable[[Sample], float | None]] = {
    name: _utilization if name == "utilization" else attrgetter(metric.column)
    for name, metric in METRICS_BY_NAME.items()
}
