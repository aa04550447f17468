"""The writer alone: a bounded queue, groups in order, an answer for each sender, also when the commit fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import gevent
import pytest

from mirror_stage.core.problems import Problem, Unavailable
from mirror_stage.metrics.domain import Receipt, Sample
from mirror_stage.pipeline import writer as writing
from mirror_stage.pipeline.writer import Writer
from tests.builders import SetClock, decoded, make_sample


class Store:
    """Takes the groups of the writer and records them; a test can make it fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.fault: Exception | None = None
        self.answers: list[Receipt | Problem] | None = None

    def commit(self, batches: Sequence[Sequence[Sample]]) -> list[Receipt | Problem]:
        self.groups.append([len(batch) for batch in batches])
        if self.fault is not None:
            raise self.fault
        return self.answers or [Receipt(len(batch), 0) for batch in batches]


def batch(size: int = 1) -> list[Sample]:
    samples = [make_sample(f"titan-{n}") for n in range(size)]
    return decoded(*samples, received_at=SetClock().now())


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    """A writer whose greenlet runs when the test yields."""
    one = Writer(store.commit)
    one.start()
    yield one
    one.stop()


def sent(writer: Writer, *sizes: int) -> list[gevent.Greenlet]:
    """One sender for each batch. All of them wait before the writer runs."""
    senders = [gevent.Greenlet(writer.submit, batch(size)) for size in sizes]
    for sender in senders:
        sender.start()
    return senders


def answers(senders: list[gevent.Greenlet]) -> list[int | str]:
    """How many samples of each were accepted, or the name of the refusal."""
    gevent.joinall(senders, timeout=5)
    return [sender.value.accepted if sender.successful() else type(sender.exception).__name__ for sender in senders]


def test_waiting_batches_are_committed_together_and_in_order(writer: Writer, store: Store) -> None:
    senders = sent(writer, 1, 2, 3)
    assert answers(senders) == [1, 2, 3]
    assert store.groups == [[1, 2, 3]]


def test_a_group_ends_before_it_has_too_many_samples(
    writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "GROUP_SAMPLES", 5)
    assert answers(sent(writer, 3, 2, 1, 4, 1)) == [3, 2, 1, 4, 1]
    assert store.groups == [[3, 2], [1, 4], [1]]


def test_a_batch_that_is_larger_than_a_group_is_a_group_of_its_own(
    writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "GROUP_SAMPLES", 5)
    assert answers(sent(writer, 1, 7, 1)) == [1, 7, 1]
    assert store.groups == [[1], [7], [1]]


def test_a_full_queue_refuses_at_once_and_keeps_its_batches(
    writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "QUEUE_BATCHES", 2)
    assert answers(sent(writer, 1, 1, 1)) == [1, 1, "Unavailable"]
    assert store.groups == [[1, 1]]
    assert answers(sent(writer, 1)) == [1]  # there is room again


def test_bodies_have_room_up_to_a_limit_but_one_always_has_room(writer: Writer) -> None:
    with writer.room(writing.QUEUE_BYTES + 1):
        assert writer.is_full
        assert writer.check(None)["ok"] is False
        with pytest.raises(Unavailable), writer.room(1):
            pass
    assert not writer.is_full
    with writer.room(1):
        pass


def test_each_sender_gets_its_own_answer(writer: Writer, store: Store) -> None:
    store.answers = [Receipt(1, 0), Unavailable("no"), Receipt(3, 0)]
    assert answers(sent(writer, 1, 2, 3)) == [1, "Unavailable", 3]


def test_a_commit_that_fails_answers_every_sender_and_the_next_one_works(writer: Writer, store: Store) -> None:
    store.fault = RuntimeError("a bug")
    senders = sent(writer, 1, 1)
    assert answers(senders) == ["Unavailable", "Unavailable"]
    assert "RuntimeError" in str(senders[0].exception)
    store.fault = None
    assert answers(sent(writer, 1)) == [1]


def test_stopping_commits_waiting_batches_and_refuses_later_ones(writer: Writer, store: Store) -> None:
    senders = sent(writer, 1, 2)
    gevent.sleep(0)  # they wait, and the writer may have begun
    writer.stop()
    assert answers(senders) == [1, 2]
    with pytest.raises(Unavailable, match="stopping"):
        writer.submit(batch())


def test_without_a_greenlet_it_commits_in_the_calling_thread_and_calls_then(store: Store) -> None:
    calls: list[str] = []
    one = Writer(store.commit, then=lambda: calls.append("then"))
    assert one.submit(batch(2)).accepted == 2
    assert (store.groups, calls) == ([[2]], ["then"])
