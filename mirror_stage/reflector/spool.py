"""The spool: samples that wait on disk while EGO is away. Its size and age are limited; the oldest samples are dropped first.

A segment is one file. A batch is one segment, or several small ones. The agent removes the segments once EGO has taken the
whole batch, so it needs no record of a position. After a crash it sends them again, and EGO recognises the repeat.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mirror_stage.core.instants import HOUR, Instant, from_text
from mirror_stage.reflector.lines import to_line, to_records

BATCH_BYTES = 256 * 1024  # some eighty samples
BATCH_SAMPLES = 200
SEGMENTS_LEAST = 4  # whole segments are dropped to keep the size limit, so a small limit needs small segments

_NAME = re.compile(r"(\d{12})\.samples\Z")

_STARTED = time.time(), time.monotonic()

logger = logging.getLogger(__name__)


def wall_clock() -> Instant:
    """Now by this machine's wall clock, which also stamps its samples."""
    return int(time.time() * 1000)


def age_clock() -> Instant:
    """Now, to tell how old something is: the wall clock, but no further than time has passed since the agent's start.

    So a clock that leaps ahead for a moment makes nothing old.
    """
    wall, elapsed = _STARTED
    return int(min(time.time(), wall + time.monotonic() - elapsed) * 1000)


@dataclass(frozen=True)
class Backlog:
    """The oldest waiting samples, each as JSON, and the numbers of their segments."""

    numbers: tuple[int, ...]
    samples: list[bytes]


class Spool:
    """A folder of segments, numbered in the order of writing. Not thread-safe.

    `dropped` counts the samples dropped since the start because they were too many, too old, or unreadable.
    """

    def __init__(self, folder: Path, *, most_bytes: int, most_hours: float, now: Callable[[], Instant] = age_clock):
        self._folder, self._most_bytes, self._now = folder, most_bytes, now
        self._keep_for = int(most_hours * HOUR)
        self._segment_bytes = min(BATCH_BYTES, most_bytes // SEGMENTS_LEAST)
        self.dropped = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._size_by_number = {
            int(found[1]): path.stat().st_size
            for path in sorted(folder.iterdir())
            if (found := _NAME.match(path.name)) is not None
        }
        self._next_number = max(self._size_by_number, default=0) + 1
        self._open: int | None = None  # the segment that is being written, if any; never one of an earlier run
        self._open_samples = 0
        self._oldest: Backlog | None = None  # kept, so that torn lines in it are counted only once

    @property
    def is_empty(self) -> bool:
        """Whether no sample waits."""
        return not self._size_by_number

    @property
    def size_bytes(self) -> int:
        """The size of all segments."""
        return sum(self._size_by_number.values())

    def append(self, sample: bytes) -> None:
        """Write one sample after the others. If it cannot be written, the sample is dropped and counted."""
        line = to_line(sample)
        number = self._segment_for(len(line))
        before = self._size_by_number.get(number, 0)
        try:
            with self._path(number).open("ab", buffering=0) as file:
                written = file.write(line)
                if written != len(line):
                    file.truncate(before)
                    raise OSError(f"only {written} of {len(line)} bytes found room")
        except OSError as error:
            self._open = None  # its last line may be torn, so begin a new segment
            self._drop(1, f"cannot write to {self._folder}: {error.strerror or error}")
            return
        self._size_by_number[number] = before + len(line)
        self._open_samples += 1
        self._keep_bounds()

    def oldest(self) -> Backlog | None:
        """The samples to send next, oldest first; None if none waits. Drops samples that are too old by now.

        Small segments are sent together: after several small late batches EGO could believe that the clock was set back.
        """
        if self._oldest is None:
            numbers: list[int] = []
            samples: list[bytes] = []
            size = 0
            for number in sorted(self._size_by_number):
                size += self._size_by_number[number]
                if samples and (size > BATCH_BYTES or len(samples) >= BATCH_SAMPLES):
                    break
                samples += self._young_of(number)
                numbers.append(number)
            if samples:
                self._oldest = Backlog(tuple(numbers), samples)
            else:
                self.remove(numbers)
        return self._oldest

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove these segments, whose samples EGO has taken."""
        for number in numbers:
            self._path(number).unlink(missing_ok=True)
            self._size_by_number.pop(number, None)
            if self._oldest is not None and number in self._oldest.numbers:
                self._oldest = None

    def sync(self) -> None:
        """Write all segments through to the disk, so that they survive a power cut."""
        for number in self._size_by_number:
            descriptor = os.open(self._path(number), os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _segment_for(self, size: int) -> int:
        """The number of the segment to write a sample of `size` bytes to; begins a new one if needed."""
        if self._open is not None and (
            self._size_by_number.get(self._open, 0) + size > self._segment_bytes or self._open_samples >= BATCH_SAMPLES
        ):
            self._open = None
        if self._open is None:
            self._open, self._open_samples = self._next_number, 0
            self._next_number += 1
        return self._open

    def _keep_bounds(self) -> None:
        while self.size_bytes > self._most_bytes and len(self._size_by_number) > 1:
            self._drop_segment(min(self._size_by_number), f"more than {self._most_bytes // 2**20} MiB wait")
        while not self.is_empty:
            oldest = min(self._size_by_number)
            written_at = int(self._path(oldest).stat().st_mtime * 1000)
            if oldest == self._open or written_at > self._now() - self._keep_for:
                return
            self._drop_segment(oldest, "they are too old")

    def _drop_segment(self, number: int, reason: str) -> None:
        records, torn = self._records_of(number)
        self._drop(len(records) + torn, reason)
        self.remove([number])

    def _young_of(self, number: int) -> list[bytes]:
        """The samples of a segment that are not too old. Closes the segment if it is being written."""
        if number == self._open:
            self._open = None
        records, torn = self._records_of(number)
        young = [sample for sample in records if not self._is_too_old(sample)]
        if torn:
            self._drop(torn, "they were written only in part")
        if len(records) > len(young):
            self._drop(len(records) - len(young), "they are too old")
        return young

    def _records_of(self, number: int) -> tuple[list[bytes], int]:
        try:
            return to_records(self._path(number).read_bytes())
        except OSError as error:
            logger.warning("cannot read %s, so it is given up: %s", self._path(number), error.strerror or error)
            return [], 0

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        logger.warning("%d waiting samples dropped (%d since the start): %s", count, self.dropped, reason)

    def _is_too_old(self, sample: bytes) -> bool:
        return from_text(json.loads(sample)["timestamp"]) < self._now() - self._keep_for

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.samples"
