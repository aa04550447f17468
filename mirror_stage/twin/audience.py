"""The Socket.IO clients of the twin in this process: which stream each takes, and which frames it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.twin import encode
from mirror_stage.twin.frames import Frames
from mirror_stage.web.realtime import EncodedEvent, Realtime, encode_event

NAMESPACE = "/digital-twin"
TWIN_STATE, TWIN_SNAPSHOT, TWIN_DELTA, HOST_DETAIL = "twin-state", "twin-snapshot", "twin-delta", "host-detail"
FULL_EVERY: Instant = SECOND
HEARTBEAT_EVERY: Instant = 5 * SECOND - 400  # one tick before the promised 5 s, because the tick after it would be late
DETAILS_EVERY: Instant = SECOND - 100  # every fourth tick, even if that comes a little early
RESYNC_EVERY: Instant = 2 * SECOND
FRAMES_AHEAD = 2  # a client with more unacknowledged frames than this gets no new frame
WATCHED_MAX = 4  # hosts that a client may watch at once
CUT_AFTER: Instant = 10 * SECOND  # a client that takes nothing for so long is disconnected


@dataclass(slots=True)
class Client:
    """One client: which stream it takes, and which frames it has."""

    sid: str
    wants_delta: bool = False
    wants_diagnostics: bool = False
    epoch: str = ""
    revision: int = -1
    sent_at: Instant = 0
    unseen: list[int] = field(default_factory=list)  # revisions that were sent and not acknowledged
    resynced_at: Instant = -RESYNC_EVERY
    busy_since: Instant | None = None
    watched: list[str] = field(default_factory=list)
    skipped: int = -1  # the newest frame that it was not sent, because it had not taken the earlier ones


class Audience:
    """Sends each client the frames of its stream, no faster than the client takes them."""

    def __init__(self, frames: Frames, realtime: Realtime, *, with_diagnostics: bool = False):
        """`with_diagnostics` is the default for clients of the full stream that do not ask for it or against it."""
        self._frames, self._realtime = frames, realtime
        self._with_diagnostics = with_diagnostics
        self._clients: dict[str, Client] = {}
        # the packets of the newest frame, by (event, revision that it follows, with diagnostics)
        self._packets: dict[tuple[str, int, bool], EncodedEvent] = {}
        self._packed = ("", -1)  # the epoch and revision of that frame
        self._details_sent_at: Instant = 0
        self.skipped = 0  # frames, over all clients

    def show(self, now: Instant) -> None:
        """Send the newest frame to every client that can take more."""
        idle = [client for client in self._clients.values() if self._is_idle(client)]  # first: a frame makes it busy
        for client in list(self._clients.values()):
            self._send(client, now)
        if now - self._details_sent_at >= DETAILS_EVERY:
            self._details_sent_at = now
            self._send_details(idle)

    def join(self, sid: str, now: Instant, *, wants_delta: bool, wants_diagnostics: bool | None = None) -> None:
        """Add a client that connected, and send it the newest frame at once."""
        if wants_diagnostics is None:
            wants_diagnostics = self._with_diagnostics
        client = self._clients[sid] = Client(sid, wants_delta, wants_diagnostics)
        self._send_snapshot(client, now)

    def leave(self, sid: str) -> None:
        """Remove a client that disconnected."""
        self._clients.pop(sid, None)

    def subscribe(self, sid: str, now: Instant) -> None:
        """Switch this client to the delta stream."""
        client = self._clients.get(sid)
        if client is not None and not client.wants_delta:
            client.wants_delta = True
            self._send_snapshot(client, now)

    def subscribe_to_full(self, sid: str, now: Instant, *, wants_diagnostics: bool) -> None:
        """Switch this client to the full stream, with diagnostics or without."""
        client = self._clients.get(sid)
        if client is not None and (client.wants_delta or client.wants_diagnostics != wants_diagnostics):
            client.wants_delta, client.wants_diagnostics = False, wants_diagnostics
            self._send_snapshot(client, now)

    def seen(self, sid: str, revision: int) -> None:
        """Note that the client has processed every frame up to `revision`."""
        client = self._clients.get(sid)
        if client is not None:
            client.unseen = [sent for sent in client.unseen if sent > revision]

    def resync(self, sid: str, now: Instant) -> bool:
        """Send a snapshot to a client of the delta stream that missed a frame. Returns whether it did: at most every 2 s."""
        client = self._clients.get(sid)
        if client is None or not client.wants_delta or now - client.resynced_at < RESYNC_EVERY:
            return False
        client.resynced_at = now
        self._send_snapshot(client, now)
        return True

    def watch(self, sid: str, hostname: str) -> str | None:
        """Let the client watch a host, and send it the host at once. Returns the reason if it may not, else None."""
        client, host = self._clients.get(sid), self._frames.host(hostname)
        if client is None or host is None:
            return f"there is no host {hostname}"
        if hostname in client.watched:
            return None
        if len(client.watched) >= WATCHED_MAX:
            return f"at most {WATCHED_MAX} hosts can be watched; unwatch one first"
        client.watched.append(hostname)
        self._realtime.tell(NAMESPACE, sid, HOST_DETAIL, encode.host_detail(host))
        return None

    def unwatch(self, sid: str, hostname: str) -> None:
        """Stop sending the details of a host to the client."""
        client = self._clients.get(sid)
        if client is not None and hostname in client.watched:
            client.watched.remove(hostname)

    def _send(self, client: Client, now: Instant) -> None:
        if self._is_idle(client):
            client.busy_since = None
        elif client.busy_since is None:
            client.busy_since = now
        elif now - client.busy_since >= CUT_AFTER and not self._realtime.is_sending(NAMESPACE, client.sid):
            # a client of long polling that stopped polling; for a websocket the send has its own deadline
            self._realtime.cut(NAMESPACE, client.sid)
            return
        if client.epoch != self._frames.epoch:  # another owner: what the client has does not count
            client.revision = -1
        if client.wants_delta:
            self._send_delta(client, now)
        elif client.revision != self._frames.revision and now - client.sent_at >= FULL_EVERY:
            if self._is_idle(client):
                self._send_snapshot(client, now)
            else:
                self._skip(client)

    def _skip(self, client: Client) -> None:
        """Count a frame that this client is not sent."""
        if self._frames.revision not in {client.revision, client.skipped}:
            client.skipped = self._frames.revision
            self.skipped += 1

    def _is_idle(self, client: Client) -> bool:
        """Whether the client has taken the last packet. A busy client gets no new one; later it gets the newest frame."""
        return self._realtime.is_idle(NAMESPACE, client.sid)

    def _send_snapshot(self, client: Client, now: Instant) -> None:
        event = TWIN_SNAPSHOT if client.wants_delta else TWIN_STATE
        client.unseen.clear()
        self._deliver(client, event, lambda: self._body_for(client), now)

    def _body_for(self, client: Client) -> bytes:
        with_diagnostics = client.wants_diagnostics and not client.wants_delta
        return self._frames.body(with_slots=client.wants_delta, with_diagnostics=with_diagnostics)

    def _send_delta(self, client: Client, now: Instant) -> None:
        if len(client.unseen) > FRAMES_AHEAD or client.busy_since is not None:
            self._skip(client)
            return
        if client.revision == self._frames.revision and now - client.sent_at < HEARTBEAT_EVERY:
            return
        body = self._frames.delta(client.revision, now)
        if body is None:
            self._send_snapshot(client, now)
        else:
            self._deliver(client, TWIN_DELTA, lambda: body, now)

    def _deliver(self, client: Client, event: str, body: Callable[[], bytes], now: Instant) -> None:
        """Send an event of the newest frame. It is encoded once for all clients that get the same."""
        epoch, revision = self._frames.epoch, self._frames.revision
        if self._packed != (epoch, revision):
            self._packets.clear()
            self._packed = (epoch, revision)
        key = (event, client.revision if event == TWIN_DELTA else revision, client.wants_diagnostics)
        packet = self._packets.get(key)
        if packet is None:
            packet = encode_event(NAMESPACE, event, body())
            if key[:2] != (TWIN_DELTA, revision):  # an empty delta is not reused, because it contains the time
                self._packets[key] = packet
        client.epoch, client.revision, client.sent_at = epoch, revision, now
        if client.wants_delta:
            client.unseen.append(revision)
        self._realtime.send(NAMESPACE, client.sid, packet)

    def _send_details(self, clients: Iterable[Client]) -> None:
        watching = [client for client in clients if client.watched]
        watched = {hostname for client in watching for hostname in client.watched}
        packets = {
            host.hostname: encode_event(NAMESPACE, HOST_DETAIL, orjson.dumps(encode.host_detail(host)))
            for host in self._frames.hosts_named(watched)
        }
        for client in watching:
            for hostname in client.watched:
                if hostname in packets:
                    self._realtime.send(NAMESPACE, client.sid, packets[hostname])
