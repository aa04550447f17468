"""The frames of the twin: one per tick that changed something, encoded once."""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.twin import encode
from mirror_stage.twin.domain import Host, Role
from mirror_stage.twin.state import Twin

HOSTS_REFRESHED_PER_MS = 50  # how much encoding REST requests may cause
REMEMBERED_FOR: Instant = 60 * SECOND  # a client that is further behind gets a snapshot


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots that a tick changed. It keeps numbers and not hosts, which would keep a minute of samples in memory."""

    at: Instant
    touched: frozenset[int]
    upserted: frozenset[int]
    removed: frozenset[int]


@dataclass(frozen=True, slots=True)
class Step:
    """What one frame has that the frame before it had not: the hosts that changed, by slot, and the slots that left."""

    epoch: str
    revision: int
    at: Instant
    touched: Mapping[int, Host]
    upserted: frozenset[int]
    removed: frozenset[int]


class Frames:
    """The newest frame of the twin, which REST and Socket.IO show, and the changes of the last minute.

    Where the owner runs, `take` makes the frames of its twin. Elsewhere `follow` and `restart` repeat the owner's frames.
    """

    def __init__(self, twin: Twin):
        self._twin = twin
        self.on_step: Callable[[Step], None] = lambda _step: None  # told of each frame that `take` has made
        self.twin_id = ""
        self.epoch = secrets.token_hex(3)
        self.revision = 0
        self.generated_at: Instant = 0
        self._hosts: dict[int, Host] = {}
        self._fragments = encode.Fragments()
        self._full_fragments = encode.Fragments(encode.full_entry)
        self._log: OrderedDict[int, Slots] = OrderedDict()  # by the revision that the changes made
        self._bodies: dict[tuple[bool, bool], bytes] = {}
        self._deltas: dict[int, bytes | None] = {}
        self.encoded_bytes: Counter[str] = Counter()  # of snapshots and of deltas

    @property
    def etag(self) -> str:
        return f"{self.epoch}-{self.revision}"

    def hosts(self) -> list[Host]:
        """The hosts of this frame, the hub first."""
        return sorted(self._hosts.values(), key=lambda host: (host.role != Role.HUB, host.id))

    @property
    def size(self) -> int:
        """How many hosts this frame has."""
        return len(self._hosts)

    def in_slot(self, slot: int) -> Host | None:
        """The host of a slot in this frame."""
        return self._hosts.get(slot)

    def host(self, hostname: str) -> Host | None:
        """A host of this frame; None if it is not in it."""
        return next(iter(self.hosts_named({hostname})), None)

    def hosts_named(self, names: AbstractSet[str]) -> list[Host]:
        """Those of these hosts that are in this frame. It walks over all hosts once, unless there are no names."""
        return [host for host in self._hosts.values() if host.hostname in names] if names else []

    def body(self, *, with_slots: bool = False, with_diagnostics: bool = False) -> bytes:
        """The snapshot of this frame, encoded at most once."""
        key = (with_slots, with_diagnostics)
        known = self._bodies.get(key)
        if known is None:
            head = {"type": "twin-state", "twinId": self.twin_id} | encode.head_of(
                self.epoch, self.revision, self.generated_at
            )
            fragments = self._full_fragments if with_diagnostics else self._fragments
            known = self._bodies[key] = encode.snapshot(head, self.hosts(), fragments, with_slots=with_slots)
            self.encoded_bytes["snapshot"] += len(known)
        return known

    def refresh(self, now: Instant) -> None:
        """Make a new frame for a REST request, so that its answer has what was acknowledged.

        Many hosts cost more to encode, so their frames are made less often: for 1,000 hosts at most every 20 ms. What was
        acknowledged since the last frame is in the next one.
        """
        if now - self.generated_at >= len(self._hosts) // HOSTS_REFRESHED_PER_MS:
            self.take(now)

    def take(self, now: Instant) -> None:
        """Make a new frame if the twin has changed."""
        changes = self._twin.take_changes()
        if not changes and self.generated_at:
            return
        step = Step(
            self.epoch,
            self.revision + 1,
            now,
            changes.touched,
            frozenset(changes.upserted),
            frozenset(changes.removed),
        )
        self._go(step)
        self.on_step(step)

    def follow(self, step: Step) -> bool:
        """Take over the owner's next frame. False if it does not follow on the newest one: then `restart` is needed."""
        if step.epoch != self.epoch or step.revision != self.revision + 1:
            return False
        self._go(step)
        return True

    def restart(self, epoch: str, revision: int, at: Instant, hosts: Iterable[Host]) -> None:
        """Take over a whole frame of the owner. Every client of the delta stream needs a snapshot of it."""
        self.epoch, self.revision, self.generated_at = epoch, revision, at
        for slot in self._hosts:
            self._fragments.drop(slot)
            self._full_fragments.drop(slot)
        self._hosts = {host.id: host for host in hosts}
        self._log.clear()
        self._bodies.clear()
        self._deltas.clear()

    def begin(self) -> None:
        """Begin a new epoch without hosts: this process is the owner now, and its twin holds nothing yet."""
        self.restart(secrets.token_hex(3), 0, 0, ())

    def _go(self, step: Step) -> None:
        for slot in step.removed:
            self._hosts.pop(slot, None)
            self._fragments.drop(slot)
            self._full_fragments.drop(slot)
        self._hosts |= step.touched
        self.revision, self.generated_at = step.revision, step.at
        self._log[step.revision] = Slots(step.at, frozenset(step.touched), step.upserted, step.removed)
        while next(iter(self._log.values())).at < step.at - REMEMBERED_FOR:
            self._log.popitem(last=False)
        self._bodies.clear()
        self._deltas.clear()

    def delta(self, since: int, now: Instant) -> bytes | None:
        """The changes after the frame `since`, encoded at most once.

        None if a snapshot is smaller, or if the frames since then are no longer known.
        """
        if since == self.revision:
            return self._encoded(since, Slots(now, frozenset(), frozenset(), frozenset()), now)
        if since not in self._deltas:
            changed = self._changed_since(since)
            body = self._encoded(since, changed, now) if changed is not None else None
            self.encoded_bytes["delta"] += len(body or b"")
            if changed is not None and body is not None and self._is_larger_than_snapshot(body, changed):
                body = None
            self._deltas[since] = body
        return self._deltas[since]

    def _changed_since(self, revision: int) -> Slots | None:
        """All slots that changed after `revision`; None if that is too long ago, or of another owner."""
        if revision > self.revision:
            return None
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

    def _is_larger_than_snapshot(self, delta: bytes, changed: Slots) -> bool:
        """Whether a snapshot is smaller. Compared only if half of the hosts are in full, because encoding a snapshot is costly."""
        return 2 * len(changed.upserted) > len(self._hosts) and len(delta) > len(self.body(with_slots=True))

    def _encoded(self, revision: int, changed: Slots, now: Instant) -> bytes:
        """The delta from `revision` to this frame."""
        head = encode.head_of(self.epoch, self.revision, self.generated_at) | {"previous": revision}
        here = self._hosts
        return encode.delta(
            head,
            sorted(changed.removed),
            [here[slot] for slot in sorted(changed.upserted) if slot in here],
            [here[slot] for slot in sorted(changed.touched) if slot in here],
            self._fragments,
            now,
        )
