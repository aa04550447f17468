"""The bounded queue in front of the edge, and the one greenlet that empties it: group commit without a timer."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent import monkey
from gevent.event import AsyncResult, Event

from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Problem, Unavailable
from mirror_stage.metrics.domain import Receipt, Sample

Answer = Receipt | Problem
Store = Callable[[Sequence[Sequence[Sample]]], list[Answer]]

log = logging.getLogger(__name__)

QUEUE_BATCHES = 2_000
STOP_SECONDS = 10  # for committing what waits at a stop: else the next start has to replay it
QUEUE_BYTES = 8 * 2**20  # of request bodies; decoded, they take about five times as much memory
GROUP_SAMPLES = 2_000  # at most so many in one commit; a larger batch is committed alone


@dataclass(slots=True)
class Queued:
    """A batch that waits for its commit."""

    samples: list[Sample]
    reply: AsyncResult = field(default_factory=AsyncResult)


class Writer:
    """`submit` answers when the batch is durable. Without gevent's patches it commits in the calling thread."""

    def __init__(self, store: Store, then: Callable[[], None] = lambda: None):
        """`store` commits a group and answers each batch; `then` is called after each commit if no greenlet runs."""
        self._store, self._then = store, then
        self._queue: deque[Queued] = deque()
        self._under_way: list[Queued] = []
        self._bytes = 0
        self._waiting = Event()
        self._greenlet: gevent.Greenlet | None = None
        self._is_stopped = False
        self._lock = monkey.get_original("threading", "RLock")()

    def start(self) -> None:
        """Begin to empty the queue."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Commit what waits, then end. Later batches are refused."""
        self._is_stopped = True
        if self._greenlet is not None:
            self._waiting.set()
            self._greenlet.join(timeout=STOP_SECONDS)

    def check(self, trouble: str | None) -> dict[str, Any]:
        """The check `writer` of `/api/health/ready`: whether samples are stored. `trouble` is why the last commit failed."""
        detail = f"queue {len(self._queue)} of {QUEUE_BATCHES}"
        if trouble is not None:
            detail += f"; the last commit failed: {trouble}"
        return {"ok": trouble is None and not self.is_full, "detail": detail}

    @property
    def oldest_arrival(self) -> Instant | None:
        """When the oldest sample arrived that has no answer yet; None if there is none."""
        waiting = (*self._under_way[:1], *itertools.islice(self._queue, 1))  # both are in order of arrival
        return min((sample.received_at for job in waiting for sample in job.samples), default=None)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many batches wait for a commit, and how many bytes of request bodies are not answered yet."""
        return len(self._queue), self._bytes

    @property
    def is_full(self) -> bool:
        return len(self._queue) >= QUEUE_BATCHES or self._bytes >= QUEUE_BYTES

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Reserve room for a body of `size` bytes until it is answered. Raises Unavailable if there is none."""
        if self._bytes and self._bytes + size > QUEUE_BYTES:
            raise Unavailable("more samples arrive than can be stored; send them again later")
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size

    def submit(self, samples: list[Sample]) -> Receipt:
        """Commit a batch and return its receipt. Raises Refused, Unavailable, OutcomeUnknown, Invalid."""
        if self._is_stopped:
            raise Unavailable("EGO is stopping; send it again when it is back")
        if self._greenlet is None:
            with self._lock:
                answer = self._store([samples])[0]
                self._then()  # no scheduler runs either, so nothing else would record and show the samples
                return _unwrapped(answer)
        if len(self._queue) >= QUEUE_BATCHES:
            raise Unavailable("more samples arrive than can be stored; send them again later")
        job = Queued(samples)
        self._queue.append(job)
        self._waiting.set()
        return _unwrapped(job.reply.get())

    def _run(self) -> None:
        while True:
            self._waiting.wait()
            self._waiting.clear()
            while self._queue:
                self._commit(self._next_group())
            if self._is_stopped:
                return

    def _next_group(self) -> list[Queued]:
        group = [self._queue.popleft()]
        count = len(group[0].samples)
        while self._queue and count + len(self._queue[0].samples) <= GROUP_SAMPLES:
            group.append(self._queue.popleft())
            count += len(group[-1].samples)
        return group

    def _commit(self, group: list[Queued]) -> None:
        self._under_way = group
        try:
            answers: list[Answer] = self._store([job.samples for job in group])
        except Exception as error:  # a bug of EGO must not leave the senders waiting for ever
            log.exception("a group of %d batches failed", len(group))
            answers = [Unavailable(f"EGO failed to store this: {type(error).__name__}; its log has the details")] * len(
                group
            )
        self._under_way = []
        for job, answer in zip(group, answers, strict=True):
            job.reply.set(answer)


def _unwrapped(answer: Answer) -> Receipt:
    if isinstance(answer, Problem):
        raise answer
    return answer
