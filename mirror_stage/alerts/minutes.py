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
    at: Instant
    metrics: tuple[Metric, ...]
    sums: list[int]
    counts: list[int]


class Minutes:
    """The minute under way of each host. Samples come in order of time."""

    def __init__(self) -> None:
        self.metrics: tuple[Metric, ...] = ()
        self._reads: tuple[Callable[[Sample], float | None], ...] = ()
        self._by_host: dict[str, _UnderWay] = {}

    def need(self, rules: Iterable[Rule]) -> None:
        """Sum up from now on what these rules judge by the minute. A minute in which that begins is not judged."""
        names = dict.fromkeys(rule.measure for rule in rules if rule.is_by_minute)
        self.metrics = tuple(METRICS_BY_NAME[name] for name in names)
        self._reads = tuple(_read(metric) for metric in self.metrics)
        if not self.metrics:
            self._by_host.clear()

    def take(self, sample: Sample) -> Whole | None:
        """Add a host's newest sample. Returns the minute that is over because of it."""
        if not self.metrics:
            return None
        at = sample.at - sample.at % MINUTE
        minute, found = self._by_host.get(sample.hostname), None
        if minute is None or minute.at != at:
            if minute is not None and minute.at < at:
                found = _whole(minute, at)
            width = len(self.metrics)
            is_begun = minute is None  # whether other samples of this minute came before is unknown then
            minute = _UnderWay(at, () if is_begun else self.metrics, [0] * width, [0] * width)
            self._by_host[sample.hostname] = minute
        if minute.metrics is self.metrics:
            for n, (read, metric) in enumerate(zip(self._reads, self.metrics, strict=True)):
                value = read(sample)
                if value is not None:
                    minute.sums[n] += units_of(metric, value)
                    minute.counts[n] += 1
        else:
            minute.metrics = ()  # other metrics are needed since it began
        return found

    def restore(self, hostname: str, at: Instant, sums: Sequence[int | None], counts: Sequence[int]) -> None:
        """Put back the minute under way of a host, with the sums of `metrics` that the history has of it."""
        self._by_host[hostname] = _UnderWay(at, self.metrics, [units or 0 for units in sums], list(counts))

    def forget(self, hostname: str) -> None:
        """Drop the minute of a host that has left."""
        self._by_host.pop(hostname, None)


def _whole(minute: _UnderWay, next_at: Instant) -> Whole | None:
    if not minute.metrics:
        return None
    sums = zip(minute.metrics, minute.sums, minute.counts, strict=True)
    return Whole(minute.at, next_at, {metric.name: mean(units, count, metric) for metric, units, count in sums})


def _read(metric: Metric) -> Callable[[Sample], float | None]:
    """A function that reads the metric of a sample as the rollups do."""
    return _utilization if metric.name == "utilization" else attrgetter(metric.column)


def _utilization(sample: Sample) -> float | None:
    if sample.tx_gbps is None or sample.rx_gbps is None or not sample.net_capacity_gbps:
        return None
    return max(sample.tx_gbps, sample.rx_gbps) / sample.net_capacity_gbps
