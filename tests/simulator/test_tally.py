"""The figures of a run: percentiles in bounded memory, a line for people, and a result for programs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.simulator.client import Answer
from mirror_stage.simulator.tally import Latencies, Tally
from tests.faults import percentile


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-5, 100), min_size=1), st.floats(1, 100))
def test_a_percentile_is_right_within_two_percent(seconds: list[float], percent: float) -> None:
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    found = latencies.percentile(percent)
    assert found is not None
    assert min(seconds) * 0.999 <= found <= max(seconds)
    below = sum(each <= found * 1.0001 for each in seconds) / len(seconds)
    assert below >= percent / 100 - 1e-9
    assert found <= max(percentile(seconds, percent), min(seconds)) * 1.021


def test_without_an_answer_there_is_no_percentile() -> None:
    assert Tally().result(1.0, 0.1)["latencyMs"] == {"p50": None, "p90": None, "p99": None, "max": None}
    assert "p50 – ms" in Tally().line(5, 0.0)


def test_the_line_has_counts_of_failures_only_if_there_are_any() -> None:
    tally = Tally()
    tally.answered(100, Answer(202, b"{}"), 0.01)
    assert tally.line(200, 100.0) == "200 hosts · 100 samples/s · accepted 100 · refused 0 · p50 10 ms, p99 10 ms"
    tally.answered(100, Answer(503, b'{"detail": "more samples arrive than can be stored"}', "1"), 0.02)
    tally.no_answer(100, "Connection refused")
    tally.skipped += 100
    line = tally.line(200, 100.0)
    assert "refused 100 · unanswered 100 · skipped 100" in line
    assert tally.result(2.0, 1.0)["statuses"] == {"202": 1, "503": 1}
    assert tally.result(2.0, 1.0)["samplesPerSecond"] == 50.0


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(None, 0.0), ("2", 2.0), ("3600", 5.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0)]
)
def test_a_retry_after_is_honoured_within_reason(retry_after: str | None, seconds: float) -> None:
    assert Answer(503, b"", retry_after).wait_seconds == seconds
