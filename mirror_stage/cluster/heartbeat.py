"""A worker's heartbeat. It has a native thread and a connection of its own, so no long work in the event loop delays it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent import monkey

from mirror_stage.cluster import store
from mirror_stage.cluster.store import Standing, Worker
from mirror_stage.core.clock import elapsed_seconds
from mirror_stage.core.problems import BadRow, Problem
from mirror_stage.storage.db import Apart

BEAT_SECONDS = 0.3
STUCK_SECONDS = 10.0  # an event loop that has not turned for so long is no healthy worker: its heart stops
SLICE_SECONDS = 0.05  # how soon the thread notices that it has to end
ENDED_WITHIN_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat: how the cluster stands by it, or why there was none. `began_at` and `ended_at` are by `elapsed_seconds`."""

    began_at: float
    ended_at: float
    standing: Standing | None
    error: Exception | None = None


class Heartbeat:
    """Writes every BEAT_SECONDS that this worker lives, and keeps what the database has answered, for the event loop to look at.

    The thread logs nothing and takes no lock that the event loop takes: a monkey-patched one would hang. It shares plain
    attributes only.
    """

    def __init__(self, way: Apart, me: Callable[[], Worker]):
        self._way, self._me = way, me
        self._turned_at = elapsed_seconds()
        self._is_ending = self._has_ended = False
        self.last: Beat | None = None

    def start(self) -> Heartbeat:
        monkey.get_original("_thread", "start_new_thread")(self._run, ())
        return self

    def turn(self) -> None:
        """Say that the event loop turns. It has to be said every STUCK_SECONDS."""
        self._turned_at = elapsed_seconds()

    def end(self) -> None:
        """Let no beat follow."""
        self._is_ending, deadline = True, elapsed_seconds() + ENDED_WITHIN_SECONDS
        while not self._has_ended and elapsed_seconds() < deadline:
            gevent.sleep(0.01)

    def _run(self) -> None:
        sleep = monkey.get_original("time", "sleep")  # of this thread, without gevent
        try:
            while not self._is_ending:
                began = elapsed_seconds()
                if began - self._turned_at < STUCK_SECONDS:
                    self.last = self._beat(began)
                while not self._is_ending and elapsed_seconds() - began < BEAT_SECONDS:
                    sleep(SLICE_SECONDS)
        finally:
            self._way.close()
            gevent.get_hub().destroy(destroy_loop=True)  # psycopg has waited in it
            self._has_ended = True

    def _beat(self, began: float) -> Beat:
        me = self._me()
        try:
            standing = self._way.write(lambda tx: store.seen(tx, me))
        except (Problem, BadRow) as why:
            return Beat(began, elapsed_seconds(), None, why)
        except Exception as error:  # a bug must not end the thread; the event loop logs it
            return Beat(began, elapsed_seconds(), None, error)
        return Beat(began, elapsed_seconds(), standing)
