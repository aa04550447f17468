"""The job that rolls up closed buckets, computes buckets with late samples again and prunes old rows, piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gevent

from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import SECOND, Instant, to_text
from mirror_stage.history import tiers
from mirror_stage.history.domain import RAW, RESOLUTIONS, ROLLUPS, Resolution
from mirror_stage.storage.db import Lane, Tx
from mirror_stage.storage.pieces import HELD_SECONDS, Pace, Piece
from mirror_stage.storage.timescale import Engine, engine_of, set_policies

log = logging.getLogger(__name__)

BUSY_SECONDS = 3.0  # how long one run may work; the next run goes on from there
SETTLE_SECONDS = 5.0  # PostgreSQL: how long to wait for transactions that began before the bucket was closed
BEHIND_SECONDS = 60  # a closed minute waits so long at most, else /api/health/ready says so; it stays 200
HOSTS_MAX, CELLS_MAX = 10_000, tiers.CLAIM_HOSTS * tiers.CLAIM_BUCKETS


class Keeper:
    """Rolls up, mends and prunes, one step at a time. Long reads use a reader; each write takes milliseconds.

    The age of rows is measured from `lived_until()`, which may lie before now: see `storage/trusted_time.py`.
    """

    def __init__(
        self,
        storage: Lane,
        clock: Clock,
        kept_by_resolution: Mapping[str, Instant],
        lived_until: Callable[[], Instant] | None = None,
    ):
        self._storage, self._clock, self._kept = storage, clock, kept_by_resolution
        self._lived_until = lived_until or clock.now
        self._deadline = 0.0
        self._is_resumed = False
        self._computed = Pace(250, least=10, most=HOSTS_MAX)
        self._mended = Pace(250, least=10, most=CELLS_MAX)
        self._pruned = {one: Pace(50, least=10, most=HOSTS_MAX, seconds=HELD_SECONDS) for one in RESOLUTIONS}
        self._under_way: dict[Resolution, tuple[int, int]] = {}  # (bucket, the first host that is not in it yet)
        self._done_until = 0
        self.engine = Engine.OWN

    def begin(self) -> None:
        """Find out whether EGO or TimescaleDB makes the rollups. At the first start on a database, create the rows of the tiers."""
        self.engine = self._storage.read(engine_of)
        self._storage.write(lambda tx: tiers.begin(tx, self._now_second(), self.engine))
        if self.engine is Engine.CONTINUOUS:
            self._storage.write(lambda tx: set_policies(tx, self._kept, tiers.GRACE_SECONDS))
        elif self._storage.write(lambda tx: tiers.take_back(tx, self._now_second())):
            log.warning(
                "the progress of the rollups lay in the future, because EGO's clock was ahead once; it is set back to now"
            )
        self._done_until = self._storage.read(tiers.tiers)[ROLLUPS[0].name].done_until
        if self._storage.is_postgresql:
            log.info("history: %s", self.engine)

    def keep(self, busy_seconds: float = BUSY_SECONDS) -> bool:
        """Roll up, mend and prune for a while. Returns whether nothing is left to do now."""
        if self.engine is Engine.CONTINUOUS:
            self._deadline = elapsed_seconds() + busy_seconds
            return self._prune(RAW)
        if not self._is_resumed:
            self._resume()
        self._deadline = elapsed_seconds() + busy_seconds
        is_rolled_up = False
        try:
            is_rolled_up = all(self._roll_up(resolution) and self._mend(resolution) for resolution in ROLLUPS)
        finally:  # old rows are pruned even if many samples came late or the disk is full
            self._deadline = elapsed_seconds() + busy_seconds
            is_pruned = all(self._prune(resolution) for resolution in RESOLUTIONS)
        return is_pruned and is_rolled_up

    @property
    def behind_seconds(self) -> int | None:
        """How long the oldest minute that could be rolled up waits for that; None if the database rolls up by itself."""
        if self.engine is Engine.CONTINUOUS or not self._done_until:
            return None
        return self._now_second() - tiers.GRACE_SECONDS - ROLLUPS[0].seconds - self._done_until

    def check(self) -> dict[str, Any]:
        """The readiness check: how far the minutes are rolled up."""
        behind = self.behind_seconds
        if behind is None:
            return {"ok": True, "detail": str(self.engine)}
        detail = f"rolled up to {to_text(self._done_until * SECOND)}"
        if behind <= BEHIND_SECONDS:
            return {"ok": True, "detail": detail}
        return {
            "ok": False,
            "detail": f"{detail}, {behind} s behind: samples come faster than this machine rolls them up",
        }

    def _now_second(self) -> int:
        return self._clock.now() // SECOND

    def _may_go_on(self) -> bool:
        """Whether there is time for another step. Lets other greenlets run first."""
        gevent.sleep(0)
        return elapsed_seconds() < self._deadline

    # ------------------------------------------------------------------ rolling up

    def _roll_up(self, resolution: Resolution) -> bool:
        """Roll up every bucket that is over. Returns whether none is left."""
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
            if bucket is None or bucket >= until:
                done = until
            elif self._fill(resolution, bucket):
                done = bucket + resolution.seconds
            else:
                return False
            self._storage.write(partial(tiers.advance, resolution=resolution, done_until=done))
            if resolution is ROLLUPS[0]:
                self._done_until = done
        return True

    def _over_until(self, resolution: Resolution) -> int:
        """The end of the last bucket that can be rolled up: GRACE_SECONDS ago for minutes, else where the tier below is done."""
        over = self._now_second() - tiers.GRACE_SECONDS
        source = tiers.source_of(resolution)
        if source is not RAW:
            over = self._storage.read(tiers.tiers)[source.name].done_until
        return over - over % resolution.seconds

    def _is_settled(self) -> bool:
        """Whether every transaction that may not have seen the closed mark has ended. On SQLite writers take turns: always."""
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

    def _fill(self, resolution: Resolution, bucket: int) -> bool:
        """Compute a bucket of all hosts, some hosts per piece. Returns whether it is complete; else the next run goes on."""
        begun, first = self._under_way.get(resolution, (bucket, 0))
        host_ids = self._storage.read(partial(tiers.host_ids, since=first if begun == bucket else 0))
        while host_ids:
            with self._computed.piece() as piece:
                some, rest = host_ids[: piece.size], host_ids[piece.size :]
                self._compute(piece, resolution, bucket, bucket + resolution.seconds, range(some[0], some[-1] + 1))
            host_ids = rest
            if host_ids:
                self._under_way[resolution] = bucket, host_ids[0]
                if not self._may_go_on():
                    return False
        self._under_way.pop(resolution, None)
        return True

    def _compute(self, piece: Piece, resolution: Resolution, since: int, until: int, hosts: tiers.Hosts) -> None:
        """Write the rows of the buckets from `since` to before `until`, of these hosts."""
        if self._storage.is_postgresql:
            self._storage.write(piece.timed(lambda tx: tiers.fill(tx, resolution, since, until, hosts)))
            return
        for chunk in self._storage.read(piece.timed(lambda tx: tiers.summaries(tx, resolution, since, until, hosts))):
            self._storage.write(partial(tiers.put, resolution=resolution, chunk=chunk))

    # ------------------------------------------------------------------ mending

    def _mend(self, resolution: Resolution) -> bool:
        """Compute the dirty buckets again. Returns whether none is left."""
        while self._may_go_on():
            with self._mended.piece() as piece:
                claimed = self._storage.write(partial(tiers.claim, resolution=resolution, cells=piece.size))
                if claimed is None:
                    return True
                if claimed.is_added:
                    self._storage.write(piece.timed(partial(tiers.add, claimed=claimed)))
                else:
                    self._compute(piece, resolution, claimed.since, claimed.until, claimed.host_ids)
                    self._storage.write(partial(tiers.end_claim, claimed=claimed))
        return False

    # ------------------------------------------------------------------ pruning

    def _resume(self) -> None:
        """Finish the pruning that an earlier process began."""
        pruned = self._storage.read(tiers.tiers)
        for resolution in ROLLUPS:
            self._prune_hosts(resolution, pruned[resolution.name].pruned_until)
        self._is_resumed = True

    def _prune(self, resolution: Resolution) -> bool:
        """Delete the rows that are past the retention of their tier and rolled up. Returns whether none is left."""
        kept_since = (self._lived_until() - self._kept[resolution.name]) // SECOND
        while self._may_go_on():
            if resolution is RAW:
                with self._pruned[RAW].piece() as piece:
                    prune = partial(self._prune_samples, kept_since=kept_since, hosts=piece.size)
                    is_more = self._storage.write(piece.timed(prune))
                if not is_more:
                    return True
                continue
            until = self._storage.write(lambda tx: tiers.plan_pruning(tx, resolution, kept_since))
            if until is None:
                return True
            self._prune_hosts(resolution, until)
        return False

    def _prune_samples(self, tx: Tx, kept_since: int, hosts: int) -> bool:
        if self.engine in {Engine.CONTINUOUS, Engine.HYPERTABLE}:
            return tiers.drop_samples(tx, kept_since, self.engine)
        return tiers.prune_samples(tx, kept_since, hosts)

    def _prune_hosts(self, resolution: Resolution, until: int) -> None:
        host_ids = self._storage.read(tiers.host_ids)
        while host_ids:
            with self._pruned[resolution].piece() as piece:
                some, host_ids = host_ids[: piece.size], host_ids[piece.size :]
                prune = partial(tiers.prune_rollups, resolution=resolution, host_ids=some, until=until)
                self._storage.write(piece.timed(prune))
            gevent.sleep(0)
