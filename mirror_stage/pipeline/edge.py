"""The edge: commits waiting batches, works out the rates of their samples, answers each batch, and tells the owner."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import gevent
from gevent import monkey

from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import BadRow, Invalid, Problem, Refused
from mirror_stage.history import store as history
from mirror_stage.history import tiers
from mirror_stage.metrics.domain import Receipt, Sample
from mirror_stage.metrics.measures import COUNTERS
from mirror_stage.pipeline.known_hosts import KnownHosts, Measured
from mirror_stage.pipeline.port import Message, Port
from mirror_stage.pipeline.writer import Answer
from mirror_stage.storage.db import Lane, Tx, attempt
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.geometry import Place
from mirror_stage.twin.throughput import set_rates

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 0.5  # if a commit takes longer, the owner gets its samples before the commit ends
STUCK_AFTER: Instant = 3 * SECOND  # if a commit takes longer, the edge is stuck: later samples wait for it

Batches = Sequence[Sequence[Sample]]
Newcomers = dict[str, tuple[int, Place]]


class Edge:
    """Commits samples to the history. It learns about hosts from the messages of the port."""

    def __init__(self, storage: Lane, known: KnownHosts, port: Port, clock: Clock, *, hub: str, max_hosts: int):
        self._storage, self._known, self._port, self._clock = storage, known, port, clock
        self._hub, self._max_hosts = hub, max_hosts
        self.trouble: str | None = None  # why the last commit failed
        self._committing_since: Instant | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether samples wait behind a commit that does not end."""
        return self._committing_since is not None and self._clock.now() - self._committing_since > STUCK_AFTER

    def commit(self, batches: Batches) -> list[Answer]:
        """Commit all waiting batches in one transaction and tell the owner. Returns one answer for each batch."""
        measured = Measured(self._known)
        late = _measure(batches, measured)
        newcomers: Newcomers = {}
        self._committing_since = self._clock.now()
        try:
            with _after(0 if self.trouble else PATIENCE_SECONDS, self._tell, batches):
                answers = self._commit(batches, late, newcomers, measured)
        finally:
            self._committing_since = None
        stored = [samples for samples, answer in zip(batches, answers, strict=True) if not _is_refused(answer)]
        self._tell(stored, newcomers, measured)  # samples that the owner has already change nothing
        return answers

    def recovered(self) -> None:
        """Note that the database takes writes again, although no sample has been committed since the failure."""
        self.trouble = None

    def _tell(
        self, batches: Iterable[Sequence[Sample]], newcomers: Newcomers | None = None, measured: Measured | None = None
    ) -> None:
        samples = [sample for samples in batches for sample in samples]
        if samples:
            polls = {hostname: at for hostname in newcomers or () if (at := self._known.last_poll_of(hostname))}
            changes = measured.changes() if measured is not None else {}
            self._port.send(Message(newcomers=newcomers or {}, samples=samples, polls=polls, measured=changes))

    # ------------------------------------------------------------------ committing

    def _commit(self, batches: Batches, late: Batches, newcomers: Newcomers, measured: Measured) -> list[Answer]:
        answers: list[Answer]
        try:
            try:
                answers = list(self._storage.write(lambda tx: self._append_together(tx, batches, late, newcomers)))
            except (BadRow, Refused):
                newcomers.clear()
                answers = self._storage.write(lambda tx: self._append_alone(tx, batches, newcomers, measured))
        except (Problem, BadRow) as why:
            newcomers.clear()
            problem = why if isinstance(why, Problem) else Invalid(f"the database refuses these samples: {why}")
            if self.trouble is None:
                log.warning("samples cannot be stored; the live view continues: %s", problem.detail)
            self.trouble = problem.detail
            return [problem] * len(batches)
        if self.trouble is not None:
            log.info("samples are stored again")
        self.trouble = None
        return answers

    def _append_together(self, tx: Tx, batches: Batches, late: Batches, newcomers: Newcomers) -> list[Receipt]:
        ids = self._ids(tx, (sample for samples in batches for sample in samples), newcomers)
        for samples in late:
            _measure_late(tx, samples, ids)
        receipts = history.append_together(tx, batches, ids)
        self._mark_late(tx, (sample for samples in batches for sample in samples), ids)
        return receipts

    def _append_alone(self, tx: Tx, batches: Batches, newcomers: Newcomers, measured: Measured) -> list[Answer]:
        """Append each batch under its own savepoint: a bad one fails alone, and each receipt counts its duplicates."""
        answers: list[Answer] = []
        measured.forget_samples()  # the owner and the known hosts may have heard of these samples already
        for samples in batches:
            its_newcomers, trial = dict(newcomers), Measured(measured)
            try:
                append = partial(self._append, samples=samples, newcomers=its_newcomers, measured=trial)
                answers.append(attempt(tx, append))
                newcomers.update(its_newcomers)
                measured.keep(trial)
            except BadRow as why:
                answers.append(Invalid(f"the database refuses a value of this batch: {why}"))
            except Refused as why:
                answers.append(why)
        return answers

    def _append(self, tx: Tx, samples: Sequence[Sample], newcomers: Newcomers, measured: Measured) -> Receipt:
        ids = self._ids(tx, samples, newcomers)
        history.mark_repeated(tx, samples, ids)  # before their rates are set: a repeated sample is never the newest
        _measure_late(tx, [sample for sample in samples if not measured.measure(sample)], ids)
        receipt = history.append(tx, samples, ids)
        self._mark_late(tx, samples, ids)
        return receipt

    def _mark_late(self, tx: Tx, samples: Iterable[Sample], ids: dict[str, int]) -> None:
        tiers.mark_late(tx, samples, ids, self._clock.now() // SECOND)

    def _ids(self, tx: Tx, samples: Iterable[Sample], newcomers: Newcomers) -> dict[str, int]:
        """The ids of the hosts of these samples; unknown ones are registered in this transaction. Raises Refused."""
        known = self._known.ids_by_hostname
        ids = {hostname: host_id for hostname, (host_id, _) in newcomers.items()}
        unknown: dict[str, Sample | None] = {}
        for sample in samples:
            if sample.hostname not in ids:
                host_id = known.get(sample.hostname)  # read once: the host may be removed while this transaction waits
                if host_id is None:
                    unknown.setdefault(sample.hostname, sample)
                else:
                    ids[sample.hostname] = host_id
        if not unknown:
            return ids
        if len(known) + len(newcomers) + len(unknown) > self._max_hosts:
            full = f"EGO knows {self._max_hosts} hosts and takes no more; to allow more, raise MIRROR_STAGE_MAX_HOSTS"
            raise Refused(full, retry_after=60)
        registered = twin_store.register(tx, unknown, self._hub)
        newcomers.update(registered)
        return ids | {hostname: host_id for hostname, (host_id, _) in registered.items()}


def _measure(batches: Batches, measured: Measured) -> Batches:
    """Set the rates of every sample that is its host's newest: the live view needs them, even if the commit fails.

    Returns the other samples of each batch. They are late: `_measure_late` sets their rates from the history.
    """
    return [[sample for sample in samples if not measured.measure(sample)] for samples in batches]


def _measure_late(tx: Tx, samples: Sequence[Sample], ids: dict[str, int]) -> None:
    """Set the rates of the late samples of one batch, each from the sample before it.

    For the first late sample of a host, that is the one before it in the history; for the others, the one before it in
    the batch. So there is one query for each batch and host.
    """
    late: dict[str, Sample] = {}
    for sample in samples:
        if any(getattr(sample, counter) is not None for counter in COUNTERS):
            before = late.get(sample.hostname) or history.before(tx, ids[sample.hostname], sample)
            late[sample.hostname] = sample
            set_rates(sample, before)


@contextmanager
def _after(seconds: float, work: Callable[[Batches], None], batches: Batches) -> Iterator[None]:
    """If the `with` block takes longer than `seconds`, call `work(batches)` in a greenlet. Without gevent, never."""
    if not monkey.is_module_patched("threading"):
        yield
        return
    timer = gevent.get_hub().loop.timer(seconds)
    timer.start(gevent.spawn, work, batches)
    try:
        yield
    finally:
        timer.close()


def _is_refused(answer: Answer) -> bool:
    """Whether the batch itself is at fault. If only the database is, the live view takes its samples all the same."""
    return isinstance(answer, Invalid | Refused)
