"""A start replays the samples that arrived after the last save, also of hosts with wrong clocks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mirror_stage.core.instants import HOUR, MINUTE, SECOND
from mirror_stage.history import store as history
from mirror_stage.pipeline.writer import Writer
from tests.builders import decoded, make_sample
from tests.pipeline.conftest import Bench


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The (first, last) second of each query for samples that were not saved."""
    asked: list[tuple[int, int]] = []
    ask = history.received_since

    def noted(tx: Any, since: int, first: int, last: int, host_ids: Any = None) -> Any:
        asked.append((first, last))
        return ask(tx, since=since, first=first, last=last, host_ids=host_ids)

    monkeypatch.setattr(history, "received_since", noted)
    return asked


def cpu(bench: Bench, hostname: str) -> float:
    sample = bench.twin.hosts_by_name[hostname].sample
    assert sample is not None
    return sample.cpu_load


def test_after_a_clean_stop_nothing_is_replayed(bench: Bench, asked: list[tuple[int, int]]) -> None:
    for _ in range(120):
        bench.post(make_sample("a", at=bench.clock.advance(5)))
    bench.saver.finish(is_whole=True)
    again = bench.again()
    assert asked == []
    assert cpu(again, "a") == 12.5
    again.again()  # the second EGO was killed, so there is no note of a clean stop
    assert asked


def test_after_a_stop_that_could_not_save_everything_samples_are_replayed(
    bench: Bench, asked: list[tuple[int, int]]
) -> None:
    bench.post(make_sample("a", at=bench.clock.advance(5)))
    bench.saver.finish(is_whole=False)
    bench.again()
    assert asked


def test_after_a_kill_only_the_history_since_the_last_save_is_read(bench: Bench, asked: list[tuple[int, int]]) -> None:
    for _ in range(60):
        bench.post(make_sample("a", at=bench.clock.advance(60)))
    bench.saver.save()
    saved_at = bench.clock.now()
    for number in range(1, 4):
        bench.post(make_sample("a", at=bench.clock.advance(1), cpu_percent=number))
    bench.clock.advance(HOUR // SECOND)  # EGO was down
    again = bench.again()
    assert cpu(again, "a") == 3
    assert min(first for first, _ in asked) >= saved_at // SECOND - 35  # a sample may have been on its way so long
    assert max(last for _, last in asked) <= saved_at // SECOND + 3


@pytest.mark.parametrize("behind", [HOUR, 3 * MINUTE, -4 * MINUTE])
def test_samples_of_a_host_with_a_wrong_clock_are_found_at_the_times_of_its_clock(bench: Bench, behind: int) -> None:
    for _ in range(5):
        bench.post(make_sample("a", at=bench.clock.advance(1)), make_sample("late", at=bench.clock.now() - behind))
    bench.saver.save()
    now = bench.clock.advance(1)
    bench.post(make_sample("a", at=now, cpu_percent=70), make_sample("late", at=now - behind, cpu_percent=71))
    again = bench.again()
    assert (cpu(again, "a"), cpu(again, "late")) == (70, 71)


@pytest.mark.parametrize("seconds", [2, 10, 25])
def test_a_sample_that_was_on_its_way_while_ego_saved_is_found(bench: Bench, seconds: int) -> None:
    for _ in range(5):
        bench.post(make_sample("a", at=bench.clock.advance(5)), make_sample("delayed", at=bench.clock.now()))
    measured = bench.clock.advance(1)
    bench.clock.advance(seconds)
    bench.post(make_sample("a", at=bench.clock.now()))
    bench.saver.save()
    bench.clock.advance(1)
    bench.post(make_sample("delayed", at=measured, cpu_percent=70))
    assert (cpu(bench, "delayed"), cpu(bench.again(), "delayed")) == (70, 70)


def test_readiness_says_how_much_is_restored(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.advance(5)))
    bench.saver.save()
    bench.post(make_sample("a", at=bench.clock.advance(600)))
    again = bench.again()
    assert again.readiness.why_not == "restoring, 100%"
    assert again.readiness.is_restored


def test_the_writer_knows_the_oldest_arrival_that_has_no_answer_yet(new_bench: Callable[..., Bench]) -> None:
    seen: list[int | None] = []
    writer = Writer(lambda batches: seen.append(writer.oldest_arrival) or [None] * len(batches))  # type: ignore[func-returns-value]
    from mirror_stage.pipeline.writer import Queued

    jobs = [Queued(decoded(make_sample("a"), received_at=at)) for at in (1_000, 2_000, 3_000)]
    writer._queue.extend(jobs[1:])
    writer._commit(jobs[:1])
    assert seen == [1_000]
    assert writer.oldest_arrival == 2_000
    writer._queue.clear()
    assert writer.oldest_arrival is None
