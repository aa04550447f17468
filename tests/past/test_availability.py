"""How long a host was online, offline and not watched: the algebra of spans, and the tables of an EGO that was off for a while."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror_stage.core.config import Config
from mirror_stage.core.instants import MINUTE
from mirror_stage.core.problems import NotFound
from mirror_stage.history.keeping import Keeper
from mirror_stage.past.availability import Span, availability, both, length, merged, presence_of
from tests.builders import make_sample
from tests.past.conftest import past_of
from tests.pipeline.conftest import Bench

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def instants(some: list[Span]) -> set[int]:
    return {at for start, end in some for at in range(start, end)}


@given(spans, spans, spans)
def test_spans_say_the_same_as_sets_of_instants(there: list[Span], watched: list[Span], silent: list[Span]) -> None:
    assert instants(both(merged(there), merged(watched))) == instants(there) & instants(watched)
    found = availability(there, watched, silent, (5, 35))
    known = instants(there) & instants(watched) & set(range(5, 35))
    assert found.offline == len(known & instants(silent))
    assert found.online == len(known - instants(silent))
    assert found.online + found.offline + found.unknown == 30
    assert (found.outages > 0) == (found.offline > 0)
    assert (found.share is None) == (known == set())


@given(spans)
def test_merged_spans_rise_and_do_not_touch(some: list[Span]) -> None:
    found = merged(some)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    assert length(found) == len(instants(some))


def test_a_host_is_there_between_its_coming_and_its_going() -> None:
    turns = [(10, True), (15, True), (20, False), (30, True)]
    assert presence_of(turns, 40) == [(10, 20), (30, 40)]
    assert presence_of([], 40) == []


class Running:
    """An EGO that measures its own machine each minute."""

    def __init__(self, bench: Bench):
        self.bench = bench
        clock: Any = bench.clock
        self.keeper = Keeper(bench.storage, clock, Config().kept_by_resolution)
        self.keeper.begin()

    def minutes(self, count: int, *hosts: str) -> None:
        """Let time pass in which EGO and these hosts report."""
        for _ in range(count):
            self.bench.clock.advance(60)
            at = self.bench.clock.now()
            self.bench.post(*(make_sample(name, at=at) for name in ("ego-01", *hosts)))
            self.bench.owner.sweep()
            self.bench.saver.save()
            self.keeper.keep()


def test_what_ego_did_not_see_is_not_known(bench: Bench) -> None:
    ego = Running(bench)
    ego.minutes(10, "a")
    bench.clock.advance(30 * 60)  # EGO is off
    ego.bench = bench = bench.again()
    ego.minutes(2, "a")
    ego.minutes(20)  # the host is silent
    ego.minutes(8, "a")
    answer = past_of(bench, watcher="ego-01", watched_every=MINUTE).availability("a")
    assert [period["period"] for period in answer["periods"]] == ["24h", "7d", "30d"]
    for period in answer["periods"]:
        assert period["outages"] == 1
        assert period["offlineSeconds"] == pytest.approx(21 * 60, abs=90)
        assert period["onlineSeconds"] == pytest.approx(18 * 60, abs=180)
        assert period["availability"] == pytest.approx(18 / 39, abs=0.05)
    day = answer["periods"][0]
    assert day["onlineSeconds"] + day["offlineSeconds"] + day["unknownSeconds"] == pytest.approx(86_400)


def test_a_host_that_never_was_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="there has never been a host ghost"):
        past_of(bench).availability("ghost")
