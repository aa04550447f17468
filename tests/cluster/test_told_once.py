"""The owner of the twin stands still while it tells a receiver: another worker takes over, and the receiver hears each thing once."""

from __future__ import annotations

import os
import signal
import threading

from tests.builders import make_sample
from tests.cluster.conftest import Pair
from tests.notifications.sinks import sink
from tests.servers import wait_until


def test_an_owner_that_is_deposed_while_it_sends_duplicates_nothing(pair: Pair) -> None:
    owner, edge, generation = pair.owner(), pair.edge(), pair.generation()
    asked, may_answer = threading.Event(), threading.Event()

    def answer(_number: int) -> tuple[int, dict[str, str]]:
        asked.set()
        may_answer.wait(15)
        return 200, {}

    with sink(answer) as receiver:
        assert (
            owner.post("/api/channels", json={"name": "ops", "kind": "webhook", "url": receiver.url}).status_code == 201
        )
        document = {"routes": [{"name": "all", "channels": ["ops"]}]}
        assert owner.post("/api/alerting/apply", json={"document": document}).status_code == 200
        owner.post_samples(make_sample("web-01", cpu_percent=99))
        assert asked.wait(40), "the owner tells the receiver"
        pid = owner.worker_pid()
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: pair.generation() > generation, 20, every=0.05, what="another worker takes over")
        os.kill(pid, signal.SIGCONT)
        may_answer.set()
        wait_until(
            lambda: edge.rows("SELECT 1 FROM deliveries WHERE state = 'accepted'"), 30, what="the answer is noted"
        )
        edge.post_samples(make_sample("web-02", rack="R9", cpu_percent=99))
        wait_until(lambda: len(receiver.got) >= 2, 40, what="the new owner tells the next thing")
        wait_until(lambda: len(edge.rows("SELECT 1 FROM deliveries WHERE state = 'accepted'")) == 2, 20)
        assert [one.body["alerts"][0]["hostname"] for one in receiver.got] == ["web-01", "web-02"]
        assert len(set(receiver.keys)) == 2
