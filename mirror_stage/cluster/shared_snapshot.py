"""Keeps the newest snapshot of the twin in Redis, for programs that read it there. Nobody waits for it."""

from __future__ import annotations

import logging

import gevent

from mirror_stage.cluster.stream import ADD_SECONDS, connected
from mirror_stage.twin.frames import Frames

log = logging.getLogger(__name__)

EXPIRES_SECONDS = 15  # after this without a newer one, the key is gone: so nobody takes an old twin for the live one


class SharedSnapshot:
    """The key `mirror-stage:<twinId>:state` of one Redis: what `GET /api/twin/state` answers."""

    def __init__(self, url: str | None, frames: Frames):
        self._client, self._frames = connected(url, ADD_SECONDS) if url else None, frames
        self._has_failed = False

    def share(self) -> None:
        """Store the newest snapshot. A failure is logged once."""
        if self._client is None:
            return
        try:
            with gevent.Timeout(ADD_SECONDS, TimeoutError("it takes nothing")):
                key = f"mirror-stage:{self._frames.twin_id}:state"
                self._client.set(key, self._frames.body(), ex=EXPIRES_SECONDS)
            self._has_failed = False
        except Exception as error:  # a server that is no Redis makes the client library raise others than its own
            if not self._has_failed:
                log.warning("the snapshot cannot be stored in Redis: %s", error)
            self._has_failed = True
