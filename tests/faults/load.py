"""A load of samples: it records which samples EGO acknowledged, and how EGO answered meanwhile."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mirror_stage.core.instants import Instant, to_text
from tests.builders import make_sample
from tests.servers import EgoServer

Key = tuple[str, Instant]  # what identifies a sample

ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Batch:
    """One request's body and the samples in it."""

    body: bytes
    keys: tuple[Key, ...]


@dataclass(slots=True)
class Answer:
    """EGO's answer: status, body, `Retry-After`, and the seconds that it took."""

    status: int
    body: bytes
    retry_after: str | None
    seconds: float


class Batches:
    """Endless batches, no sample twice: each next batch of a host is a millisecond later than its last.

    `count` samples a batch, each of another host, or all of one host if `one_host`. `fields` come along in each.
    """

    def __init__(self, count: int, *, stem: str = "load", one_host: bool = False, **fields: object):
        self._numbers = itertools.count()
        # the samples of a long load must neither be in the future nor be pruned
        self._started = int(time.time() * 1000) - 43_200_000
        self._count, self._stem, self._one_host = count, stem, one_host
        sample = json.dumps(make_sample("<host>", at="<at>", **fields))
        self._head, self._between, self._tail = _around(sample, "<host>", "<at>")

    def __next__(self) -> Batch:
        number = next(self._numbers)  # atomic: several threads may ask
        keys = tuple(self._keys(number))
        samples = ",".join(f"{self._head}{host}{self._between}{to_text(at)}{self._tail}" for host, at in keys)
        return Batch(f'{{"samples":[{samples}]}}'.encode(), keys)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def _keys(self, number: int) -> Iterator[Key]:
        for index in range(self._count):
            if self._one_host:
                yield f"{self._stem}-{number % 50:04d}", self._started + number * self._count + index
            else:
                yield f"{self._stem}-{index:04d}", self._started + number


def _around(text: str, *marks: str) -> list[str]:
    """The parts of a text before, between and after the marks."""
    pieces = []
    for mark in marks:
        piece, text = text.split(mark, 1)
        pieces.append(piece)
    return [*pieces, text]


class Connection:
    """One keep-alive connection to an EGO."""

    def __init__(self, port: int):
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def post(self, path: str, body: bytes) -> Answer:
        """The answer. Raises OSError or HTTPException if there is none."""
        started = time.monotonic()
        try:
            self._http.request("POST", path, body, {"Content-Type": "application/json"})
            response = self._http.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise
        return Answer(response.status, text, response.headers.get("Retry-After"), time.monotonic() - started)

    def close(self) -> None:
        self._http.close()


@dataclass
class Load:
    """Senders that post batches at a steady pace, or as fast as answers come if `requests_per_second` is None."""

    ego: EgoServer
    batches: Batches
    connections: int
    requests_per_second: float | None = None
    acknowledged: set[Key] = field(default_factory=set)
    unanswered: list[Batch] = field(default_factory=list)
    refused: list[Answer] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    under_way: dict[int, Batch] = field(default_factory=dict)  # by sender

    def start(self) -> Load:
        self._stopping = threading.Event()
        self._started = time.monotonic()
        self._threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(self.connections)]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Load:
        """Begin no further request, and wait for those under way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return self

    def _send(self, number: int) -> None:
        connection = Connection(self.ego.port)
        for turn in itertools.count():
            if self._wait_for_turn(turn * self.connections + number):
                break
            batch = self.under_way[number] = next(self.batches)
            try:
                self._note(batch, connection.post("/api/metrics/batch", batch.body))
            except (OSError, http.client.HTTPException):
                self.unanswered.append(batch)
                self._stopping.wait(0.05)
            finally:
                del self.under_way[number]
        connection.close()

    def _wait_for_turn(self, turn: int) -> bool:
        """Wait for the next request's time. Returns whether the load was stopped meanwhile."""
        if self.requests_per_second is None:
            return self._stopping.is_set()
        due = self._started + turn / self.requests_per_second
        return self._stopping.wait(max(0.0, due - time.monotonic()))

    def _note(self, batch: Batch, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        self.seconds.append(answer.seconds)
        if answer.status == 202:
            self.acknowledged.update(batch.keys)
        else:
            self.refused.append(answer)


def stored_samples(ego: EgoServer) -> Counter[Key]:
    """Every sample in EGO's history, with how often it is stored."""
    rows = ego.rows(
        "SELECT hostname, at_second * 1000 + at_ms FROM host_metric_samples JOIN host_metrics ON host_metrics.id = host_id"
    )
    return Counter((str(hostname), int(at)) for hostname, at in rows)


class Probe:
    """Calls `ask` again and again in the background, and notes how long the answers take."""

    def __init__(self, ask: Callable[[], object], every: float = 0.05):
        self._ask, self._every = ask, every
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            started = time.monotonic()
            try:
                self._ask()
            except Exception as error:  # the test reports any error
                self.failures.append(repr(error))
            self.seconds.append(time.monotonic() - started)
