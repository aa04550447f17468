"""A sample's rates are worked out once, on arrival, and stored in the history."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from tests.builders import decoded, make_sample
from tests.pipeline.conftest import Bench

MBIT = 125_000  # bytes


def rates_of(bench: Bench, host: str) -> list[tuple[int, float | None]]:
    """(seconds before now, Mbit/s sent) of every stored sample of a host, oldest first."""
    statement = text(
        "SELECT at_second * 1000 + at_ms AS at, host_metric_samples.tx_gbps, host_metric_samples.rx_gbps FROM host_metric_samples"
        " JOIN host_metrics ON host_metrics.id = host_id WHERE hostname = :host ORDER BY 1"
    )
    rows = bench.storage.read(lambda tx: [tuple(row) for row in tx.execute(statement, {"host": host})])
    assert all((tx is None) == (rx is None) for _, tx, rx in rows)
    return [((bench.clock.now() - at) // 1000, None if tx is None else round(tx * 1000, 6)) for at, tx, _ in rows]


def sent(bench: Bench, seconds_ago: int, megabits: int, host: str = "a", **fields: Any) -> dict[str, Any]:
    counters = {"net_bytes_tx": megabits * MBIT, "net_bytes_rx": 0}
    return make_sample(host, at=bench.clock.now() - seconds_ago * 1000, **counters | fields)


def test_each_sample_is_compared_with_the_one_before_it_also_in_one_group(bench: Bench) -> None:
    bench.post(sent(bench, 0, 0))
    bench.clock.advance(10)
    now = bench.clock.now()
    batches = [[sent(bench, 5, 50)], [sent(bench, 0, 150), make_sample("b", at=now)]]
    bench.edge.commit([decoded(*batch, received_at=now) for batch in batches])
    assert rates_of(bench, "a") == [(10, None), (5, 10.0), (0, 20.0)]
    assert rates_of(bench, "b") == [(0, None)]


def test_a_backlog_is_compared_with_the_sample_before_it_in_the_history(bench: Bench) -> None:
    bench.post(sent(bench, 100, 0), make_sample("other", at=bench.clock.now() - 65_000))
    bench.post(sent(bench, 0, 5000))
    bench.post(sent(bench, 60, 400), sent(bench, 55, 500))
    assert rates_of(bench, "a") == [(100, None), (60, 10.0), (55, 20.0), (0, 50.0)]


def test_a_rate_is_unknown_after_a_reset_and_where_no_sample_is_near(bench: Bench) -> None:
    bench.post(sent(bench, 1000, 0))
    bench.post(sent(bench, 0, 5000))
    bench.post(sent(bench, 600, 400))  # more than 5 minutes after the sample before it
    bench.post(sent(bench, 590, 100, uptime_seconds=5))
    assert rates_of(bench, "a") == [(1000, None), (600, None), (590, None), (0, 5.0)]


def test_a_late_sample_of_a_machine_that_restarted_has_no_rate(bench: Bench) -> None:
    """Its uptime grew, but by far less than either clock since the sample before it in the history."""
    bench.post(sent(bench, 0, 0, uptime_seconds=10))
    bench.clock.advance(250)
    bench.post(sent(bench, 0, 1000, uptime_seconds=65))
    bench.post(sent(bench, 50, 400, uptime_seconds=15))
    assert rates_of(bench, "a") == [(250, None), (50, None), (0, None)]


def test_rates_continue_after_a_restart(bench: Bench) -> None:
    bench.post(sent(bench, 0, 0))
    again = bench.again()
    again.clock.advance(5)
    again.post(sent(again, 0, 50))
    assert rates_of(again, "a") == [(5, None), (0, 10.0)]
