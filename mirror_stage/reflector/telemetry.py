"""Takes samples at a fixed interval and delivers them to EGO: live samples first, then the backlog on disk, in paced batches.

Two threads: one only takes samples, so that a slow EGO never delays the next sample; the other only delivers.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirror_stage.reflector.backoff import Backoff
from mirror_stage.reflector.spool import Backlog, Spool
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink, shown

LIVE_MAX = 100  # samples that wait in memory while one request is under way
PAUSE_SECONDS = 2.0  # between two batches of the backlog: many agents that return together must not overload EGO

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """The samples of one request: live ones, or the oldest of the backlog."""

    samples: list[bytes]
    backlog: Backlog | None = None


def next_beat(started: float, now: float, interval_seconds: float) -> float:
    """When to take the next sample: the first whole interval after `started` that is later than `now`.

    So the times do not drift, and missed ones are skipped.
    """
    return started + (int((now - started) / interval_seconds) + 1) * interval_seconds


def without_refused(samples: Sequence[bytes], answer: Answer) -> tuple[list[bytes], list[tuple[bytes, str]]] | None:
    """The samples that EGO did not refuse, and (sample, reason) of those it did; None if it names no sample."""
    errors = answer.body.get("errors") if isinstance(answer.body, dict) else None
    reasons: dict[int, str] = {}
    for error in errors if isinstance(errors, list) else []:
        index = error.get("index") if isinstance(error, dict) else None
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(samples):
            reasons.setdefault(index, shown(f"{error.get('field')}: {error.get('message')}"))
    if not reasons:
        return None
    kept = [sample for index, sample in enumerate(samples) if index not in reasons]
    return kept, [(samples[index], reason) for index, reason in sorted(reasons.items())]


class Telemetry:
    """Takes a sample each interval and delivers it to EGO, now or later."""

    def __init__(
        self,
        collect: Callable[[], Mapping[str, Any]],
        uplink: Uplink,
        spool: Spool,
        *,
        interval_seconds: float,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._collect, self._uplink, self._spool = collect, uplink, spool
        self._interval_seconds, self._pause_seconds = interval_seconds, pause_seconds
        self._backoff = Backoff()
        self._complaint: str | None = None
        self._news = threading.Condition()  # guards the fields below, and the spool
        self._live: deque[bytes] = deque()
        self._under_way: list[bytes] = []
        self._quiet_until = 0.0
        self._backlog_at = 0.0
        self._is_stopping = False
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start both threads; the first sample is taken at once."""
        for name, work in (("beat", self._keep_the_beat), ("delivery", self._deliver)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def stop(self) -> None:
        """Write all undelivered samples to the spool, without waiting for EGO.

        That includes those of a request under way. If EGO took them, it recognises the repeat after the next start.
        """
        self._stopped.set()
        with self._news:
            self._is_stopping = True
            self._spool_all(self._under_way)
            self._spool_all(self._live)
            self._under_way = []
            self._live.clear()
            self._spool.sync()
            self._news.notify_all()

    # ------------------------------------------------------------------ the beat

    def _keep_the_beat(self) -> None:
        started = time.monotonic()
        while not self._stopped.is_set():
            try:
                sample = dict(self._collect())
                if self._spool.dropped:
                    sample["tags"] = {**(sample.get("tags") or {}), "spool_dropped_samples": str(self._spool.dropped)}
                self._offer(json.dumps(sample, ensure_ascii=False, separators=(",", ":")).encode())
            except Exception:  # one sample is lost; the next one may succeed
                logger.exception("no sample could be taken")
            now = time.monotonic()
            self._stopped.wait(next_beat(started, now, self._interval_seconds) - now)

    def _offer(self, sample: bytes) -> None:
        """Queue a sample for delivery. During a backoff only the newest stays in memory; the older ones go to the spool.

        So EGO gets the newest sample first when it is back.
        """
        with self._news:
            if self._is_stopping:
                self._spool.append(sample)
                return
            self._live.append(sample)
            most = 1 if time.monotonic() < self._quiet_until else LIVE_MAX
            while len(self._live) > most:
                self._spool.append(self._live.popleft())
            self._news.notify_all()

    # ------------------------------------------------------------------ delivery

    def _deliver(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                answer = self._send(batch.samples)
            except Exception:  # the batch is not lost: it waits as if EGO had been away
                logger.exception("a batch could not be sent")
                answer = Answer(Meaning.UNKNOWN, None, detail="an error of the agent's own")
            self._settle(batch, answer)

    def _next_batch(self) -> Batch | None:
        """The next batch, once there is one and the backoff is over; None after `stop`."""
        with self._news:
            while not self._is_stopping:
                now = time.monotonic()
                wake_at = self._quiet_until
                if now >= self._quiet_until:
                    if self._live:
                        self._under_way = list(self._live)
                        self._live.clear()
                        return Batch(self._under_way)
                    wake_at = self._backlog_at
                    if now >= self._backlog_at:
                        backlog = self._spool.oldest()
                        if backlog is not None:
                            return Batch(backlog.samples, backlog)
                        wake_at = now + self._interval_seconds
                self._news.wait(max(0.0, wake_at - now))
        return None

    def _send(self, samples: Sequence[bytes]) -> Answer | None:
        """None once EGO has taken or refused each sample; else the answer because of which the rest must wait.

        Refused samples are dropped. A batch that is refused as a whole is halved until the bad sample is found.
        """
        while samples:
            answer = self._uplink.post_samples(samples)
            if answer.is_taken:
                return None
            if answer.meaning is not Meaning.REFUSED or answer.status not in {400, 413}:
                return answer
            parted = without_refused(samples, answer)
            if parted is not None:
                samples, refused = parted
                for sample, reason in refused:
                    _log_dropped(sample, reason)
            elif len(samples) == 1:
                _log_dropped(samples[0], answer.detail)
                return None
            else:  # too large, or refused as a whole
                half = len(samples) // 2
                waiting = self._send(samples[:half])
                if waiting is not None:
                    return waiting
                samples = samples[half:]
        return None

    def _settle(self, batch: Batch, answer: Answer | None) -> None:
        with self._news:
            now = time.monotonic()
            if answer is None:
                self._backoff.succeeded()
                if batch.backlog is not None:
                    self._spool.remove(batch.backlog.numbers)
                    self._backlog_at = now + self._pause_seconds * random.uniform(0.5, 1.5)
                self._under_way = []
            else:
                self._quiet_until = now + self._backoff.failed(answer.retry_after_seconds)
                self._live.extendleft(reversed(self._under_way))
                self._under_way = []
                while len(self._live) > 1:
                    self._spool.append(self._live.popleft())
        self._log_change(answer)

    def _spool_all(self, samples: Sequence[bytes] | deque[bytes]) -> None:
        for sample in samples:
            self._spool.append(sample)

    def _log_change(self, answer: Answer | None) -> None:
        """Log once that EGO is away and why, and once that it is back."""
        if answer is None:
            if self._complaint is not None:
                logger.info("EGO takes samples again; %.1f kB wait on disk", self._spool.size_bytes / 1000)
            self._complaint = None
        elif answer.detail != self._complaint:
            logger.warning("samples wait on disk: %s", answer.detail)
            self._complaint = answer.detail


def _log_dropped(sample: bytes, reason: str) -> None:
    logger.error("EGO refuses the sample of %s, so it is dropped: %s", json.loads(sample).get("timestamp"), reason)
