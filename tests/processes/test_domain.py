"""Which processes of a sample are noted, and since when one uses so much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.processes.domain import NOTED_MOST, Since, rows_of, since_when

NUMBERS = st.sampled_from([None, -3.0, 0.0, 0.04, 7.5, 60.0, 100.0, 900.0, 1e9])
ROWS = st.tuples(st.integers(0, 11), st.booleans(), NUMBERS, NUMBERS)


def minutes(*values: float | None) -> tuple[list[int], list[float | None]]:
    return [60 * n for n in range(len(values))], list(values)


def process(name: str, cpu: float | None, memory: float | None = 1.0) -> Any:
    return SimpleNamespace(name=name, username="root", cpu_percent=cpu, memory_percent=memory)


@settings(deadline=None)  # a busy machine may stand still for a moment
@given(st.lists(ROWS, max_size=30))
def test_at_most_eight_are_noted_each_once_the_busiest_first(told: list[Any]) -> None:
    processes = [
        SimpleNamespace(name=f"p{n}", username="root" if is_root else None, cpu_percent=cpu, memory_percent=memory)
        for n, is_root, cpu, memory in told
    ]
    rows = rows_of(processes)
    different = {(one.name, one.username) for one in processes}
    assert len(rows) == len({row[:2] for row in rows}) == min(NOTED_MOST, len(different))
    cpu = [row[2] or 0 for row in rows]
    assert cpu == sorted(cpu, reverse=True)
    if len(different) <= NOTED_MOST:
        assert sum(row[4] for row in rows) == len(processes)


def test_processes_of_one_name_and_user_are_one_row_and_an_odd_value_costs_that_value() -> None:
    rows = rows_of([process("nginx", 20.04), process("java", -1.0, 60.0), process("nginx", 30.0, None)])
    assert rows == [("nginx", "root", 50.0, 1.0, 2), ("java", "root", None, 60.0, 1)]
    many = [process(f"busy{n}", 50.0) for n in range(20)] + [process("large", 0.0, 80.0)]
    assert "large" in [row[0] for row in rows_of(many)]


def test_processes_that_share_memory_use_no_more_than_there_is() -> None:
    assert rows_of([process("postgres", 1.0, 30.0)] * 5) == [("postgres", "root", 5.0, 100.0, 5)]


def test_it_began_when_it_came_to_at_least_half_of_what_it_uses_now() -> None:
    assert since_when(*minutes(10, 10, 10, 10, 80, 90, 100), 5) == Since(240, is_exact=True)
    assert since_when(*minutes(None, None, None, 60, 100), 5) == Since(180, is_exact=True)
    assert since_when(*minutes(90, 100), 5) == Since(0, is_exact=False)  # what was before is not known
    assert since_when(*minutes(100, 4), 5) is None
    assert since_when(*minutes(100, None), 5) is None
    assert since_when([], [], 5) is None


def test_a_short_dip_does_not_end_it_and_a_gap_is_not_bridged() -> None:
    assert since_when(*minutes(5, 5, 5, 100, 5, None, 100, 100), 5) == Since(180, is_exact=True)
    seconds, values = minutes(1, 1, 1, 100, 100, 100)
    late = [second + (3_600 if n > 3 else 0) for n, second in enumerate(seconds)]
    assert since_when(late, values, 5) == Since(240 + 3_600, is_exact=False)


@settings(deadline=None)  # a busy machine may stand still for a moment
@given(st.lists(st.none() | st.floats(0, 1_000), min_size=1, max_size=100))
def test_what_it_says_is_a_minute_in_which_it_used_half_as_much(values: list[float | None]) -> None:
    found = since_when(*minutes(*values), 5)
    now = values[-1]
    assert (found is None) == (now is None or now < 5)
    if found is not None and now is not None:
        then = values[found.second // 60]
        assert then is not None
        assert then >= now / 2
