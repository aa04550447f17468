"""A sign of life to somebody outside, who says so when it stays away: who watches EGO."""

from __future__ import annotations

import logging

import gevent

from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant
from mirror_stage.notifications import channels

log = logging.getLogger(__name__)


class Heartbeat:
    """Asks for an address (GET). Whether that works is logged once, and never the address: it may be a secret.

    `accepted_at` is when this process was last answered, `trouble` what was wrong with its last question.
    """

    def __init__(self, url: str | None, clock: Clock):
        self._url, self._clock, self.trouble = url, clock, ""
        self.accepted_at: Instant | None = None

    @property
    def host(self) -> str | None:
        """Who is asked, without what may be secret; None: nobody."""
        return None if self._url is None else channels.host_of(self._url)

    def beat(self) -> None:
        """Give a sign of life."""
        if self._url is None:
            return
        trouble = "there was no whole answer in time"
        with gevent.Timeout(channels.SENT_WITHIN_SECONDS, False):
            outcome = channels.ask(self._url)
            trouble = "" if outcome.is_accepted else outcome.detail or "not accepted"
        if not trouble:
            self.accepted_at = self._clock.now()
        if trouble and trouble != self.trouble:
            log.warning("MIRROR_STAGE_HEARTBEAT_URL: %s", trouble)
        elif self.trouble and not trouble:
            log.info("MIRROR_STAGE_HEARTBEAT_URL: it answers again")
        self.trouble = trouble
