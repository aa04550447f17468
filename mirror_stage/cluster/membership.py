"""Who owns the twin: each worker writes a heartbeat into the database; if the owner's stops, another worker takes over."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable

import gevent

from mirror_stage.cluster import store
from mirror_stage.cluster.heartbeat import Beat, Heartbeat
from mirror_stage.cluster.store import LOST_AFTER, Standing, Worker
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import BadRow, Problem, Unavailable
from mirror_stage.core.version import VERSION
from mirror_stage.storage.db import CLUSTER, Lane, Storage, Tx

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05  # how often the event loop looks at the heartbeat
SLOW_SECONDS = 1.0  # a beat that takes longer counts as one that failed
LISTENED_SECONDS = (
    LOST_AFTER / SECOND
)  # so long a worker asks the database after it failed, before it takes an owner for dead
UNLINKED_SECONDS = 1.0  # an owner without the stream resigns after this, if a worker with it lives


class Membership:
    """This worker's place in the cluster. `lead` is called in a greenlet when it becomes the owner, `depose` when it no longer is."""

    def __init__(
        self,
        storage: Storage,
        lane: Lane,
        clock: Clock,
        *,
        is_linked: Callable[[], bool],
        missed_since: Callable[[], Instant | None],
        lead: Callable[[int], None],
        depose: Callable[[str], None],
    ):
        self.id = secrets.token_hex(4)
        self._storage, self._lane, self._clock = storage, lane, clock
        self._is_linked, self._missed_since, self._lead, self._depose = is_linked, missed_since, lead, depose
        self._started_at = clock.now()
        self.generation = 0  # of this worker as the owner; 0 if it is not
        self._was_deposed = False
        self.standing = Standing(0, None, 0, ())
        self.trouble: str | None = None  # why the database could not be asked last
        self._unlinked_since: float | None = None
        self._listens_since = -LISTENED_SECONDS  # by `elapsed_seconds`; nothing has failed yet
        self._heart: Heartbeat | None = None
        self._looking: gevent.Greenlet | None = None
        self._looked_at: Beat | None = None
        self._taken_at = 0.0  # when this worker became the owner; a beat that began before does not know of it

    @property
    def is_owner(self) -> bool:
        return self.generation > 0

    def begin(self) -> None:
        """Send heartbeats from now on."""
        if self._heart is None:
            self._heart = Heartbeat(self._storage.apart(CLUSTER), self._me).start()
            self._looking = gevent.spawn(self._look_on, self._heart)

    def leave(self) -> None:
        """Stop. Another worker may take over at once."""
        if self._heart is not None and self._looking is not None:
            self._looking.kill()
            self._heart.end()
            with contextlib.suppress(Problem):  # then the others find out when they have not seen it for LOST_AFTER
                self._lane.write(lambda tx: store.leave(tx, self.id))

    def check(self, tx: Tx) -> None:
        """Raise Unavailable in a transaction of the owner, if another worker owns the twin by now."""
        if self._was_deposed:
            raise Unavailable("this worker owns the twin no longer, so nothing was stored")
        if self.generation:
            store.check(tx, self.generation)

    def end_ownership(self) -> None:
        """Store nothing any more as the owner."""
        self.generation, self._was_deposed = 0, True

    def _look_on(self, heart: Heartbeat) -> None:
        while True:
            heart.turn()
            beat = heart.last
            if beat is not None and beat is not self._looked_at:
                self._looked_at = beat
                try:
                    self._look_at(beat)
                except (Problem, BadRow) as why:
                    self._note_trouble(why)
                except Exception:
                    log.exception("the cluster: this worker could not do what follows from how the cluster stands")
            gevent.sleep(LOOK_SECONDS)

    def _look_at(self, beat: Beat) -> None:
        if beat.error is not None:
            raise beat.error
        if beat.standing is None or beat.began_at < self._taken_at:
            return
        if self.trouble is not None:
            log.info("the cluster: the database answers again")
        self.trouble = None
        self.standing = standing = beat.standing
        if beat.ended_at - beat.began_at > SLOW_SECONDS:
            self._listens_since = elapsed_seconds()
        if self.generation and standing.generation != self.generation:
            self._depose(f"worker {standing.worker} owns the twin by now")
        elif self.generation:
            self._resign_without_the_stream()
        elif self._may_take():
            self._take()

    def _note_trouble(self, why: Exception) -> None:
        self._listens_since = elapsed_seconds()
        if self.trouble is None:
            log.warning("the cluster: %s", why)
        self.trouble = str(why)

    def _me(self) -> Worker:
        return Worker(
            self.id,
            socket.gethostname(),
            os.getpid(),
            VERSION,
            self._started_at,
            0,
            self._is_linked(),
            self._missed_since(),
        )

    def _may_take(self) -> bool:
        """Whether this worker may take the twin: it has no living owner, and no other worker goes first because it alone has the stream.

        After the database has failed the owner may only have to show itself again.
        """
        standing = self.standing
        owner = standing.of(standing.worker)
        if owner is not None and (owner.is_alive or elapsed_seconds() - self._listens_since < LISTENED_SECONDS):
            return False
        return self._is_linked() or not any(worker.is_linked for worker in standing.alive if worker.id != self.id)

    def _take(self) -> None:
        former = self.standing.worker
        if former is not None:
            self._lane.write(lambda tx: store.end_own_work(tx, application_name(former)))
        now = self._clock.now()
        generation = self._lane.write(lambda tx: store.take(tx, self.id, self.standing.generation, now))
        if generation is not None:
            log.info("this worker (%s) owns the twin now, generation %d", self.id, generation)
            self.generation, self._taken_at = generation, elapsed_seconds()
            self._lane.write(store.forget_old)
            gevent.spawn(self._lead, generation)

    def _resign_without_the_stream(self) -> None:
        if self._is_linked():
            self._unlinked_since = None
            return
        now = elapsed_seconds()
        self._unlinked_since = self._unlinked_since or now
        others = [worker for worker in self.standing.alive if worker.id != self.id and worker.is_linked]
        if others and now - self._unlinked_since > UNLINKED_SECONDS:
            self._lane.write(lambda tx: store.resign(tx, self.id))
            self._depose("this worker does not reach Redis, and another one does")


def application_name(worker: str) -> str:
    """The `application_name` in PostgreSQL of the connections for a worker's own work (`storage.own`)."""
    return f"mirror-stage-own-{worker}"
