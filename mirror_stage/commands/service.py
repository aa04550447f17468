"""What can be done with commands. Each action is one transaction; then the clients are told."""

from __future__ import annotations

import json
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import gevent

from mirror_stage.access.domain import EGO, Actor
from mirror_stage.commands import domain, events, store
from mirror_stage.commands.domain import Chunk, Command, CommandSigner, Dispatch, Event, Lease, NewCommand, Outcome
from mirror_stage.commands.events import InOrder
from mirror_stage.commands.schemas import command_on_wire, dispatch_on_wire
from mirror_stage.commands.waiters import Waiters
from mirror_stage.commands.watchers import Watch, Watchers
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant
from mirror_stage.storage.db import Lane, Storage, Work
from mirror_stage.web.realtime import Realtime

END_AT_ONCE = 50  # of the commands that end because dispatch is stopped
REAP_AT_ONCE = 20  # each may write 256 KiB of streamed output again, while samples wait
PRUNE_AT_ONCE = 100
WARNED_OF_MAX = 100

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class CommandService:
    """The command queue. It does not read the twin: `policy_of` and `last_poll_of` say what it needs about a host.

    Each transaction reads the clock when it runs. Otherwise a slow database could hand out a command that expired while
    the transaction waited.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        realtime: Realtime,
        signer: CommandSigner,
        *,
        policy_of: Callable[[str], str | None],
        last_poll_of: Callable[[str], Instant | None],
        polled: Callable[[str, Instant], None],
        stranger: store.Stranger,
        waiters_max: int,
    ):
        self._storage, self._clock, self._realtime, self._signer = storage, clock, realtime, signer
        self._policy_of, self._last_poll_of, self._polled = policy_of, last_poll_of, polled
        self._stranger = stranger
        self._waiters = Waiters(waiters_max)
        self._watchers = Watchers()
        self._in_order = InOrder(self._publish)
        self._warned_of: set[str] = set()  # hosts whose agent loses what it claims
        self._dispatch: Dispatch | None = None  # as clients were told last
        self.transitions: Counter[str] = Counter()  # by the status after it
        # Of a cluster: wake the agents that wait at other workers, and send a chunk to the clients there.
        self.wake_elsewhere: Callable[[Sequence[str]], None] = lambda _hostnames: None
        self.print_elsewhere: Callable[[str, Chunk], None] = lambda _id, _chunk: None

    def create(self, new: NewCommand, actor: Actor, key: str | None = None) -> tuple[Command, bool]:
        """The queued command, and whether it is new: the same Idempotency-Key finds the same command."""
        digest = None if key is None else domain.key_digest(key, actor)
        id, now = str(uuid.uuid4()), self._clock.now
        command, is_new = self._write(
            lambda tx: store.create(tx, new, actor, now(), self._signer, id=id, key=digest, stranger=self._stranger),
            _if_changed,
        )
        self._wake(command.hostname)
        return command, is_new

    def claim(
        self,
        hostname: str,
        actor: Actor,
        *,
        limit: int = domain.CLAIM_MAX,
        wait: float = 0.0,
        instance: str | None = None,
        note: str | None = None,
        is_there: Callable[[], bool] = lambda: True,
    ) -> list[Command]:
        """The commands that an agent shall run now, oldest first. If there are none, wait up to `wait` seconds for one.

        Only an agent that keeps a journal gives its `instance`. `note` is recorded with each claim. Once `is_there`
        returns False, nothing is claimed.
        """
        self._polled(hostname, self._clock.now())
        return self._waiters.serve(
            hostname, wait, lambda: self._claim(hostname, instance, limit, actor, note), is_there, actor.credential
        )

    def _claim(self, hostname: str, instance: str | None, limit: int, actor: Actor, note: str | None) -> list[Command]:
        now = self._clock.now
        again, fresh = self._write(
            lambda tx: store.claim(tx, hostname, actor, now(), instance=instance, limit=limit, note=note),
            lambda answer: answer[1],
        )
        return again + fresh

    def report(self, id: str, outcome: Outcome, actor: Actor) -> tuple[Command, bool]:
        """The command with its outcome, and whether this report was the first: only that one sets the outcome."""
        now = self._clock.now
        return self._write(lambda tx: store.report(tx, id, outcome, actor, now()), _if_changed)

    def heartbeat(self, id: str, actor: Actor) -> Lease:
        """The extended lease of a command whose agent shows that it runs."""
        now = self._clock.now
        return self._storage.write(lambda tx: store.heartbeat(tx, id, actor, now()))

    def append_output(self, id: str, chunk: Chunk, actor: Actor) -> Lease:
        """The extended lease. A new chunk is sent to the clients that watch the command."""
        now = self._clock.now
        lease, is_new = self._storage.write(lambda tx: store.append_output(tx, id, chunk, actor, now()))
        if is_new:
            self._watchers.hear(id, chunk)
            self.print_elsewhere(id, chunk)
        return lease

    def hear_chunk(self, id: str, chunk: Chunk) -> None:
        """Send a chunk that another worker has stored to the clients that watch the command here."""
        self._watchers.hear(id, chunk)

    def cancel(self, id: str, actor: Actor) -> Command:
        """The command: cancelled if it was pending, asked to stop if it runs, closed if it was lost."""
        now = self._clock.now
        command, _ = self._write(lambda tx: store.cancel(tx, id, actor, now(), self._signer), _if_changed)
        return command

    def dispatch(self) -> Dispatch:
        """Whether EGO takes and hands out commands."""
        return self._storage.read(store.dispatch)

    def stop_dispatch(self, reason: str | None, actor: Actor) -> Dispatch:
        """Take and hand out no more commands. What waits or runs ends at the next `keep_stopped`."""
        now = self._clock.now()
        return self._storage.write(lambda tx: store.stop_dispatch(tx, reason, actor, now))

    def resume_dispatch(self, actor: Actor) -> Dispatch:
        """Take and hand out commands again."""
        now = self._clock.now()
        return self._storage.write(lambda tx: store.resume_dispatch(tx, actor, now))

    def keep_stopped(self, actor: Actor = EGO, *, ends_commands: bool = True) -> None:
        """Tell clients if dispatch was stopped or resumed. While it is stopped, wake the waiting agents and end all commands.

        Called each second: the command line stops dispatch, too. Of several workers, one ends the commands.
        """
        state = self._storage.own.read(store.dispatch)
        if state != (self._dispatch or Dispatch()):
            for namespace in events.DISPATCH_NAMESPACES:
                body = json.dumps(dispatch_on_wire(state)).encode()
                self._realtime.publish_here(namespace, events.DISPATCH_UPDATE, body)
        self._dispatch = state
        if not state.stopped:
            return
        self._waiters.look_again_all()
        now, ended = self._clock.now, END_AT_ONCE if ends_commands else 0
        while ended >= END_AT_ONCE:
            some = self._write(
                lambda tx: store.end_all(tx, actor, now(), self._signer, END_AT_ONCE), list, self._storage.own
            )
            ended = len(some)

    def dispatch_shown(self) -> dict[str, Any]:
        """Whether commands are handed out, as clients were told last."""
        return dispatch_on_wire(self._dispatch or Dispatch())

    def dispatch_check(self) -> dict[str, Any]:
        """The readiness check."""
        state = self._dispatch or Dispatch()
        return {"ok": not state.stopped, "detail": state.refusal if state.stopped else "commands are handed out"}

    def publish_all(self, commands: Sequence[Command]) -> None:
        """Publish the transitions of a transaction of the caller, which has used `store.cancel_pending_of`."""
        self._in_order.offer(commands)

    def get(self, id: str, actor: Actor) -> Command:
        """One command."""
        return self._storage.read(lambda tx: store.get(tx, id, actor))

    def page(self, filters: dict[str, str], page: int, page_size: int, actor: Actor) -> tuple[list[Command], int]:
        """One page of the commands that the actor may see, newest first, and how many there are.

        `filters`: hostname, status, search.
        """
        return self._storage.read(lambda tx: store.page(tx, filters, (page - 1) * page_size, page_size, actor))

    def events_of(self, id: str, actor: Actor) -> list[Event]:
        """Every transition of a command, oldest first."""
        return self._storage.read(lambda tx: store.events_of(tx, id, actor))

    def watch_over(self, now: Instant, actor: Actor = EGO) -> None:
        """Stamp the database, then mark commands as lost or expired. Called each second, in one process only."""
        own = self._storage.own
        own.write(lambda tx: store.note_up(tx, now))
        reaped = REAP_AT_ONCE
        while reaped >= REAP_AT_ONCE:
            commands, unnamed = self._write(lambda tx: store.reap(tx, actor, now, REAP_AT_ONCE), itemgetter(0), own)
            reaped = len(commands)
            self._warn_of(unnamed)

    def _warn_of(self, peers_by_hostname: dict[str, str | None]) -> None:
        """Say in the log whose commands are lost to an agent without a name, once a host."""
        for hostname, peer in peers_by_hostname.items():
            if hostname not in self._warned_of and len(self._warned_of) < WARNED_OF_MAX:
                self._warned_of.add(hostname)
                log.warning("a command for %s is lost: it was %s", hostname, domain.lost_to_unnamed(peer))

    def prune(self, now: Instant) -> None:
        """Remove the commands that have been over for 30 days, in small steps."""
        while self._storage.own.write(lambda tx: store.prune(tx, now, PRUNE_AT_ONCE)):
            gevent.sleep(0)

    @property
    def waiting_polls(self) -> int:
        """How many agents wait for a command."""
        return len(self._waiters)

    def open_counts(self) -> dict[str, int]:
        """How many commands are pending and running."""
        return self._storage.read(store.open_counts)

    def look_for_pending(self) -> None:
        """Wake each waiting agent that has a pending command: another process may have queued it."""
        if len(self._waiters):
            self._waiters.look_again(self._storage.own.read(lambda tx: store.hosts_with_pending(tx, self._clock.now())))

    def look_for_changes(self, since: Instant) -> None:
        """Tell clients here what other workers have done since then. `Realtime` tells each version once."""
        for command in self._storage.own.read(lambda tx: store.changed_since(tx, since)):
            self._publish(command)
        for id in self._watchers.ids():
            after = self._watchers.heard_until(id)
            _, chunks = self._storage.own.read(lambda tx, id=id, after=after: store.output_after(tx, id, after, EGO))  # type: ignore[misc]
            for chunk in chunks:
                self._watchers.hear(id, chunk)

    def look_again_at(self, hostname: str) -> None:
        """Wake the agent of a host: it finds out whether it may still wait."""
        self._wake(hostname)

    def look_again_here(self, hostnames: Iterable[str]) -> None:
        """Wake the agents of these hosts that wait at this worker."""
        self._waiters.look_again(hostnames)

    def _wake(self, hostname: str) -> None:
        self._waiters.look_again([hostname])
        self.wake_elsewhere([hostname])

    def credentials_waiting(self) -> set[str]:
        """The credentials of the agents that wait."""
        return self._waiters.credentials()

    def look_again_for(self, credentials: set[str]) -> None:
        """Wake the agents that wait with these credentials: each finds out whether it may still wait."""
        self._waiters.look_again_for(credentials)

    def watch(
        self, client: str, id: str, after_seq: int, actor: Actor, may_hear: Callable[[], bool] = lambda: True
    ) -> None:
        """Send a client the stored output of a command after `after_seq`, then each new chunk until the command ends.

        `may_hear` is called before each chunk; the first False ends the watch.
        """

        def tell(chunk: Chunk) -> None:
            if not may_hear():
                self._watchers.remove(client, id)
                return
            self._realtime.tell(events.NAMESPACE, client, events.COMMAND_OUTPUT, events.command_output(id, chunk))

        watch = Watch(tell, after_seq)
        self._watchers.add(client, id, watch)  # before the read below, so that no chunk is missed in between
        is_open = False
        try:
            command, stored = self._storage.read(lambda tx: store.output_after(tx, id, after_seq, actor))
            watch.catch_up(stored)
            is_open = command.is_open
        finally:
            if not is_open:
                self._watchers.remove(client, id)

    def forget_client(self, client: str) -> None:
        """End all watches of a client that is gone."""
        self._watchers.forget_client(client)

    def close(self) -> None:
        """Answer every waiting agent, so that the process can stop."""
        self._waiters.close()

    def on_wire(self, command: Command) -> dict[str, Any]:
        """A command as REST and Socket.IO show it."""
        return command_on_wire(command, deliverable=self.is_deliverable(command.hostname))

    def is_deliverable(self, hostname: str) -> bool:
        """Whether a host's agent fetches commands, as far as is known: it has polled, and its policy is not off."""
        return self._last_poll_of(hostname) is not None and self._policy_of(hostname) != "off"

    def _write(
        self, work: Work[Answer], changed: Callable[[Answer], Sequence[Command]], lane: Lane | None = None
    ) -> Answer:
        """Run `work` in a transaction, publish the commands that `changed` finds in its answer, and return that."""
        with self._in_order.writing():
            answer = (lane or self._storage).write(work)
            self._in_order.offer(changed(answer))
        return answer

    def _publish(self, command: Command) -> None:
        self.transitions[command.status] += 1
        if not command.is_open:
            self._watchers.forget_command(command.id)
        payload, subject = self.on_wire(command), f"command {command.id}"
        self._realtime.publish(
            events.NAMESPACE, events.COMMAND_UPDATE, payload, subject=subject, version=command.version
        )


def _if_changed(answer: tuple[Command, bool]) -> list[Command]:
    command, is_changed = answer
    return [command] if is_changed else []
