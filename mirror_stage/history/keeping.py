"""Keeping the history small: what is over is rolled up, what came late is mended, what is old is pruned. Step by step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

import gevent

from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import Instant
from mirror_stage.history import tiers
from mirror_stage.history.domain import RAW, RESOLUTIONS, ROLLUPS, Resolution
from mirror_stage.storage.db import Storage, Tx
from mirror_stage.storage.timescale import Engine, engine_of, set_policies

log = logging.getLogger(__name__)

BUSY_SECONDS = 3.0  # at a stretch; the job comes again
SETTLE_SECONDS = 5.0  # PostgreSQL: how long a closed bucket waits for the transactions that were under way


class Keeper:
    """Rolls up and prunes, one at a time. Heavy reading is done by a reader; what is written are steps of milliseconds."""

    def __init__(self, storage: Storage, clock: Clock, kept_by_resolution: Mapping[str, Instant]):
        self._storage, self._clock, self._kept = storage, clock, kept_by_resolution
        self._deadline = 0.0
        self._is_resumed = False
        self.engine = Engine.OWN

    def begin(self) -> None:
        """Find out who rolls this database up, and make the tiers' rows at the first start on it."""
        self.engine = self._storage.read(engine_of)
        self._storage.write(lambda tx: tiers.begin(tx, self._now_second(), self.engine))
        if self.engine is Engine.CONTINUOUS:
            self._storage.write(lambda tx: set_policies(tx, self._kept, tiers.GRACE_SECONDS))
        if self._storage.is_postgresql:
            log.info("history: %s", self.engine)

    def keep(self, busy_seconds: float = BUSY_SECONDS) -> bool:
        """Whether everything is done: rolled up, mended and pruned as far as it can be now."""
        if self.engine is Engine.CONTINUOUS:
            self._deadline = elapsed_seconds() + busy_seconds
            return self._prune(RAW)
        if not self._is_resumed:
            self._resume()
        self._deadline = elapsed_seconds() + busy_seconds
        is_rolled_up = all(self._roll_up(resolution) and self._mend(resolution) for resolution in ROLLUPS)
        self._deadline = elapsed_seconds() + busy_seconds  # however much came late, what is old leaves
        return all(self._prune(resolution) for resolution in RESOLUTIONS) and is_rolled_up

    def _now_second(self) -> int:
        return self._clock.now() // 1000

    def _may_go_on(self) -> bool:
        """Whether there is time for another step. Others are let in first."""
        gevent.sleep(0)
        return elapsed_seconds() < self._deadline

    # ------------------------------------------------------------------ rolling up

    def _roll_up(self, resolution: Resolution) -> bool:
        """Roll up every bucket that is over. Whether none is left."""
        until = self._over_until(resolution)
        tier = self._storage.read(tiers.tiers)[resolution.name]
        if until <= tier.done_until:
            return True
        if until > tier.closed_until:
            self._storage.write(lambda tx: tiers.advance(tx, resolution, closed_until=until))
        if not self._is_settled():
            return False
        done = tier.done_until
        while done < until:
            if not self._may_go_on():
                return False
            bucket = self._storage.read(partial(tiers.next_bucket, resolution=resolution, since=done))
            if bucket is not None and bucket < until:
                self._compute(resolution, bucket, bucket + resolution.seconds)
                done = bucket + resolution.seconds
            else:
                done = until
            self._storage.write(partial(tiers.advance, resolution=resolution, done_until=done))
        return True

    def _over_until(self, resolution: Resolution) -> int:
        """Up to where a tier's buckets are over: a while ago, or as far as the tier below is done."""
        over = self._now_second() - tiers.GRACE_SECONDS
        source = tiers.source_of(resolution)
        if source is not RAW:
            over = self._storage.read(tiers.tiers)[source.name].done_until
        return over - over % resolution.seconds

    def _is_settled(self) -> bool:
        """Whether nobody is still writing who has not seen which buckets are closed. On SQLite writers take turns."""
        if not self._storage.is_postgresql:
            return True
        moment = self._storage.read(tiers.moment)
        deadline = elapsed_seconds() + SETTLE_SECONDS
        while not self._storage.read(partial(tiers.is_settled, since=moment)):
            if elapsed_seconds() > deadline:
                log.warning("no rollups for now: a transaction has been writing for more than %g s", SETTLE_SECONDS)
                return False
            gevent.sleep(0.05)
        return True

    def _compute(self, resolution: Resolution, since: int, until: int, host_ids: tuple[int, ...] = ()) -> None:
        """Write the rows of the buckets from `since` to before `until`, of all hosts or of these."""
        if self._storage.is_postgresql:
            self._storage.write(lambda tx: tiers.fill(tx, resolution, since, until, host_ids))
            return
        for chunk in self._storage.read(lambda tx: tiers.summaries(tx, resolution, since, until, host_ids)):
            self._storage.write(partial(tiers.put, resolution=resolution, chunk=chunk))

    # ------------------------------------------------------------------ mending

    def _mend(self, resolution: Resolution) -> bool:
        """Compute anew what something late came into. Whether nothing is left."""
        while self._may_go_on():
            claimed = self._storage.write(lambda tx: tiers.claim(tx, resolution))
            if claimed is None:
                return True
            if claimed.is_added:
                self._storage.write(partial(tiers.add, claimed=claimed))
            else:
                self._compute(resolution, claimed.since, claimed.until, claimed.host_ids)
                self._storage.write(partial(tiers.settle, claimed=claimed))
        return False

    # ------------------------------------------------------------------ pruning

    def _resume(self) -> None:
        """Finish what an earlier process had begun to prune."""
        pruned = self._storage.read(tiers.tiers)
        for resolution in ROLLUPS:
            self._prune_hosts(resolution, pruned[resolution.name].pruned_until)
        self._is_resumed = True

    def _prune(self, resolution: Resolution) -> bool:
        """Remove what is older than its tier keeps it, and was rolled up. Whether nothing is left."""
        kept_since = self._now_second() - self._kept[resolution.name] // 1000
        while self._may_go_on():
            if resolution is RAW:
                if not self._storage.write(lambda tx: self._prune_samples(tx, kept_since)):
                    return True
                continue
            until = self._storage.write(lambda tx: tiers.plan_pruning(tx, resolution, kept_since))
            if until is None:
                return True
            self._prune_hosts(resolution, until)
        return False

    def _prune_samples(self, tx: Tx, kept_since: int) -> bool:
        if self.engine in {Engine.CONTINUOUS, Engine.HYPERTABLE}:
            return tiers.drop_samples(tx, kept_since, self.engine)
        return tiers.prune_samples(tx, kept_since)

    def _prune_hosts(self, resolution: Resolution, until: int) -> None:
        host_ids = self._storage.read(tiers.host_ids)
        for first in range(0, len(host_ids), tiers.PRUNED_HOSTS):
            some = host_ids[first : first + tiers.PRUNED_HOSTS]
            self._storage.write(partial(tiers.prune_rollups, resolution=resolution, host_ids=some, until=until))
            gevent.sleep(0)
