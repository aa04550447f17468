"""Delivers results to EGO: sends each one until EGO acknowledges it, also after a restart of the agent."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from mirror_stage.core.instants import DAY, Instant
from mirror_stage.reflector.backoff import Backoff
from mirror_stage.reflector.journal import Journal, JournalFull
from mirror_stage.reflector.spool import age_clock, wall_clock
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink, in_path

KEPT_FOR: Final[Instant] = 3 * DAY  # older results are given up, because too many waiting results stop all new commands

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """A result that waits for delivery, and when its command ended."""

    id: str
    result: dict[str, Any]
    ended_at: Instant


class Results:
    """Delivers results one after the other, in a thread of its own. The journal already holds them."""

    def __init__(self, uplink: Uplink, journal: Journal) -> None:
        self._uplink, self._journal = uplink, journal
        self._backoff = Backoff()
        self._complaint: str | None = None
        self._news = threading.Condition()
        self._waiting: deque[Waiting] = deque()
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        """Begin, with the results that an earlier run has not delivered."""
        for id, result in self._journal.undelivered().items():
            self._waiting.append(Waiting(id, result, self._journal.ended_at(id)))
        threading.Thread(target=self._deliver, name="results", daemon=True).start()

    def offer(self, id: str, result: dict[str, Any]) -> None:
        """Queue one more result for delivery."""
        with self._news:
            self._waiting.append(Waiting(id, result, wall_clock()))
            self._news.notify_all()

    def stop(self, within_seconds: float) -> None:
        """Wait until all results are delivered, one fails, or the time is over. The others are sent after the next start."""
        with self._news:
            self._news.wait_for(lambda: not self._waiting or self._backoff.failures, within_seconds)
            self._is_stopping = True
            self._news.notify_all()

    def _deliver(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._is_stopping)
                if self._is_stopping:
                    return
                first = self._waiting[0]
            try:
                answer = self._uplink.post(f"/api/commands/{in_path(first.id)}/result", first.result)
            except Exception:  # the thread must go on, because it delivers all results
                logger.exception("the result of %s could not be sent", first.id)
                answer = Answer(Meaning.UNKNOWN, None, detail="an error of the agent's own")
            self._settle(first, answer)

    def _settle(self, first: Waiting, answer: Answer) -> None:
        id = first.id
        is_refused = answer.meaning is Meaning.REFUSED
        is_too_old = first.ended_at < age_clock() - KEPT_FOR
        is_done = answer.is_taken or is_refused or is_too_old
        if is_done:
            if is_refused:
                logger.warning("EGO does not take the result of %s, so it is not sent again: %s", id, answer.detail)
            elif not answer.is_taken:
                logger.warning("the result of %s is given up after %d days: %s", id, KEPT_FOR // DAY, answer.detail)
            try:
                self._journal.settle(id)
            except JournalFull as error:
                logger.warning("the result of %s will be sent once more after a restart: %s", id, error)
        elif answer.detail != self._complaint:
            logger.warning("results wait: %s", answer.detail)
        self._complaint = None if is_done else answer.detail
        with self._news:
            if is_done:
                self._backoff.succeeded()
                self._waiting.popleft()
                self._news.notify_all()
                return
            self._waiting.rotate(-1)  # to the end of the queue, so that it does not block the others
            seconds = self._backoff.failed(answer.retry_after_seconds)
            self._news.notify_all()
            self._news.wait_for(lambda: self._is_stopping, seconds)
