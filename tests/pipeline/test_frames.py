"""The frames of the twin: one for each change, encoded once, and the deltas between them."""

from __future__ import annotations

from typing import Any

import orjson

from mirror_stage.core.instants import SECOND
from mirror_stage.twin.frames import REMEMBERED_FOR
from tests.builders import make_sample
from tests.pipeline.conftest import Bench


def posted(bench: Bench, host: str, cpu_percent: float = 10) -> None:
    """One sample a second later, and the frame that shows it."""
    bench.clock.advance(1)
    bench.post(make_sample(host, at=bench.clock.now(), cpu_percent=cpu_percent))
    bench.frames.take(bench.clock.now())


def delta(bench: Bench, since: int) -> dict[str, Any] | None:
    body = bench.frames.delta(since, bench.clock.now())
    return None if body is None else orjson.loads(body)


def test_a_change_makes_one_frame_and_no_change_makes_none(bench: Bench) -> None:
    posted(bench, "titan-01")
    revision, etag = bench.frames.revision, bench.frames.etag
    bench.frames.take(bench.clock.advance(1))
    assert (bench.frames.revision, bench.frames.etag) == (revision, etag)
    posted(bench, "titan-01", cpu_percent=20)
    assert bench.frames.revision == revision + 1


def test_a_frame_is_encoded_once_until_the_next(bench: Bench) -> None:
    posted(bench, "titan-01")
    body = bench.frames.body()
    assert bench.frames.body() is body
    assert bench.frames.delta(bench.frames.revision - 1, 0) is bench.frames.delta(bench.frames.revision - 1, 0)
    posted(bench, "titan-01", cpu_percent=20)
    assert bench.frames.body() != body


def test_the_hub_is_the_first_host(bench: Bench) -> None:
    posted(bench, "titan-01")
    assert orjson.loads(bench.frames.body())["hosts"][0]["role"] == "hub"


def test_a_delta_has_all_changes_since_its_base_frame(bench: Bench) -> None:
    posted(bench, "titan-01")
    since = bench.frames.revision
    for percent in (20, 30):
        posted(bench, "titan-01", cpu_percent=percent)
    found = delta(bench, since)
    assert found is not None
    assert (found["previous"], found["revision"]) == (since, bench.frames.revision)


def test_there_is_no_delta_from_a_frame_that_is_too_old(bench: Bench) -> None:
    posted(bench, "titan-01")
    since = bench.frames.revision
    bench.clock.advance(REMEMBERED_FOR / SECOND + 1)
    posted(bench, "titan-01", cpu_percent=20)
    posted(bench, "titan-01", cpu_percent=30)
    assert delta(bench, since - 1) is None


def test_a_removed_host_is_in_no_later_frame(bench: Bench) -> None:
    posted(bench, "titan-01")
    bench.twin.forget("titan-01")
    bench.frames.take(bench.clock.advance(1))
    assert "titan-01" not in [host.hostname for host in bench.frames.hosts()]
