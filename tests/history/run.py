"""A pipeline and a keeper on one storage, with a clock that the test sets, and the rows that the rollups must have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from mirror_stage.core.config import Config
from mirror_stage.core.instants import HOUR, Instant
from mirror_stage.history import tiers
from mirror_stage.history.domain import METRICS, RESOLUTIONS, Metric, Resolution
from mirror_stage.history.keeping import Keeper
from mirror_stage.history.models import ROLLUP_TABLES
from mirror_stage.history.summary import columns_of
from mirror_stage.metrics.domain import Sample, stamp
from mirror_stage.storage.db import Base, Lane, Storage, Work, engine_options
from mirror_stage.storage.pieces import Pace
from tests.builders import SetClock, decoded
from tests.pipeline.conftest import Bench

KEPT: dict[str, Instant] = {"raw": HOUR, "1m": 6 * HOUR, "15m": 48 * HOUR}

Row = tuple[Any, ...]


class Killed(Exception):
    """The process was killed here."""


@dataclass
class Flaky:
    """A storage that kills its process before the n-th write."""

    storage: Lane
    writes_left: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def write(self, work: Work[Any]) -> Any:
        if self.writes_left == 0:
            raise Killed
        self.writes_left -= 1
        return self.storage.write(work)


@dataclass
class HistoryRun:
    """A history in a database, and beside it all samples that EGO acknowledged, to compare."""

    storage: Storage
    kept: Mapping[str, Instant] = field(default_factory=lambda: KEPT)
    clock: SetClock = field(default_factory=SetClock)
    acknowledged: dict[tuple[int, Instant], Sample] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start a new process on the same database."""
        self.bench = Bench(self.storage, self.clock)
        self.keeper = self._keeper(self.storage.own)
        self.keeper.begin()

    def _keeper(self, lane: Any) -> Keeper:
        """A keeper whose pieces have one host each, so that a kill falls into the middle of a minute."""
        clock: Any = self.clock
        keeper = Keeper(lane, clock, self.kept)
        keeper._computed = Pace(1, least=1, most=1)
        keeper._mended = Pace(2, least=2, most=2)
        keeper._pruned = {resolution: Pace(1, least=1, most=1) for resolution in RESOLUTIONS}
        return keeper

    def post(self, *samples: dict[str, Any]) -> None:
        """Post samples, and remember what EGO acknowledged."""
        batch = stamp(decoded(*samples), self.clock.now(), self.kept["15m"])
        receipt = self.bench.edge.commit([batch])[0]
        assert receipt.accepted == len(batch)  # type: ignore[union-attr]
        for sample in batch:
            self.acknowledged.setdefault((self.bench.twin.hosts_by_name[sample.hostname].id, sample.at), sample)

    def keep(self, *, killed_before_write: int | None = None) -> None:
        """Roll up and prune everything; or be killed before a write, and restart."""
        if killed_before_write is None:
            assert self.keeper.keep(busy_seconds=60)
            return
        keeper = self._keeper(Flaky(self.storage.own, killed_before_write))
        try:
            keeper.keep(busy_seconds=60)
        except Killed:
            self.restart()

    def tiers(self) -> dict[str, tiers.Tier]:
        return self.storage.read(tiers.tiers)

    def rollup(self, resolution: Resolution) -> dict[tuple[int, int], Row]:
        """The rows of a rollup by (host id, bucket)."""
        statement = text(f"SELECT {', '.join(columns_of())} FROM {ROLLUP_TABLES[resolution.name].name}")
        rows = self.storage.read(lambda tx: [tuple(row) for row in tx.execute(statement)])
        return {(row[0], row[1]): row[2:] for row in rows}

    def raw(self) -> set[tuple[int, Instant]]:
        statement = text("SELECT host_id, at_second * 1000 + at_ms FROM host_metric_samples")
        return self.storage.read(lambda tx: {(row[0], row[1]) for row in tx.execute(statement)})

    def expected(self, resolution: Resolution) -> dict[tuple[int, int], Row]:
        """The rows that a rollup must have: every bucket that is done and not pruned, from all acknowledged samples."""
        tier = self.tiers()[resolution.name]
        samples_by_bucket: dict[tuple[int, int], list[Sample]] = defaultdict(list)
        for (host_id, at), sample in self.acknowledged.items():
            bucket = at // 1000 - at // 1000 % resolution.seconds
            if tier.pruned_until <= bucket < tier.done_until:
                samples_by_bucket[host_id, bucket].append(sample)
        return {key: summarised(samples) for key, samples in samples_by_bucket.items()}

    def check(self) -> None:
        """Check that the rollups are what brute force finds, and that the samples of the retention are there."""
        for resolution in RESOLUTIONS[1:]:
            assert self.rollup(resolution) == self.expected(resolution), resolution.name
        pruned = self.tiers()["raw"].pruned_until
        assert self.raw() == {(host, at) for host, at in self.acknowledged if at // 1000 >= pruned}
        statement = text("SELECT count(*) FROM rollup_dirty")
        assert self.storage.read(lambda tx: tx.execute(statement).scalar()) == 0


def summarised(samples: Iterable[Sample]) -> Row:
    """The row of a bucket: samples, then min, max, sum and count of each metric."""
    samples = list(samples)
    row: list[int | None] = [len(samples)]
    for metric in METRICS:
        found = [units for sample in samples if (units := units_of(metric, sample)) is not None]
        count = None if len(found) == len(samples) else len(found)
        row += [min(found), max(found), sum(found), count] if found else [None, None, None, count]
    return tuple(row)


def units_of(metric: Metric, sample: Sample) -> int | None:
    """A metric of a sample in the whole units of the history."""
    if metric.name == "utilization":
        if sample.tx_gbps is None or sample.rx_gbps is None or sample.net_capacity_gbps is None:
            return None
        value = max(sample.tx_gbps, sample.rx_gbps) / sample.net_capacity_gbps
    else:
        value = getattr(sample, metric.column)
    if value is None:
        return None
    most = 2_000_000_000 if metric.most is None else metric.most * metric.scale
    scaled = max(-most, min(most, value * metric.scale))
    return int(scaled + (0.5 if scaled >= 0 else -0.5))


@contextmanager
def open_storage(url: str | None) -> Iterator[Storage]:
    """An empty storage: SQLite in memory, or the PostgreSQL at `url`."""
    config = Config(testing=True, db_url=url)
    options = engine_options(config) | ({} if url else {"poolclass": StaticPool})
    engine = create_engine(config.database_url, **options)  # type: ignore[arg-type]
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    try:
        yield storage
    finally:
        storage.close()
