"""The transitions of alerts on their way: into the database first, then to whoever listens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mirror_stage.alerts.domain import Transition
from mirror_stage.core.instants import SECOND, Instant

log = logging.getLogger(__name__)

PATIENCE: Instant = SECOND // 2  # a commit that takes longer does not hold the live view up
WAITING_MAX = 50_000  # while the database is away; then of each alert the newest transition only


@dataclass(slots=True)
class Waiting:
    """A transition that is not stored yet, since when, and whether the listeners have heard of it all the same."""

    transition: Transition
    since: Instant
    is_told: bool


class Outbox:
    """Keeps transitions until they are stored, in their order. `tell` is called once for each, after that.

    What waits longer than PATIENCE is told before: the live view may run ahead of the storage.
    """

    def __init__(self, tell: Callable[[Transition], None]):
        self._tell = tell
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, transitions: Iterable[Transition], now: Instant, *, is_told: bool) -> None:
        """These have just happened."""
        self._waiting += [Waiting(one, now, is_told) for one in transitions if one.kind != "moved"]

    def transitions(self) -> list[Transition]:
        """All that wait, oldest first."""
        return [waiting.transition for waiting in self._waiting]

    def stored(self, count: int) -> None:
        """The oldest so many are in the database: tell them."""
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        self._tell_each(done)

    def hurry(self, now: Instant, patience: Instant = PATIENCE) -> None:
        """Tell what has waited longer than this; it is stored later."""
        if self._waiting and now - self._waiting[0].since >= patience:
            self._tell_each([waiting for waiting in self._waiting if now - waiting.since >= patience])

    def bound(self) -> None:
        """Forget what nobody can act on any more, if too much waits: what is over, and was never stored."""
        if len(self._waiting) <= WAITING_MAX:
            return
        newest = {waiting.transition.alert.id: waiting for waiting in self._waiting}
        never_stored = {one.transition.alert.id for one in self._waiting if one.transition.kind == "fired"}
        kept = [
            waiting
            for alert_id, waiting in newest.items()
            if waiting.transition.alert.status == "active" or alert_id not in never_stored
        ]
        waited = len(self._waiting)
        log.warning("%d changes of alerts wait for the database; %d are forgotten", waited, waited - len(kept))
        self._waiting = kept

    def _tell_each(self, waiting: Iterable[Waiting]) -> None:
        for one in waiting:
            if not one.is_told:
                one.is_told = True
                self._tell(one.transition)
