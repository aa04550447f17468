"""The frames of the twin: one per tick that changed something, encoded once, and what each client was sent of them."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from engineio.packet import Packet

from mirror_stage.instants import SECOND, Instant
from mirror_stage.realtime import Realtime, encode_event
from mirror_stage.twin import encode
from mirror_stage.twin.domain import Host, Role
from mirror_stage.twin.state import Twin

NAMESPACE = "/digital-twin"
TWIN_STATE, TWIN_SNAPSHOT, TWIN_DELTA, HOST_DETAIL = "twin-state", "twin-snapshot", "twin-delta", "host-detail"
FULL_EVERY: Instant = SECOND
HEARTBEAT_EVERY: Instant = 5 * SECOND - 400  # a tick earlier than promised, because the next one would be late
DETAILS_EVERY: Instant = SECOND - 100  # the fourth tick, even if it comes a little early
RESYNC_EVERY: Instant = 2 * SECOND
FRAMES_AHEAD = 2  # a client that has more frames than this to answer is sent nothing until it does
WATCHED_MAX = 4
HOSTS_REFRESHED_PER_MS = 50
CUT_AFTER: Instant = 10 * SECOND
REMEMBERED_FOR: Instant = 60 * SECOND  # who is further behind gets a snapshot


@dataclass(frozen=True, slots=True)
class Slots:
    """Which slots a tick changed. Only numbers: a minute of hosts would hold a minute of samples."""

    at: Instant
    touched: frozenset[int]
    upserted: frozenset[int]
    removed: frozenset[int]


@dataclass(slots=True)
class Client:
    """One browser: which stream it takes, and what it has."""

    sid: str
    wants_delta: bool = False
    revision: int = -1
    sent_at: Instant = 0
    unseen: list[int] = field(default_factory=list)
    resynced_at: Instant = -RESYNC_EVERY
    busy_since: Instant | None = None
    watched: list[str] = field(default_factory=list)


class Frames:
    """What REST and Socket.IO show of the twin: always exactly one tick of it."""

    def __init__(self, twin: Twin, realtime: Realtime):
        self._twin, self._realtime = twin, realtime
        self.twin_id = ""
        self.epoch = secrets.token_hex(3)
        self.revision = 0
        self.generated_at: Instant = 0
        self._hosts: dict[int, Host] = {}
        self._fragments = encode.Fragments()
        self._log: OrderedDict[int, Slots] = OrderedDict()  # by the revision that they led to
        self._clients: dict[str, Client] = {}
        self._bodies: dict[bool, bytes] = {}
        self._packets: dict[Any, Packet] = {}
        self._details_sent_at: Instant = 0

    @property
    def etag(self) -> str:
        return f"{self.epoch}-{self.revision}"

    def hosts(self) -> list[Host]:
        """The hosts of this frame, the hub first."""
        return sorted(self._hosts.values(), key=lambda host: (host.role != Role.HUB, host.id))

    def body(self, *, with_slots: bool = False) -> bytes:
        """The snapshot of this frame, encoded at most once."""
        known = self._bodies.get(with_slots)
        if known is None:
            head = {"type": TWIN_STATE, "twinId": self.twin_id} | encode.head_of(
                self.epoch, self.revision, self.generated_at
            )
            known = self._bodies[with_slots] = encode.snapshot(
                head, self.hosts(), self._fragments, with_slots=with_slots
            )
        return known

    def refresh(self, now: Instant) -> None:
        """Take the twin's changes in, for somebody who asks over REST: what was acknowledged is in the answer.

        Many hosts cost more to encode, so they are refreshed less often: 1,000 at most every 20 ms.
        """
        if now - self.generated_at >= len(self._hosts) // HOSTS_REFRESHED_PER_MS:
            self._take(now)

    def tick(self, now: Instant) -> None:
        """Take the twin's changes in and tell every client that can take more."""
        self._take(now)
        idle = [client for client in self._clients.values() if self._is_idle(client)]  # before a frame makes it busy
        for client in list(self._clients.values()):
            self._send(client, now)
        if now - self._details_sent_at >= DETAILS_EVERY:
            self._details_sent_at = now
            self._send_details(idle)

    def _take(self, now: Instant) -> None:
        changes = self._twin.take_changes()
        if not changes and self.generated_at:
            return
        for slot in changes.removed:
            self._hosts.pop(slot, None)
            self._fragments.drop(slot)
        self._hosts |= changes.touched
        self.revision += 1
        self.generated_at = now
        self._log[self.revision] = Slots(
            now, frozenset(changes.touched), frozenset(changes.upserted), frozenset(changes.removed)
        )
        while next(iter(self._log.values())).at < now - REMEMBERED_FOR:
            self._log.popitem(last=False)
        self._bodies.clear()
        self._packets.clear()

    # ------------------------------------------------------------------ clients

    def join(self, sid: str, now: Instant, *, wants_delta: bool) -> None:
        """A client connected: it is shown this frame at once."""
        client = self._clients[sid] = Client(sid, wants_delta)
        self._send_snapshot(client, now)

    def leave(self, sid: str) -> None:
        """A client is gone."""
        self._clients.pop(sid, None)

    def subscribe(self, sid: str, now: Instant) -> None:
        """From now on this client takes the delta stream."""
        client = self._clients.get(sid)
        if client is not None and not client.wants_delta:
            client.wants_delta = True
            self._send_snapshot(client, now)

    def seen(self, sid: str, revision: int) -> None:
        """The client has worked off every frame up to `revision`."""
        client = self._clients.get(sid)
        if client is not None:
            client.unseen = [sent for sent in client.unseen if sent > revision]

    def resync(self, sid: str, now: Instant) -> bool:
        """Whether the client gets a snapshot now: it lost the thread, and asks at most every 2 s."""
        client = self._clients.get(sid)
        if client is None or not client.wants_delta or now - client.resynced_at < RESYNC_EVERY:
            return False
        client.resynced_at = now
        self._send_snapshot(client, now)
        return True

    def watch(self, sid: str, hostname: str) -> str | None:
        """Why the client may not watch a host; None when it does, and is shown it at once."""
        client, host = self._clients.get(sid), self._twin.hosts_by_name.get(hostname)
        if client is None or host is None:
            return f"there is no host {hostname}"
        if hostname not in client.watched:
            if len(client.watched) >= WATCHED_MAX:
                return f"at most {WATCHED_MAX} hosts can be watched; unwatch one first"
            client.watched.append(hostname)
        self._realtime.tell(NAMESPACE, sid, HOST_DETAIL, encode.host_detail(host))
        return None

    def unwatch(self, sid: str, hostname: str) -> None:
        """The client no longer watches a host."""
        client = self._clients.get(sid)
        if client is not None and hostname in client.watched:
            client.watched.remove(hostname)

    # ------------------------------------------------------------------ sending

    def _send(self, client: Client, now: Instant) -> None:
        if self._is_idle(client):
            client.busy_since = None
        elif client.busy_since is None:
            client.busy_since = now
        elif now - client.busy_since >= CUT_AFTER and not self._realtime.is_sending(NAMESPACE, client.sid):
            self._realtime.cut(
                NAMESPACE, client.sid
            )  # a polling client that does not poll; a websocket has its deadline
            return
        if client.wants_delta:
            self._send_delta(client, now)
        elif client.revision != self.revision and now - client.sent_at >= FULL_EVERY and self._is_idle(client):
            self._send_snapshot(client, now)

    def _is_idle(self, client: Client) -> bool:
        """Whether the client has the last frame; while it has not, newer ones replace each other here."""
        return self._realtime.is_idle(NAMESPACE, client.sid)

    def _send_snapshot(self, client: Client, now: Instant) -> None:
        event = TWIN_SNAPSHOT if client.wants_delta else TWIN_STATE
        packet = self._packets.get(event)
        if packet is None:
            body = self.body(with_slots=client.wants_delta)
            packet = self._packets[event] = encode_event(NAMESPACE, event, body)
        client.unseen.clear()
        self._deliver(client, packet, now)

    def _send_delta(self, client: Client, now: Instant) -> None:
        if len(client.unseen) > FRAMES_AHEAD or client.busy_since is not None:
            return
        if client.revision == self.revision and now - client.sent_at < HEARTBEAT_EVERY:
            return
        key = (client.revision, self.revision)
        packet = self._packets.get(key) if client.revision != self.revision else None
        if packet is None:
            missed = self._missed_since(client.revision)
            body = self._delta(client.revision, missed, now) if missed is not None else None
            if missed is None or body is None or self._is_larger_than_snapshot(body, missed):
                self._send_snapshot(client, now)
                return
            packet = encode_event(NAMESPACE, TWIN_DELTA, body)
            if client.revision != self.revision:
                self._packets[key] = packet
        self._deliver(client, packet, now)

    def _missed_since(self, revision: int) -> Slots | None:
        """Everything that changed after `revision`; None if that is too long ago."""
        touched: set[int] = set()
        upserted: set[int] = set()
        removed: set[int] = set()
        for number in range(revision + 1, self.revision + 1):
            slots = self._log.get(number)
            if slots is None:
                return None
            removed |= slots.removed
            touched |= slots.touched
            upserted |= slots.upserted
        return Slots(self.generated_at, frozenset(touched), frozenset(upserted), frozenset(removed))

    def _is_larger_than_snapshot(self, delta: bytes, missed: Slots) -> bool:
        """Only whole hosts make a delta large, and encoding a snapshot to compare is work on every host."""
        return 2 * len(missed.upserted) > len(self._hosts) and len(delta) > len(self.body(with_slots=True))

    def _delta(self, revision: int, missed: Slots, now: Instant) -> bytes:
        """What was missed after `revision`, as one delta."""
        head = encode.head_of(self.epoch, self.revision, self.generated_at) | {"previous": revision}
        here = self._hosts
        return encode.delta(
            head,
            sorted(missed.removed),
            [here[slot] for slot in sorted(missed.upserted) if slot in here],
            [here[slot] for slot in sorted(missed.touched) if slot in here],
            self._fragments,
            now,
        )

    def _deliver(self, client: Client, packet: Packet, now: Instant) -> None:
        client.revision, client.sent_at = self.revision, now
        if client.wants_delta:
            client.unseen.append(self.revision)
        self._realtime.send(NAMESPACE, client.sid, packet)

    def _send_details(self, clients: Iterable[Client]) -> None:
        packets: dict[str, Packet] = {}
        for client in clients:
            for hostname in client.watched:
                host = self._twin.hosts_by_name.get(hostname)
                if host is None:
                    continue
                if hostname not in packets:
                    packets[hostname] = encode_event(NAMESPACE, HOST_DETAIL, orjson.dumps(encode.host_detail(host)))
                self._realtime.send(NAMESPACE, client.sid, packets[hostname])
