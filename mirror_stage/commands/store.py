"""All SQL of the commands, as functions of a transaction.

Every transition is one conditional UPDATE. Its WHERE is the standing that it starts from, so if two race, one of them
finds no row. SQLite runs one write at a time. PostgreSQL does not, so there `_take_turns` lets a host's creations and
claims run one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event as Recorded
from mirror_stage.access.domain import Actor, job
from mirror_stage.commands.domain import (
    CREATED,
    KEPT_FOR,
    KEY_KEPT,
    LEASE_GRACE,
    LOST,
    MOVES,
    NOTHING_TOLD,
    OPEN_MAX,
    OUTPUT_BYTES_KEPT,
    PENDING,
    PENDING_OF_HOST_MAX,
    RUNNING,
    TIMEOUT,
    UNNAMED,
    Act,
    Chunk,
    Command,
    CommandSigner,
    Dispatch,
    Event,
    Lease,
    NewCommand,
    Outcome,
    Standing,
    Stream,
    chunk_weight,
    gap,
    lost_to_unnamed,
    refusal,
    told,
)
from mirror_stage.commands.models import CommandEvent, CommandOutput, CommandRow
from mirror_stage.core import outputs
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Conflict, Invalid, KeyReused, NotFound, Refused, Unavailable
from mirror_stage.storage import notes
from mirror_stage.storage.rows import KEEP_FIRST, insert_rows

# Why no command may be queued for a host, None if one may. The last argument: whether it is confirmed that nobody can
# verify the host.
Stranger = Callable[[Connection, str, Instant, bool], str | None]

STOPPED, RESUMED = "dispatch-stopped", "dispatch-resumed"  # in the audit
CHANGES_DISPATCH = frozenset({STOPPED, RESUMED})

_TABLE: Table = CommandRow.__table__  # type: ignore[assignment]
_EVENTS: Table = CommandEvent.__table__  # type: ignore[assignment]
_OUTPUTS: Table = CommandOutput.__table__  # type: ignore[assignment]
_C = _TABLE.c
_waiting = _TABLE.alias("waiting")
_COMMAND = tuple(_C[field.name] for field in fields(Command))
_EVENT = tuple(field.name for field in fields(Event))
_IS_OPEN = or_(_C.status == PENDING, _C.status == RUNNING)  # not IN: SQLAlchemy would expand its list at each call


class _Greatest(GenericFunction[int]):
    """SQL's `greatest`, which SQLite calls `max`."""

    name = "greatest"
    type = BigInteger()
    inherit_cache = True


@compiles(_Greatest, "sqlite")
def _max(element: Any, compiler: Any, **options: Any) -> str:
    return f"max({compiler.process(element.clause_expr.element, **options)})"


_NOW = bindparam("now", type_=BigInteger)
_MOMENT = _Greatest(_NOW, _C.updated_at)  # a command's instants never go back, even if EGO's clock did
_STANDS: dict[Standing, ColumnElement[bool]] = {
    Standing.PENDING: _C.status == PENDING,
    Standing.RUNNING: _C.status == RUNNING,
    Standing.LOST: and_(_C.status == TIMEOUT, _C.reason == LOST, _C.is_closed == false()),
}
_THIS_ONE = (
    _C.id == bindparam("wanted_id", type_=Text),
    _C.hostname == func.coalesce(bindparam("bound_to", type_=Text), _C.hostname),
)


def _lease_until() -> ColumnElement[int]:
    """Now + 60 s + the timeouts of this command and of all older unfinished ones of the host, also those claimed here."""
    other = _TABLE.alias("other")
    unfinished = or_(other.c.status == RUNNING, and_(other.c.status == PENDING, other.c.expires_at > _NOW))
    seconds = (
        select(func.sum(other.c.timeout_seconds))
        .where(other.c.hostname == _C.hostname, other.c.seq <= _C.seq, unfinished)
        .correlate(_TABLE)
        .scalar_subquery()
    )
    return _NOW + LEASE_GRACE + cast(func.round(seconds * 1000), BigInteger)


