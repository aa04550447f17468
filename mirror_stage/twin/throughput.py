"""Rates from counters. A rate that two samples do not give is None; it is never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.metrics.domain import Sample

BITS_PER_BYTE = 8
GIGA = 1e9
BELIEVED = 2  # a rate above so many times the link's capacity comes from two different counters
UPTIME_SLACK_SECONDS = 60
UPTIME_SLACK_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates at which a host sends and receives, in Gbit/s."""

    tx_gbps: float
    rx_gbps: float


def rates_of(sample: Sample) -> Rates | None:
    """The rates that the edge has set in a sample, or None."""
    if sample.tx_gbps is None or sample.rx_gbps is None:
        return None
    return Rates(sample.tx_gbps, sample.rx_gbps)


def rates_between(before: Sample, after: Sample) -> Rates | None:
    """The mean rates between two samples of a host in order: delta of the counter x 8 / delta of the time.

    None if a counter is missing, if a counter or the uptime fell (a reset), if no time passed, if the two samples read
    different counters (another agent, interface or machine), or if the link cannot carry the rate.
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
    """Whether the machine did not restart between the samples, by their uptimes."""
    if before.uptime_seconds is None or after.uptime_seconds is None:
        return True
    return after.uptime_seconds >= before.uptime_seconds and uptime_fits(before, after)


def uptime_fits(before: Sample, after: Sample) -> bool:
    """Whether the uptime moved as much as the host's clock or, in case that was set, as EGO's clock.

    True if an uptime is unknown or did not move. UPTIME_SLACK_SECONDS allows for agents that report whole minutes.
    """
    if before.uptime_seconds is None or after.uptime_seconds is None or after.uptime_seconds == before.uptime_seconds:
        return True
    moved = after.uptime_seconds - before.uptime_seconds
    by_host, by_ego = (after.at - before.at) / 1000, (after.received_at - before.received_at) / 1000
    slack = UPTIME_SLACK_SECONDS + UPTIME_SLACK_SHARE * abs(by_host)
    return min(abs(moved - by_host), abs(moved - by_ego)) <= slack


def utilization_ratio(rates: Rates | None, capacity_gbps: float | None) -> float | None:
    """The share of a full-duplex link that its busier direction uses; above 1 if the reported capacity is wrong."""
    if rates is None or capacity_gbps is None:
        return None
    return max(rates.tx_gbps, rates.rx_gbps) / capacity_gbps
