"""How long an agent waits before it tries again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.reflector.backoff import LONGEST_SECONDS, RETRY_AFTER_MAX_SECONDS, Backoff, backoff_seconds

JITTERS = st.floats(0, 1)


@pytest.mark.parametrize(
    ("failures", "jitter", "retry_after", "expected"),
    [
        (1, 1.0, None, 1.0),
        (1, 0.0, None, 0.5),
        (2, 1.0, None, 2.0),
        (5, 1.0, None, 16.0),
        (6, 1.0, None, 30.0),
        (10_000, 1.0, None, 30.0),
        (1, 0.0, 7.0, 7.0),
        (1, 1.0, 8.0, 10.0),
        (10, 1.0, 1.0, 30.0),
        (1, 0.0, 86_400.0, RETRY_AFTER_MAX_SECONDS),
        (1, 1.0, -5.0, 1.0),
    ],
)
def test_the_wait_doubles_and_is_at_least_retry_after_both_up_to_a_maximum(
    failures: int, jitter: float, retry_after: float | None, expected: float
) -> None:
    assert backoff_seconds(failures, jitter, retry_after) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**6), JITTERS)
def test_the_wait_has_a_maximum_and_is_never_zero(failures: int, jitter: float) -> None:
    assert 0.5 <= backoff_seconds(failures, jitter) <= LONGEST_SECONDS


def test_a_success_forgets_the_failures() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.failed() for _ in range(3)] == [1, 2, 4]
    backoff.succeeded()
    assert backoff.failed() == 1
