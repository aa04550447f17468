"""Sends what is due: one message of a channel at a time, several channels at once, each message until it is accepted or dead."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import Actor
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import DAY, MINUTE, SECOND, Instant, to_text
from mirror_stage.core.problems import BadRow, NotFound, Problem
from mirror_stage.notifications import channels, domain, store
from mirror_stage.notifications.channels import SENT_WITHIN_SECONDS, Channel, Message
from mirror_stage.notifications.directory import Directory
from mirror_stage.notifications.domain import ACCEPTED, DEAD, TEST, Delivery, Group, Outcome
from mirror_stage.notifications.secrets import Unreadable, resolve
from mirror_stage.notifications.words import text_of
from mirror_stage.storage.db import Storage, Tx

log = logging.getLogger(__name__)

SENDERS_MAX = 4
SLOW_SECONDS = 2.0  # a try that takes longer lets the next channel begin
FAILING_AFTER: Instant = 2 * MINUTE  # readiness names a channel that fails for longer
DEAD_SHOWN: Instant = DAY
PRUNED_AT_ONCE = 200


class Sender:
    """Leases messages and sends them. Only the owner of the twin does; a message whose sender died is sent again after its lease."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        directory: Directory,
        *,
        url: str,
        kept: Instant,
        mode: str = "on",
        is_leading: Callable[[], bool] = lambda: True,
        tell: Callable[[Delivery, Instant], None] = lambda _delivery, _now: None,
    ):
        self._storage, self._lane, self._clock = storage, storage.own, clock
        self._directory, self._url = directory, url.rstrip("/")
        self._kept, self._mode, self._is_leading, self._tell = kept, mode, is_leading, tell
        self._in_flight: dict[str, gevent.Greenlet] = {}
        self._starting = BoundedSemaphore(SENDERS_MAX)
        self._failing: set[str] = set()
        self._dead: Mapping[str, int] = {}
        self._fails_since: Mapping[str, Instant] = {}
        self._waiting: Mapping[str, tuple[int, Instant]] = {}
        self.ended: Counter[tuple[str, str]] = (
            Counter()
        )  # messages of this process by the kind of channel, and `accepted` or `dead`

    @property
    def address(self) -> str:
        """The address of EGO's page."""
        return f"{self._url}/"

    @property
    def is_on(self) -> bool:
        """Whether anything is sent at all."""
        return self._mode == "on"

    def send_due(self) -> None:
        """Begin to send to each channel that has something due, and to which nothing is sent now. Returns at once."""
        if not self.is_on:
            return
        due = self._lane.read(lambda tx: store.due_channels(tx, self._clock.now()))
        for name in sorted(
            due, key=lambda one: (one in self._failing, one)
        ):  # those that work do not wait for the others
            if name not in self._in_flight:
                self._in_flight[name] = gevent.spawn(self._serve, name)

    def wait(self, seconds: float) -> None:
        """Wait until nothing is sent any more, so long at most."""
        gevent.joinall(list(self._in_flight.values()), timeout=seconds)

    def _serve(self, name: str) -> None:
        """Send the messages of a channel, one after the other, until none is due."""
        try:
            while self._is_leading() and self._send_next(name):
                pass
        except (Problem, BadRow) as why:
            log.warning("channel %s: its messages wait: %s", name, why)
        except Exception:
            log.exception("channel %s: its messages wait", name)
        finally:
            self._in_flight.pop(name, None)

    def _send_next(self, name: str) -> bool:
        """Send the next message of a channel; whether there may be another one."""
        now, channel = self._clock.now(), self._directory.channels.get(name)
        if channel is None:
            self._lane.write(lambda tx: store.give_up(tx, name, "there is no such channel", now))
            return False
        since = now - MINUTE
        left = channel.rate_per_minute - self._lane.read(lambda tx: store.count_accepted(tx, name, since))
        if left <= 0:
            return False
        if left == 1 and channel.kind in channels.CAN_DIGEST:
            self._lane.write(lambda tx: store.gather(tx, name, now))
        self._starting.acquire()
        trying: gevent.Greenlet | None = None
        try:
            leased = self._lane.write(lambda tx: store.claim(tx, name, self._clock.now()))
            if leased is None:
                return False
            trying = gevent.spawn(self._try, leased, channel)
            trying.join(SLOW_SECONDS)
        finally:
            self._starting.release()
        return self._finish(leased, trying.get(), channel.fallback)

    def _finish(self, leased: Delivery, outcome: Outcome, fallback: str | None = None) -> bool:
        """Note what became of a message, while its lease lasts; give it to the fallback if need be. Returns whether it was accepted.

        Also if another EGO owns the twin by now: the lease is this one's, and what is not noted would be sent again.
        """

        def work(tx: Tx) -> tuple[Delivery | None, int]:
            done = store.finish(tx, leased, outcome, self._clock.now())
            if done is None or fallback is None or not domain.falls_back(done):
                return done, 0
            return done, store.fall_back(tx, done, fallback, self._clock.now())

        while True:
            try:
                done, passed_on = self._storage.write(work)
                break
            except Problem:
                if self._clock.now() >= (leased.leased_until or 0):
                    raise
                gevent.sleep(1)
        (self._failing.discard if outcome.is_accepted else self._failing.add)(leased.channel)
        if done is not None:
            _log(done)
            if done.state in {ACCEPTED, DEAD}:
                self.ended[self._kind_of(done.channel), done.state] += 1
            if passed_on:
                log.warning("channel %s: what did not arrive goes to %s", leased.channel, fallback)
            self._tell(done, self._clock.now())
        return outcome.is_accepted

    def _try(self, leased: Delivery, channel: Channel) -> Outcome:
        try:
            message = self.message_of(leased, channel)
        except Exception as error:
            log.exception("channel %s: the message %s has no words", channel.name, leased.id)
            return Outcome(False, None, f"it has no words: {type(error).__name__}", is_final=True)
        return self.attempt(channel, message)

    def attempt(self, channel: Channel, message: Message) -> Outcome:
        """Try once to send a message. Takes SENT_WITHIN_SECONDS at most, and never raises."""
        try:
            known = self._directory.secrets.unseal(channel.name, channel.sealed)
            secrets = {name: resolve(secret) for name, secret in known.items()}
        except Unreadable as why:
            return Outcome(False, None, str(why))
        found = Outcome(False, None, f"there was no whole answer within {SENT_WITHIN_SECONDS:g} s")
        with gevent.Timeout(SENT_WITHIN_SECONDS, False):  # a receiver may send a byte now and then
            found = channels.send(channel, secrets, message)
        return found

    def message_of(self, delivery: Delivery, channel: Channel) -> Message:
        """A delivery in the words of its channel."""
        thread = delivery.group_id or delivery.id
        url = f"{self._url}/" if delivery.group_id is None else f"{self._url}/#/alerts"
        text = text_of(delivery.kind, delivery.severity, delivery.facts, channel.manner, url)
        return Message(
            delivery.id, thread, delivery.kind, delivery.severity, delivery.facts, text, url, self._clock.now()
        )

    def test(self, name: str, key: str) -> tuple[Outcome, int]:
        """Send a trial to a channel at once: what came of it, and how many milliseconds it took. Raises NotFound."""
        channel, began = self._directory.channel(name), elapsed_seconds()
        text = text_of(TEST, "info", {}, replace(channel.manner, title=None, body=None), f"{self._url}/")
        message = Message(key, key, TEST, "info", {}, text, f"{self._url}/", self._clock.now())
        outcome = self.attempt(channel, message)
        return outcome, round((elapsed_seconds() - began) * 1000)

    # ------------------------------------------------------------------ looking after it

    def page(self, filters: Mapping[str, str], page: int, page_size: int) -> tuple[list[Delivery], int]:
        """One page of messages, newest first, and how many there are."""
        return self._storage.read(lambda tx: store.page(tx, filters, (page - 1) * page_size, page_size))

    def groups(self, is_open: bool | None, page: int, page_size: int) -> tuple[list[Group], int, Instant]:
        """One page of groups, newest first, how many there are, and the instant of the answer."""
        groups, total = self._storage.read(
            lambda tx: store.groups_page(tx, is_open=is_open, offset=(page - 1) * page_size, limit=page_size)
        )
        return groups, total, self._clock.now()

    def group(self, id: str) -> tuple[Group, Instant]:
        """A group, and the instant of the answer. Raises NotFound."""
        found = self._storage.read(lambda tx: store.group(tx, id))
        if found is None:
            raise NotFound(f"there is no group {id}")
        return found, self._clock.now()

    def try_again(self, id: str, actor: Actor) -> Delivery:
        """Send a message again that was given up, or one that waits at once. Raises NotFound."""

        def work(tx: Tx) -> Delivery:
            found = store.try_again(tx, id, self._clock.now())
            if found is None:
                raise NotFound(f"there is no message {id}")
            access.record(tx, actor, Event("delivery-retried", id, found.channel), self._clock.now())
            return found

        return self._storage.write(work)

    def look(self) -> None:
        """Learn which channels are in trouble, for readiness."""
        since = self._clock.now() - DEAD_SHOWN
        (self._dead, self._fails_since), self._waiting = self._lane.read(
            lambda tx: (store.troubles(tx, since), store.waiting(tx))
        )

    def waiting(self) -> dict[str, int]:
        """How many messages waited when this was last looked at, by the kind of channel; each kind that there is has a number."""
        found = dict.fromkeys((one.kind for one in self._directory.channels.values()), 0)
        for name, (count, _) in self._waiting.items():
            kind = self._kind_of(name)
            found[kind] = found.get(kind, 0) + count
        return found

    @property
    def oldest_waiting_seconds(self) -> float:
        """For how long the oldest message is due that waited when this was last looked at; 0 if none did."""
        oldest = min((since for _, since in self._waiting.values()), default=None)
        return 0.0 if oldest is None else max(0, self._clock.now() - oldest) / SECOND

    def _kind_of(self, name: str) -> str:
        found = self._directory.channels.get(name)
        return "removed" if found is None else found.kind

    def check(self) -> dict[str, Any]:
        """The readiness check: messages that are dead, and channels that have failed for a while."""
        if not self.is_on:
            return {"ok": True, "detail": f"MIRROR_STAGE_NOTIFY is {self._mode}: nobody is told of alerts"}
        late = {name: at for name, at in self._fails_since.items() if self._clock.now() - at > FAILING_AFTER}
        said = [f"channel {name} fails since {to_text(at)}" for name, at in sorted(late.items())]
        said += [
            f"channel {name}: {_count(count, 'message')} of the last day never arrived"
            for name, count in sorted(self._dead.items())
        ]
        if said:
            return {"ok": False, "detail": "; ".join(said) + "; see the deliveries"}
        count, waits = len(self._directory.channels), sum(number for number, _ in self._waiting.values())
        if not count:
            return {"ok": True, "detail": "no channels: nobody is told of alerts"}
        waiting = (
            f", {_count(waits, 'message')} waiting, the oldest for {self.oldest_waiting_seconds:.0f} s" if waits else ""
        )
        return {"ok": True, "detail": _count(count, "channel") + waiting}

    def prune(self, now: Instant) -> None:
        """Remove old groups and messages, in small steps."""
        while self._lane.write(lambda tx: store.prune(tx, now - self._kept, PRUNED_AT_ONCE)) == PRUNED_AT_ONCE:
            gevent.sleep(0)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _log(done: Delivery) -> None:
    if done.state == ACCEPTED:
        log.info("channel %s accepted the message %s (%s)", done.channel, done.id, done.kind)
    elif done.state == DEAD:
        log.error(
            "channel %s: the message %s (%s) is given up after %d tries: %s; send it again with POST /api/deliveries/%s/retry",
            done.channel, done.id, done.kind, done.attempts, done.detail, done.id,
        )  # fmt: skip
    else:
        log.warning("channel %s: the message %s (%s) was not taken: %s", done.channel, done.id, done.kind, done.detail)
