"""While the database is away nothing can be stored, so nobody is told of anything. This says so, once, from memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent

from mirror_stage.alerts.domain import Alert
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import MINUTE, Instant, to_text
from mirror_stage.core.problems import Problem
from mirror_stage.notifications.channels import Channel, Message
from mirror_stage.notifications.directory import Directory
from mirror_stage.notifications.domain import AWAY, BACK, delivery_id, facts_of_absence
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.words import text_of

log = logging.getLogger(__name__)

TOLD_AFTER: Instant = MINUTE


class DatabaseWatch:
    """Tells the channels of all routes when the database has been away for TOLD_AFTER; those that heard it, when it is back.

    Each channel gets one try: there is no place to note another one. `is_there` raises a Problem while the database is away.
    `alerts` are the open ones. An EGO that ends meanwhile forgets whom it has told.
    """

    def __init__(
        self,
        clock: Clock,
        directory: Directory,
        sender: Sender,
        *,
        ego: str,
        is_there: Callable[[], object],
        alerts: Callable[[], Sequence[Alert]],
        is_leading: Callable[[], bool] = lambda: True,
    ):
        self._clock, self._directory, self._sender, self._ego = clock, directory, sender, ego
        self._is_there, self._alerts, self._is_leading = is_there, alerts, is_leading
        self._since: Instant | None = None
        self._told: dict[str, Channel] | None = None  # who has heard of it; None: it was not told

    def look(self) -> None:
        """Ask the database, and tell what has to be told."""
        try:
            self._is_there()
        except Problem as why:
            now = self._clock.now()
            if self._since is None:
                self._since = now
            elif self._told is None and now - self._since > TOLD_AFTER and self._can_tell():
                log.error(
                    "the database is away since %s: %s; nobody is told of alerts", to_text(self._since), why.detail
                )
                routes = self._directory.routes
                names = dict.fromkeys(name for route in routes for name in route.channels)
                known = {name: self._directory.channels[name] for name in names if name in self._directory.channels}
                self._told = self._tell(AWAY, known, self._since, None)
            return
        since, told, self._since, self._told = self._since, self._told, None, None
        if since is not None and told:
            self._tell(BACK, told, since, self._clock.now())

    def _can_tell(self) -> bool:
        return self._sender.is_on and self._is_leading()

    def _tell(
        self, kind: str, channels: dict[str, Channel], since: Instant, until: Instant | None
    ) -> dict[str, Channel]:
        """Send it to all of these channels at once. Returns those that accepted it."""
        facts = facts_of_absence(self._ego, since, until, self._alerts())
        tries = {name: gevent.spawn(self._try, kind, one, facts) for name, one in channels.items()}
        gevent.joinall(list(tries.values()))
        return {name: channels[name] for name, one in tries.items() if one.value}

    def _try(self, kind: str, channel: Channel, facts: dict[str, object]) -> bool:
        group, url = str(facts["group"]), self._sender.address
        text = text_of(kind, "critical", facts, channel.manner, url)
        key = delivery_id(group, int(kind == BACK), channel.name)
        outcome = self._sender.attempt(
            channel, Message(key, group, kind, "critical", facts, text, url, self._clock.now())
        )
        if not outcome.is_accepted:
            log.warning("channel %s: did not take the message about the database: %s", channel.name, outcome.detail)
        return outcome.is_accepted
