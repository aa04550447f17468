"""Up to when EGO has really lived: the clock that decides what is old enough to be removed.

The wall clock alone must not: one start with it 40 days ahead would empty the history. EGO notes now and then how late
it is. A start (or a sleep) of more than LEAP behind that note is a leap: perhaps EGO was away so long, perhaps its
clock is wrong. Nothing is removed then until the clocks of the hosts, which are others, have agreed with EGO's for
PROBATION; where no host reports, for PROBATION_ALONE. Meanwhile the note stays, so the next start judges anew. A note
that lies in the future was written by a wrong clock and is taken back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection, text

from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND, Instant, to_text
from mirror_stage.storage import notes
from mirror_stage.storage.db import Lane

log = logging.getLogger(__name__)

LEAP: Instant = HOUR
PROBATION, PROBATION_ALONE = HOUR, DAY
NOTED_EVERY: Instant = MINUTE
CLOCKS_AGREE: Instant = 5 * MINUTE

Witnesses = tuple[int, int]  # hosts heard of in the last minute: those whose clocks agree with EGO's, and all


class Lived:
    """The instant by which retention counts. `check` moves it on; `doubt` says in words why it stands still."""

    def __init__(self, storage: Lane, clock: Clock, ego: str, elapsed: Callable[[], float] = elapsed_seconds) -> None:
        self._storage, self._clock, self._ego, self._elapsed = storage, clock, ego, elapsed
        self._until: Instant | None = None
        self._noted_at: Instant | None = None
        self._agreed_since: float | None = None
        self._asked_at = 0.0
        self.doubt: str | None = None

    def until(self) -> Instant:
        """Now, unless EGO's clock is doubted; then what it was when it was last right."""
        return self._clock.now() if self._until is None else self._until

    def check(self) -> None:
        """Believe the clock, or doubt it."""
        now = self._clock.now()
        if self._until is None:
            self._until = self._storage.read(lambda tx: _noted(tx, now))
            self._noted_at = None
        if now < self._until - MINUTE:
            log.warning(
                "EGO's clock was ahead before: it had come to %s, now it is %s", *map(to_text, (self._until, now))
            )
        elif now - self._until > LEAP and not self._is_borne_out(now):
            return
        elif self.doubt is not None:
            log.info("EGO's clock is believed again: what is old is removed")
        self._until, self.doubt, self._agreed_since = now, None, None
        if self._noted_at is None or abs(now - self._noted_at) >= NOTED_EVERY:
            self._storage.write(lambda tx: notes.write(tx, notes.LIVED_UNTIL, str(now)))
            self._noted_at = now

    def _is_borne_out(self, now: Instant) -> bool:
        """Whether others have said long enough that it is as late as EGO's clock says. Asked once a minute."""
        assert self._until is not None
        elapsed = self._elapsed()
        if self.doubt is not None and elapsed - self._asked_at < NOTED_EVERY / SECOND:
            return False
        self._asked_at = elapsed
        agreeing, heard = self._storage.read(lambda tx: witnesses(tx, now, self._ego))
        if 2 * agreeing < heard or abs(self._clock.wall_offset_seconds()) > CLOCKS_AGREE / SECOND:
            self._agreed_since = None
            why = f"{heard - agreeing} of {heard} hosts have another time"
        else:
            self._agreed_since = elapsed if self._agreed_since is None else self._agreed_since
            wanted = PROBATION if agreeing else PROBATION_ALONE
            left = wanted / SECOND - (elapsed - self._agreed_since)
            if left <= 0:
                return True
            why = f"it is believed in {left / 60:.0f} min unless hosts have another time"
        leap = f"EGO's clock is {(now - self._until) / HOUR:,.1f} h ahead of when EGO ran last ({to_text(self._until)})"
        if self.doubt is None:
            log.warning("%s: nothing old is removed until it is borne out", leap)
        self.doubt = f"{leap}; nothing old is removed: {why}"
        return False


def _noted(tx: Connection, now: Instant) -> Instant:
    """How late EGO knew it to be; an older version noted only when it saved."""
    known = notes.read(tx, notes.LIVED_UNTIL) or notes.read(tx, notes.SAVED_AT)
    return now if known is None else int(known)


def witnesses(tx: Connection, now: Instant, ego: str) -> Witnesses:
    """Of the hosts that were heard of in the last minute, EGO's own machine aside: whose clocks agree, and how many."""
    agreeing, heard = tx.execute(_WITNESSES, {"since": now - MINUTE, "apart": CLOCKS_AGREE, "ego": ego}).one()
    return int(agreeing or 0), int(heard)


_WITNESSES = text(
    "SELECT sum(CASE WHEN abs(reported_at - received_at) <= :apart THEN 1 ELSE 0 END), count(*) FROM host_metrics"
    " WHERE received_at >= :since AND hostname <> :ego"
)
