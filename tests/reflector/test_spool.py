"""The spool keeps samples on disk: in order, within its limits, counted when dropped, and complete after a crash."""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mirror_stage.core.instants import HOUR, to_text
from mirror_stage.reflector.lines import to_line, to_records
from mirror_stage.reflector.spool import Spool, wall_clock

MIB = 2**20
RECORDS = st.lists(st.binary(max_size=60).map(lambda text: text.replace(b"\n", b" ")), max_size=8)


def sample(number: int, at: int | None = None, padding: int = 0) -> bytes:
    text = to_text(wall_clock() if at is None else at)
    return json.dumps({"timestamp": text, "number": number, "padding": "x" * padding}).encode()


def number_of(encoded: bytes) -> int:
    return int(json.loads(encoded)["number"])


def drained(spool: Spool) -> list[int]:
    """Take all samples out of the spool; their numbers in order."""
    numbers: list[int] = []
    while (backlog := spool.oldest()) is not None:
        numbers += map(number_of, backlog.samples)
        spool.remove(backlog.numbers)
    return numbers


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "spool"


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.data())
def test_lines_are_read_back_whole_wherever_the_file_was_cut(records: list[bytes], data: st.DataObject) -> None:
    content = b"".join(map(to_line, records))
    cut = data.draw(st.integers(0, len(content)))
    found, torn = to_records(content[:cut])
    assert found == records[: len(found)]
    assert torn <= 1
    ends = [len(b"".join(map(to_line, records[: n + 1]))) for n in range(len(records))]
    assert len(found) in {sum(end <= cut for end in ends), sum(end - 1 <= cut for end in ends)}


@settings(max_examples=60, deadline=None)
@given(RECORDS.filter(len), st.data())
def test_a_changed_line_is_noticed_and_its_neighbours_are_not_lost(records: list[bytes], data: st.DataObject) -> None:
    lines = [to_line(record) for record in records]
    which = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[which]) - 2))
    changed = bytearray(lines[which])
    changed[place] ^= 0x01
    if changed[place] == ord("\n"):
        changed[place] ^= 0x03
    lines[which] = bytes(changed)
    assert to_records(b"".join(lines)) == (records[:which] + records[which + 1 :], 1)


def test_samples_come_back_in_order_after_a_restart(folder: Path) -> None:
    first = Spool(folder, most_bytes=MIB, most_hours=24)
    for number in range(450):
        first.append(sample(number))
    again = Spool(folder, most_bytes=MIB, most_hours=24)
    again.append(sample(450))
    assert drained(again) == list(range(451))
    assert again.is_empty
    assert list(folder.iterdir()) == []


def test_a_batch_stays_until_it_is_removed(folder: Path) -> None:
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    spool.append(sample(1))
    backlog = spool.oldest()
    spool.append(sample(2))  # goes to another segment because the first one is being sent
    assert spool.oldest() == backlog
    assert drained(Spool(folder, most_bytes=MIB, most_hours=24)) == [1, 2]


def test_the_samples_of_many_short_outages_are_one_backlog(folder: Path) -> None:
    for number in range(5):
        Spool(folder, most_bytes=MIB, most_hours=24).append(sample(number))
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    backlog = spool.oldest()
    assert backlog is not None
    assert list(map(number_of, backlog.samples)) == [0, 1, 2, 3, 4]
    spool.remove(backlog.numbers)
    assert spool.is_empty


def test_the_oldest_are_dropped_and_counted_when_there_are_too_many(folder: Path) -> None:
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    for number in range(300):
        spool.append(sample(number, padding=10_000))
        assert spool.size_bytes <= MIB
    left = drained(spool)
    assert left == list(range(300 - len(left), 300))
    assert spool.dropped == 300 - len(left)
    assert len(left) > 70  # the spool drops whole segments: a quarter at most


