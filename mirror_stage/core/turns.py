"""Long work in pieces, between which others run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TypeVar

import gevent

BUSY_SECONDS = 0.005  # how long one piece of work may hold up everybody else

Piece = TypeVar("Piece")


class Turns:
    """The turns of one piece of long work. It calls `breathe` wherever others may change what it works on."""

    def __init__(self) -> None:
        self._began = perf_counter()

    def breathe(self) -> None:
        """Let others have a turn, if this work has gone on for BUSY_SECONDS."""
        if perf_counter() - self._began > BUSY_SECONDS:
            gevent.sleep(0)
            self._began = perf_counter()


def in_turns(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces. After BUSY_SECONDS others get a turn before the next one is made."""
    turns = Turns()
    for piece in pieces:
        yield piece
        turns.breathe()
