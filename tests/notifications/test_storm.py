"""A storm: thousands of hosts fall silent. Few messages, soon, and the event loop is never held up for long."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mirror_stage.core.config import Config
from mirror_stage.notifications.directory import Directory, Wanted
from mirror_stage.notifications.domain import Route
from mirror_stage.notifications.secrets import Secrets
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.words import Manner
from tests.faults import print_figures, short_and_full
from tests.notifications.alerts import Scene
from tests.notifications.sinks import Sink, sink
from tests.notifications.test_sending import ME

STALL_MS = 100.0  # CPU time of one transaction with its events or looks
TOLD_AFTER_SECONDS = 15
CHANNELS = ("one", "two", "three")


class Storm:
    """Alerts of many hosts, three channels, and how much CPU time the loop was held up at most, in ms."""

    def __init__(self, sinks: dict[str, Sink], hosts: int, causes: int):
        self.scene = scene = Scene([Route("all", CHANNELS)])
        self.sinks = sinks
        directory = Directory(scene.storage, scene.clock, Secrets(Config(testing=True)))  # type: ignore[arg-type]
        for name, one in sinks.items():
            directory.create(Wanted(name, "webhook", {}, Manner(), 10, {"url": one.url}), ME)
        self.sender = Sender(scene.storage, scene.clock, directory, url="http://ego", kept=0)  # type: ignore[arg-type]
        self.stall_ms = 0.0
        step = scene.notifier._step

        def timed(*args: object, **said: bool) -> bool:
            gc.disable()  # what all other tests have left in this process is not EGO's to collect
            began = time.thread_time()
            try:
                return step(*args, **said)  # type: ignore[arg-type]
            finally:
                self.stall_ms = max(self.stall_ms, (time.thread_time() - began) * 1000)
                gc.enable()

        scene.notifier._step = timed  # type: ignore[method-assign]
        for number in range(hosts):
            scene.caused(scene.fire(f"h{number}", "host_offline"), f"sw-{number % causes}")

    def second(self) -> None:
        self.scene.clock.advance(1)
        self.scene.notifier.step()
        self.sender.send_due()
        self.sender.wait(30)


@pytest.fixture
def sinks() -> Iterator[dict[str, Sink]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(sink()) for name in CHANNELS}


@pytest.mark.parametrize("hosts", short_and_full(400, 5_000))
def test_one_root_is_one_message_a_channel_within_fifteen_seconds(sinks: dict[str, Sink], hosts: int) -> None:
    storm = Storm(sinks, hosts, 1)
    for _ in range(TOLD_AFTER_SECONDS):
        storm.second()
    assert [one.kinds for one in sinks.values()] == [["opened"]] * 3
    assert {one.got[0].body["total"] for one in sinks.values()} == {hosts}
    print_figures("storm of one root", hosts=hosts, stall_cpu_ms=storm.stall_ms)
    assert storm.stall_ms <= STALL_MS


@pytest.mark.parametrize("size", short_and_full((150, 50), (5_000, 500)))
def test_many_roots_are_ten_messages_a_minute_at_most(sinks: dict[str, Sink], size: tuple[int, int]) -> None:
    hosts, roots = size
    storm = Storm(sinks, hosts, roots)
    by_minute: Counter[int] = Counter()
    for second in range(120):
        before = sum(len(one.got) for one in sinks.values())
        storm.second()
        by_minute[second // 60] += sum(len(one.got) for one in sinks.values()) - before
    told = {
        message["cause"]
        for got in sinks["one"].got
        for message in (got.body["messages"] or [got.body])
    }  # fmt: skip
    assert len(told) == roots
    print_figures(
        "storm of many roots", hosts=hosts, roots=roots, by_minute=dict(by_minute), stall_cpu_ms=storm.stall_ms
    )
    assert max(by_minute.values()) <= 10 * len(CHANNELS)
    assert storm.stall_ms <= STALL_MS
