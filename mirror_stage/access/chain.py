"""The audit as a chain: each row has a hash over its fields and the hash of the row before it. Pure.

Whoever changes, removes or inserts a row must change every later hash. The chain does not show that its newest rows are
missing, or that all of it was written anew: for that EGO signs where it stands each hour, and keeps that elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from mirror_stage.core.instants import Instant, to_text

BEGINNING = "0" * 64  # the previous hash of the first row


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is recorded: who did what to whom."""

    what: str
    subject: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the audit. `seq` rises by one from row to row."""

    seq: int
    at: Instant
    actor: str
    peer: str | None
    what: str
    subject: str | None
    detail: str | None
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stands: its newest row, or the newest one that was pruned."""

    seq: int = 0
    hash: str = BEGINNING


@dataclass(frozen=True, slots=True)
class SignedHead:
    """Where a chain stood at some time, as EGO has signed it."""

    seq: int
    hash: str
    at: Instant


def linked(head: Head, at: Instant, actor: str, peer: str | None, event: Event) -> Row:
    """The next row after `head`."""
    fields = (head.seq + 1, at, actor, peer, event.what, event.subject, event.detail, head.hash)
    return Row(*fields, _hash(fields))


def fault(head: Head, rows: Iterable[Row]) -> str | None:
    """What is wrong with the rows that should follow `head`, oldest first; None if the chain is whole."""
    for row in rows:
        if row.seq <= head.seq:
            return f"row {row.seq} comes before row {head.seq + 1}, which is the first"
        if row.seq != head.seq + 1:
            return f"row {head.seq + 1} is missing: row {row.seq} follows row {head.seq}"
        if row.previous != head.hash:
            return f"row {row.seq} does not follow row {head.seq}: one of them was replaced"
        fields = (row.seq, row.at, row.actor, row.peer, row.what, row.subject, row.detail, row.previous)
        if row.hash != _hash(fields):
            return f"row {row.seq} was changed"
        head = Head(row.seq, row.hash)
    return None


def fault_of_head(signed: SignedHead, stands: Head) -> str | None:
    """What is wrong if EGO has signed this head, and the chain has `stands` at that place; None if nothing is."""
    if signed.seq > stands.seq:
        why = f"the rows after {stands.seq} are missing, and EGO signed row {signed.seq}"
    elif signed.seq == stands.seq and signed.hash != stands.hash:
        why = f"row {signed.seq} is another one than EGO signed"
    else:
        return None
    return f"{why} at {to_text(signed.at)}: the chain was written anew, or an older backup was restored"


def _hash(fields: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode()).hexdigest()
