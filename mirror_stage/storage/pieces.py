"""Long jobs of EGO run in pieces. Each piece takes about the same time, on any machine and with any amount of rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mirror_stage.storage.db import Answer, Tx, Work

PIECE_SECONDS = 0.15  # a piece that reads, while others go on
HELD_SECONDS = 0.025  # a piece that writes: the commit of samples waits for it
GROWTH = 2.0  # the size changes at most by this factor from one piece to the next


class Piece:
    """The size of one piece, and how long the database worked on it. Waiting for a turn does not count."""

    def __init__(self, size: int):
        self.size, self.seconds = size, 0.0

    def timed(self, work: Work[Answer]) -> Work[Answer]:
        """The same work, with its time added to this piece."""

        def measured(tx: Tx) -> Answer:
            started = time.perf_counter()
            try:
                return work(tx)
            finally:
                self.seconds += time.perf_counter() - started

        return measured


class Pace:
    """Chooses the size of the next piece, so that it takes about `seconds`. The caller decides what a size counts.

    After a failure the next piece has a quarter of the size, so that a piece that took too long is not repeated unchanged.
    """

    def __init__(self, size: int, *, least: int, most: int, seconds: float = PIECE_SECONDS):
        self._size, self._least, self._most, self._seconds = size, least, most, seconds

    @contextmanager
    def piece(self) -> Iterator[Piece]:
        """The next piece. The time that it takes sets the size of the one after it."""
        piece = Piece(self._size)
        try:
            yield piece
        except Exception:
            self._size = max(1, self._size // 4)
            raise
        factor = min(GROWTH, max(1 / GROWTH, self._seconds / max(piece.seconds, 1e-6)))
        self._size = max(self._least, min(self._most, int(self._size * factor)))
