"""Rates from counters. Nothing is invented: what two samples cannot tell is None."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.metrics.domain import Sample

BITS_PER_BYTE = 8
GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Rates:
    """What a host sends and receives, in Gbit/s."""

    tx_gbps: float
    rx_gbps: float


def rates_of(sample: Sample) -> Rates | None:
    """The rates that an edge has measured for a sample."""
    if sample.tx_gbps is None or sample.rx_gbps is None:
        return None
    return Rates(sample.tx_gbps, sample.rx_gbps)


def rates_between(before: Sample, after: Sample) -> Rates | None:
    """The mean rates between two samples of a host in order: delta of the counter x 8 / delta of the time.

    None when a counter is missing, when a counter or the uptime fell (a reset), or when no time passed.
    """
    if (
        before.net_bytes_tx is None
        or before.net_bytes_rx is None
        or after.net_bytes_tx is None
        or after.net_bytes_rx is None
    ):
        return None
    sent, received = after.net_bytes_tx - before.net_bytes_tx, after.net_bytes_rx - before.net_bytes_rx
    seconds = (after.at - before.at) / 1000
    if sent < 0 or received < 0 or after.uptime_seconds < before.uptime_seconds or seconds <= 0:
        return None
    scale = BITS_PER_BYTE / seconds / GIGA
    return Rates(sent * scale, received * scale)


def utilization_ratio(rates: Rates | None, capacity_gbps: float | None) -> float | None:
    """The share of a full-duplex link that its busier direction uses; may exceed 1 when the speed is wrong."""
    if rates is None or capacity_gbps is None:
        return None
    return max(rates.tx_gbps, rates.rx_gbps) / capacity_gbps
