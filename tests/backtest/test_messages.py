"""The messages of a back-test are those that the groups would have sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror_stage.alerts.domain import RULES
from mirror_stage.backtest.domain import Firing
from mirror_stage.backtest.messages import Ended, messages
from mirror_stage.core.instants import HOUR, MINUTE, SECOND

AT = 1_762_000_200_000
RULE = next(rule for rule in RULES if rule.name == "cpu_load_high")


def stretch(host: str, begin: int, end: int | None, rack: str | None = "R1") -> tuple[str, str | None, Firing]:
    return host, rack, Firing(AT + begin * MINUTE, None if end is None else AT + end * MINUTE, is_certain=True)


def counted(*stretches: tuple[str, str | None, Firing], hours: int = 12) -> int | None:
    return messages(RULE, stretches, AT + hours * HOUR, lambda: True)


def test_a_problem_is_its_beginning_and_its_end() -> None:
    assert counted() == 0
    assert counted(stretch("a", 0, 30)) == 2


def test_what_belongs_together_is_one_message_and_other_racks_have_their_own() -> None:
    assert counted(stretch("a", 0, 30), stretch("b", 0, 31)) == 2
    assert counted(stretch("a", 0, 30), stretch("b", 0, 30, "R2")) == 4
    assert counted(stretch("a", 0, 30), stretch("b", 10, 30)) == 3


def test_what_comes_back_soon_is_the_same_incident_and_what_lasts_is_told_again() -> None:
    assert counted(stretch("a", 0, 30), stretch("a", 33, 40)) == 2
    assert counted(stretch("a", 0, 30), stretch("a", 50, 60)) == 4
    assert counted(stretch("a", 0, None), hours=23) == 1
    assert counted(stretch("a", 0, None), hours=25) == 2


def test_a_problem_that_is_over_before_anybody_is_told_is_no_message() -> None:
    host, rack, firing = stretch("a", 0, 0)
    assert counted((host, rack, Firing(firing.began_at, firing.began_at + 5 * SECOND))) == 0


def test_without_time_the_number_is_unknown() -> None:
    assert messages(RULE, [stretch("a", 0, 1)], AT + HOUR, lambda: False) is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 90), st.integers(0, 40)), max_size=14))
def test_problems_that_leave_the_group_when_they_end_change_no_number(said: list[tuple[str, int, int]]) -> None:
    """Each host has its stretches one after the other."""
    stretches, free_from = [], dict.fromkeys("abcd", 0)
    for host, pause, length in said:
        begin = free_from[host] + pause
        free_from[host] = begin + length
        stretches.append(stretch(host, begin, begin + length))
    found = counted(*stretches, hours=48)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Ended, "take", lambda *_: None)
        assert counted(*stretches, hours=48) == found
