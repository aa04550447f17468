"""The effects of a sample, of a restart and of a failing database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.core.problems import Refused, Unavailable
from mirror_stage.metrics.domain import Receipt
from tests.builders import decoded, make_sample
from tests.pipeline.conftest import Bench


def test_a_restart_brings_everything_back_even_what_was_not_saved(bench: Bench) -> None:
    start = bench.clock.now()
    traffic = {"net_bytes_rx": 0, "primary_interface_speed_mbps": 1000, "rack": "R1", "tags": {"room": "A"}}
    bench.post(make_sample("a", at=start, net_bytes_tx=0, **traffic))
    bench.saver.save()
    bench.clock.advance(1)
    bench.post(make_sample("a", at=start + 1000, net_bytes_tx=12_500_000, cpu_percent=95, **traffic))
    bench.post(make_sample("never-saved", at=start + 1000, rack="R2", cpu_percent=7))
    before = bench.twin.hosts_by_name
    again = bench.again()  # as after a kill: no last save
    after = again.twin.hosts_by_name
    assert after.keys() == before.keys()
    for name in ("a", "never-saved"):
        assert after[name].sample is not None
        assert before[name].sample is not None
        assert (after[name].place, after[name].last_seen_at, after[name].rates, after[name].gauges) == (
            before[name].place, before[name].last_seen_at, before[name].rates, before[name].gauges,
        )  # fmt: skip
        assert (after[name].sample.rack, after[name].sample.at) == (before[name].sample.rack, before[name].sample.at)
    assert after["a"].tags == {"room": "A"}
    assert [alert.id for alert in again.open_alerts.all()] == [alert.id for alert in bench.open_alerts.all()]
    assert again.frames.twin_id == bench.frames.twin_id
    assert again.frames.epoch != bench.frames.epoch


def test_a_new_host_never_moves_another(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), rack="R1"))
    place = bench.twin.hosts_by_name["a"].place
    bench.post(*(make_sample(f"n{n}", at=bench.clock.now(), rack="R1") for n in range(50)))
    assert bench.twin.hosts_by_name["a"].place == place
    assert bench.again().twin.hosts_by_name["a"].place == place


def test_the_hub_reports_itself_and_is_no_longer_synthetic(bench: Bench) -> None:
    assert bench.twin.hosts_by_name["core-switch"].is_synthetic
    bench.post(make_sample("core-switch", at=bench.clock.now(), ip="10.9.9.9"))
    hub = bench.twin.hosts_by_name["core-switch"]
    assert (hub.is_synthetic, hub.role, hub.ip, hub.position, hub.uplink) == (
        False,
        "hub",
        "10.9.9.9",
        (0.0, 0.0, 0.0),
        None,
    )


def test_while_the_database_fails_nothing_is_acknowledged_and_the_live_view_continues(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=10))

    def away(_work: Any) -> Any:
        raise Unavailable("the database does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", away)
        bench.clock.advance(1)
        lost = make_sample("a", at=bench.clock.now(), cpu_percent=33)
        assert isinstance(bench.post(lost), Unavailable)
        bench.saver.save()
    sample = bench.twin.hosts_by_name["a"].sample
    assert sample is not None
    assert sample.cpu_load == 33
    receipt = bench.post(lost)  # the agent sends it again
    assert (receipt.accepted, receipt.duplicates) == (1, 0)
    bench.saver.save()
    restored = bench.again().twin.hosts_by_name["a"].sample
    assert restored is not None
    assert restored.cpu_load == 33


def test_ego_is_ready_after_a_failure_of_the_database_even_if_no_host_sends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_work: Any) -> Any:
        raise Unavailable("the database does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", away)
        bench.post(make_sample("a", at=bench.clock.now()))
        bench.saver.save()
        assert bench.edge.trouble is not None
    bench.saver.save()
    assert not (bench.edge.trouble is not None)


def test_each_receipt_counts_the_duplicates_of_its_own_batch(bench: Bench) -> None:
    now = bench.clock.now()
    first = [make_sample("a", at=now), make_sample("b", at=now)]
    second = [make_sample("a", at=now), make_sample("a", at=now + 1)]
    batches = [decoded(*first, received_at=now), decoded(*second, received_at=now)]
    receipts = bench.edge.commit(batches)
    assert [(r.accepted, r.duplicates) for r in receipts] == [(2, 0), (2, 1)]  # type: ignore[union-attr]


def test_more_hosts_than_allowed_are_refused(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(max_hosts=3)  # the hub is one of them
    bench.post(make_sample("a", at=bench.clock.now()), make_sample("b", at=bench.clock.now()))
    now = bench.clock.now()
    known, unknown = make_sample("a", at=now + 1), make_sample("c", at=now)
    answers = bench.edge.commit([decoded(known, received_at=now), decoded(unknown, received_at=now)])
    assert isinstance(answers[0], Receipt)  # in one group with the one that is refused
    assert isinstance(answers[1], Refused)
    assert set(bench.twin.hosts_by_name) == {"core-switch", "a", "b"}


@pytest.mark.parametrize("speed", [1e-322, 1e-310, 1e300, -1])
def test_an_odd_link_speed_is_unknown_and_harms_nobody(bench: Bench, speed: float) -> None:
    tags = {"primary_interface_speed_mbps": str(speed)}
    for n in range(3):
        now = bench.clock.advance(5)
        odd = make_sample("odd", at=now, net_bytes_tx=n * 10**9, net_bytes_rx=0, tags=tags)
        assert isinstance(bench.post(odd, make_sample("other", at=now)), Receipt)
    host = bench.twin.hosts_by_name["odd"]
    assert host.rates is not None
    assert (host.utilization, bench.alerts_heard()) == (None, [])
    bench.saver.save()
    assert bench.again().twin.hosts_by_name.keys() == bench.twin.hosts_by_name.keys()


def test_a_backlog_that_was_not_saved_does_not_move_the_twin_back_after_a_kill(bench: Bench) -> None:
    now = bench.clock.now()
    bench.post(make_sample("a", at=now, cpu_percent=50))
    bench.post(*(make_sample("a", at=now - 60_000 + n * 5000, cpu_percent=n) for n in range(10)))
    restored = bench.again().twin.hosts_by_name["a"].sample
    assert restored is not None
    assert (restored.cpu_load, restored.at) == (50, now)


def test_an_alert_that_ends_and_fires_again_in_one_batch_is_two_alerts(bench: Bench) -> None:
    now = bench.clock.now()
    bench.post(*(make_sample("a", at=now + n, cpu_percent=cpu) for n, cpu in enumerate((95, 10, 95))))
    assert bench.alerts_heard() == [
        ("fired", "cpu_load_high"),
        ("resolved", "cpu_load_high"),
        ("fired", "cpu_load_high"),
    ]
    ids = [payload["alert"]["id"] for _, payload in bench.heard.events]
    assert ids[0] == ids[1] != ids[2]


def test_a_row_that_the_database_refuses_does_not_stop_the_others(bench: Bench) -> None:
    bench.post(make_sample("bad", at=bench.clock.now()), make_sample("good", at=bench.clock.now()))
    bench.clock.advance(1)
    bench.post(make_sample("bad", at=bench.clock.now()), make_sample("good", at=bench.clock.now(), cpu_percent=77))
    host = bench.twin.hosts_by_name["bad"]
    bench.twin.hosts_by_name["bad"] = replace(host, hostname="good")  # two rows of one name: UNIQUE
    bench.saver.save()
    rows = bench.storage.read(
        lambda tx: [tuple(row) for row in tx.execute(text("SELECT hostname, cpu_load FROM host_metrics WHERE id > 1"))]
    )
    assert ("good", 77) in rows


def test_a_sample_that_a_save_overtook_is_folded_after_a_kill(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    bench.clock.advance(5)
    waiting = decoded(make_sample("a", at=bench.clock.now(), cpu_percent=95), received_at=bench.clock.now())
    bench.clock.advance(1)
    bench.post(make_sample("b", at=bench.clock.now()))
    bench.oldest_arrival = waiting[0].received_at
    bench.saver.save()  # while that sample waits for its commit
    bench.edge.commit([waiting])
    again = bench.again()
    restored = again.twin.hosts_by_name["a"].sample
    assert restored is not None
    assert (restored.cpu_load, restored.at) == (95, waiting[0].at)
    assert [alert.metric for alert in again.open_alerts.all()] == ["cpu_load_high"]


def test_a_repeated_sample_of_a_host_with_a_fast_clock_is_not_its_newest(bench: Bench) -> None:
    """The samples of such a host are ordered by arrival, and a repeated sample arrives last."""
    ahead = bench.clock.now() + 80_000
    first = make_sample("a", at=ahead, cpu_percent=1)
    bench.post(first)
    bench.clock.advance(5)
    bench.post(make_sample("a", at=ahead + 5_000, cpu_percent=2))
    bench.clock.advance(1)
    bench.post(first)
    host = bench.twin.hosts_by_name["a"]
    assert host.sample is not None
    assert (host.sample.cpu_load, host.last_seen_at) == (2, bench.clock.now())  # but it shows that the host is alive


def test_repeated_samples_never_move_the_twin_back(bench: Bench) -> None:
    sent = [make_sample("a", at=bench.clock.advance(5), cpu_percent=n) for n in range(6)]
    for sample in sent:
        bench.post(sample)
    assert [bench.post(sample).duplicates for sample in sent[1:5]] == [1, 1, 1, 1]  # their answers were lost
    sample = bench.twin.hosts_by_name["a"].sample
    assert sample is not None
    assert sample.cpu_load == 5