def _first(order: ColumnElement[int], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a row is among the first `:most` that meet the conditions. Rows that others have locked are skipped.

    `order` must be the order of an index. This is a CTE, because PostgreSQL may run a subquery with a LIMIT more than
    once.
    """
    first = select(_waiting.c.seq).where(*conditions).order_by(order).limit(bindparam("most", type_=Integer))
    return _C.seq.in_(select(first.with_for_update(skip_locked=True).cte("first_of_all").c.seq))


def _move(standing: Standing, act: Act, *conditions: ColumnElement[bool], **changes: Any) -> Update:
    """The UPDATE that makes one transition of MOVES and returns the commands that made it."""
    move = MOVES[standing, act]
    values: dict[str, Any] = {"version": _C.version + 1, "updated_at": _MOMENT}
    if move.status is not None:
        values |= {"status": move.status, "reason": move.reason}
    if move.status != RUNNING:
        values |= {"completed_at": _MOMENT, "lease_until": None}
    return update(_TABLE).where(_STANDS[standing], *conditions).values(values | changes).returning(*_COMMAND)


def _given(*names: str) -> dict[str, Any]:
    """Columns with their new values: the parameters `new_<column>`."""
    return {name: bindparam(f"new_{name}", type_=_C[name].type) for name in names}


_CLAIM = _move(
    Standing.PENDING,
    Act.CLAIM,
    _first(
        _waiting.c.seq,
        _waiting.c.hostname == bindparam("host"),
        _waiting.c.status == PENDING,
        _waiting.c.expires_at > _NOW,
    ),
    started_at=_MOMENT,
    lease_until=_lease_until(),
    **_given("claimed_by"),
)
_CLAIMED_BEFORE = (
    select(*_COMMAND)
    .where(
        _C.hostname == bindparam("host"),
        _C.status == RUNNING,
        _C.claimed_by == bindparam("instance"),
        _C.start_reported_at.is_(None),
        _C.cancel_requested == false(),
        _C.expires_at > _NOW,
        _C.lease_until > _NOW,
    )
    .order_by(_C.seq)
    .limit(bindparam("most", type_=Integer))
)
_REPORTED = _given(
    *("status", "reason", "exit_code", "signal", "duration_seconds", "result_digest"),
    *("stdout", "stderr", "stdout_bytes", "stderr_bytes", "truncated"),
)
_RESULT = {
    Standing.RUNNING: _move(Standing.RUNNING, Act.RESULT, *_THIS_ONE, **_REPORTED),
    Standing.LOST: _move(Standing.LOST, Act.RESULT, *_THIS_ONE, late=true(), **_REPORTED),
}
_CANCEL = {
    Standing.PENDING: _move(Standing.PENDING, Act.CANCEL, *_THIS_ONE),
    Standing.RUNNING: _move(
        Standing.RUNNING, Act.CANCEL, *_THIS_ONE, _C.cancel_requested == false(), cancel_requested=true()
    ),
    Standing.LOST: _move(Standing.LOST, Act.CANCEL, *_THIS_ONE, is_closed=true(), completed_at=_C.completed_at),
}
_CANCEL_PENDING_OF_HOST = _move(Standing.PENDING, Act.CANCEL, _C.hostname == bindparam("host"))
_END_ALL = {
    Standing.RUNNING: _move(
        Standing.RUNNING,
        Act.CANCEL,
        _first(_waiting.c.seq, _waiting.c.status == RUNNING, _waiting.c.cancel_requested == false()),
        cancel_requested=true(),
    ),
    Standing.PENDING: _move(Standing.PENDING, Act.CANCEL, _first(_waiting.c.seq, _waiting.c.status == PENDING)),
}
_REAP = {
    (Standing.RUNNING, Act.LEASE_OVER): _move(
        Standing.RUNNING,
        Act.LEASE_OVER,
        _first(_waiting.c.lease_until, _waiting.c.lease_until <= _NOW),
        _C.lease_until <= _NOW,
    ),
    (Standing.PENDING, Act.EXPIRY): _move(
        Standing.PENDING,
        Act.EXPIRY,
        _first(_waiting.c.seq, _waiting.c.status == PENDING, _waiting.c.expires_at <= _NOW),
    ),
}
_EXTEND_LEASE = (
    update(_TABLE)
    .where(_STANDS[Standing.RUNNING], *_THIS_ONE)
    .values(
        lease_until=_Greatest(_C.lease_until, _lease_until()),
        start_reported_at=func.coalesce(_C.start_reported_at, _NOW),
    )
    .returning(_C.seq, _C.lease_until, _C.cancel_requested, _C.signed_cancel, _C.output_bytes)
)
_NEW_CHUNK = _EXTEND_LEASE.where(_C.output_seq < bindparam("chunk_seq", type_=BigInteger)).values(
    output_seq=bindparam("chunk_seq", type_=BigInteger),
    output_bytes=_C.output_bytes + bindparam("weight", type_=BigInteger),
)
_OVERFULL = select(
    select(func.count())
    .select_from(_TABLE)
    .where(_C.hostname == bindparam("host"), _C.status == PENDING)
    .scalar_subquery(),
    select(func.count())
    .select_from(select(literal(1)).select_from(_TABLE).where(_IS_OPEN).limit(literal(OPEN_MAX)).subquery())
    .scalar_subquery(),
)
_PRINTED = ("stdout", "stderr", "stdout_bytes", "stderr_bytes", "truncated")
_PRINT = update(_TABLE).where(_C.seq == bindparam("wanted_seq")).values(_given(*_PRINTED)).returning(*_COMMAND)
_INSERT = insert(_TABLE).returning(*_COMMAND)
_GET = select(*_COMMAND).where(*_THIS_ONE)


_LAST_SIGNED = (
    select(_C.signed).where(_C.hostname == bindparam("host"), _C.signed.is_not(None)).order_by(_C.seq.desc()).limit(1)
)


def create(
    tx: Connection,
    new: NewCommand,
    actor: Actor,
    now: Instant,
    signer: CommandSigner,
    *,
    id: str,
    key: str | None,
    stranger: Stranger = lambda *_: None,
) -> tuple[Command, bool]:
    """The stored command, and whether it is new: the same `key` (a digest) finds the same command for 24 h.

    It is signed here and nowhere else: what somebody wrote into the database has no signature. The creations for one host
    take turns, so their signed numbers rise in the order in which the host is handed them.

    Raises KeyReused, Conflict if the host is a `stranger` or while dispatch is stopped, Refused when too many wait, Invalid
    for an unknown `retry_of`.
    """
    _take_turns(tx, "host", new.hostname)
    if key is not None:
        _take_turns(tx, "key", key)
        former = _of_key(tx, key, new, now)
        if former is not None:
            return former, False
    state = dispatch(tx)
    if state.stopped:
        raise Conflict(state.refusal)
    trouble = stranger(tx, new.hostname, now, new.is_confirmed)
    if trouble is not None:
        raise Conflict(trouble)
    _refuse_overfull(tx, new.hostname)
    if new.retry_of is not None and not tx.execute(select(_C.seq).where(_C.id == new.retry_of)).first():
        detail = f"there is no command {new.retry_of}"
        raise Invalid(f"retryOf: {detail}", errors=[{"field": "retryOf", "message": detail}])
    expires_at = now + round(new.expires_in_seconds * 1000)
    recipient, last = signer.recipient(tx, new.hostname), None
    if (
        recipient is not None and tx.dialect.name == "postgresql"
    ):  # another EGO may have signed it, whose clock is ahead
        last = tx.execute(_LAST_SIGNED, {"host": new.hostname}).scalar()
    signed = signer.command(recipient, id, new.command, new.timeout_seconds, now, expires_at, after=last)
    row = _new_row(new, id, key, actor, now) | {"expires_at": expires_at, "signed": signed}
    command = Command(*tx.execute(_INSERT, row).one())
    _record(tx, [command], CREATED.name, actor)
    access.record(tx, actor, Recorded("command-created", id, new.hostname), now)
    return command, True


def _new_row(new: NewCommand, id: str, key: str | None, actor: Actor, now: Instant) -> dict[str, Any]:
    return {
        "id": id,
        "hostname": new.hostname,
        "command": new.command,
        "command_folded": new.command.casefold(),
        "timeout_seconds": new.timeout_seconds,
        "metadata": new.metadata,
        "retry_of": new.retry_of,
        "requested_by": actor.name,
        "requested_at": now,
        "updated_at": now,
        "status": CREATED.status,
        "version": 1,
        "request_digest": new.digest,
        "idempotency_key": key,
        "is_closed": False,
        "truncated": False,
        "late": False,
        "cancel_requested": False,
        "output_seq": -1,
        "output_bytes": 0,
    }


def _of_key(tx: Connection, key: str, new: NewCommand, now: Instant) -> Command | None:
    row = tx.execute(select(_C.request_digest, *_COMMAND).where(_C.idempotency_key == key)).first()
    if row is None:
        return None
    former = Command(*row[1:])
    if former.requested_at + KEY_KEPT <= now:
        tx.execute(update(_TABLE).where(_C.seq == former.seq).values(idempotency_key=None))
        return None
    if row[0] != new.digest:
        raise KeyReused(f"this Idempotency-Key belongs to command {former.id}, which had a different request")
    return former


def _refuse_overfull(tx: Connection, hostname: str) -> None:
    pending, open_in_all = tx.execute(_OVERFULL, {"host": hostname}).one()
    if pending >= PENDING_OF_HOST_MAX:
        raise Refused(f"{pending} commands wait for {hostname} already; at most {PENDING_OF_HOST_MAX} may wait")
    if open_in_all >= OPEN_MAX:
        raise Refused(f"{OPEN_MAX} commands wait or run already; EGO takes no more at a time")


def claim(
    tx: Connection,
    hostname: str,
    actor: Actor,
    now: Instant,
    *,
    instance: str | None,
    limit: int,
    note: str | None = None,
) -> tuple[list[Command], list[Command]]:
    """The commands that this instance claimed before and has not started, and those it claims now; each oldest first.

    Only agents that keep a journal give an `instance`. Both lists together have at most `limit` commands. `note` is
    recorded with each claim. Raises Unavailable while dispatch is stopped.
    """
    _take_turns(tx, "host", hostname)
    state = dispatch(tx)
    if state.stopped:
        raise Unavailable(state.refusal)
    again: list[Command] = []
    if instance is not None:
        asked = {"host": hostname, "instance": instance, "most": limit, "now": now}
        again = [Command(*row) for row in tx.execute(_CLAIMED_BEFORE, asked)]
    if len(again) == limit:
        return again, []
    wanted = {"host": hostname, "new_claimed_by": instance, "most": limit - len(again), "now": now}
    return again, _moved(tx, (Standing.PENDING, Act.CLAIM), _CLAIM, wanted, actor, note=note)


def report(tx: Connection, id: str, outcome: Outcome, actor: Actor, now: Instant) -> tuple[Command, bool]:
    """The command with its outcome, and whether this report set it. Raises NotFound, Conflict."""
    values = {
        "wanted_id": id,
        "bound_to": actor.hostname,
        "now": now,
        "new_status": outcome.status,
        "new_reason": outcome.reason,
        "new_exit_code": outcome.exit_code,
        "new_signal": outcome.signal,
        "new_stdout": outcome.stdout.text,
        "new_stderr": outcome.stderr.text,
        "new_stdout_bytes": outcome.stdout.size_bytes,
        "new_stderr_bytes": outcome.stderr.size_bytes,
        "new_truncated": outcome.stdout.truncated or outcome.stderr.truncated,
        "new_duration_seconds": outcome.duration_seconds,
        "new_result_digest": outcome.digest,
    }
    for standing, statement in _RESULT.items():
        for command in _moved(tx, (standing, Act.RESULT), statement, values, actor):
            if not command.output_bytes:
                return command, True
            complete = _with_streamed(tx, command, outcome.stdout, outcome.stderr)
            tx.execute(delete(_OUTPUTS).where(_OUTPUTS.c.command_seq == command.seq))
            return complete, True
    command = get(tx, id, actor)
    if command.result_digest != outcome.digest:
        raise Conflict(f"command {id} does not take this result: {refusal(Act.RESULT, command)}")
    return command, False


def _with_streamed(tx: Connection, command: Command, stdout: Stream, stderr: Stream) -> Command:
    """The command with what it has printed: what its result reports, or what was streamed if that says more."""
    chunks = select(_OUTPUTS.c.stream, _OUTPUTS.c.chunk).where(_OUTPUTS.c.command_seq == command.seq)
    rows = tx.execute(chunks.order_by(_OUTPUTS.c.seq)).all()
    out, err = (
        told(reported, "".join(row.chunk for row in rows if row.stream == stream), command.reason)
        for stream, reported in (("stdout", stdout), ("stderr", stderr))
    )
    if (out, err) == (stdout, stderr):
        return command
    printed = (out.text, err.text, out.size_bytes, err.size_bytes, out.truncated or err.truncated)
    values = {f"new_{name}": value for name, value in zip(_PRINTED, printed, strict=True)}
    return Command(*tx.execute(_PRINT, values | {"wanted_seq": command.seq}).one())


def heartbeat(tx: Connection, id: str, actor: Actor, now: Instant) -> Lease:
    """The extended lease of a running command. Raises NotFound, Conflict."""
    wanted = {"wanted_id": id, "bound_to": actor.hostname, "now": now}
    row = tx.execute(_EXTEND_LEASE, wanted).first()
    if row is None:
        command = get(tx, id, actor)
        raise Conflict(f"command {id} takes no heartbeat: {refusal(Act.HEARTBEAT, command)}")
    return Lease(row.lease_until, row.cancel_requested, row.signed_cancel)


def append_output(tx: Connection, id: str, chunk: Chunk, actor: Actor, now: Instant) -> tuple[Lease, bool]:
    """The extended lease, and whether the chunk was stored. A `seq` that is not above the newest is a repeat.

    Raises NotFound, Conflict.
    """
    wanted = {"wanted_id": id, "bound_to": actor.hostname, "now": now}
    row = tx.execute(_NEW_CHUNK, wanted | {"chunk_seq": chunk.seq, "weight": chunk_weight(chunk.text)}).first()
    if row is None:
        return heartbeat(tx, id, actor, now), False
    stored = {"command_seq": row.seq, "seq": chunk.seq, "stream": chunk.stream, "chunk": chunk.text}
    tx.execute(insert(_OUTPUTS), stored | {"end_byte": row.output_bytes})
    if row.output_bytes > OUTPUT_BYTES_KEPT:
        _leave_out(tx, row.seq, row.output_bytes - OUTPUT_BYTES_KEPT)
    return Lease(row.lease_until, row.cancel_requested, row.signed_cancel), True


def _leave_out(tx: Connection, command_seq: int, until_byte: int) -> None:
    """Remove the chunks up to a byte. In each stream one chunk stays, which says how many bytes are left out before it."""
    of_command = _OUTPUTS.c.command_seq == command_seq
    oldest = delete(_OUTPUTS).where(of_command, _OUTPUTS.c.end_byte <= until_byte).returning(*_OUTPUTS.c)
    rows = sorted(tx.execute(oldest), key=lambda row: row.seq)
    for stream in sorted({row.stream for row in rows}):
        removed = [row for row in rows if row.stream == stream]
        text = "".join(row.chunk for row in removed)
        left_out = outputs.full_size(text.encode())
        if text and not text.endswith("\n"):
            left_out += _leave_out_part_of_line(tx, and_(of_command, _OUTPUTS.c.stream == stream))
        if left_out:
            stays = {"command_seq": command_seq, "seq": removed[-1].seq, "end_byte": removed[-1].end_byte}
            tx.execute(insert(_OUTPUTS), stays | {"stream": stream, "chunk": outputs.note(left_out).decode()})


def _leave_out_part_of_line(tx: Connection, of_stream: ColumnElement[bool]) -> int:
    """Let a stream's first chunk begin with a whole line, if that is possible. Returns how many bytes that removed."""
    first = tx.execute(
        select(_OUTPUTS.c.seq, _OUTPUTS.c.chunk).where(of_stream).order_by(_OUTPUTS.c.seq).limit(1)
    ).first()
    if first is None:
        return 0
    chunk = first.chunk.encode()
    rest = outputs.without_first_part(chunk)
    if rest != chunk:
        tx.execute(update(_OUTPUTS).where(of_stream, _OUTPUTS.c.seq == first.seq).values(chunk=rest.decode()))
    return len(chunk) - len(rest)


def cancel(tx: Connection, id: str, actor: Actor, now: Instant, signer: CommandSigner) -> tuple[Command, bool]:
    """The command, and whether this call changed it. A running one is only asked to stop. Raises NotFound, Conflict."""
    wanted = {"wanted_id": id, "bound_to": actor.hostname, "now": now}
    for standing, statement in _CANCEL.items():
        for command in _moved(tx, (standing, Act.CANCEL), statement, wanted, actor):
            if standing is Standing.RUNNING:
                _sign_cancel(tx, command, now, signer)
            access.record(tx, actor, Recorded("command-cancelled", id, command.hostname), now)
            return command, True
    command = get(tx, id, actor)
    if not command.cancel_requested or command.standing is not Standing.RUNNING:
        raise Conflict(f"command {id} cannot be cancelled: {refusal(Act.CANCEL, command)}")
    return command, False


def cancel_pending_of(tx: Connection, hostname: str, note: str, actor: Actor, now: Instant) -> list[Command]:
    """Cancel the pending commands of a host and return them. `note` is recorded with each."""
    _take_turns(tx, "host", hostname)
    transition = Standing.PENDING, Act.CANCEL
    cancelled = _moved(tx, transition, _CANCEL_PENDING_OF_HOST, {"host": hostname, "now": now}, actor, note=note)
    for command in cancelled:
        access.record(tx, actor, Recorded("command-cancelled", command.id, f"{hostname}: {note}"), now)
    return cancelled


def _sign_cancel(tx: Connection, command: Command, now: Instant, signer: CommandSigner) -> None:
    signed = signer.cancel(signer.recipient(tx, command.hostname), command.id, now)
    tx.execute(update(_TABLE).where(_C.seq == command.seq).values(signed_cancel=signed))


def dispatch(tx: Connection) -> Dispatch:
    """Whether commands are handed out."""
    noted = notes.read(tx, notes.DISPATCH)
    return Dispatch() if noted is None else Dispatch(**json.loads(noted))


def stop_dispatch(tx: Connection, reason: str | None, actor: Actor, now: Instant) -> Dispatch:
    """Hand out and take no more commands from now on. If it is stopped already, the first stop and its reason stay."""
    former = dispatch(tx)
    if former.stopped:
        return former
    state = Dispatch(True, reason, now, actor.recorded_as)
    notes.write(tx, notes.DISPATCH, json.dumps(asdict(state)))
    access.record(tx, actor, Recorded(STOPPED, None, reason), now)
    return state


def resume_dispatch(tx: Connection, actor: Actor, now: Instant) -> Dispatch:
    """Take and hand out commands again."""
    if dispatch(tx).stopped:
        notes.forget(tx, notes.DISPATCH)
        access.record(tx, actor, Recorded(RESUMED), now)
    return Dispatch()


def stop_again(tx: Connection, subjects_by_what: Mapping[str, set[str]], now: Instant) -> dict[str, int]:
    """After a restore: stop dispatch, if it was stopped before. Nothing resumes it but an admin. Returns how many stops.

    The event that happened last stands first in the mapping.
    """
    changes = [what for what in subjects_by_what if what in CHANGES_DISPATCH]
    must_stop = changes[:1] == [STOPPED] and not dispatch(tx).stopped
    if must_stop:
        stop_dispatch(tx, "it was stopped before an older database was restored", job("restore"), now)
    return {"stops of all commands repeated": int(must_stop)}


def end_all(tx: Connection, actor: Actor, now: Instant, signer: CommandSigner, most: int) -> list[Command]:
    """While dispatch is stopped: ask running commands to stop and cancel pending ones, at most `most` of each.

    Returns them. The row of the audit is that of the stop.
    """
    if not dispatch(tx).stopped:
        return []
    ended: list[Command] = []
    for standing, statement in _END_ALL.items():
        moved = _moved(
            tx, (standing, Act.CANCEL), statement, {"now": now, "most": most}, actor, note="dispatch is stopped"
        )
        for command in moved if standing is Standing.RUNNING else ():
            _sign_cancel(tx, command, now, signer)
        ended += moved
    return ended


def reap(tx: Connection, actor: Actor, now: Instant, most: int) -> tuple[list[Command], dict[str, str | None]]:
    """Mark commands lost whose lease is over, and expired if nobody fetched them in time; at most `most` of each.

    Returns all of them, a lost one with what was streamed of its output; and the hosts whose lost commands were claimed
    by an agent without a name, with the address of that agent.
    """
    reaped: list[Command] = []
    for transition, statement in _REAP.items():
        reaped += _moved(tx, transition, statement, {"now": now, "most": most}, actor)
    peers_by_hostname = _note_unnamed(tx, [command for command in reaped if command.reason == LOST])
    complete = [_with_streamed(tx, one, NOTHING_TOLD, NOTHING_TOLD) if one.output_bytes else one for one in reaped]
    return complete, peers_by_hostname


def _note_unnamed(tx: Connection, lost: Sequence[Command]) -> dict[str, str | None]:
    """Record with each of these commands who claimed it, if that was an agent without a name that never reported.

    Returns the hosts of such commands, with the address of that agent.
    """
    peers_by_hostname: dict[str, str | None] = {}
    claims = (
        select(_EVENTS.c.command_seq, _EVENTS.c.peer)
        .join(_TABLE, _C.seq == _EVENTS.c.command_seq)
        .where(_C.start_reported_at.is_(None), _EVENTS.c.name == "claimed", _EVENTS.c.note == UNNAMED)
    )
    for command in lost:
        claim = tx.execute(claims.where(_C.seq == command.seq)).first()
        if claim is not None:
            this = and_(_EVENTS.c.command_seq == command.seq, _EVENTS.c.version == command.version)
            tx.execute(update(_EVENTS).where(this).values(note=lost_to_unnamed(claim.peer)))
            peers_by_hostname[command.hostname] = claim.peer
    return peers_by_hostname


def note_up(tx: Connection, now: Instant) -> Instant:
    """Note that EGO is up, and move all running leases by the time that it was down. Returns that time, mostly 0."""
    stamped_at = notes.read(tx, notes.STAMPED_AT)
    moved_by = gap(None if stamped_at is None else int(stamped_at), now)
    if moved_by:
        running = update(_TABLE).where(_STANDS[Standing.RUNNING])
        tx.execute(running.values(lease_until=_C.lease_until + moved_by))
    notes.write(tx, notes.STAMPED_AT, str(now))
    return moved_by


def get(tx: Connection, id: str, actor: Actor) -> Command:
    """A command. Raises NotFound, also for another host's agent."""
    row = tx.execute(_GET, {"wanted_id": id, "bound_to": actor.hostname}).first()
    if row is None:
        raise NotFound(f"there is no command {id}")
    return Command(*row)


def page(tx: Connection, filters: dict[str, str], offset: int, limit: int, actor: Actor) -> tuple[list[Command], int]:
    """One page of the commands that the actor may see, newest first, and how many there are.

    `filters`: hostname, status, search.
    """
    conditions = [_C[name] == value for name, value in filters.items() if name != "search"]
    if actor.hostname is not None:
        conditions.append(_C.hostname == actor.hostname)
    if filters.get("search"):
        conditions.append(_C.command_folded.contains(filters["search"].casefold(), autoescape=True))
    total = tx.execute(select(func.count()).select_from(_TABLE).where(*conditions)).scalar_one()
    newest_first = select(*_COMMAND).where(*conditions).order_by(_C.seq.desc()).offset(offset).limit(limit)
    return [Command(*row) for row in tx.execute(newest_first)], total


def events_of(tx: Connection, id: str, actor: Actor) -> list[Event]:
    """Every transition of a command, oldest first. Raises NotFound."""
    command = get(tx, id, actor)
    wanted = select(*(_EVENTS.c[name] for name in _EVENT)).where(_EVENTS.c.command_seq == command.seq)
    return [Event(*row) for row in tx.execute(wanted.order_by(_EVENTS.c.version))]


def changed_since(tx: Connection, since: Instant) -> list[Command]:
    """The commands with a transition since then, oldest first."""
    changed = select(_EVENTS.c.command_seq).where(_EVENTS.c.at >= since)
    wanted = select(*_COMMAND).where(_C.seq.in_(changed)).order_by(_C.updated_at, _C.seq)
    return [Command(*row) for row in tx.execute(wanted)]


def output_after(tx: Connection, id: str, after_seq: int, actor: Actor) -> tuple[Command, list[Chunk]]:
    """A command and the stored chunks of its output after `after_seq`. Raises NotFound."""
    command = get(tx, id, actor)
    columns = _OUTPUTS.c.seq, _OUTPUTS.c.stream, _OUTPUTS.c.chunk
    wanted = select(*columns).where(_OUTPUTS.c.command_seq == command.seq, _OUTPUTS.c.seq > after_seq)
    return command, [Chunk(*row) for row in tx.execute(wanted.order_by(_OUTPUTS.c.seq))]


def hosts_with_pending(tx: Connection, now: Instant) -> list[str]:
    """The names of the hosts that have a pending command."""
    wanted = select(_C.hostname).distinct().where(_C.status == PENDING, _C.expires_at > now)
    return list(tx.execute(wanted).scalars())


def open_counts(tx: Connection) -> dict[str, int]:
    """How many commands are pending and running."""
    counted = select(_C.status, func.count()).where(_IS_OPEN).group_by(_C.status)
    return {PENDING: 0, RUNNING: 0} | {row[0]: row[1] for row in tx.execute(counted)}


_ENDED = ("reported", "cancelled", "expired", "lost")  # not `reported-late`: a lost command has ended already


def counts_between(tx: Connection, start: Instant, end: Instant, buckets: int) -> list[tuple[int, str, str, int]]:
    """(bucket, transition, status after it, how many) of the creations and ends of commands in [start, end)."""
    bucket = ((_EVENTS.c.at - start) * buckets // (end - start)).label("bucket")
    wanted = (
        select(bucket, _EVENTS.c.name, _EVENTS.c.status, func.count())
        .where(_EVENTS.c.at >= start, _EVENTS.c.at < end, _EVENTS.c.name.in_((CREATED.name, *_ENDED)))
        .group_by(bucket, _EVENTS.c.name, _EVENTS.c.status)
    )
    return [tuple(row) for row in tx.execute(wanted)]  # type: ignore[misc]


def prune(tx: Connection, now: Instant, most: int) -> int:
    """Remove those of the `most` oldest commands that ended at least 30 days ago. Returns how many."""
    oldest = select(_C.seq).order_by(_C.seq).limit(most).subquery()
    over = and_(not_(_IS_OPEN), _C.completed_at <= now - KEPT_FOR)
    seqs = list(tx.execute(select(_C.seq).where(_C.seq.in_(select(oldest.c.seq)), over)).scalars())
    for gone in (
        delete(_OUTPUTS).where(_OUTPUTS.c.command_seq.in_(seqs)),
        delete(_EVENTS).where(_EVENTS.c.command_seq.in_(seqs)),
    ):
        tx.execute(gone)
    tx.execute(delete(_TABLE).where(_C.seq.in_(seqs)))
    return len(seqs)


def _moved(
    tx: Connection,
    transition: tuple[Standing, Act],
    statement: Update,
    values: dict[str, Any],
    actor: Actor,
    *,
    note: str | None = None,
) -> list[Command]:
    """Make one transition and record it. Returns the commands that made it, oldest first."""
    commands = sorted((Command(*row) for row in tx.execute(statement, values)), key=lambda command: command.seq)
    _record(tx, commands, MOVES[transition].name, actor, note)
    return commands


def _record(tx: Connection, commands: Sequence[Command], name: str, actor: Actor, note: str | None = None) -> None:
    rows = [
        (c.seq, c.version, c.updated_at, name, c.status, c.reason, actor.recorded_as, actor.peer, note)
        for c in commands
    ]
    insert_rows(tx, _EVENTS, ("command_seq", *_EVENT), rows, KEEP_FIRST)


_TURNS = {"host": 1, "key": 2}  # always locked in this order, so that there is no deadlock


def _take_turns(tx: Connection, kind: str, name: str) -> None:
    """On PostgreSQL, wait until no other transaction creates or claims for this name. SQLite writes one at a time."""
    if tx.dialect.name == "postgresql":
        wanted = {"kind": _TURNS[kind], "name": name}
        tx.execute(text("SELECT pg_advisory_xact_lock(:kind, hashtext(:name))"), wanted)
