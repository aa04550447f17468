"""How samples are sent: at whole intervals, live samples first, none lost in an outage, none stuck behind a bad one."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core.instants import to_text
from mirror_stage.reflector import backoff
from mirror_stage.reflector.spool import Spool, wall_clock
from mirror_stage.reflector.telemetry import Telemetry, next_beat, without_refused
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo, problem
from tests.servers import free_port, wait_until

Start = Callable[..., Telemetry]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", most_bytes=2**20, most_hours=24)


@pytest.fixture
def start(scripted: ScriptedEgo, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a telemetry whose samples have numbers: `start(interval_seconds=0.1)`."""
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.1)
    numbers = itertools.count()

    def collect() -> dict[str, Any]:
        return {"timestamp": to_text(wall_clock()), "number": next(numbers)}

    with ExitStack() as stack:

        def begin(interval_seconds: float = 0.1, url: str | None = None, **options: Any) -> Telemetry:
            telemetry = Telemetry(
                collect, Uplink(url or scripted.url), spool, interval_seconds=interval_seconds, **options
            )
            stack.callback(telemetry.stop)
            telemetry.start()
            return telemetry

        yield begin


def waiting(spool: Spool, *numbers: int) -> None:
    """Put samples with these numbers into the spool, as an earlier run would."""
    for number in numbers:
        spool.append(json.dumps({"timestamp": to_text(wall_clock()), "number": number}).encode())


def numbers_of(samples: list[dict[str, Any]]) -> list[int]:
    return [sample["number"] for sample in samples]


@pytest.mark.parametrize(
    ("now", "expected"),
    [(100.0, 105.0), (101.0, 105.0), (104.999, 105.0), (105.0, 110.0), (105.2, 110.0), (123.0, 125.0)],
)
def test_samples_are_taken_at_whole_intervals_and_missed_ones_are_left_out(now: float, expected: float) -> None:
    assert next_beat(100.0, now, 5.0) == expected


@pytest.mark.parametrize(
    ("errors", "kept", "refused"),
    [
        ([{"index": 1, "field": "disks.0", "message": "bad"}], [b"0", b"2"], [(b"1", "disks.0: bad")]),
        ([{"index": 0, "field": "a", "message": "b"}] * 3, [b"1", b"2"], [(b"0", "a: b")]),
        ([{"index": 7}, {"index": "1"}, "1", {}], None, None),
        ([], None, None),
        (None, None, None),
    ],
)
def test_exactly_the_named_samples_are_refused(errors: Any, kept: Any, refused: Any) -> None:
    answer = Answer(Meaning.REFUSED, 400, {"errors": errors})
    assert without_refused([b"0", b"1", b"2"], answer) == (None if kept is None else (kept, refused))


def test_a_slow_answer_does_not_delay_the_next_sample(scripted: ScriptedEgo, start: Start) -> None:
    taken: list[float] = []
    scripted.decide = lambda asked: Reply(202, {"accepted": len(asked.content["samples"])}, delay_seconds=0.5)
    telemetry = start(interval_seconds=0.1)
    collect = telemetry._collect
    telemetry._collect = lambda: (taken.append(time.monotonic()), collect())[1]
    wait_until(lambda: len(taken) >= 12)
    gaps = [after - before for before, after in itertools.pairwise(taken)]
    assert max(gaps) < 0.4, "a sample must not wait for an answer that takes 0.5 s"
    assert taken[11] - taken[1] == pytest.approx(1.0, abs=0.15), "the times of the samples do not drift"
    scripted.wait_for("/batch", 3)
    sent = list(itertools.chain.from_iterable(map(numbers_of, scripted.batches())))
    assert sent == list(range(len(sent))), "the samples that waited must arrive in order"


def test_after_an_outage_the_newest_sample_goes_first_then_the_backlog_oldest_first(
    scripted: ScriptedEgo, start: Start, spool: Spool
) -> None:
    away = True
    scripted.decide = lambda _asked: problem(503, retry_after=0) if away else None
    start(interval_seconds=0.1)
    wait_until(lambda: spool.size_bytes > 600)
    away = False
    before = len(scripted.asked)
    wait_until(lambda: spool.is_empty)
    batches = list(map(numbers_of, scripted.batches()[before:]))
    backlog = next(batch for batch in batches if 0 in batch)
    first = batches[0]
    assert first[0] > backlog[-1]
    assert backlog == list(range(len(backlog)))
    assert sorted({number for batch in batches for number in batch}) == list(range(1 + max(map(max, batches))))


def test_the_backlog_is_sent_slowly_and_live_samples_overtake_it(
    scripted: ScriptedEgo, start: Start, spool: Spool
) -> None:
    waiting(spool, *range(1000, 1600))  # three segments
    start(interval_seconds=0.1, pause_seconds=0.4)
    wait_until(lambda: spool.is_empty)
    asked = scripted.of("/batch")
    old = [one for one in asked if one.content["samples"][0]["number"] >= 1000]
    assert [numbers_of(one.content["samples"]) for one in old] == [
        list(range(start, start + 200)) for start in (1000, 1200, 1400)
    ]
    assert all(after.at - before.at >= 0.2 for before, after in itertools.pairwise(old))
    live = [one for one in asked if one.content["samples"][0]["number"] < 1000]
    assert any(old[0].at < one.at < old[2].at for one in live)


