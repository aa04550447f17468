"""Transitions of alerts that wait to be stored. Once a transition is stored, the listeners are told of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mirror_stage.alerts.domain import PENDING, Transition
from mirror_stage.core.instants import SECOND, Instant

log = logging.getLogger(__name__)

UNTOLD = {"moved", "passed", PENDING}  # kinds of transitions
PATIENCE: Instant = SECOND // 2  # a transition that waits longer is told before it is stored
WAITING_MAX = 50_000  # while the database fails; beyond that, only the newest transition of each alert is kept


@dataclass(slots=True)
class Waiting:
    """A transition that is not stored yet: since when it waits, and whether the listeners have been told of it."""

    transition: Transition
    since: Instant
    is_told: bool


class Outbox:
    """Keeps transitions in their order until they are stored, then calls `tell` once for each.

    A transition that waits longer than PATIENCE is told before: the live view may run ahead of the database.
    """

    def __init__(self, tell: Callable[[Transition], None], breathe: Callable[[], None] = lambda: None):
        """`breathe` lets others have a turn while many are told."""
        self._tell, self._breathe = tell, breathe
        self._waiting: list[Waiting] = []
        self.told: Counter[tuple[str, str]] = Counter()  # by kind of transition and severity

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, transitions: Iterable[Transition], now: Instant, *, is_told: bool) -> None:
        """Add transitions that have just happened. What is in UNTOLD is neither stored nor told."""
        self._waiting += [Waiting(one, now, is_told) for one in transitions if one.kind not in UNTOLD]

    def transitions(self, most: int | None = None) -> list[Transition]:
        """The transitions that wait, oldest first, at most so many."""
        return [waiting.transition for waiting in self._waiting[:most]]

    def stored(self, count: int) -> None:
        """Tell the `count` oldest transitions, which are in the database now, and keep them no longer."""
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        self._tell_each(done)

    def hurry(self, now: Instant, patience: Instant = PATIENCE) -> None:
        """Tell the transitions that have waited for `patience` or longer. They are stored later."""
        if self._waiting and now - self._waiting[0].since >= patience:
            self._tell_each([waiting for waiting in self._waiting if now - waiting.since >= patience])

    def bound(self) -> None:
        """If too many wait, keep the newest of each alert, but none of an alert that ended before it was stored."""
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
            self._breathe()  # somebody else may tell them meanwhile, also from the oldest on: so their order stays
            if not one.is_told:
                one.is_told = True
                self.told[one.transition.kind, one.transition.alert.severity] += 1
                self._tell(one.transition)
