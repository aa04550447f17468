"""Socket.IO clients that record what they heard, and the browser's side of the delta stream."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio

from tests.contract.wire import DELTA_COLUMNS, DELTA_KEYS, SAMPLE_GAUGES
from tests.servers import EgoServer, wait_until

STATUSES = ("online", "stale", "offline")


@dataclass(frozen=True)
class HeardEvent:
    """One event: its name, its payload, and when it came, by the monotonic clock."""

    event: str
    payload: Any
    at: float


class Listener:
    """A client of one namespace. It keeps its events in the order of arrival."""

    def __init__(
        self,
        ego: EgoServer,
        namespace: str,
        auth: Any = None,
        transports: tuple[str, ...] = ("websocket",),
        headers: dict[str, str] | None = None,
    ):
        self.namespace = namespace
        self.heard: list[HeardEvent] = []
        self.disconnected = threading.Event()
        self._lock = threading.Lock()
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        _in_order(self._client)
        self._client.on("*", self._hear, namespace=namespace)
        self._client.on("disconnect", lambda *_reason: self.disconnected.set(), namespace=namespace)
        self.connected_at = time.monotonic()
        self._client.connect(
            ego.url,
            headers=headers or {},
            namespaces=[namespace],
            auth=auth,
            transports=list(transports),
            wait_timeout=10,
            retry=False,
        )

    def _hear(self, event: str, *payload: Any) -> None:
        heard = HeardEvent(event, payload[0] if payload else None, time.monotonic())
        with self._lock:
            self.heard.append(heard)
        self.listen(heard)

    def listen(self, heard: HeardEvent) -> None:
        """React to an event. Clients that answer override this."""

    def of(self, event: str) -> list[Any]:
        """The payloads of one event, oldest first."""
        with self._lock:
            return [heard.payload for heard in self.heard if heard.event == event]

    def times_of(self, event: str) -> list[float]:
        """The times at which one event arrived."""
        with self._lock:
            return [heard.at for heard in self.heard if heard.event == event]

    def events(self) -> list[str]:
        """The names of everything heard, oldest first."""
        with self._lock:
            return [heard.event for heard in self.heard]

    def wait_for(self, event: str, condition: Any = lambda _payload: True, seconds: float = 5) -> Any:
        """The first payload of an event that meets a condition."""
        found = wait_until(
            lambda: [payload for payload in self.of(event) if condition(payload)], seconds, what=f"a {event} came"
        )
        return found[0]

    def emit(self, event: str, payload: Any = None) -> None:
        """Send an event to EGO without waiting for an acknowledgement."""
        self._client.emit(event, payload, namespace=self.namespace)

    def ask(self, event: str, payload: Any = None) -> Any:
        """Send an event to EGO and return its acknowledgement."""
        return self._client.call(event, payload, namespace=self.namespace, timeout=10)

    def close(self) -> None:
        self._client.disconnect()


def _in_order(client: socketio.Client) -> None:
    """Handle events in the order of the wire. Without this, the client handles each event in its own thread."""
    trigger = client.eio._trigger_event
    client.eio._trigger_event = lambda event, *args, **options: trigger(event, *args, **options | {"run_async": False})


@contextmanager
def listening(ego: EgoServer, namespace: str, **kwargs: Any) -> Iterator[Listener]:
    """A Listener that is closed afterwards."""
    listener = Listener(ego, namespace, **kwargs)
    try:
        yield listener
    finally:
        listener.close()


@dataclass
class TwinModel:
    """What a browser knows of the twin: a snapshot, and the deltas after it, applied in the contract's order."""

    epoch: str = ""
    revision: int = -1
    hosts: dict[int, dict[str, Any]] = field(default_factory=dict)
    links: dict[int, dict[str, Any]] = field(default_factory=dict)
    columns: dict[int, dict[str, Any]] = field(default_factory=dict)  # only of the hosts that a delta named
    broken: list[str] = field(default_factory=list)  # deltas that did not follow the newest frame

    def take_snapshot(self, frame: dict[str, Any]) -> None:
        """Replace everything with a whole frame."""
        self.epoch, self.revision = frame["epoch"], frame["revision"]
        slots = [host["slot"] for host in frame["hosts"]]
        assert all(type(slot) is int for slot in slots)
        assert len(set(slots)) == len(slots)
        self.hosts = {host["slot"]: host for host in frame["hosts"]}
        slot_by_name = {host["hostname"]: host["slot"] for host in frame["hosts"]}
        self.links = {slot_by_name[link["target"]]: link for link in frame["links"]}
        self.columns = {}

    def take_delta(self, delta: dict[str, Any]) -> None:
        """Apply what changed: removed, upserted, columns."""
        assert delta.keys() == DELTA_KEYS
        if delta["epoch"] != self.epoch or delta["previous"] != self.revision:
            self.broken.append(f"{delta['previous']} after {self.revision}")
            return
        self.revision = delta["revision"]
        for slot in delta["removed"]:
            for known in (self.hosts, self.links, self.columns):
                known.pop(slot, None)
        for host in delta["upserted"]["hosts"]:
            self.hosts[host["slot"]] = host
        slot_by_name = {host["hostname"]: slot for slot, host in self.hosts.items()}
        for link in delta["upserted"]["links"]:
            self.links[slot_by_name[link["target"]]] = link
        for name in DELTA_COLUMNS:
            assert len(delta[name]) == len(delta["slots"]), name
        for place, slot in enumerate(delta["slots"]):
            self.columns[slot] = {name: delta[name][place] for name in DELTA_COLUMNS}
            assert slot in self.hosts, f"a column of slot {slot}, which nobody has introduced"

    def differences(self, frame: dict[str, Any]) -> list[str]:
        """Where this model and a REST snapshot of the same revision differ in what the delta stream promises."""
        found = []
        by_name = {host["hostname"]: host for host in frame["hosts"]}
        mine = {host["hostname"]: slot for slot, host in self.hosts.items()}
        found += [f"{name} is only in one of them" for name in by_name.keys() ^ mine.keys()]
        for name in by_name.keys() & mine.keys():
            found += self._of_host(by_name[name], mine[name])
        links = {link["target"]: link for link in frame["links"]}
        slots = {link["target"]: slot for slot, link in self.links.items()}
        found += [f"the link to {name} is only in one of them" for name in links.keys() ^ slots.keys()]
        for name in links.keys() & slots.keys():
            found += self._of_link(links[name], slots[name])
        return found

    def _of_host(self, host: dict[str, Any], slot: int) -> list[str]:
        mine, columns, name = self.hosts[slot], self.columns.get(slot), host["hostname"]
        found = [
            f"{name}.{key}: {mine[key]!r}, REST {host[key]!r}"
            for key in sorted(host.keys() - {"status", "lastSeen", "metrics"})
            if mine[key] != host[key]
        ]
        rare = {"memoryTotalBytes", "netCapacityGbps", "diskDaysToFull"}
        found += [f"{name}.{key}" for key in rare if mine["metrics"][key] != host["metrics"][key]]
        status = mine["status"] if columns is None else STATUSES[columns["status"]]
        if status != host["status"]:
            found.append(f"{name}.status: {status}, REST {host['status']}")
        if not host["isSynthetic"]:
            for key, decimals in SAMPLE_GAUGES.items():
                value = mine["metrics"][key] if columns is None else columns[key]
                if not _same(value, host["metrics"][key], decimals, exact=columns is not None):
                    found.append(f"{name}.{key}: {value}, REST {host['metrics'][key]}")
        return found

    def _of_link(self, link: dict[str, Any], slot: int) -> list[str]:
        mine, columns = self.links[slot], self.columns.get(slot)
        found = [
            f"{link['id']}.{key}: {mine[key]!r}, REST {link[key]!r}"
            for key in ("id", "source", "target", "capacityGbps", "measured")
            if mine[key] != link[key]
        ]
        for key in ("rxGbps", "txGbps", "utilization"):
            value = mine[key] if columns is None else columns[key]
            unknown = not link["measured"] or (key == "utilization" and link["capacityGbps"] is None)
            expected = None if unknown and columns is not None else link[key]
            if not _same(value, expected, 3, exact=columns is not None):
                found.append(f"{link['id']}.{key}: {value}, REST {expected}")
        return found


