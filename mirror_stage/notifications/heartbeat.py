"""A sign of life to somebody outside, who says so when it stays away: who watches EGO."""

from __future__ import annotations

import logging

import gevent

from mirror_stage.notifications import channels

log = logging.getLogger(__name__)


class Heartbeat:
    """Asks for an address (GET). Whether that works is logged once, and never the address: it may be a secret."""

    def __init__(self, url: str | None):
        self._url, self._trouble = url, ""

    def beat(self) -> None:
        """Give a sign of life."""
        if self._url is None:
            return
        trouble = "there was no whole answer in time"
        with gevent.Timeout(channels.SENT_WITHIN_SECONDS, False):
            outcome = channels.ask(self._url)
            trouble = "" if outcome.is_accepted else outcome.detail or "not accepted"
        if trouble and trouble != self._trouble:
            log.warning("MIRROR_STAGE_HEARTBEAT_URL: %s", trouble)
        elif self._trouble and not trouble:
            log.info("MIRROR_STAGE_HEARTBEAT_URL: it answers again")
        self._trouble = trouble
