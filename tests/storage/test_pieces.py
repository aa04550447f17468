"""The pieces of a job grow while they are quick and shrink when they are slow; a failed piece is retried smaller."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mirror_stage.storage.pieces import Pace


def spend(pace: Pace, seconds: float) -> int:
    """Run one piece that takes so long. Returns its size."""
    with pace.piece() as piece:
        piece.seconds = seconds
        return piece.size


def test_a_quick_piece_is_followed_by_a_larger_one_and_a_slow_one_by_a_smaller() -> None:
    pace = Pace(100, least=10, most=300, seconds=0.02)
    assert spend(pace, 0) == 100
    assert spend(pace, 0) == 200
    assert spend(pace, 0.1) == 300
    assert spend(pace, 0.1) == 150
    for _ in range(5):
        spend(pace, 0.1)
    assert spend(pace, 0) == 10


def test_waiting_for_a_turn_does_not_make_pieces_smaller() -> None:
    pace = Pace(100, least=10, most=300, seconds=0.02)
    with pace.piece():
        time.sleep(0.1)
    assert spend(pace, 0) == 200


def test_a_piece_that_failed_is_tried_again_with_a_smaller_size() -> None:
    pace, sizes = Pace(100, least=10, most=300), []

    def fail() -> None:
        with pace.piece() as piece:
            sizes.append(piece.size)
            raise TimeoutError

    for _ in range(5):
        with pytest.raises(TimeoutError):
            fail()
    assert sizes == [100, 25, 6, 1, 1]


def test_timed_work_answers_as_before_and_its_time_counts() -> None:
    def work(tx: Any) -> str:
        time.sleep(0.01)
        return f"{tx} done"

    tx: Any = "work"
    with Pace(1, least=1, most=1).piece() as piece:
        assert piece.timed(work)(tx) == "work done"
        assert piece.seconds >= 0.01
