"""While Redis fails, the database carries what the stream would: the owner's frames, and what happened since the last look.

The owner stores a whole frame each second, as long as some worker lacks the stream, and removes it afterwards. Such a
worker reads that frame, and the alerts, commands and outputs that changed. Browsers are at most 3 s behind then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import Alert
from mirror_stage.alerts.events import ALERT_UPDATE, alert_update
from mirror_stage.alerts.events import NAMESPACE as ALERTS
from mirror_stage.cluster import store, wire
from mirror_stage.commands.service import CommandService
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.storage.db import Storage
from mirror_stage.twin.frames import Frames

LOOKED_BACK: Instant = 5 * SECOND  # a change may be committed late, and the clocks of two machines differ

NONE = ("", -1)  # epoch and revision of no frame

Show = Callable[[wire.FrameForm], None]
Tell = Callable[[str, str, str, int, Any], None]  # namespace, event, subject, version, payload


class WithoutRedis:
    """The way through the database."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        frames: Frames,
        commands: CommandService,
        alerts_shown: Callable[[Sequence[Alert]], list[Alert]],
    ):
        self._alerts_shown = alerts_shown
        self._storage, self._clock, self._frames, self._commands = storage, clock, frames, commands
        self._stored = self._shown = NONE
        self._told_until = clock.now()

    def store_frame(self, generation: int) -> None:
        """Store the newest frame, unless it is stored already. For the owner."""
        frames = self._frames
        newest = (frames.epoch, frames.revision)
        if newest != self._stored:
            body = wire.of_whole(*newest, frames.generated_at, frames.hosts(), with_details=False)
            self._storage.own.write(lambda tx: store.keep_frame(tx, generation, *newest, body))
            self._stored = newest

    def drop_frame(self) -> None:
        """Remove the stored frame: a worker that has just begun would take it for the newest. For the owner."""
        if self._stored != NONE:
            self._storage.own.write(store.drop_frame)
            self._stored = NONE

    def show_frame(self, show: Show) -> None:
        """Show the owner's newest frame. For the others."""
        found = self._storage.own.read(lambda tx: store.frame(tx, *self._shown))
        if found is not None:
            self._shown = found[:2]
            show(wire.decode_frame(found[2]))

    def tell_changes(self, tell: Tell) -> None:
        """Tell this worker's clients what other workers have done."""
        now, since = self._clock.now(), self._told_until - LOOKED_BACK
        changed = self._storage.own.read(lambda tx: alert_store.changed_since(tx, since))
        shown = self._alerts_shown([transition.alert for transition in changed])
        for transition, alert in zip(changed, shown, strict=True):
            payload = alert_update(replace(transition, alert=alert))
            tell(ALERTS, ALERT_UPDATE, f"alert {alert.id}", alert.version, payload)
        self._commands.look_for_changes(since)
        self._told_until = now

    def rest(self) -> None:
        """Note that the stream brings everything now."""
        self._told_until = self._clock.now()
