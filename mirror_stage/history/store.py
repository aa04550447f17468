"""All SQL of the history: append samples, read back those that the saved twin has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table, select, text

from mirror_stage.errors import BadRow
from mirror_stage.history.models import HostMetricSample
from mirror_stage.instants import MINUTE, SECOND, Instant
from mirror_stage.metrics.domain import Sample
from mirror_stage.storage.rows import KEEP_FIRST, insert_new_rows, insert_rows

_TABLE: Table = HostMetricSample.__table__  # type: ignore[assignment]
GAUGES = (
    "cpu_load", "memory_used_percent", "swap_used_percent", "load_average", "uptime_seconds", "cpu_temperature",
    "gpu_temperature", "memory_available_bytes", "net_bytes_tx", "net_bytes_rx", "net_capacity_gbps", "fullest_disk_percent",
)  # fmt: skip
IN_FLIGHT = MINUTE  # the longest that a sample can wait for its commit
_COLUMNS = ("at_second", "host_id", "at_ms", "reported_after_ms", "received_after_ms", *GAUGES, "tx_gbps", "rx_gbps")

RATE_GAP_SECONDS = 300  # a late sample's rate is measured over at most so long
# Second by second, because time comes first in the key.
_BEFORE = {
    "sqlite": text(
        "WITH RECURSIVE back(second) AS (SELECT :second UNION ALL SELECT second - 1 FROM back WHERE second > :oldest)"
        " SELECT at_second, at_ms, uptime_seconds, net_bytes_tx, net_bytes_rx"
        " FROM back CROSS JOIN host_metric_samples ON at_second = second AND host_id = :host_id"
        " WHERE at_second * 1000 + at_ms < :at ORDER BY second DESC, at_ms DESC LIMIT 1"
    ),
    "postgresql": text(
        "SELECT at_second, at_ms, uptime_seconds, net_bytes_tx, net_bytes_rx FROM host_metric_samples"
        " WHERE at_second = ANY(ARRAY(SELECT generate_series(CAST(:oldest AS bigint), CAST(:second AS bigint))))"
        " AND at_second >= :oldest AND at_second <= :second AND host_id = :host_id AND at_second * 1000 + at_ms < :at"
        " ORDER BY at_second DESC, at_ms DESC LIMIT 1"
    ),
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many samples of a batch are durable now, and how many of them were already."""

    accepted: int
    duplicates: int


class Repeated(BadRow):
    """Some sample of the group was stored before: the batches must be counted one by one."""


def append_together(
    tx: Connection, batches: Sequence[Sequence[Sample]], ids_by_hostname: dict[str, int]
) -> list[Receipt]:
    """A receipt per batch, all stored by one statement. Raises Repeated if one of the samples was there already."""
    rows = [_row(sample, ids_by_hostname) for samples in batches for sample in samples]
    if insert_rows(tx, _TABLE, _COLUMNS, rows, KEEP_FIRST) != len(rows):
        raise Repeated("a sample was stored before")
    return [Receipt(len(samples), 0) for samples in batches]


def append(tx: Connection, samples: Sequence[Sample], ids_by_hostname: dict[str, int]) -> Receipt:
    """The receipt of one batch. Of two samples of one host and instant the first stays, the other is marked."""
    rows = [_row(sample, ids_by_hostname) for sample in samples]
    new = insert_new_rows(tx, _TABLE, _COLUMNS, rows)
    for sample, row in zip(samples, rows, strict=True):
        sample.is_repeated = row[:3] not in new
    return Receipt(len(samples), len(samples) - len(new))


def _row(sample: Sample, ids_by_hostname: dict[str, int]) -> tuple[Any, ...]:
    at = sample.at
    return (
        at // 1000,
        ids_by_hostname[sample.hostname],
        at % 1000,
        sample.reported_at - at,
        sample.received_at - at,
        sample.cpu_load,
        sample.memory_used_percent,
        sample.swap_used_percent,
        sample.load_average,
        sample.uptime_seconds,
        sample.cpu_temperature,
        sample.gpu_temperature,
        sample.memory_available_bytes,
        sample.net_bytes_tx,
        sample.net_bytes_rx,
        sample.net_capacity_gbps,
        sample.fullest_disk_percent,
        sample.tx_gbps,
        sample.rx_gbps,
    )


def before(tx: Connection, host_id: int, sample: Sample) -> Sample | None:
    """The newest stored sample of a host before this one, as far as a rate needs it, at most RATE_GAP_SECONDS back."""
    second = sample.at // 1000
    values = {"second": second, "oldest": second - RATE_GAP_SECONDS, "host_id": host_id, "at": sample.at}
    row = tx.execute(_BEFORE[tx.dialect.name], values).mappings().first()
    if row is None:
        return None
    return replace(
        sample,
        at=row["at_second"] * 1000 + row["at_ms"],
        uptime_seconds=row["uptime_seconds"],
        net_bytes_tx=row["net_bytes_tx"],
        net_bytes_rx=row["net_bytes_rx"],
    )


def received_since(tx: Connection, since: Instant, ids: Iterable[int]) -> list[tuple[int, dict[str, Any]]]:
    """(host id, fields of a Sample) of what arrived after `since`, or a minute before it, in order of arrival.

    A sample is stamped before it waits for its commit, so one that arrived before `since` may be unknown to the twin that
    was saved then. Only what lies at most 10 minutes before `since` is looked at: of a host whose clock is further
    behind, what came after the last save stays unseen until its next sample.
    """
    table = _TABLE.c
    arrived = table.at_second * 1000 + table.at_ms + table.received_after_ms
    statement = (
        select(_TABLE)
        .where(
            table.at_second >= (since - 10 * MINUTE) // SECOND,
            arrived > since - IN_FLIGHT,
            table.host_id.in_(list(ids)),
        )
        .order_by(arrived, table.at_second, table.at_ms)
    )
    found = []
    for row in tx.execute(statement).mappings():
        at = row["at_second"] * 1000 + row["at_ms"]
        values = {name: row[name] for name in GAUGES}
        values |= {"at": at, "reported_at": at + row["reported_after_ms"], "received_at": at + row["received_after_ms"]}
        found.append((row["host_id"], values))
    return found
