"""The journal of commands: the agent writes each command to it before it runs, so that no command runs twice.

It is one file of lines with checksums. The first line is the agent's instance id. An agent that has lost its journal gets
a new id, and EGO does not hand out again to it what the old instance may have begun.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirror_stage.core.instants import Instant
from mirror_stage.reflector.lines import to_line, to_records
from mirror_stage.reflector.spool import wall_clock

SETTLED_KEPT = 10_000  # ids of finished commands that are remembered: EGO's database may be restored from a backup
COMPACT_FROM_BYTES = 8 * 2**20

_sync = getattr(os, "fdatasync", os.fsync)  # takes half the time and saves the file's length too; not on all systems

logger = logging.getLogger(__name__)

Result = dict[str, Any]


class JournalFull(Exception):
    """The journal cannot be written to the disk."""


@dataclass
class Entries:
    """The content of a journal: commands that have begun, results that EGO has not acknowledged, and settled commands.

    `seen` is the highest number of a signed command, by the EGO that has signed it.
    """

    instance: str
    seen: dict[str, int] = field(default_factory=dict)
    begun: dict[str, None] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    ended_at: dict[str, Instant] = field(default_factory=dict)  # when these commands ended, by this machine's clock
    settled: dict[str, None] = field(default_factory=dict)

    def apply(self, record: dict[str, Any]) -> None:
        """Add one record of the journal."""
        if "seen" in record:
            self.seen = record["seen"]
        if "event" not in record:
            return
        id = record["id"]
        if record["event"] == "begun":
            self.begun[id] = None
        elif record["event"] == "ended":
            self.begun.pop(id, None)
            self.results[id] = record["result"]
            self.ended_at[id] = record.get("at", wall_clock())  # older journals have no `at`
        else:
            self.begun.pop(id, None)
            self.results.pop(id, None)
            self.ended_at.pop(id, None)
            self.settled[id] = None
            while len(self.settled) > SETTLED_KEPT:
                del self.settled[next(iter(self.settled))]

    def records(self) -> list[dict[str, Any]]:
        """The shortest list of records with the same content."""
        return [
            {"instance": self.instance, "seen": self.seen},
            *({"event": "settled", "id": id} for id in self.settled),
            *(
                {"event": "ended", "id": id, "at": self.ended_at[id], "result": result}
                for id, result in self.results.items()
            ),
            *({"event": "begun", "id": id} for id in self.begun),
        ]


class Journal:
    """The journal file. Thread-safe. Opening it rewrites it, which removes a line that a crash has torn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries = _read(path)
        self._write_anew()

    @property
    def instance(self) -> str:
        """The id of this agent instance (a UUID). EGO remembers by it which instance was handed a command."""
        return self._entries.instance

    def knows(self, id: str) -> bool:
        """Whether this command was begun, or reported without running."""
        with self._lock:
            entries = self._entries
            return id in entries.begun or id in entries.results or id in entries.settled

    def highest(self, ego: str) -> int:
        """The highest number of a command that this EGO has signed and this agent has taken; 0 if there is none."""
        with self._lock:
            return self._entries.seen.get(ego, 0)

    def begin(self, ids: Iterable[str], seen: Mapping[str, int] | None = None) -> None:
        """Note that these commands are about to run; on the disk when this returns. Raises JournalFull.

        `seen` is the highest number of a signed command up to now, by its EGO.
        """
        self._append(
            [
                *([{"seen": {**self._entries.seen, **seen}}] if seen else []),
                *({"event": "begun", "id": id} for id in ids),
            ]
        )

    def end(self, id: str, result: Result) -> None:
        """Note how a command ended, or that it never ran; on the disk when this returns. Raises JournalFull."""
        self._append([{"event": "ended", "id": id, "at": wall_clock(), "result": result}])

    def settle(self, id: str) -> None:
        """Note that EGO has the result. If that is lost in a power cut, the result is sent once more."""
        self._append([{"event": "settled", "id": id}], durable=False)

    def unfinished(self) -> list[str]:
        """The commands that were begun and have not ended, oldest first."""
        with self._lock:
            return list(self._entries.begun)

    def undelivered(self) -> dict[str, Result]:
        """The results that EGO has not acknowledged, oldest first."""
        with self._lock:
            return dict(self._entries.results)

    def ended_at(self, id: str) -> Instant:
        """When the command ended whose result is undelivered."""
        with self._lock:
            return self._entries.ended_at[id]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            os.close(self._file)

    def _append(self, records: list[dict[str, Any]], *, durable: bool = True) -> None:
        with self._lock:
            lines = b"".join(_line(record) for record in records)
            try:
                written = os.write(self._file, lines)
                if written != len(lines):
                    raise OSError(f"only {written} of {len(lines)} bytes found room")
                if durable:
                    _sync(self._file)
            except OSError as error:
                os.ftruncate(self._file, self._size)  # remove half a line, so that the next one begins a new line
                raise JournalFull(f"cannot write to {self._path}: {error.strerror or error}") from error
            self._size += len(lines)
            for record in records:
                self._entries.apply(record)
            if self._size > self._compact_from:
                os.close(self._file)
                self._write_anew()

    def _write_anew(self) -> None:
        """Replace the file by the shortest one with the same content. After a crash either the old or the new file is complete."""
        beside = self._path.with_suffix(".new")
        content = b"".join(_line(record) for record in self._entries.records())
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        _sync_folder(self._path.parent)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._size = len(content)
        self._compact_from = len(content) + COMPACT_FROM_BYTES


def _line(record: dict[str, Any]) -> bytes:
    return to_line(json.dumps(record).encode())


def _read(path: Path) -> Entries:
    try:
        records, torn = to_records(path.read_bytes())
    except FileNotFoundError:
        records, torn = [], 0
    lines = [json.loads(record) for record in records]
    if torn:
        logger.warning("%d lines of %s were torn and are left out", torn, path)
    instance = lines[0].get("instance") if lines else None
    if instance is None:
        instance = str(uuid.uuid4())
    entries = Entries(instance)
    for line in lines:
        entries.apply(line)
    return entries


def _sync_folder(path: Path) -> None:
    """Make a renamed file survive a power cut. Does nothing on systems where a folder cannot be opened (Windows)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
