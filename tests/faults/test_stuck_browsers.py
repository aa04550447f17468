"""T19: browsers that stop reading, and half-sent packets. EGO cuts them, they cost little memory, and no other client notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import websocket

from tests.faults import percentile, print_figures, short_and_full
from tests.faults.browsers import GoodBrowser, open_browser
from tests.faults.load import Batches, Load
from tests.servers import EgoServer, wait_until

MIB = 2**20
GROWTH_MAX = 64 * MIB
FRAME_AGE_SECONDS = 1.0
CUT_SECONDS = 45.0
FILES_MAX = 5
STREAMS = ("full", "delta")


@dataclass(frozen=True)
class Size:
    stuck: int
    good: int
    hosts: int
    seconds: float
    packets: int


SHORT = Size(stuck=15, good=3, hosts=300, seconds=15, packets=500)
FULL = Size(stuck=50, good=10, hosts=1_000, seconds=180, packets=5_000)


class MemoryWatch:
    """Measures the most memory that EGO's worker used."""

    def __init__(self, ego: EgoServer):
        self.base = self.peak = ego.rss_bytes()
        self._ego = ego

    @contextmanager
    def watching(self) -> Iterator[MemoryWatch]:
        stopping = threading.Event()

        def watch() -> None:
            while not stopping.wait(0.1):
                self.peak = max(self.peak, self._ego.rss_bytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stopping.set()
            thread.join()

    @property
    def grown(self) -> int:
        return self.peak - self.base


@pytest.mark.parametrize("size", short_and_full(SHORT, FULL))
def test_browsers_that_stop_reading_are_cut_and_do_not_disturb_others(
    start_ego: Callable[..., EgoServer], size: Size, slack: float
) -> None:
    ego = start_ego()
    per_request = 100
    load = Load(ego, Batches(per_request), 2, requests_per_second=size.hosts / per_request)
    load.batches = RotatingBatches(size.hosts, per_request)  # type: ignore[assignment]
    load.start()
    wait_until(lambda: len(load.acknowledged) >= 2 * size.hosts, 30, what="every host is known")
    good = [GoodBrowser(ego.port, stream=STREAMS[number % 2]) for number in range(size.good)]
    wait_until(lambda: all(len(browser.ages_seconds) > 2 for browser in good), 15, what="the good ones see frames")
    base_files = ego.open_files()
    with MemoryWatch(ego).watching() as memory:
        began = time.monotonic()
        stuck = [open_browser(ego.port, stream=STREAMS[n % 2], receive_buffer=4096) for n in range(size.stuck)]
        opened = ego.open_files() - base_files
        half_sent = send_half_packets(ego.port, size.packets)
        for client in half_sent:
            client.close()
        # only EGO's side shows it: its FIN waits behind the bytes that the client does not read
        while ego.open_files() > base_files and time.monotonic() - began < CUT_SECONDS:
            time.sleep(0.2)
        cut_after = time.monotonic() - began
        time.sleep(max(0.0, began + size.seconds - time.monotonic()))  # the other browsers continue
    files = ego.open_files() - base_files
    errors = [browser.error for browser in good if browser.error]
    ages = [age for browser in good for age in browser.ages_seconds]
    load.stop()
    for browser in good:
        browser.close()
    for client in stuck:
        client.sock.close()
    print_figures(
        "T19",
        stuck=size.stuck,
        opened=opened,
        all_cut_within_s=cut_after,
        good=size.good,
        frames=len(ages),
        frame_age_p99_s=percentile(ages, 99),
        half_packets=size.packets,
        memory_mib=memory.grown / MIB,
        descriptors_left=files,
    )
    assert opened >= size.stuck - FILES_MAX, "not all stuck browsers were connected"
    assert errors == []
    assert files <= FILES_MAX, f"not all were cut within {CUT_SECONDS} s"
    assert percentile(ages, 99) <= FRAME_AGE_SECONDS * slack
    assert memory.grown <= GROWTH_MAX
    assert set(load.statuses) == {202}
    assert "Traceback" not in ego.log


class RotatingBatches:
    """Batches in which every host of a fleet reports in turn."""

    def __init__(self, hosts: int, per_request: int):
        self._parts = [Batches(per_request, stem=f"fleet-{part}") for part in range(hosts // per_request)]
        self._next = 0
        self._lock = threading.Lock()

    def __next__(self) -> object:
        with self._lock:
            self._next = (self._next + 1) % len(self._parts)
            return next(self._parts[self._next])


def send_half_packets(port: int, count: int) -> list[websocket.WebSocket]:
    """Open clients that announce attachments which never come, in every form of such a packet."""
    clients = []
    for number in range(10):
        client = open_browser(port)
        for _ in range(count // 10):
            text = ['51-/digital-twin,["seen",{"_placeholder":true,"num":0}]', '59999999-/digital-twin,["seen"]'][
                number % 2
            ]
            try:
                client.send(text)
            except (OSError, websocket.WebSocketException):
                break  # EGO may also cut the connection
        clients.append(client)
    return clients


@pytest.mark.parametrize("mebibytes", [64])
def test_an_endless_message_is_cut(start_ego: Callable[..., EgoServer], mebibytes: int) -> None:
    """A message has at most 16 KiB, so EGO must not collect a frame that announces a gigabyte."""
    ego = start_ego()
    client = open_browser(ego.port)
    with MemoryWatch(ego).watching() as memory:
        client.sock.sendall(b"\x82\xff" + (2**30).to_bytes(8, "big") + b"\0\0\0\0")  # binary, masked with zeros
        sent, was_cut = 0, False
        while sent < mebibytes * MIB and not was_cut:
            try:
                client.sock.sendall(bytes(65536))
                sent += 65536
            except OSError:
                was_cut = True
    client.sock.close()
    print_figures("T19", endless_message_cut=was_cut, sent_mib=sent / MIB, memory_mib=memory.grown / MIB)
    assert was_cut
    assert memory.grown <= GROWTH_MAX // 4
    assert ego.get("/api/health").status_code == 200
