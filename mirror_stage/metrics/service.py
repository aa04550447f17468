"""Takes a batch of samples: decode, stamp, submit, answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from gevent.lock import BoundedSemaphore

from mirror_stage.access.domain import REPORT, Actor, decide
from mirror_stage.core.budget import Budget
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.config import is_loopback
from mirror_stage.core.instants import Instant, to_text
from mirror_stage.core.problems import Forbidden, Invalid, Problem, Refused, Unauthorized
from mirror_stage.metrics.decoder import Batch, decode_batch
from mirror_stage.metrics.domain import Receipt, Sample, pin, stamp
from mirror_stage.web.problem_json import ERRORS_MAX

_LARGE = 256 * 1024
_one_large_body = BoundedSemaphore(1)  # 1,000 samples take 20 ms and 10 MB to decode: one such body at a time


class Writer(Protocol):
    """Makes samples durable."""

    def room(self, size: int) -> AbstractContextManager[None]:
        """Reserves room for a body of `size` bytes. Raises Unavailable if there is none."""

    def submit(self, samples: list[Sample]) -> Receipt:
        """Store a batch. Returns its receipt when it is durable; raises Problem if it is not."""


NEW_HOSTS_AT_ONCE, NEW_HOSTS_PER_SECOND = 300.0, 1.0  # per address; programs on this machine have no limit
SAMPLES_AT_ONCE, SAMPLES_PER_SECOND = 20_000.0, 100.0  # per host whose agent has a token: it may come back after a day
_BUDGETS_MAX = 10_000


class Budgets:
    """A limit for each sender, so that one cannot use up what is there for all."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._budgets: dict[str, Budget] = {}

    def of(self, sender: str) -> Budget:
        """The budget of a sender."""
        budget = self._budgets.pop(sender, None) or Budget(self._per_second, self._burst)
        self._budgets[sender] = budget  # the sender used last is at the end
        if len(self._budgets) > _BUDGETS_MAX:
            del self._budgets[next(iter(self._budgets))]
        return budget


class Ingest:
    """Takes the samples of agents. `kept` is the longest retention of the history, `labels_of` what an admin has pinned."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        kept: Instant,
        *,
        is_known: Callable[[str], bool],
        labels_of: Callable[[str], Mapping[str, str]],
    ):
        self._writer, self._clock, self._kept, self._is_known = writer, clock, kept, is_known
        self._labels_of = labels_of
        self._new_hosts = Budgets(NEW_HOSTS_PER_SECOND, NEW_HOSTS_AT_ONCE)
        self._samples = Budgets(SAMPLES_PER_SECOND, SAMPLES_AT_ONCE)

    def take(self, body: bytes, actor: Actor, *, lenient: bool) -> dict[str, Any]:
        """Store the samples of a request body. Returns the receipt.

        A sample without an address gets the actor's. One bad sample refuses the whole batch, unless `lenient`. Raises
        Invalid with every bad index, Forbidden if a sample is of a host that the actor may not report, and the problems of
        the writer.
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
        if actor.hostname is not None:
            _refuse_other_hosts(batch.samples, actor)
            self._count_samples(len(batch.samples), actor.hostname)
        received_at = self._clock.now()
        for sample in batch.samples:
            sample.ip, sample.is_unverified = sample.ip or actor.peer, actor.is_unverified
            labels = self._labels_of(sample.hostname)
            if labels:
                pin(sample, labels)
        receipt = self._submit(stamp(batch.samples, received_at, self._kept), actor.peer)
        answer: dict[str, Any] = {"accepted": receipt.accepted, "receivedAt": received_at}
        if receipt.duplicates:
            answer["duplicates"] = receipt.duplicates
        if batch.dropped:
            answer["dropped"] = batch.dropped[:ERRORS_MAX]
            if len(batch.dropped) > ERRORS_MAX:
                answer["moreDropped"] = len(batch.dropped) - ERRORS_MAX
        if batch.errors:
            answer |= {"rejected": len({row["index"] for row in batch.errors}), "errors": batch.errors[:ERRORS_MAX]}
            if len(batch.errors) > ERRORS_MAX:
                answer["moreErrors"] = len(batch.errors) - ERRORS_MAX
        return answer

    def _count_samples(self, count: int, hostname: str) -> None:
        """Raise Refused if the agent of a host sends too many samples."""
        budget = self._samples.of(hostname)
        if not budget.take(elapsed_seconds(), count):
            wait = int((count - budget.left) / SAMPLES_PER_SECOND) + 1
            detail = f"the agent of {hostname} may send {SAMPLES_AT_ONCE:,.0f} samples at once, then {SAMPLES_PER_SECOND:g} a second"
            raise Refused(f"{detail}; nothing of this batch was stored", retry_after=wait)

    def _submit(self, samples: list[Sample], peer: str | None) -> Receipt:
        """Store the samples. Returns the receipt; raises Refused if an address brings too many new hosts."""
        new = len({sample.hostname for sample in samples if not self._is_known(sample.hostname)})
        if not new or not peer or is_loopback(peer):
            return self._writer.submit(samples)
        budget = self._new_hosts.of(peer)
        count = min(float(new), NEW_HOSTS_AT_ONCE)  # a batch with more than that needs a full budget
        if not budget.take(elapsed_seconds(), count):
            detail = f"{new} new hosts: an address may add {NEW_HOSTS_AT_ONCE:g} at once, then one a second"
            raise Refused(detail, retry_after=round((count - budget.left) / NEW_HOSTS_PER_SECOND) + 1)
        try:
            return self._writer.submit(samples)
        except Problem:
            budget.left += count  # the sender may try again
            raise


def _refuse_other_hosts(samples: list[Sample], actor: Actor) -> None:
    """Raise Forbidden, or Unauthorized if the actor has no credential, for the whole batch if one of its samples is of another host than the actor's."""
    for sample in samples:
        reason = decide(actor, REPORT, sample.hostname)
        if reason is not None:
            refused = f"{reason}; nothing of this batch was stored"
            raise Unauthorized(refused) if actor.is_unverified else Forbidden(refused)


def receipt_on_wire(receipt: dict[str, Any]) -> dict[str, Any]:
    """A receipt of `Ingest.take` as JSON shows it."""
    return receipt | {"receivedAt": to_text(receipt["receivedAt"])}
