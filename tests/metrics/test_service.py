"""Taking a batch in: large bodies are decoded one at a time, and wait for their commits together."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import gevent
import pytest
from gevent.event import Event

from mirror_stage.access.domain import EGO, actor_of_agent
from mirror_stage.core.problems import Refused
from mirror_stage.metrics.domain import LONGEST_RETENTION, Receipt
from mirror_stage.metrics.service import Ingest
from tests.builders import SetClock, make_sample


class SlowWriter:
    """A writer whose commits take until `committed` is set."""

    def __init__(self) -> None:
        self.waiting, self.committed = 0, Event()

    def room(self, _size: int) -> Any:
        return nullcontext()

    def submit(self, samples: list[Any]) -> Receipt:
        self.waiting += 1
        self.committed.wait()
        return Receipt(len(samples), 0)


def test_a_large_body_does_not_wait_for_the_commit_of_another() -> None:
    samples = [make_sample(f"h{n}", tags={f"tag-{m}": "x" * 20 for m in range(40)}) for n in range(300)]
    body = json.dumps({"samples": samples}).encode()
    assert len(body) > 256 * 1024
    writer: Any = SlowWriter()
    clock: Any = SetClock()
    ingest = Ingest(
        writer, clock, kept=LONGEST_RETENTION, is_known=lambda _hostname: True, labels_of=lambda _hostname: {}
    )
    posts = [gevent.spawn(ingest.take, body, EGO, lenient=False) for _ in range(3)]
    with gevent.Timeout(10):
        while writer.waiting < 3:
            gevent.sleep(0.01)
    writer.committed.set()
    assert [post.get(timeout=10)["accepted"] for post in posts] == [300, 300, 300]


def test_an_agent_with_a_token_may_send_so_many_samples_and_others_do_not_wait_for_it() -> None:
    writer: Any = SlowWriter()
    writer.committed.set()
    clock: Any = SetClock()
    ingest = Ingest(
        writer, clock, kept=LONGEST_RETENTION, is_known=lambda _hostname: True, labels_of=lambda _hostname: {}
    )
    body = json.dumps({"samples": [make_sample("loud-01")] * 1_000}).encode()
    loud, calm = (actor_of_agent(name, "10.0.0.9", credential=f"token:{name}") for name in ("loud-01", "calm-01"))
    for _ in range(20):
        ingest.take(body, loud, lenient=False)

    def flood() -> None:  # the budget fills up while a batch is decoded
        for _ in range(5):
            ingest.take(body, loud, lenient=False)

    with pytest.raises(Refused, match=r"20,000 samples at once, then 100 a second; nothing of this batch") as refused:
        flood()
    assert 1 <= (refused.value.retry_after or 0) <= 10
    one = json.dumps({"samples": [make_sample("calm-01")]}).encode()
    assert ingest.take(one, calm, lenient=False)["accepted"] == 1
