"""Answers questions about alerts, takes up who acknowledges them, and removes old ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import gevent

from mirror_stage.access.domain import Actor
from mirror_stage.alerts import store
from mirror_stage.alerts.domain import ACK_FOR, ACK_MAX, ACTIVE, Ack, Alert, acknowledge, victims, with_hides
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import DAY, Instant, to_text
from mirror_stage.core.problems import Conflict, Invalid, NotFound
from mirror_stage.storage.db import Storage

ENDED_MAX = 1_000_000  # how many resolved alerts are kept, at most
PRUNED_AT_ONCE = 500


class AlertService:
    """Reads the active alerts from memory, if the owner is in this process, and all alerts from the database.

    `until_recorded` waits until all earlier changes are in the database, `catch_up` until the owner, if it is in this process,
    has heard what other workers have acknowledged. `kept` is the retention of resolved alerts.
    `tell` tells the owner that an alert, given by its id, was acknowledged, or no longer is.
    `shown` adds to alerts what is worked out for each answer.
    """

    def __init__(
        self,
        storage: Storage,
        open_alerts: OpenAlerts,
        until_recorded: Callable[[], None],
        kept: Instant,
        clock: Clock,
        *,
        tell: Callable[[str], None],
        is_here: Callable[[], bool] = lambda: True,
        shown: Callable[[Sequence[Alert]], list[Alert]] = list,
        catch_up: Callable[[], None] = lambda: None,
    ):
        self._storage, self._open_alerts, self._until_recorded = storage, open_alerts, until_recorded
        self._kept, self._clock, self._tell, self._is_here = kept, clock, tell, is_here
        self._shown_by, self._catch_up = shown, catch_up

    def active(self) -> list[Alert]:
        """The active alerts, newest first, as they are shown."""
        if self._is_here():
            self._catch_up()
        return self.shown(self.open())

    def shown(self, alerts: Sequence[Alert]) -> list[Alert]:
        """The alerts, with what is worked out for each answer."""
        if any(one.cause is not None and one.status == ACTIVE for one in alerts):
            hidden = self._open_alerts.hidden() if self._is_here() else victims(self._stored())
            alerts = with_hides(alerts, hidden)
        return self._shown_by(alerts)

    def open(self) -> list[Alert]:
        """The active alerts, newest first."""
        if self._is_here():
            return self._open_alerts.all()
        self._until_recorded()
        return sorted(self._stored(), key=lambda one: (one.created_at, one.id), reverse=True)

    def _stored(self) -> list[Alert]:
        return self._storage.read(store.load_active)

    def page(
        self, filters: dict[str, str], page: int, page_size: int, ended_by: Instant | None = None
    ) -> tuple[list[Alert], int]:
        """One page of all alerts, newest first, and how many there are. `ended_by`: of those that had ended by then."""
        self._until_recorded()  # so that the answer has the alerts that fired a moment ago
        stored, total = self._storage.read(
            lambda tx: store.page(tx, filters, (page - 1) * page_size, page_size, ended_by)
        )
        open_by_id = {alert.id: alert for alert in self._open_alerts.all()}  # only these have the newest values
        return self.shown([open_by_id.get(alert.id, alert) for alert in stored]), total

    def acknowledge(self, alert_id: str, note: str | None, until: Instant | None, actor: Actor) -> Alert:
        """Acknowledge an open alert until then (default: ACK_FOR from now). Returns it. Raises NotFound, Conflict, Invalid."""
        alert, now = self._find(alert_id), self._clock.now()
        if alert.status != ACTIVE:
            over = to_text(alert.resolved_at or now)
            raise Conflict(f"the alert {alert_id} is over since {over}; there is nothing to acknowledge")
        ack = Ack(alert_id, actor.name, note, now, _checked_end(until, now))
        self._storage.write(lambda tx: store.put_acks(tx, [ack]))
        self._tell(alert_id)
        found = self._find(alert_id)
        is_taken = found.ack_at is not None or found.status != ACTIVE
        alert = found if is_taken else acknowledge(found, ack, now).alert  # the owner takes it up in a moment
        return self.shown([alert])[0]

    def acknowledge_all(
        self, alert_ids: Collection[str], note: str | None, until: Instant | None, actor: Actor
    ) -> set[str]:
        """Acknowledge those of these alerts that are open, all at once. Returns their ids. Raises Conflict if none is, Invalid."""
        now, wanted = self._clock.now(), set(alert_ids)
        ends_at, found = _checked_end(until, now), [one.id for one in self.open() if one.id in wanted]
        if not found:
            raise Conflict("all of these alerts are over; there is nothing to acknowledge")
        acks = [Ack(alert_id, actor.name, note, now, ends_at) for alert_id in found]
        self._storage.write(lambda tx: store.put_acks(tx, acks))
        self._tell(found[0])  # the owner looks at all of them
        return set(found)

    def withdraw(self, alert_id: str, actor: Actor) -> None:
        """Acknowledge an alert no longer. Raises NotFound."""
        self._find(alert_id)
        now = self._clock.now()
        self._storage.write(lambda tx: store.withdraw_ack(tx, alert_id, now, actor.name))
        self._tell(alert_id)

    def _find(self, alert_id: str) -> Alert:
        """An alert as it is now. Raises NotFound."""
        if self._is_here():
            here = next((alert for alert in self._open_alerts.each() if alert.id == alert_id), None)
            if here is not None:
                return here
        self._until_recorded()
        found = self._storage.read(lambda tx: store.find(tx, alert_id))
        if found is None:
            raise NotFound(f"there is no alert {alert_id[:64]}; GET /api/alerts lists those that there are")
        return found

    def prune(self, now: Instant) -> None:
        """Remove resolved alerts that are older than the retention or more than ENDED_MAX, in small steps."""
        prune = partial(store.prune, ended_before=now - self._kept, most_kept=ENDED_MAX, most=PRUNED_AT_ONCE)
        while self._storage.own.write(prune) == PRUNED_AT_ONCE:
            gevent.sleep(0)


def _checked_end(until: Instant | None, now: Instant) -> Instant:
    """Until when an acknowledgement holds. Raises Invalid."""
    if until is not None and not now < until <= now + ACK_MAX:
        detail = f"must be after now, {to_text(now)}, and at most {ACK_MAX // DAY} days ahead"
        raise Invalid(f"until: {detail}", errors=[{"field": "until", "message": detail}])
    return now + ACK_FOR if until is None else until
