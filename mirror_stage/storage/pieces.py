"""EGO's own work goes in pieces: each takes a bounded time, whatever the machine and however much there is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mirror_stage.storage.db import Answer, Tx, Work

PIECE_SECONDS = 0.15  # of reading, beside which others go on
HELD_SECONDS = 0.025  # of writing: samples wait for their commit as long
GROWTH = 2.0  # from one piece to the next, at most


class Piece:
    """How much is taken on at once, and how long the database has worked at it. Waiting for one's turn does not count."""

    def __init__(self, size: int):
        self.size, self.seconds = size, 0.0

    def timed(self, work: Work[Answer]) -> Work[Answer]:
        """The same work; its time counts for this piece."""

        def measured(tx: Tx) -> Answer:
            started = time.perf_counter()
            try:
                return work(tx)
            finally:
                self.seconds += time.perf_counter() - started

        return measured


class Pace:
    """How large the next piece of some work is, so that it takes about `seconds`; what it counts is the caller's.

    A piece that failed is tried again at a quarter: what met a bound is never repeated unchanged.
    """

    def __init__(self, size: int, *, least: int, most: int, seconds: float = PIECE_SECONDS):
        self._size, self._least, self._most, self._seconds = size, least, most, seconds

    @contextmanager
    def piece(self) -> Iterator[Piece]:
        """A piece; how long it takes decides about the next one."""
        piece = Piece(self._size)
        try:
            yield piece
        except Exception:
            self._size = max(1, self._size // 4)
            raise
        factor = min(GROWTH, max(1 / GROWTH, self._seconds / max(piece.seconds, 1e-6)))
        self._size = max(self._least, min(self._most, int(self._size * factor)))
