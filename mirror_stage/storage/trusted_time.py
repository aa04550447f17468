"""The time by which retention decides that rows are old. It does not simply trust EGO's wall clock.

One start with the clock 40 days ahead would otherwise delete the history. So EGO stores the time once a minute. If the
clock is more than LEAP ahead of the stored time, EGO was either down for so long or its clock is wrong. Then EGO deletes
nothing until the clocks of the hosts, which are independent, have agreed with its own for PROBATION; if no host reports,
for PROBATION_ALONE. The stored time stays as it is meanwhile, so that the next start decides again. A stored time in the
future was written by a wrong clock and is replaced.
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

Witnesses = tuple[int, int]  # hosts that reported in the last minute: those whose clocks agree with EGO's, and all


class TrustedTime:
    """The time that retention uses. `check` moves it on; `doubt` is the reason if it stands still, else None."""

    def __init__(self, storage: Lane, clock: Clock, ego: str, elapsed: Callable[[], float] = elapsed_seconds) -> None:
        self._storage, self._clock, self._ego, self._elapsed = storage, clock, ego, elapsed
        self._until: Instant | None = None
        self._noted_at: Instant | None = None
        self._agreed_since: float | None = None
        self._asked_at = 0.0
        self.doubt: str | None = None

    def until(self) -> Instant:
        """The present time, or the last time before a leap while EGO's clock is doubted."""
        return self._clock.now() if self._until is None else self._until

    def check(self) -> None:
        """Decide whether to believe EGO's clock, and store the time if so."""
        now = self._clock.now()
        if self._until is None:
            self._until = self._storage.read(lambda tx: _noted(tx, now))
            self._noted_at = None
        if now < self._until - MINUTE:
            log.warning(
                "EGO's clock was ahead before: it showed %s, and now it is %s", *map(to_text, (self._until, now))
            )
        elif now - self._until > LEAP and not self._is_confirmed(now):
            return
        elif self.doubt is not None:
            log.info("EGO's clock is believed again: old rows are removed again")
        self._until, self.doubt, self._agreed_since = now, None, None
        if self._noted_at is None or abs(now - self._noted_at) >= NOTED_EVERY:
            self._storage.write(lambda tx: notes.write(tx, notes.LIVED_UNTIL, str(now)))
            self._noted_at = now

    def _is_confirmed(self, now: Instant) -> bool:
        """Whether the clocks of the hosts have agreed with EGO's for long enough. Asked once a minute."""
        assert self._until is not None
        elapsed = self._elapsed()
        if self.doubt is not None and elapsed - self._asked_at < NOTED_EVERY / SECOND:
            return False
        self._asked_at = elapsed
        agreeing, heard = self._storage.read(lambda tx: witnesses(tx, now, self._ego))
        if 2 * agreeing < heard or abs(self._clock.wall_offset_seconds()) > CLOCKS_AGREE / SECOND:
            self._agreed_since = None
            why = f"the clocks of {heard - agreeing} of {heard} hosts show another time"
        else:
            self._agreed_since = elapsed if self._agreed_since is None else self._agreed_since
            wanted = PROBATION if agreeing else PROBATION_ALONE
            left = wanted / SECOND - (elapsed - self._agreed_since)
            if left <= 0:
                return True
            why = f"it will be believed in {left / 60:.0f} min, unless the clocks of hosts show another time"
        leap = f"EGO's clock is {(now - self._until) / HOUR:,.1f} h ahead of when EGO ran last ({to_text(self._until)})"
        if self.doubt is None:
            log.warning("%s: nothing old is removed until the clocks of the hosts confirm it", leap)
        self.doubt = f"{leap}; nothing old is removed: {why}"
        return False


def _noted(tx: Connection, now: Instant) -> Instant:
    """The stored time. An older version stored only when it last saved."""
    known = notes.read(tx, notes.LIVED_UNTIL) or notes.read(tx, notes.SAVED_AT)
    return now if known is None else int(known)


def witnesses(tx: Connection, now: Instant, ego: str) -> Witnesses:
    """(hosts whose clocks agree with EGO's, all hosts) of the last minute, without EGO's own machine."""
    agreeing, heard = tx.execute(
        _WITNESSES, {"since": now - MINUTE, "now": now, "apart": CLOCKS_AGREE, "ego": ego}
    ).one()
    return int(agreeing or 0), int(heard)


_WITNESSES = text(
    "SELECT sum(CASE WHEN abs(reported_at - received_at) <= :apart THEN 1 ELSE 0 END), count(*) FROM host_metrics"
    " WHERE received_at BETWEEN :since AND :now AND hostname <> :ego"  # later: EGO's clock was ahead then
)