def test_what_is_too_old_is_dropped_and_counted(folder: Path) -> None:
    now = wall_clock()
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    for number, hours in enumerate((30, 25, 23, 1)):
        spool.append(sample(number, at=now - hours * HOUR))
    assert drained(spool) == [2, 3]
    assert spool.dropped == 2


def test_a_clock_that_leaps_ahead_for_a_moment_drops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample with a clock that is 40 days ahead would else cost all that EGO has missed until then."""
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    for number in range(3):
        spool.append(sample(number))
    right = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: right() + 40 * 86_400)
        spool.append(sample(3))
        assert spool.oldest() is not None
    spool.append(sample(4))
    assert (drained(spool), spool.dropped) == ([0, 1, 2, 3, 4], 0)


def test_segments_that_are_too_old_are_dropped_when_a_sample_comes(folder: Path) -> None:
    Spool(folder, most_bytes=MIB, most_hours=24).append(sample(1))
    later = Spool(folder, most_bytes=MIB, most_hours=24, now=lambda: wall_clock() + 25 * HOUR)
    later.append(sample(2, at=wall_clock() + 25 * HOUR))
    assert (drained(later), later.dropped) == ([2], 1)


def test_a_torn_line_costs_one_sample_and_is_counted_once(folder: Path) -> None:
    first = Spool(folder, most_bytes=MIB, most_hours=24)
    for number in range(3):
        first.append(sample(number))
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    spool.append(sample(3))
    for _ in range(3):
        backlog = spool.oldest()
    assert backlog is not None
    assert spool.dropped == 1
    assert drained(spool) == [0, 1, 3]


def test_a_full_disk_costs_only_the_samples_that_do_not_fit(folder: Path) -> None:
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    spool.append(sample(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size_bytes + 30, limits[1]))  # there is room for half a line
    try:
        spool.append(sample(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    spool.append(sample(3))
    assert drained(spool) == [1, 3]
    assert spool.dropped == 1
    assert list(folder.iterdir()) == []


def test_files_of_others_are_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    spool = Spool(folder, most_bytes=MIB, most_hours=24)
    spool.append(sample(1))
    assert drained(spool) == [1]
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


class SpoolMachine(RuleBasedStateMachine):
    """Append, send, fail to send and crash in any order: only the limit drops samples; none is doubled or reordered."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.next = 0
        self.waiting: list[int] = []
        self.dropped = 0
        self.spool = self.opened()

    def opened(self) -> Spool:
        return Spool(self.folder, most_bytes=32 * 1024, most_hours=24)

    @rule(count=st.integers(1, 40), padding=st.integers(0, 2000))
    def append(self, count: int, padding: int) -> None:
        for _ in range(count):
            self.spool.append(sample(self.next, padding=padding))
            self.waiting.append(self.next)
            self.next += 1
        gone = self.spool.dropped - self.dropped
        self.dropped, self.waiting = self.spool.dropped, self.waiting[gone:]

    @rule(is_taken=st.booleans())
    def send(self, is_taken: bool) -> None:
        backlog = self.spool.oldest()
        if backlog is None:
            assert self.waiting == []
            return
        numbers = list(map(number_of, backlog.samples))
        assert numbers == self.waiting[: len(numbers)]
        if is_taken:
            self.spool.remove(backlog.numbers)
            self.waiting = self.waiting[len(numbers) :]

    @rule()
    def crash(self) -> None:
        self.spool, self.dropped = self.opened(), 0

    @invariant()
    def it_is_bounded(self) -> None:
        assert self.spool.size_bytes <= 32 * 1024
        assert self.spool.size_bytes == sum(path.stat().st_size for path in self.folder.iterdir())

    def teardown(self) -> None:
        assert drained(self.opened()) == self.waiting
        shutil.rmtree(self.folder)


SpoolMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_nothing_is_lost_doubled_or_reordered = SpoolMachine.TestCase


def test_only_its_owner_can_read_it(folder: Path) -> None:
    before = os.umask(0)
    try:
        Spool(folder, most_bytes=MIB, most_hours=24)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o077 == 0
