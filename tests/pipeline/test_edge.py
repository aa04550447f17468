"""The edge commits samples, works out rates and tells the owner. It learns about hosts through the port."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from sqlalchemy import Engine, event, text

from mirror_stage.access.domain import EGO
from mirror_stage.core.problems import BadRow, Invalid, Unavailable
from mirror_stage.history import store as history
from mirror_stage.metrics.domain import Receipt
from mirror_stage.pipeline import edge as edge_module
from mirror_stage.pipeline.port import Message
from tests.builders import decoded, make_sample
from tests.pipeline.conftest import Bench

MBIT = 125_000  # bytes


def sent(bench: Bench, seconds_ago: int, megabits: int, **fields: Any) -> dict[str, Any]:
    counters = {"net_bytes_tx": megabits * MBIT, "net_bytes_rx": 0}
    return make_sample("a", at=bench.clock.now() - seconds_ago * 1000, **counters | fields)


def mbps(bench: Bench) -> float | None:
    rates = bench.twin.hosts_by_name["a"].rates
    return None if rates is None else round(rates.tx_gbps * 1000, 6)


def test_rates_return_after_a_clock_was_set_back(bench: Bench) -> None:
    bench.post(sent(bench, 0, 0))
    seen = []
    for n in range(1, 5):
        bench.clock.advance(5)
        bench.post(sent(bench, 3600, n * 50))
        seen.append(mbps(bench))
    assert seen == [None, None, None, 10.0]


def test_twin_and_history_have_the_same_rate(bench: Bench) -> None:
    bench.post(sent(bench, 0, 0))
    bench.clock.advance(7)
    bench.post(sent(bench, 0, 123))
    stored = bench.storage.read(
        lambda tx: tx.execute(
            text("SELECT tx_gbps FROM host_metric_samples ORDER BY at_second DESC LIMIT 1")
        ).scalar_one()
    )
    rates = bench.twin.hosts_by_name["a"].rates
    assert rates is not None
    assert stored == rates.tx_gbps


def test_a_repeated_sample_is_no_base_for_the_next_rate(bench: Bench) -> None:
    """The host's clock is 60 s fast, so its samples are ordered by arrival, and a repeat looks like the newest."""
    first, second = sent(bench, -60, 0), sent(bench, -65, 50)
    bench.post(first)
    bench.clock.advance(5)
    bench.post(second)
    bench.clock.advance(5)
    bench.post(first, sent(bench, -60, 100))
    assert mbps(bench) == 10.0


def test_while_the_database_fails_the_live_view_moves_and_nothing_is_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.post(sent(bench, 0, 0))

    def away(_work: Any) -> Any:
        raise Unavailable("the database does not answer")

    monkeypatch.setattr(bench.storage, "write", away)
    bench.clock.advance(5)
    assert isinstance(bench.post(sent(bench, 0, 50)), Unavailable)
    assert mbps(bench) == 10.0
    assert bench.edge.trouble == "the database does not answer"
    monkeypatch.undo()
    assert isinstance(bench.post(sent(bench, 0, 50)), Receipt)  # sent again, it is stored with the same rate
    assert bench.edge.trouble is None
    assert mbps(bench) == 10.0


def test_the_live_view_does_not_wait_for_a_commit_that_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.post(sent(bench, 0, 0))
    commit, may_go_on = bench.storage.write, gevent.event.Event()

    def hang(work: Any) -> Any:
        may_go_on.wait()
        return commit(work)

    monkeypatch.setattr(bench.storage, "write", hang)
    monkeypatch.setattr(edge_module.monkey, "is_module_patched", lambda _name: True)
    monkeypatch.setattr(edge_module, "PATIENCE_SECONDS", 0.01)
    bench.clock.advance(5)
    batch = decoded(sent(bench, 0, 50), received_at=bench.clock.now())
    post = gevent.spawn(bench.edge.commit, [batch])
    with gevent.Timeout(5):
        while mbps(bench) is None:
            gevent.sleep(0.005)
    assert not post.ready()
    may_go_on.set()
    assert post.get(timeout=5) == [Receipt(1, 0)]
    assert mbps(bench) == 10.0


def test_a_sample_that_was_told_before_its_commit_has_the_same_rate_in_twin_and_history(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent has just changed the interface that it counts, so its sample has no rate; a repeat is in the same group."""
    first = sent(bench, 0, 0, primary_interface="eth0")
    bench.post(first)
    write = bench.storage.write

    def tell_early(work: Any) -> Any:
        bench.edge._tell([changed])
        return write(work)

    bench.clock.advance(5)
    changed = decoded(sent(bench, 0, 50, primary_interface="bond0"), received_at=bench.clock.now())
    repeated = decoded(first, received_at=bench.clock.now())
    monkeypatch.setattr(bench.storage, "write", tell_early)
    assert bench.edge.commit([changed, repeated]) == [Receipt(1, 0), Receipt(1, 1)]
    newest = "SELECT tx_gbps FROM host_metric_samples ORDER BY at_second DESC LIMIT 1"
    assert bench.storage.read(lambda tx: tx.execute(text(newest)).scalar_one()) is None
    assert mbps(bench) is None


def test_a_bad_batch_fails_alone_and_leaves_no_trace_in_the_rates(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.post(sent(bench, 0, 0))
    bench.clock.advance(5)
    now = bench.clock.now()
    bad = decoded(sent(bench, 3, 20), received_at=now)
    good = decoded(sent(bench, 0, 50), received_at=now)
    append = history.append

    def refuse_the_bad(tx: Any, samples: Any, ids: Any) -> Receipt:
        if samples is bad:
            raise BadRow("out of range")
        return append(tx, samples, ids)

    def refuse_together(*_args: Any) -> Any:
        raise BadRow("out of range")

    monkeypatch.setattr(history, "append_together", refuse_together)
    monkeypatch.setattr(history, "append", refuse_the_bad)
    answers = bench.edge.commit([bad, good])
    assert [type(answer) for answer in answers] == [Invalid, Receipt]
    assert mbps(bench) == 10.0


def test_the_edge_forgets_a_removed_host(bench: Bench) -> None:
    bench.post(sent(bench, 0, 0, command_policy="all"))
    bench.known.hear(Message(polls={"a": bench.clock.now()}))
    assert (bench.known.policy_of("a"), bench.known.last_poll_of("a")) == ("all", bench.clock.now())
    bench.remover.remove("a", EGO)
    assert (bench.known.policy_of("a"), bench.known.last_poll_of("a")) == (None, None)


def test_a_batch_of_200_new_hosts_costs_a_few_statements_not_one_a_host(bench: Bench) -> None:
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        bench.post(make_sample("first", at=bench.clock.now()))
        of_one = len(statements)
        bench.post(*(make_sample(f"new-{n}", at=bench.clock.now()) for n in range(200)))
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert len(bench.twin.hosts_by_name) == 202  # with the hub
    assert len(statements) - of_one <= 3 * of_one  # 200 rows take three INSERTs: 128, 64 and 8
