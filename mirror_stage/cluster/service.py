"""A worker in its cluster: passes on what happens here, applies what happens elsewhere, and owns the twin when it has to.

Every worker is an edge. One of them is also the owner. What crosses is an entry of the stream (`wire.py`); the database
says who the owner is (`membership.py`), and stands in while Redis fails (`without_redis.py`).
"""

from __future__ import annotations

import logging
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import gevent
import orjson
import redis
from gevent.event import AsyncResult

from mirror_stage.alerts.domain import Alert
from mirror_stage.cluster import wire
from mirror_stage.cluster.membership import Membership, application_name
from mirror_stage.cluster.stream import Entry, Stream, order
from mirror_stage.cluster.without_redis import WithoutRedis
from mirror_stage.commands.domain import Chunk
from mirror_stage.commands.service import CommandService
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import SECOND, Instant, to_text
from mirror_stage.core.problems import Problem
from mirror_stage.core.readiness import Readiness
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.known_hosts import KnownHosts
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.port import Message, Registered
from mirror_stage.pipeline.restore import Restorer
from mirror_stage.pipeline.saving import Saver
from mirror_stage.storage import notes
from mirror_stage.storage.db import Storage
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.frames import HOSTS_REFRESHED_PER_MS, Frames, Step
from mirror_stage.web.realtime import Realtime

log = logging.getLogger(__name__)

AFTER_WITHIN_SECONDS = 2.0
SHOWN_WITHIN_SECONDS = 0.3  # a reader waits at most this long for what was acknowledged before
RECORDED_WITHIN_SECONDS = 1.0
WHOLE_EVERY_SECONDS = 0.5  # a whole frame is asked for, and sent, at most so often
MISSED_TOLD_SECONDS = 5.0  # so long after Redis came back, this worker goes on saying that it missed some
DIED_A_MOMENT_AGO: Instant = 15 * SECOND
REMEMBERED = 20_000  # subjects of events, to tell each version once


