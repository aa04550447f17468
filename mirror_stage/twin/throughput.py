"""Rates from counters. Nothing is invented: what two samples cannot tell is None."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.metrics.domain import Sample
from mirror_stage.metrics.measures import RATES

BITS_PER_BYTE = 8
GIGA = 1e9
BELIEVED = 2  # times the link's capacity: a rate beyond that is a difference of two counters
UPTIME_SLACK_SECONDS = 60
UPTIME_SLACK_SHARE = 0.05

_OF_HOST = [(one.name, one.counter) for one in RATES if one.counter is not None]


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


def set_rates(sample: Sample, before: Sample | None) -> None:
    """Complete a sample: the mean rates since an earlier one of its host. Without one all are unknown.

    A rate is unknown when no time passed, when the two do not count the same (another agent, another machine), when the
    uptime fell (a restart), and when its counter is missing or fell (a reset). Those of the link are unknown also when the
    interface is another one, and when the link cannot have them.
    """
    sample.tx_gbps = sample.rx_gbps = None
    seconds = _counted_seconds(before, sample) if before is not None else None
    if before is None or seconds is None:
        for name, _ in _OF_HOST:
            setattr(sample, name, None)
        return
    for name, counter in _OF_HOST:
        grown = _growth(getattr(before, counter), getattr(sample, counter))
        setattr(sample, name, None if grown is None else grown / seconds)
    sent = _growth(before.net_bytes_tx, sample.net_bytes_tx)
    received = _growth(before.net_bytes_rx, sample.net_bytes_rx)
    if sent is None or received is None or before.primary_interface != sample.primary_interface:
        return
    scale, capacity = BITS_PER_BYTE / seconds / GIGA, sample.net_capacity_gbps
    if capacity is None or max(sent, received) * scale <= BELIEVED * capacity:
        sample.tx_gbps, sample.rx_gbps = sent * scale, received * scale


def _growth(before: int | None, after: int | None) -> int | None:
    """By how much a counter grew; None if it is unknown or fell."""
    return None if before is None or after is None or after < before else after - before


def _counted_seconds(before: Sample, after: Sample) -> float | None:
    """The seconds between two samples in which one agent went on counting on one machine; None if there are none."""
    seconds = (after.at - before.at) / 1000
    is_one_agent = before.agent_instance == after.agent_instance and before.agent_version == after.agent_version
    return seconds if seconds > 0 and is_one_agent and _ran_on(before, after) else None


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
