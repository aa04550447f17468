"""Rollups equal what brute force over every sample finds, with gaps, late samples, restarts and pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mirror_stage.core.instants import HOUR, MINUTE
from mirror_stage.storage.db import Base, Storage
from tests.builders import make_sample
from tests.history.run import KEPT, HistoryRun, open_storage

number = st.one_of(st.floats(0, 100), st.sampled_from([0.05, 42.25, -12.35, 1e300, -1e300]))
unknown = st.none()
values = st.fixed_dictionaries(
    {"cpu_load": st.one_of(st.floats(0, 100), st.just(1e300)), "load_average": number},
    optional={
        "cpu_temperature": number | unknown,
        "gpu_temperature": number | unknown,
        "swap_used_percent": st.floats(0, 100),
        "net_bytes_tx": st.integers(0, 10**12),
        "net_bytes_rx": st.integers(0, 10**12),
        "disk_read_bytes": st.integers(0, 10**15),
        "primary_interface_speed_mbps": st.sampled_from([100, 10_000]),
    },
)
# The time of a sample: so many ms before now, or near one of a few instants, so that buckets get several samples.
live_age = st.tuples(st.just("before now"), st.one_of(st.integers(0, 40_000), st.integers(0, 2 * KEPT["raw"])))
anchor = st.sampled_from([0, 20 * MINUTE, 90 * MINUTE, 4 * HOUR, 7 * HOUR, 20 * HOUR, 40 * HOUR])
near = st.tuples(
    st.just("before the start"), st.tuples(anchor, st.integers(0, 90_000)).map(lambda pair: pair[0] - pair[1])
)
age = st.one_of(live_age, near, near)
post = st.tuples(st.just("post"), st.lists(st.tuples(st.sampled_from("ab"), age, values), min_size=1, max_size=4))
advance = st.tuples(st.just("advance"), st.one_of(st.integers(1, 90), st.integers(60, 8 * 3600)))
keep = st.tuples(st.just("keep"), st.none() | st.integers(0, 12))
restart = st.tuples(st.just("restart"), st.none())
step_lists = st.lists(st.one_of(post, post, advance, keep, restart), min_size=1, max_size=25)


def later_sample(hours: int) -> list[tuple[str, Any]]:
    """A sample is rolled up. `hours` later, when that sample is pruned, another comes into the same minute."""
    first, second = (
        ("a", ("before the start", ms), {"cpu_load": cpu, "load_average": 1.0}) for ms, cpu in ((5, 10.0), (9, 20.0))
    )
    return [("post", [first]), ("advance", hours * 3600), ("keep", None), ("post", [second])]


def half_pruned(killed_before_write: int) -> list[tuple[str, Any]]:
    """EGO is killed when a minute is pruned for one host and not for another. Then late samples come for both."""
    first, second = (
        [(host, ("before the start", ms), {"cpu_load": cpu, "load_average": 1.0}) for host in "ab"]
        for ms, cpu in ((5, 10.0), (9, 20.0))
    )
    rolled_up = [("post", first), ("advance", 120), ("keep", None), ("advance", 2 * 3600)]
    return [*rolled_up, ("keep", killed_before_write), ("post", second)]


def follow(run: HistoryRun, steps: list[tuple[str, Any]]) -> None:
    """Run these steps, then check that no sample was lost or counted twice."""
    started, taken = run.clock.now(), set[tuple[str, int]]()
    for what, how in steps:
        if what == "post":
            now = run.clock.now()
            samples = [
                (host, (now if since == "before now" else started) - age, fields) for host, (since, age), fields in how
            ]
            oldest = now - KEPT["15m"] + MINUTE
            new = {(host, at): fields for host, at, fields in samples if oldest < at <= now and (host, at) not in taken}
            taken |= new.keys()
            if new:
                run.post(*(make_sample(host, at=at, **fields) for (host, at), fields in new.items()))
        elif what == "advance":
            run.clock.advance(how)
        elif what == "keep":
            run.keep(killed_before_write=how)
        else:
            run.restart()
    run.clock.advance(120)
    run.keep()
    run.check()


@settings(max_examples=8, deadline=None)
@given(step_lists)
@example(half_pruned(6))
@example(half_pruned(7))
@example(half_pruned(8))
@example(half_pruned(9))
@example(half_pruned(10))
@example(later_sample(2))
@example(later_sample(9))
def test_rollups_are_what_brute_force_finds_on_sqlite(steps: list[tuple[str, Any]]) -> None:
    with open_storage(None) as storage:
        follow(HistoryRun(storage), steps)


@pytest.fixture(scope="module")
def emptied(postgresql: Any) -> Iterator[Callable[[], Storage]]:
    """A function that empties one PostgreSQL database and returns its storage."""
    with ExitStack() as stack:
        storage = stack.enter_context(open_storage(postgresql.new_database()))
        tables = ", ".join(Base.metadata.tables)

        def empty() -> Storage:
            storage.write(lambda tx: tx.execute(text(f"TRUNCATE {tables} RESTART IDENTITY")))
            return storage

        yield empty


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=step_lists)
@example(steps=later_sample(2))
@example(steps=later_sample(9))
def test_rollups_are_what_brute_force_finds_on_postgresql(
    emptied: Callable[[], Storage], steps: list[tuple[str, Any]]
) -> None:
    follow(HistoryRun(emptied()), steps)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None)
@given(step_lists)
def test_rollups_are_what_brute_force_finds_in_three_thousand_runs(steps: list[tuple[str, Any]]) -> None:
    with open_storage(None) as storage:
        follow(HistoryRun(storage), steps)
