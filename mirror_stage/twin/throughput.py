"""LinkRates from counters. A rate that two samples do not give is None; it is never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.metrics.domain import Sample
from mirror_stage.metrics.measures import RATES

BITS_PER_BYTE = 8
GIGA = 1e9
BELIEVED = 2  # a rate above so many times the link's capacity comes from two different counters
FASTEST_GBPS = 800.0  # of a network card; where a link's capacity is unknown, a rate above this is not believed
FASTEST_DISKS = 1e12  # bytes a second; faster than all disks of a machine together, so it is not believed
UPTIME_SLACK_SECONDS = 60
UPTIME_SLACK_SHARE = 0.05

_OF_HOST = [(one.name, one.counter) for one in RATES if one.counter is not None]


@dataclass(frozen=True, slots=True)
class LinkRates:
    """The rates at which a host sends and receives, in Gbit/s."""

    tx_gbps: float
    rx_gbps: float


def rates_of(sample: Sample) -> LinkRates | None:
    """The rates that the edge has set in a sample, or None."""
    if sample.tx_gbps is None or sample.rx_gbps is None:
        return None
    return LinkRates(sample.tx_gbps, sample.rx_gbps)


def interface_errors(before: Sample | None, sample: Sample) -> dict[str, float] | None:
    """The errors a second of each interface, received and sent, since an earlier sample of its host.

    An interface is not in it where a counter is missing or fell. None: unknown for all, as in `set_rates`, or because the
    interfaces of one of the samples are not known.
    """
    seconds = _counted_seconds(before, sample) if before is not None else None
    if before is None or seconds is None or not (before.is_whole and sample.is_whole):
        return None
    if before.details is None or sample.details is None:
        return None
    was = {one.name: one for one in before.details.interfaces or ()}
    found = {}
    for one in sample.details.interfaces or ():
        other = was.get(one.name)
        if other is None:
            continue
        if one.errin == other.errin and one.errout == other.errout and one.errin is not None:
            found[one.name] = 0.0  # of nearly all
        else:
            grown = [_growth(other.errin, one.errin), _growth(other.errout, one.errout)]
            known = [errors for errors in grown if errors is not None]
            if known:
                found[one.name] = sum(known) / seconds
    return found


def set_rates(sample: Sample, before: Sample | None) -> None:
    """Complete a sample: the mean rates since an earlier one of its host. Without one all are unknown.

    A rate is unknown if its counter is missing or fell (a reset), if the uptime fell (a restart), if no time passed, or if
    another agent or machine counted. The rates of the link are also unknown if another interface counted, or if the link
    cannot carry them; that of the disks if no disks are so fast.
    """
    sample.tx_gbps = sample.rx_gbps = None
    seconds = _counted_seconds(before, sample) if before is not None else None
    if before is None or seconds is None:
        for name, _ in _OF_HOST:
            setattr(sample, name, None)
        return
    for name, counter in _OF_HOST:
        grown = _growth(getattr(before, counter), getattr(sample, counter))
        setattr(sample, name, None if grown is None or grown > FASTEST_DISKS * seconds else grown / seconds)
    sent = _growth(before.net_bytes_tx, sample.net_bytes_tx)
    received = _growth(before.net_bytes_rx, sample.net_bytes_rx)
    if sent is None or received is None or before.primary_interface != sample.primary_interface:
        return
    scale, capacity = BITS_PER_BYTE / seconds / GIGA, sample.net_capacity_gbps
    if max(sent, received) * scale <= (FASTEST_GBPS if capacity is None else BELIEVED * capacity):
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
    """Whether the machine did not restart between the samples, by their uptimes."""
    if before.uptime_seconds is None or after.uptime_seconds is None:
        return True
    return after.uptime_seconds >= before.uptime_seconds and uptime_fits(before, after)


def uptime_fits(before: Sample, after: Sample) -> bool:
    """Whether the uptime moved as much as the host's clock or, in case that was set, as EGO's clock.

    True if an uptime is unknown or did not move. UPTIME_SLACK_SECONDS allows for agents that report whole minutes.
    """
    was, now = before.uptime_seconds, after.uptime_seconds
    if was is None or now is None or now == was:
        return True
    by_host = (after.at - before.at) / 1000
    apart = now - was - by_host
    if -UPTIME_SLACK_SECONDS <= apart <= UPTIME_SLACK_SECONDS:
        return True  # the usual case, asked some times for each sample
    by_ego = (after.received_at - before.received_at) / 1000
    return min(abs(apart), abs(now - was - by_ego)) <= UPTIME_SLACK_SECONDS + UPTIME_SLACK_SHARE * abs(by_host)


def utilization_ratio(rates: LinkRates | None, capacity_gbps: float | None) -> float | None:
    """The share of a full-duplex link that its busier direction uses; above 1 if the reported capacity is wrong."""
    if rates is None or capacity_gbps is None:
        return None
    return max(rates.tx_gbps, rates.rx_gbps) / capacity_gbps
