"""The journal survives a crash: which commands were begun, how they ended, and which results EGO has."""

from __future__ import annotations

import resource
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mirror_stage.reflector import journal as module
from mirror_stage.reflector.journal import Journal, JournalFull

RESULT = {"status": "succeeded", "exitCode": 0, "stdout": "up\n"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_commands_begun_ended_and_settled_are_known_after_a_restart(path: Path) -> None:
    first = Journal(path)
    first.begin(["a", "b", "c"])
    first.end("b", RESULT)
    first.end("c", RESULT)
    first.settle("c")
    again = Journal(path)
    assert again.unfinished() == ["a"]
    assert again.undelivered() == {"b": RESULT}
    assert [again.knows(id) for id in "abcd"] == [True, True, True, False]


def test_the_instance_id_is_kept_in_the_journal_and_is_new_without_it(path: Path) -> None:
    first = Journal(path)
    assert Journal(path).instance == first.instance
    path.unlink()
    assert Journal(path).instance != first.instance, "an agent without its journal must not get its old commands again"


def test_a_torn_last_line_is_as_if_it_had_never_been_written(path: Path) -> None:
    first = Journal(path)
    first.begin(["a"])
    first.begin(["b"])
    path.write_bytes(path.read_bytes()[:-5])
    again = Journal(path)
    assert again.unfinished() == ["a"]
    again.begin(["c"])
    assert Journal(path).unfinished() == ["a", "c"]


def test_a_command_cannot_begin_on_a_full_disk_and_the_journal_stays_whole(path: Path) -> None:
    journal = Journal(path)
    journal.begin(["a"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(JournalFull, match="cannot write"):
            journal.begin(["b"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not journal.knows("b")
    journal.begin(["c"])
    assert Journal(path).unfinished() == ["a", "c"]


def test_the_journal_stays_small_because_it_forgets_old_settled_commands(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_FROM_BYTES", 8_000)
    monkeypatch.setattr(module, "SETTLED_KEPT", 20)
    journal = Journal(path)
    largest = 0
    for number in range(100):
        journal.begin([str(number)])
        journal.end(str(number), RESULT)
        journal.settle(str(number))
        largest = max(largest, path.stat().st_size)
    assert largest < 13_000
    assert [Journal(path).knows(str(number)) for number in (0, 79, 80, 99)] == [False, False, True, True]


class JournalMachine(RuleBasedStateMachine):
    """Commands begin, end and are settled, and the agent crashes, in any order, also in the middle of a line."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = self.opened()
        self.instance = self.journal.instance
        self.begun: list[str] = []
        self.results: dict[str, dict[str, str]] = {}
        self.settled: set[str] = set()
        self.next = 0

    def opened(self) -> Journal:
        return Journal(self.folder / "journal")

    @rule(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        ids = [str(self.next + n) for n in range(count)]
        self.next += count
        self.journal.begin(ids)
        self.begun += ids

    @rule(text=st.text(max_size=20), which=st.integers(0, 5))
    def end(self, text: str, which: int) -> None:
        if self.begun:
            id = self.begun.pop(which % len(self.begun))
            self.results[id] = {"stdout": text}
            self.journal.end(id, self.results[id])

    @rule()
    def reject(self) -> None:
        self.results[str(self.next)] = {"reason": "rejected"}
        self.journal.end(str(self.next), self.results[str(self.next)])
        self.next += 1

    @rule()
    def settle(self) -> None:
        if self.results:
            id = next(iter(self.results))
            del self.results[id]
            self.journal.settle(id)
            self.settled.add(id)

    @rule(torn=st.binary(max_size=30).map(lambda part: part.replace(b"\n", b"")))
    def crash(self, torn: bytes) -> None:
        with (self.folder / "journal").open("ab") as file:
            file.write(torn)
        self.journal = self.opened()

    @invariant()
    def it_says_what_happened(self) -> None:
        assert self.journal.instance == self.instance
        assert self.journal.unfinished() == self.begun
        assert self.journal.undelivered() == self.results
        assert all(self.journal.knows(id) for id in (*self.begun, *self.results, *self.settled))
        assert not self.journal.knows(str(self.next))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


JournalMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
test_it_says_after_any_crash_what_it_said_before = JournalMachine.TestCase
