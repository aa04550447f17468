"""Watches whether the machine's clock differs from EGO's, and keeps the periods in which it did."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant, to_text
from mirror_stage.storage import notes
from mirror_stage.storage.db import Storage

log = logging.getLogger(__name__)

APART_SECONDS = 60
PERIODS_KEPT = 5

Period = tuple[Instant, Instant, int]  # from and until, by EGO's clock; by how many s the machine's clock was ahead


class ClockWatch:
    """EGO's clock never steps. If it was wrong at the start, EGO stores everything with wrong times until a restart.

    Nobody can correct those times later without guessing. So EGO stores the period and shows the last PERIODS_KEPT.
    """

    def __init__(self, storage: Storage, clock: Clock):
        self._storage, self._clock = storage, clock
        self._began = clock.now()
        self._before: list[Period] | None = None  # of earlier starts; None: not read yet

    def look(self) -> None:
        """Store the period so far, if the machine's clock differs from EGO's."""
        before = self._before
        if before is None:
            stored = self._storage.read(lambda tx: notes.read(tx, notes.CLOCK_APART))
            before = self._before = [tuple(period) for period in orjson.loads(stored or "[]")]
            for period in before:
                log.warning("%s", _sentence(period))
        seconds = round(self._clock.wall_offset_seconds())
        if abs(seconds) >= APART_SECONDS:
            periods = [*before, (self._began, self._clock.now(), seconds)][-PERIODS_KEPT:]
            self._storage.write(lambda tx: notes.write(tx, notes.CLOCK_APART, orjson.dumps(periods).decode()))

    def check(self) -> dict[str, Any]:
        """`ok` and a `detail` for people."""
        apart = self._clock.wall_offset_seconds()
        if abs(apart) >= APART_SECONDS:
            detail = f"the machine's clock was set by {apart:+.0f} s since EGO started, and EGO dates what it stores by"
            return {"ok": False, "detail": f"{detail} its own clock; restart EGO to follow the machine's"}
        texts = [f"{apart:+.1f} s from the machine's", *map(_sentence, self._before or ())]
        return {"ok": True, "detail": "; ".join(texts)}


def _sentence(period: Period) -> str:
    began, until, seconds = period
    return (
        f"what EGO stored from {to_text(began)} to {to_text(until)} is dated by a clock that was {abs(seconds)} s"
        f" {'behind' if seconds > 0 else 'ahead of'} the machine's"
    )
