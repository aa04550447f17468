"""T4: a stream is shuffled, repeated and split: the history has each sample once, and the twin shows the newest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mirror_stage.metrics.domain import Receipt
from mirror_stage.twin.domain import Newest
from tests.builders import make_sample
from tests.pipeline.conftest import Bench

LINK_MBPS = 1000

# (seconds since the sample before, bytes sent in them as a share of the link's capacity, whether the host rebooted)
steps = st.lists(st.tuples(st.integers(61, 300), st.floats(0, 1), st.booleans()), min_size=1, max_size=12)


def stream_of(bench: Bench, given_steps: list[tuple[int, float, bool]], host: str) -> list[dict[str, Any]]:
    """Samples of a host in time order, the newest now; more than a minute apart, so that none re-anchors the host."""
    start = bench.clock.now() - sum(seconds for seconds, _, _ in given_steps) * 1000
    samples, clock, sent, uptime = [], 0, 0, 1000
    for n, (seconds, share, rebooted) in enumerate(given_steps):
        clock += seconds
        grown = int(seconds * LINK_MBPS * 1e6 / 8 * share)
        sent, uptime = (grown, seconds) if rebooted else (sent + grown, uptime + seconds)
        at = start + clock * 1000
        traffic = {"net_bytes_tx": sent, "net_bytes_rx": 0, "uptime_seconds": uptime}
        samples.append(make_sample(host, at=at, cpu_percent=n % 80, primary_interface_speed_mbps=LINK_MBPS, **traffic))
    return samples


def check(bench: Bench, given_steps: list[tuple[int, float, bool]], data: st.DataObject, host: str) -> None:
    stream = stream_of(bench, given_steps, host)
    order = data.draw(st.permutations(range(len(stream))))
    order += data.draw(st.lists(st.sampled_from(order), max_size=5))  # sent again
    accepted = duplicates = 0
    while order:
        size = data.draw(st.integers(1, len(order)))
        batch, order = order[:size], order[size:]
        receipt = bench.post(*(stream[n] for n in batch))
        assert isinstance(receipt, Receipt)
        accepted, duplicates = accepted + receipt.accepted, duplicates + receipt.duplicates
        shown = bench.twin.hosts_by_name[host]
        assert bench.known.newest_of(host) == Newest(shown.sample, shown.late, shown.rival)
        rates = shown.rates
        if rates is not None:
            assert 0 <= rates.tx_gbps <= LINK_MBPS / 1000 * 1.001
            assert rates.rx_gbps == 0
    host_id = bench.twin.hosts_by_name[host].id
    rows = bench.storage.read(
        lambda tx: [
            (row.at, row.cpu_load)
            for row in tx.execute(
                text(
                    "SELECT at_second * 1000 + at_ms AS at, cpu_load FROM host_metric_samples WHERE host_id = :id ORDER BY 1"
                ),
                {"id": host_id},
            )
        ]
    )
    newest = bench.twin.hosts_by_name[host].sample
    assert newest is not None
    assert [cpu for _, cpu in rows] == [sample["cpu_load"] for sample in stream]
    assert accepted - duplicates == len(stream)
    assert (newest.at, newest.cpu_load) == rows[-1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.data())
def test_a_stream_in_any_order_and_grouping_gives_the_same_history_and_twin(
    bench: Bench, given_steps: list[tuple[int, float, bool]], data: st.DataObject
) -> None:
    check(bench, given_steps, data, f"h{len(bench.twin.hosts_by_name)}")


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.data())
def test_two_thousand_streams(new_bench: Any, given_steps: list[tuple[int, float, bool]], data: st.DataObject) -> None:
    check(new_bench(), given_steps, data, "a")
