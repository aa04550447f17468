"""A histogram counts each value once, in the bucket that it belongs to, and costs little."""

from __future__ import annotations

import time
from timeit import repeat

import gevent
import prometheus_client
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.figures.instruments import SECONDS, Histogram
from mirror_stage.figures.loop_lag import LoopLag
from tests.servers import wait_until


@settings(deadline=None)
@given(st.lists(st.floats(0, 20)))
def test_the_buckets_are_those_of_prometheus_client(values: list[float]) -> None:
    ours = Histogram()
    theirs = prometheus_client.Histogram("a", "b", buckets=SECONDS, registry=None)
    for value in values:
        ours.observe(value)
        theirs.observe(value)
    (family,) = theirs.collect()
    assert [(one.labels["le"], one.value) for one in family.samples if one.name == "a_bucket"] == list(ours.buckets())
    assert ours.count == len(values)
    assert ours.sum == sum(values)


def test_a_value_costs_less_than_half_of_what_it_costs_in_prometheus_client() -> None:
    ours, theirs = Histogram(), prometheus_client.Histogram("a", "b", buckets=SECONDS, registry=None)
    costs = [min(repeat(lambda one=one: one.observe(0.013), number=2_000, repeat=20)) for one in (ours, theirs)]
    assert costs[0] < costs[1] / 2


def test_a_loop_that_stands_still_is_late() -> None:
    lag = LoopLag()
    lag.start()
    gevent.sleep(0.01)
    prompt = lag.seconds.count
    _stand_still(0.3)
    wait_until(lambda: gevent.sleep(0.01) or lag.seconds.count > prompt, what="the watch wakes")
    lag.stop()
    assert lag.seconds.sum > 0.15


def _stand_still(seconds: float) -> None:
    """Keep the only thread busy, so that no greenlet runs."""
    time.sleep(seconds)
