"""Long work in pieces, between which others run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TypeVar

import gevent

BUSY_SECONDS = 0.005  # how long a scrape may work before others get a turn

Piece = TypeVar("Piece")


def in_turns(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces. After BUSY_SECONDS others get a turn before the next one is made."""
    began = perf_counter()
    for piece in pieces:
        yield piece
        if perf_counter() - began > BUSY_SECONDS:
            gevent.sleep(0)
            began = perf_counter()
