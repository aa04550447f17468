"""What was revoked, and whether commands are stopped: in a file outside the database, so that a restored backup undoes neither.

The file has one line of JSON for each row of the audit that revokes something, and for each stop of all commands and its end: whose
audit, the row's number and hash, what, and whom. EGO adds the lines within a second. At a start it looks for the newest line in the audit of the database:

- The audit has that row: the database is the one that EGO used last.
- It does not: somebody has put an older database in its place. EGO then repeats the revocations that this audit lacks, and
  ends all sessions and links, because nobody knows which of them had ended.

After a restore the audit uses numbers again that are in the file already. So EGO also compares the hash.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path

from mirror_stage.access import store
from mirror_stage.access.chain import Event, Row
from mirror_stage.access.domain import job
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Problem, Unavailable
from mirror_stage.storage import files, notes
from mirror_stage.storage.db import Lane, Tx

Again = Callable[[Tx, Mapping[str, set[str]], Instant], dict[str, int]]

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 500
READ_MAX = 2**26  # some 400,000 lines
COMPACTED_FROM = 1_000  # lines


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file. `twin` is the id of the twin in whose database the audit is: a backup has the same."""

    twin: str
    seq: int
    hash: str
    what: str
    subject: str | None


class Revocations:
    """The file of what was revoked, and what it says about the database. `path` is None for a database in memory.

    Each of `others` does again what another domain had done, like `store.revoke_again`, with the events of the audit that it knows.
    """

    def __init__(self, storage: Lane, clock: Clock, path: Path | None, *others: tuple[Again, frozenset[str]]):
        self._storage, self._clock, self._path = storage, clock, path
        self._again = (store.revoke_again, *(again for again, _ in others))
        self._revokes = store.REVOKES.union(*(events for _, events in others))
        self._twin: str | None = None
        self._noted_until = 0
        self._trouble: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether the file belongs on this machine. A command may run on another machine than EGO, with the same PostgreSQL."""
        return self._path is not None and (self._path.exists() or not self._storage.is_postgresql)

    def enforce(self, *, is_restored: bool = False) -> str | None:
        """Revoke again what an older database has brought back, then add what the file lacks. Call it before anybody may ask.

        `is_restored` says that the database is a backup, also if the file does not show it. Returns a text that says what
        was done, None if nothing was. Raises Unavailable if the file cannot be read or written.
        """
        done = None
        self._twin = self._storage.write(notes.twin_id)
        lines = [line for line in self._lines() if line.twin == self._twin]
        unknown = list(takewhile(lambda line: not self._has(line), reversed(lines)))
        if unknown or is_restored:
            done = self._storage.write(lambda tx: self._revoke_again(tx, unknown, lines))
            log.warning("the database is an older one than EGO used last: %s", done)
        is_known = {line.hash for line in lines}.__contains__
        self._noted_until = 0 if unknown or is_restored or not lines else lines[-1].seq
        self._add(is_known)
        return done

    def compact(self) -> None:
        """Keep the last line of each revocation, where the file has grown to twice that: agents renew their tokens each month.

        Only the process that owns the database may call it, and before `note`.
        """
        lines = self._lines()
        last = {(line.twin, line.what, line.subject): line for line in lines}
        if self._path is None or len(lines) < 2 * len(last) or len(lines) < COMPACTED_FROM:
            return
        kept = [line for line in lines if last[line.twin, line.what, line.subject] is line]
        with files.as_owner_of(self._path.parent):
            files.write_own(self._path, _text_of(kept))

    def note(self) -> None:
        """Add what was revoked since the last call. If the file cannot be written, log that once; the next call tries again."""
        try:
            self._add()
        except Problem as why:
            if self._trouble is None:
                log.error("what is revoked cannot be noted, so a restore could bring it back: %s", why.detail)
            self._trouble = why.detail
        else:
            self._trouble = None

    def _revoke_again(self, tx: Tx, unknown: Sequence[Line], lines: Sequence[Line]) -> str:
        """Repeat the revocations of the unknown lines, and record that in the audit. Returns a text that says what was done.

        `unknown` has the newest line first; what happened last stands first in the mapping, too.
        """
        subjects_by_what: dict[str, set[str]] = {}
        for line in unknown:
            subjects_by_what.setdefault(line.what, set()).add(line.subject or "")
        now = self._clock.now()
        counts = [item for again in self._again for item in again(tx, subjects_by_what, now).items()]
        done = ", ".join(f"{count} {what}" for what, count in counts)
        stood = f"row {lines[-1].seq}, {lines[-1].hash}" if lines else "an unknown row"
        store.record(tx, job("restore"), Event(store.RESTORED, None, f"{done}; the newer audit stood at {stood}"), now)
        return done

    def _has(self, line: Line) -> bool:
        return self._storage.read(lambda tx: store.audit_has(tx, line.seq, line.hash))

    def _add(self, is_known: Callable[[str], bool] = lambda _hash: False) -> None:
        """Append the rows of the audit after the last noted one that revoke something."""
        while rows := self._storage.read(lambda tx: store.audit_rows(tx, self._noted_until, ROWS_AT_ONCE)):
            self._append([row for row in rows if row.what in self._revokes and not is_known(row.hash)])
            self._noted_until = rows[-1].seq

    def _append(self, rows: Sequence[Row]) -> None:
        if self._path is None or self._twin is None or not rows:
            return
        lines = [Line(self._twin, row.seq, row.hash, row.what, row.subject) for row in rows]
        try:
            with files.as_owner_of(self._path.parent):
                files.append_own(self._path, _text_of(lines))
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _lines(self) -> list[Line]:
        """All lines, oldest first. One that a crash has cut off is left out."""
        if self._path is None:
            return []
        with files.as_owner_of(self._path.parent):
            content = files.read_own(self._path, READ_MAX) or b""
        lines, damaged = [], 0
        for text in filter(None, content.splitlines()):
            try:
                lines.append(Line(**json.loads(text)))
            except (ValueError, TypeError):
                damaged += 1
        if damaged:
            log.warning("%s: %d damaged lines are left out", self._path, damaged)
        return lines


def _text_of(lines: Sequence[Line]) -> bytes:
    return "".join(json.dumps(asdict(line)) + "\n" for line in lines).encode()