def _same(value: float | None, expected: float | None, digits: int, *, exact: bool) -> bool:
    """Whether a rounded column shows an exact value. Not `exact`: neither was rounded."""
    if value is None or expected is None:
        return value is expected
    if not exact:
        return value == expected
    return value == round(value, digits) and abs(value - expected) <= 0.51 * 10**-digits


class DeltaListener(Listener):
    """A browser: applies the delta stream to a model, and confirms the frames that it has applied."""

    def __init__(self, ego: EgoServer, *, answers: bool = True, **kwargs: Any):
        self.model, self.answers = TwinModel(), answers
        self.failures: list[BaseException] = []
        super().__init__(ego, "/digital-twin", **kwargs)

    def listen(self, heard: HeardEvent) -> None:
        try:
            if heard.event == "twin-snapshot":
                self.model.take_snapshot(heard.payload)
            elif heard.event == "twin-delta":
                self.model.take_delta(heard.payload)
            else:
                return
        except AssertionError as failure:  # this is the client's own thread: the test has to hear of it
            self.failures.append(failure)
        if self.answers:
            with contextlib.suppress(socketio.exceptions.SocketIOError):  # it is being closed
                self.emit("seen", {"revision": self.model.revision})

    def frames(self) -> list[HeardEvent]:
        """Every frame of the delta stream."""
        with self._lock:
            return [heard for heard in self.heard if heard.event in {"twin-snapshot", "twin-delta"}]


@contextmanager
def delta_stream(ego: EgoServer, **kwargs: Any) -> Iterator[DeltaListener]:
    """A browser on the delta stream, subscribed at connect and closed afterwards. Fails if its model has failed."""
    listener = DeltaListener(ego, auth={"stream": "delta"}, **kwargs)
    try:
        yield listener
    finally:
        listener.close()
    assert not listener.failures, listener.failures
