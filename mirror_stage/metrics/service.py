"""Taking a batch in: decode, stamp, submit, answer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from gevent.lock import BoundedSemaphore

from mirror_stage.access.domain import Actor
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Invalid
from mirror_stage.metrics.decoder import Batch, decode_batch
from mirror_stage.metrics.domain import Receipt, Sample, stamp

_LARGE = 256 * 1024
_one_large_body = BoundedSemaphore(1)  # 1,000 samples take 20 ms to decode and 10 MB: one such body at a time


class Writer(Protocol):
    """Who makes samples durable."""

    def room(self, size: int) -> AbstractContextManager[None]:
        """Room for a body of `size` bytes. Raises Unavailable."""

    def submit(self, samples: list[Sample]) -> Receipt:
        """The receipt of a batch that is durable now. Raises Problem."""


class Ingest:
    """The way in for the samples of agents. `kept` is how far back the oldest tier of the history reaches."""

    def __init__(self, writer: Writer, clock: Clock, kept: Instant):
        self._writer, self._clock, self._kept = writer, clock, kept

    def take(self, body: bytes, actor: Actor, *, lenient: bool) -> dict[str, Any]:
        """The receipt of a request body, stored. Samples that name no address have the actor's.

        One bad sample refuses the whole batch, unless `lenient`. Raises Invalid with every bad index, and what the
        writer raises.
        """
        with self._writer.room(len(body)):
            with _one_large_body if len(body) > _LARGE else nullcontext():
                batch = decode_batch(body)
            return self._stored(batch, actor, lenient)

    def _stored(self, batch: Batch, actor: Actor, lenient: bool) -> dict[str, Any]:
        if batch.errors and not (lenient and batch.samples):
            bad = len({row["index"] for row in batch.errors})
            raise Invalid(
                f"{bad} of {bad + len(batch.samples)} samples are bad, so none was stored", errors=batch.errors
            )
        received_at = self._clock.now()
        for sample in batch.samples:
            sample.ip = sample.ip or actor.peer
        receipt = self._writer.submit(stamp(batch.samples, received_at, self._kept))
        answer: dict[str, Any] = {"accepted": receipt.accepted, "receivedAt": received_at}
        if receipt.duplicates:
            answer["duplicates"] = receipt.duplicates
        if batch.dropped:
            answer["dropped"] = batch.dropped
        if batch.errors:
            answer |= {"rejected": len({row["index"] for row in batch.errors}), "errors": batch.errors}
        return answer
