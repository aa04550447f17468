"""Removes a host: first from the database, then, by a message of the port, from the memory of every process."""

from __future__ import annotations

from collections.abc import Callable

from mirror_stage.access.domain import Actor
from mirror_stage.alerts import store as alert_store
from mirror_stage.commands import store as command_store
from mirror_stage.commands.domain import Command
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import Conflict, NotFound
from mirror_stage.pipeline.port import Message, Port
from mirror_stage.storage.db import Lane, Tx
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import OWN_VERSIONS, Host, Role


class Remover:
    """Removes hosts. `find` returns a host of the twin; `record` saves what the owner has not saved yet."""

    def __init__(
        self,
        storage: Lane,
        port: Port,
        clock: Clock,
        *,
        find: Callable[[str], Host | None],
        record: Callable[[], object],
        tell_cancelled: Callable[[list[Command]], None],
    ):
        self._storage, self._port, self._clock = storage, port, clock
        self._find, self._record, self._tell_cancelled = find, record, tell_cancelled

    def remove(self, hostname: str, actor: Actor) -> None:
        """Remove a host, resolve its alerts and cancel its pending commands. Raises NotFound, Conflict."""
        host = self._find(hostname)
        if host is None:
            raise NotFound(f"there is no host {hostname}; GET /api/hosts lists those that there are")
        if host.role != Role.HOST and not _is_spoofed(host):
            raise Conflict(f"{hostname} is the {host.role} of this twin and cannot be removed")
        self._record()  # the past keeps what the host was until now
        now = self._clock.now()
        cancelled = self._storage.write(lambda tx: _remove(tx, host, actor, now))
        self._port.send(Message(removed=[hostname]))
        self._tell_cancelled(cancelled)


def _is_spoofed(host: Host) -> bool:
    """Whether an agent reports under the name of the hub, or of the machine on which EGO runs."""
    if host.sample is None:
        return False
    return host.role == Role.HUB or not host.sample.agent_version.startswith(OWN_VERSIONS)


def _remove(tx: Tx, host: Host, actor: Actor, now: Instant) -> list[Command]:
    twin_store.remove(tx, host.id, now)
    alert_store.save_waits(tx, {host.hostname: ()})
    if host.role == Role.HUB:
        twin_store.make_synthetic(tx, host.id)
    return command_store.cancel_pending_of(tx, host.hostname, "host removed", actor, now)
