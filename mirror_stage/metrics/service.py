"""Taking a batch in: the edge of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from gevent.lock import BoundedSemaphore

from mirror_stage.clock import Clock
from mirror_stage.errors import Invalid
from mirror_stage.instants import Instant
from mirror_stage.metrics.decoder import Batch, decode_batch
from mirror_stage.metrics.domain import OLDEST_TIER, stamp
from mirror_stage.writer import Writer

_LARGE = 256 * 1024
_one_large_body = BoundedSemaphore(1)  # 1,000 samples take 20 ms to decode and 10 MB: one such body at a time


def ingest(
    body: bytes, peer: str | None, *, lenient: bool, clock: Clock, writer: Writer, kept: Instant = OLDEST_TIER
) -> dict[str, Any]:
    """The receipt of a request body, stored. `peer` is the address of samples that name none, `kept` the oldest tier's age.

    One bad sample refuses the whole batch, unless `lenient`. Raises Invalid with every bad index, and what `submit` raises.
    """
    with writer.room(len(body)):
        with _one_large_body if len(body) > _LARGE else nullcontext():
            batch = decode_batch(body)
        return _stored(batch, peer, lenient, clock.now, writer, kept)


def _stored(
    batch: Batch, peer: str | None, lenient: bool, now: Callable[[], Instant], writer: Writer, kept: Instant
) -> dict[str, Any]:
    if batch.errors and not (lenient and batch.samples):
        bad = len({row["index"] for row in batch.errors})
        raise Invalid(f"{bad} of {bad + len(batch.samples)} samples are bad, so none was stored", errors=batch.errors)
    received_at = now()
    for sample in batch.samples:
        sample.ip = sample.ip or peer
    receipt = writer.submit(stamp(batch.samples, received_at, kept))
    answer: dict[str, Any] = {"accepted": receipt.accepted, "receivedAt": received_at}
    if receipt.duplicates:
        answer["duplicates"] = receipt.duplicates
    if batch.errors:
        answer |= {"rejected": len({row["index"] for row in batch.errors}), "errors": batch.errors}
    return answer
