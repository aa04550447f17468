"""All SQL of the cluster, for PostgreSQL. Who lives is judged by the clock of the database alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, text

from mirror_stage.cluster.models import OwnerRow, WorkerRow
from mirror_stage.core.instants import HOUR, SECOND, Instant
from mirror_stage.core.problems import Unavailable

_OWNER: Table = OwnerRow.__table__  # type: ignore[assignment]
_WORKERS: Table = WorkerRow.__table__  # type: ignore[assignment]

LOST_AFTER: Instant = 3 * SECOND // 2  # a worker that has not been seen for so long is taken for dead
FORGOTTEN_AFTER: Instant = HOUR

_NOW = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)"
_SEEN = text(
    "INSERT INTO cluster_workers (id, machine, pid, version, started_at, seen_at, is_linked, missed_since)"
    f" VALUES (:id, :machine, :pid, :version, :started_at, {_NOW}, :is_linked, :missed_since)"
    " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, is_linked = excluded.is_linked,"
    " missed_since = excluded.missed_since"
)
_NEED_NOT_LAST = text("SET LOCAL synchronous_commit = off")
_WORKERS_NOW = text(
    f"SELECT id, machine, pid, version, started_at, {_NOW} - seen_at AS unseen_for, is_linked, missed_since"
    " FROM cluster_workers ORDER BY started_at, id"
)
_OWNER_NOW = text("SELECT generation, worker, since FROM cluster_owner WHERE id = 1")
_FIRST = text(
    "INSERT INTO cluster_owner (id, generation, worker, since) VALUES (1, 1, :worker, :since)"
    " ON CONFLICT (id) DO NOTHING RETURNING generation"
)
_TAKE = text(
    "UPDATE cluster_owner SET generation = generation + 1, worker = :worker, since = :since"
    " WHERE id = 1 AND generation = :generation RETURNING generation"
)
_RESIGN = text("UPDATE cluster_owner SET worker = NULL WHERE id = 1 AND worker = :worker")
_FORGET = text("DELETE FROM cluster_workers WHERE id = :id")
_FORGET_OLD = text(f"DELETE FROM cluster_workers WHERE seen_at < {_NOW} - :ago")
_FENCE = text("SELECT generation FROM cluster_owner WHERE id = 1 FOR SHARE")
_KEEP_FRAME = text(
    "INSERT INTO cluster_frame (id, generation, epoch, revision, body) VALUES (1, :generation, :epoch, :revision, :body)"
    " ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, epoch = excluded.epoch,"
    " revision = excluded.revision, body = excluded.body WHERE cluster_frame.generation <= excluded.generation"
)
_FRAME = text(
    "SELECT f.epoch, f.revision, f.body FROM cluster_frame f JOIN cluster_owner o ON o.generation = f.generation"
    " WHERE (f.epoch, f.revision) IS DISTINCT FROM (:epoch, :revision)"
)
_DROP_FRAME = text("DELETE FROM cluster_frame")
_END_OWN_WORK = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name AND usename = current_user"
)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as the database has seen it last, `unseen_for` ms ago."""

    id: str
    machine: str
    pid: int
    version: str
    started_at: Instant
    unseen_for: Instant
    is_linked: bool
    missed_since: Instant | None

    @property
    def is_alive(self) -> bool:
        return self.unseen_for <= LOST_AFTER


@dataclass(frozen=True, slots=True)
class Standing:
    """Who owns the twin (`worker` None: nobody), of which generation, since when; and all workers, the oldest first."""

    generation: int
    worker: str | None
    since: Instant
    workers: Sequence[Worker]

    def of(self, id: str | None) -> Worker | None:
        """The worker of this id."""
        return next((worker for worker in self.workers if worker.id == id), None)

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.is_alive]


def seen(tx: Connection, worker: Worker) -> Standing:
    """Note that a worker lives, and return how the cluster stands. After a crash of the server nobody needs the note: no disk is waited for."""
    tx.execute(_NEED_NOT_LAST)
    tx.execute(
        _SEEN,
        {
            "id": worker.id,
            "machine": worker.machine,
            "pid": worker.pid,
            "version": worker.version,
            "started_at": worker.started_at,
            "is_linked": worker.is_linked,
            "missed_since": worker.missed_since,
        },
    )
    return standing(tx)


def standing(tx: Connection) -> Standing:
    """How the cluster stands."""
    owner = tx.execute(_OWNER_NOW).first()
    workers = [Worker(*row) for row in tx.execute(_WORKERS_NOW)]
    if owner is None:
        return Standing(0, None, 0, workers)
    return Standing(owner.generation, owner.worker, owner.since, workers)


def take(tx: Connection, worker: str, after: int, now: Instant) -> int | None:
    """Make a worker the owner, after the generation `after`. Returns its generation; None if another was faster."""
    if after == 0:
        return tx.execute(_FIRST, {"worker": worker, "since": now}).scalar()
    return tx.execute(_TAKE, {"worker": worker, "since": now, "generation": after}).scalar()


def end_own_work(tx: Connection, name: str) -> None:
    """End the transactions of a dead owner: those of the connections that call themselves `name`."""
    tx.execute(_END_OWN_WORK, {"name": name})


def leave(tx: Connection, worker: str) -> None:
    """Forget a worker that stops. If it owns the twin, the next one may take over at once."""
    tx.execute(_RESIGN, {"worker": worker})
    tx.execute(_FORGET, {"id": worker})


def resign(tx: Connection, worker: str) -> None:
    """Let another worker own the twin."""
    tx.execute(_RESIGN, {"worker": worker})


def keep_frame(tx: Connection, generation: int, epoch: str, revision: int, body: bytes) -> None:
    """Store the owner's newest frame."""
    tx.execute(_KEEP_FRAME, {"generation": generation, "epoch": epoch, "revision": revision, "body": body})


def frame(tx: Connection, epoch: str, revision: int) -> tuple[str, int, bytes] | None:
    """Epoch, revision and body of the present owner's stored frame. None if it is of this epoch and revision, or if there is none."""
    row = tx.execute(_FRAME, {"epoch": epoch, "revision": revision}).first()
    return None if row is None else (row.epoch, row.revision, bytes(row.body))


def drop_frame(tx: Connection) -> None:
    """Remove the stored frame, before it is old."""
    tx.execute(_DROP_FRAME)


def forget_old(tx: Connection) -> None:
    """Forget the workers that have been dead for FORGOTTEN_AFTER."""
    tx.execute(_FORGET_OLD, {"ago": FORGOTTEN_AFTER})


def check(tx: Connection, generation: int) -> None:
    """Raise Unavailable if another worker owns the twin by now. Otherwise none can take over until this transaction ends."""
    if tx.execute(_FENCE).scalar() != generation:
        raise Unavailable("another worker owns the twin by now, so nothing was stored")
