"""Rates from counters. Nothing is invented: what two samples cannot tell is None."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.metrics.domain import Sample

BITS_PER_BYTE = 8
GIGA = 1e9
BELIEVED = 2  # times the link's capacity: a rate beyond that is a difference of two counters
UPTIME_SLACK_SECONDS = 60
UPTIME_SLACK_SHARE = 0.05


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

    None when a counter is missing, when a counter or the uptime fell (a reset), when no time passed, when the two do not
    count the same (another agent, another interface, another machine), or when the rate is one that the link cannot have.
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
    if sent < 0 or received < 0 or seconds <= 0 or not _count_the_same(before, after) or not _ran_on(before, after):
        return None
    scale = BITS_PER_BYTE / seconds / GIGA
    rates = Rates(sent * scale, received * scale)
    capacity = after.net_capacity_gbps
    if capacity is not None and max(rates.tx_gbps, rates.rx_gbps) > BELIEVED * capacity:
        return None
    return rates


def _count_the_same(before: Sample, after: Sample) -> bool:
    """Whether both samples read the same counters."""
    return (
        before.primary_interface == after.primary_interface
        and before.agent_instance == after.agent_instance
        and before.agent_version == after.agent_version
    )


def _ran_on(before: Sample, after: Sample) -> bool:
    """Whether one machine can have both uptimes without a restart in between."""
    if before.uptime_seconds is None or after.uptime_seconds is None:
        return True
    return after.uptime_seconds >= before.uptime_seconds and uptime_fits(before, after)


def uptime_fits(before: Sample, after: Sample) -> bool:
    """Whether the uptime moved with the clock: the host's own, or EGO's, because the host's may have been set.

    An uptime that is unknown or never moves says nothing. One that is told in whole minutes may be off by one.
    """
    if before.uptime_seconds is None or after.uptime_seconds is None or after.uptime_seconds == before.uptime_seconds:
        return True
    moved = after.uptime_seconds - before.uptime_seconds
    by_host, by_ego = (after.at - before.at) / 1000, (after.received_at - before.received_at) / 1000
    slack = UPTIME_SLACK_SECONDS + UPTIME_SLACK_SHARE * abs(by_host)
    return min(abs(moved - by_host), abs(moved - by_ego)) <= slack


def utilization_ratio(rates: Rates | None, capacity_gbps: float | None) -> float | None:
    """The share of a full-duplex link that its busier direction uses; may exceed 1 when the speed is wrong."""
    if rates is None or capacity_gbps is None:
        return None
    return max(rates.tx_gbps, rates.rx_gbps) / capacity_gbps