def test_a_refused_sample_is_dropped_with_its_reason_and_the_rest_goes_on(
    scripted: ScriptedEgo, start: Start, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    def decide(asked: Asked) -> Reply | None:
        errors = [
            {"index": index, "field": "cpu_load", "message": "is odd"}
            for index, sample in enumerate(asked.content["samples"])
            if sample["number"] % 2
        ]
        return problem(400, errors=errors) if errors else None

    scripted.decide = decide
    waiting(spool, *range(1000, 1100))
    start(interval_seconds=60)
    wait_until(lambda: spool.is_empty)
    sent = [numbers_of(batch) for batch in scripted.batches()]
    assert sent == [[0], list(range(1000, 1100)), list(range(1000, 1100, 2))]
    assert "cpu_load: is odd" in caplog.text
    assert spool.dropped == 0


def test_a_batch_that_is_refused_as_a_whole_is_split_until_the_bad_sample_is_alone(
    scripted: ScriptedEgo, start: Start, spool: Spool
) -> None:
    scripted.decide = lambda asked: problem(413) if 1013 in numbers_of(asked.content["samples"]) else None
    waiting(spool, *range(1000, 1020))
    start(interval_seconds=60)
    wait_until(lambda: spool.is_empty)
    taken = {number for batch in scripted.batches() if 1013 not in numbers_of(batch) for number in numbers_of(batch)}
    assert taken == {0, *range(1000, 1020)} - {1013}
    assert len(scripted.batches()) < 14


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>log in first</html>", kind="text/html"),
        Reply(202, {"accepted": 0}),
        Reply(404, b"<html>", kind="text/html"),
        Reply(302, headers={"Location": "/elsewhere"}),
        problem(403),
        problem(504),
        problem(500),
    ],
    ids=["captive portal", "another counter", "a proxy's page", "a redirect", "forbidden", "unknown", "EGO's error"],
)
def test_an_answer_that_is_no_valid_receipt_loses_no_sample(
    reply: Reply, scripted: ScriptedEgo, start: Start, spool: Spool
) -> None:
    wrong = True
    scripted.decide = lambda _asked: reply if wrong else None
    start(interval_seconds=0.1)
    scripted.wait_for("/batch", 2)
    wrong = False
    before = len(scripted.asked)
    wait_until(lambda: any(0 in numbers_of(batch) for batch in scripted.batches()[before:]))
    sent = sorted({number for batch in scripted.batches()[before:] for number in numbers_of(batch)})
    assert sent == list(range(len(sent)))


def test_a_retry_after_is_honoured(scripted: ScriptedEgo, start: Start) -> None:
    scripted.decide = lambda _asked: problem(503, retry_after=1) if len(scripted.asked) == 1 else None
    start(interval_seconds=0.1)
    first, second = scripted.wait_for("/batch", 2)[:2]
    assert 1.0 <= second.at - first.at < 1.8


def test_stopping_does_not_wait_for_ego_and_keeps_unacknowledged_samples(
    scripted: ScriptedEgo, start: Start, spool: Spool
) -> None:
    scripted.decide = lambda asked: Reply(202, {"accepted": len(asked.content["samples"])}, delay_seconds=3)
    telemetry = start(interval_seconds=0.1)
    scripted.wait_for("/batch")
    wait_until(lambda: len(telemetry._live) >= 2, what="samples that wait behind the batch that is under way")
    began = time.monotonic()
    telemetry.stop()
    assert time.monotonic() - began < 2  # EGO takes 3
    backlog = spool.oldest()
    assert backlog is not None
    kept = numbers_of(list(map(json.loads, backlog.samples)))
    assert kept == list(range(len(kept)))
    assert len(kept) >= 3


def test_samples_go_on_after_a_failure_of_the_collector(
    scripted: ScriptedEgo, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = start(interval_seconds=0.1)
    collect, failing = telemetry._collect, iter([True])

    def sometimes() -> Any:
        if next(failing, False):
            raise OSError("no /proc today")
        return collect()

    telemetry._collect = sometimes
    wait_until(lambda: "no /proc today" in caplog.text)
    before = len(scripted.asked)
    scripted.wait_for("/batch", before + 2)


def test_an_outage_of_ego_and_its_end_are_logged_once(
    scripted: ScriptedEgo, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scripted.decide = lambda _asked: problem(503, "full", retry_after=0) if len(scripted.asked) < 4 else None
    start(interval_seconds=0.05)
    scripted.wait_for("/batch", 8)
    said = [record.getMessage() for record in caplog.records if "reflector" in record.name]
    assert said[0] == "samples wait on disk: 503 full"
    assert said[1].startswith("EGO takes samples again")
    assert len(said) == 2


def test_a_refused_connection_is_logged_in_plain_words(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    start(interval_seconds=0.05, url=f"http://127.0.0.1:{free_port()}")
    wait_until(lambda: "samples wait on disk: Connection refused" in caplog.text)


def test_the_number_of_dropped_samples_is_shown_in_a_tag(scripted: ScriptedEgo, start: Start, spool: Spool) -> None:
    spool.dropped = 7
    start(interval_seconds=0.1)
    scripted.wait_for("/batch")
    assert scripted.batches()[0][0]["tags"] == {"spool_dropped_samples": "7"}