class Cluster:
    """This worker's part in the cluster."""

    def __init__(
        self,
        url: str,
        storage: Storage,
        clock: Clock,
        readiness: Readiness,
        *,
        known: KnownHosts,
        owner: Owner,
        saver: Saver,
        frames: Frames,
        audience: Audience,
        restorer: Restorer,
        realtime: Realtime,
        commands: CommandService,
        alerts_shown: Callable[[Sequence[Alert]], list[Alert]],
    ):
        self._storage, self._clock, self._readiness = storage, clock, readiness
        self._known, self._owner, self._saver, self._frames, self._audience = known, owner, saver, frames, audience
        self._without_redis = WithoutRedis(storage, clock, frames, commands, alerts_shown)
        self._restorer, self._realtime, self._commands = restorer, realtime, commands
        realtime.relay = self._publish
        commands.wake_elsewhere, commands.print_elsewhere = self._wake, self._print
        self._become_owner: Callable[[], None] = lambda: None
        self.has_begun = False
        self._keeping_up: gevent.Greenlet | None = None
        self.membership = Membership(
            storage,
            storage.cluster,
            clock,
            is_linked=lambda: self.stream.is_up,
            missed_since=lambda: self._missed_since,
            lead=self._lead,
            depose=self._depose,
        )
        self.id = self.membership.id
        self.stream = Stream(url, self.id)
        self.stream.on_break = self._after_break
        storage.own_name = application_name(self.id)
        storage.own.guard = self.membership.check
        frames.on_step = self._tell_step
        self._missed_since: Instant | None = None  # of this edge: samples since then are not in the stream
        self._linked_again_at = 0.0
        # what the owner has to hear after it has restored the twin: position in the stream, message, samples still encoded
        self._early: list[tuple[str | None, Message, Sequence[tuple[str, bytes]]]] | None = None
        self._folded_to = "0-0"  # the entries up to here were folded when the twin was restored
        self._generation = 0  # of the newest owner that was heard of
        self._is_following = False
        self._whole_asked_at = self._whole_sent_at = 0.0
        self._asked = 0
        self._answered_in: float | None = None  # seconds, the last time that the owner was asked
        self._waiting: dict[int, AsyncResult] = {}
        self._told: OrderedDict[str, int] = OrderedDict()
        self._handlers: dict[bytes, Callable[[Entry], None]] = {
            wire.HAPPENED: self._hear,
            wire.STEP: self._follow,
            wire.WHOLE: self._restart,
            wire.WANTED: self._send_whole,
            wire.ASKED: self._answer,
            wire.ANSWERED: self._answered,
            wire.TOLD: self._tell_here,
            wire.WOKEN: lambda entry: commands.look_again_here(wire.decode_names(entry.body)),
            wire.PRINTED: self._printed,
        }

    # ------------------------------------------------------------------ begin and end

    def begin(self, become_owner: Callable[[], None]) -> None:
        """Take part from now on. This worker is ready when it shows the owner's frames, or owns the twin itself.

        `become_owner` restores the twin from the database; it is called in the worker that owns it.
        """
        self._become_owner, self.has_begun = become_owner, True
        self._readiness.why_not = "waiting for the worker that owns the twin"
        self._frames.twin_id = self._storage.write(notes.twin_id)
        self.stream.begin(f"mirror-stage:{self._frames.twin_id}:stream", self._handle)
        for hostname, host_id in self._storage.read(twin_store.ids):
            self._known.ids_by_hostname.setdefault(hostname, host_id)
        self.membership.begin()
        self._keeping_up = gevent.spawn(self._keep_up)

    def _keep_up(self) -> None:
        """Each second: see to it that this worker has the owner's frames, through the stream or without it."""
        while True:
            try:
                self._look()
            except Problem as why:
                log.warning("the cluster: %s", why)
            except Exception:
                log.exception("the cluster: the owner's frame could not be shown or stored")
            gevent.sleep(1)

    def _look(self) -> None:
        if self.is_owner:
            if all(worker.is_linked for worker in self.membership.standing.alive):
                self._without_redis.drop_frame()
            else:
                self._without_redis.store_frame(self.membership.generation)
        elif not self.stream.is_up:
            self._is_following = False
            self._without_redis.show_frame(self.show_whole)
        elif not self._is_following:
            self._want_whole()
        if not self.stream.is_up or elapsed_seconds() - self._linked_again_at < MISSED_TOLD_SECONDS:
            self._without_redis.tell_changes(self._tell_without_redis)
        else:
            self._without_redis.rest()
            self._missed_since = None

    def leave(self) -> None:
        """Stop. If this worker owns the twin, the next one may take over at once."""
        if self._keeping_up is not None:
            self._keeping_up.kill(block=False)
        self.membership.leave()
        self.stream.close()

    @property
    def is_owner(self) -> bool:
        """Whether the live twin is here."""
        return self._owner.is_leading

    def _lead(self, _generation: int) -> None:
        """Become the owner: restore the twin, then fold what came meanwhile."""
        self._early, self._folded_to = [], "0-0"
        self._generation, self._is_following = self.membership.generation, False
        try:
            self._become_owner()  # folds the entries since the last save, too: `fold_since_saved`
            self._is_following = True
            self._send_whole_now()
        except Exception as error:
            log.exception("this worker could not restore the twin")
            self._depose(f"it could not restore the twin ({error})")

    def _depose(self, why: str) -> None:
        self.membership.end_ownership()
        self._owner.is_leading = self._owner.is_live = False
        log.error("%s; this worker starts anew", why)
        os.kill(os.getpid(), signal.SIGTERM)  # gunicorn starts another worker in its place

    def check(self) -> dict[str, Any]:
        """The readiness check: who owns the twin, since when, how long the owner takes to answer, what is missing."""
        standing = self.membership.standing
        owner, alive = standing.of(standing.worker), standing.alive
        if owner is None or not owner.is_alive:
            return {"ok": False, "detail": f"no worker owns the twin; {len(alive)} workers live"}
        here = "this worker" if owner.id == self.id else f"worker {owner.id} ({owner.machine}, pid {owner.pid})"
        detail = f"{here} owns the twin since {to_text(standing.since)}, generation {standing.generation}"
        detail += f"; {len(alive)} workers"
        if self._answered_in is not None:
            detail += f"; the owner answers within {self._answered_in * 1000:.0f} ms"
        unlinked = [worker.id for worker in alive if not worker.is_linked]
        if unlinked:
            detail += f"; without Redis, so up to 3 s behind: {', '.join(unlinked)}"
        if self.stream.ignored:
            detail += f"; {self.stream.ignored} entries of the stream were ignored"
        return {"ok": not unlinked and self.membership.trouble is None, "detail": detail}

    # ------------------------------------------------------------------ what happens here

    def hear_here(self, message: Message) -> None:
        """A listener of this worker's port: pass the message on to the others, then to the owner, if that is here."""
        position = self.stream.add(wire.HAPPENED, wire.of_message(message))
        if position is None:
            self._note_missed(message)
        if self._early is not None:
            self._early.append((position, message, ()))
        elif self._owner.is_leading:
            self._owner.hear(message)

    def hear_early(self) -> None:
        """Let the owner hear what has happened while it restored the twin, but no sample twice."""
        while self._early:
            position, message, encoded = self._early.pop(0)
            if position is not None and order(position) <= order(self._folded_to):
                message = Message(removed=message.removed, acknowledged=message.acknowledged)
            else:
                message = replace(message, samples=[*message.samples, *self._decoded(encoded)])
            self._owner.hear(message)
            gevent.sleep(0)
        self._early = None

    def _note_missed(self, message: Message) -> None:
        firsts = [sample.received_at for sample in message.samples]
        if firsts:
            self._missed_since = min(self._missed_since or firsts[0], *firsts)
        self._linked_again_at = elapsed_seconds()

    def _publish(self, namespace: str, event: str, subject: str, version: int, body: bytes) -> None:
        """Send an event to the clients of all workers, to each client at most once."""
        if self._is_new(subject, version):
            self._realtime.publish_here(namespace, event, body)
        self.stream.add(wire.TOLD, wire.encode(wire.Event(namespace, event, subject, version, body)))

    def _wake(self, hostnames: Sequence[str]) -> None:
        """Wake the agents of these hosts whose polls wait at other workers."""
        self.stream.add(wire.WOKEN, wire.encode(list(hostnames)))

    def _print(self, id: str, chunk: Chunk) -> None:
        """Pass a chunk of output on to the clients of other workers."""
        self.stream.add(wire.PRINTED, wire.encode(wire.ChunkForm(id, chunk.seq, chunk.stream, chunk.text)))

    def _tell_step(self, step: Step) -> None:
        if self._owner.is_leading and self._is_following:  # the first frame of an owner goes as a whole one
            self.stream.add(wire.STEP, wire.of_step(step), self.membership.generation)

    # ------------------------------------------------------------------ what readers wait for

    def refresh(self, after: Instant | None = None) -> None:
        """Wait until the newest frame has everything that any worker has acknowledged: at most SHOWN_WITHIN_SECONDS.

        `after` is the `receivedAt` of an answer. With it, wait at most AFTER_WITHIN_SECONDS, also while Redis fails.
        """
        if after is None:
            if self._clock.now() - self._frames.generated_at >= self._frames.size // HOSTS_REFRESHED_PER_MS:
                self._ask(is_recorded=False, seconds=SHOWN_WITHIN_SECONDS)
        elif not self._ask(is_recorded=False, seconds=AFTER_WITHIN_SECONDS):
            deadline = elapsed_seconds() + AFTER_WITHIN_SECONDS
            while self._frames.generated_at <= after + SECOND and elapsed_seconds() < deadline:
                gevent.sleep(0.05)

    def until_recorded(self) -> None:
        """Wait until alerts and identities of everything acknowledged before are in the database, at most a second."""
        self._ask(is_recorded=True, seconds=RECORDED_WITHIN_SECONDS)

    def _ask(self, *, is_recorded: bool, seconds: float) -> bool:
        """Ask the owner, and wait for its answer. False if it cannot be asked."""
        self._asked += 1
        number, answered = self._asked, AsyncResult()
        self._waiting[number] = answered
        try:
            if self.stream.add(wire.ASKED, wire.encode(wire.Ask(number, is_recorded))) is not None:
                began = elapsed_seconds()
                answered.wait(seconds)
                self._answered_in = elapsed_seconds() - began
                return True
            if self.is_owner:
                self._do(is_recorded=is_recorded)
            return self.is_owner
        finally:
            del self._waiting[number]

    def _do(self, *, is_recorded: bool) -> None:
        if is_recorded:
            self._saver.record()
            self._saver.until_recorded()  # if another write was under way, the next one records this
        self._owner.refresh()

    # ------------------------------------------------------------------ what happens elsewhere

    def _handle(self, entry: Entry) -> None:
        handler = self._handlers.get(entry.kind)
        if entry.generation > self.membership.standing.generation:  # the database knows of no such owner, or not yet
            self.stream.ignored += entry.generation > self.membership.standing.generation + 1
            return
        if entry.generation:
            if entry.generation < self._generation or (
                self.is_owner and entry.generation <= self.membership.generation
            ):
                return  # of an owner that has been replaced
            if entry.generation > self._generation:
                self._generation, self._is_following = entry.generation, False
        try:
            if handler is not None:
                handler(entry)
        except wire.UNREADABLE:
            self.stream.ignored += 1

    def _hear(self, entry: Entry) -> None:
        told, samples = wire.to_message(entry.body)
        message = replace(told, newcomers=self._registered(told.newcomers), removed=self._really_removed(told.removed))
        self._known.hear(message)
        if self._owner.is_leading:
            is_folded = order(entry.id) <= order(self._folded_to)  # while the twin was restored
            decoded = [] if is_folded else self._decoded(samples)
            self._known.hear(Message(samples=decoded))
            self._owner.hear(replace(message, samples=decoded))
        else:
            self._known.hear_encoded(samples)
            if self._early is not None:
                self._early.append((entry.id, message, samples))

    def _decoded(self, samples: Sequence[tuple[str, bytes]]) -> list[Sample]:
        """The samples of an entry; those that are none are left out."""
        found = [wire.to_sample(hostname, raw) for hostname, raw in samples]
        self.stream.ignored += found.count(None)
        return [sample for sample in found if sample is not None]

    def _registered(self, hostnames: Collection[str]) -> Registered:
        """The hosts of an entry as the database has them: a forged id would give the samples of a host to another one.

        Without the database there are none. An edge that gets their next samples then looks for itself, the owner catches up.
        """
        if not hostnames:
            return {}
        try:
            return self._storage.own.read(lambda tx: twin_store.registered(tx, hostnames))
        except Problem as why:
            log.warning("the cluster: new hosts cannot be looked up: %s", why)
            self._missed_since = min(self._missed_since or self._clock.now(), self._clock.now() - SECOND)
            self._linked_again_at = elapsed_seconds()
            return {}

    def _really_removed(self, hostnames: Sequence[str]) -> Sequence[str]:
        """Those of these hosts that the database knows as removed: an entry of the stream alone removes nothing."""
        if not hostnames:
            return ()
        return self._storage.own.read(lambda tx: twin_store.removed_of(tx, hostnames))

    def _follow(self, entry: Entry) -> None:
        if not self._is_following:
            self._want_whole()
            return
        step = wire.to_step(wire.decode_frame(entry.body), self._frames.in_slot, self._known.sample_of)
        if step is None or not self._frames.follow(step):
            self._is_following = False
            self._want_whole()
            return
        self._audience.show(self._clock.now())

    def _want_whole(self) -> None:
        now = elapsed_seconds()
        if now - self._whole_asked_at >= WHOLE_EVERY_SECONDS:
            self._whole_asked_at = now
            self.stream.add(wire.WANTED, b"")

    def _send_whole(self, _entry: Entry) -> None:
        if self.is_owner and elapsed_seconds() - self._whole_sent_at >= WHOLE_EVERY_SECONDS:
            self._send_whole_now()

    def _send_whole_now(self) -> None:
        self._whole_sent_at = elapsed_seconds()
        frames = self._frames
        body = wire.of_whole(frames.epoch, frames.revision, frames.generated_at, frames.hosts())
        self.stream.add(wire.WHOLE, body, self.membership.generation)

    def _restart(self, entry: Entry) -> None:
        if self._is_following:
            return
        frame = wire.decode_frame(entry.body)
        self.show_whole(frame)
        self._is_following = True

    def show_whole(self, frame: wire.FrameForm) -> None:
        """Show a whole frame of the owner to this worker's clients."""
        hosts = wire.to_hosts(frame, self._known.sample_of)
        known = self._known.ids_by_hostname
        others = self._registered([host.hostname for host in hosts if known.get(host.hostname) != host.id])
        for host in hosts:
            if host.id in (known.get(host.hostname), others.get(host.hostname, (None,))[0]):
                self._known.learn(host)
        self._frames.restart(frame.epoch, frame.revision, frame.at, hosts)
        self._readiness.is_restored = True
        self._audience.show(self._clock.now())

    def _answer(self, entry: Entry) -> None:
        if not self._owner.is_leading:
            return
        ask = wire.decode_ask(entry.body)
        if ask.is_recorded:
            gevent.spawn(self._answer_now, entry.worker, ask)
        else:
            self._answer_now(entry.worker, ask)

    def _answer_now(self, worker: str, ask: wire.Ask) -> None:
        self._do(is_recorded=ask.is_recorded)
        if worker == self.id:
            self._release(ask.number)
        else:
            self.stream.add(wire.ANSWERED, wire.encode(wire.Answer(worker, ask.number)), self.membership.generation)

    def _answered(self, entry: Entry) -> None:
        answer = wire.decode_answer(entry.body)
        if answer.worker == self.id:
            self._release(answer.number)

    def _release(self, number: int) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.set(None)

    def _tell_here(self, entry: Entry) -> None:
        event = wire.decode_event(entry.body)
        if not event.is_for_clients:
            self.stream.ignored += 1
        elif self._is_new(event.subject, event.version):
            self._realtime.publish_here(event.namespace, event.event, event.payload)

    def _is_new(self, subject: str, version: int) -> bool:
        """Whether this worker's clients have not been told of this version, nor of a later one."""
        if self._told.get(subject, -1) >= version:
            return False
        self._told[subject] = version
        self._told.move_to_end(subject)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return True

    def _printed(self, entry: Entry) -> None:
        form = wire.decode_chunk(entry.body)
        self._commands.hear_chunk(form.id, Chunk(form.seq, form.stream, form.text))

    # ------------------------------------------------------------------ after a gap

    def fold_since_saved(self) -> bool:
        """Fold the entries since the last save, for a worker that becomes the owner. False if the history has to be read."""
        position = self._storage.own.read(lambda tx: notes.read(tx, notes.SAVED_POSITION))
        missed = self._missed_by_workers()
        if position is None or missed or not self.stream.is_up:
            return False
        try:
            entries = self.stream.since(position)
            if entries is None:
                return False
            for entry in entries:
                if entry.kind == wire.HAPPENED:
                    message, samples = wire.to_message(entry.body)
                    newcomers = self._registered(message.newcomers)
                    self._owner.hear(Message(newcomers, self._decoded(samples), message.polls))
                    gevent.sleep(0)
                self._folded_to = entry.id
        except (redis.RedisError, OSError, *wire.UNREADABLE) as error:
            log.warning("the stream cannot be read back (%s); the history is read instead", error)
            return False
        return True

    def catch_up(self) -> None:
        """Fold what this or another worker could not add to the stream. For the owner."""
        missed = self._missed_by_workers()
        if self._missed_since is not None:
            missed.append(self._missed_since)
        if missed:
            self._restorer.catch_up(min(missed))

    def _missed_by_workers(self) -> list[Instant]:
        """Since when the samples of some workers are not in the stream: of those that live, or have died a moment ago."""
        workers = self.membership.standing.workers
        return [
            worker.missed_since
            for worker in workers
            if worker.missed_since is not None and worker.unseen_for < DIED_A_MOMENT_AGO
        ]

    def _tell_without_redis(self, namespace: str, event: str, subject: str, version: int, payload: Any) -> None:
        if self._is_new(subject, version):
            self._realtime.publish_here(namespace, event, orjson.dumps(payload))

    def _after_break(self) -> None:
        """Redis answers again, or for the first time: entries may have been missed, and a new Redis may count from less."""
        self._folded_to = "0-0"
        self._linked_again_at = elapsed_seconds()
        if not self.is_owner:
            self._is_following = False
            self._want_whole()
        else:
            unread = int((elapsed_seconds() - self.stream.read_at) * 1000) + SECOND
            self._missed_since = min(self._missed_since or self._clock.now(), self._clock.now() - unread)
