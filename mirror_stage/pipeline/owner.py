"""The owner: folds samples into the live twin, judges alerts, lets hosts leave. Nobody else changes twin or alerts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from mirror_stage.access.domain import Actor
from mirror_stage.alerts.domain import HOST_OFFLINE, Rule, Transition, evaluate, evaluate_silence, resolve
from mirror_stage.alerts.events import ALERT_UPDATE, alert_update
from mirror_stage.alerts.events import NAMESPACE as ALERTS
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.commands import store as command_store
from mirror_stage.commands.domain import Command
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import Conflict, NotFound
from mirror_stage.core.readiness import Readiness
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.port import Message, Port, Registered
from mirror_stage.pipeline.saving import Saver
from mirror_stage.storage.db import Storage, Tx
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.domain import Arrival, Host, Role
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.state import Twin
from mirror_stage.web.realtime import Realtime

log = logging.getLogger(__name__)


class Owner:
    """The only one that changes the twin and the open alerts. It hears of samples through the port."""

    def __init__(
        self,
        *,
        storage: Storage,
        twin: Twin,
        open_alerts: OpenAlerts,
        rules: tuple[Rule, ...],
        frames: Frames,
        audience: Audience,
        saver: Saver,
        port: Port,
        realtime: Realtime,
        readiness: Readiness,
        clock: Clock,
        tell_cancelled: Callable[[list[Command]], None],
    ):
        self._storage, self._realtime, self._clock, self._readiness = storage, realtime, clock, readiness
        self._frames, self._audience, self._saver, self._port = frames, audience, saver, port
        self._tell_cancelled = tell_cancelled
        self.twin, self.open_alerts, self.rules = twin, open_alerts, rules
        self._silence_rule = next((rule for rule in rules if rule.name == HOST_OFFLINE), None)
        self.started_at: Instant = clock.now()  # silence counts only since then

    # ------------------------------------------------------------------ what happens

    def hear(self, message: Message) -> None:
        """Take in what happened at an edge."""
        self._admit(message.newcomers)
        self.absorb(message.samples)
        for hostname, at in message.polls.items():
            self.twin.polled(hostname, at)

    def _admit(self, newcomers: Registered) -> None:
        for hostname, (host_id, place) in newcomers.items():
            if hostname not in self.twin.hosts_by_name:
                self.twin.admit(host_id, hostname, place)

    def absorb(self, samples: Sequence[Sample]) -> None:
        """Fold samples into the twin and the open alerts. One that cannot be folded costs itself: it is stored."""
        transitions: list[Transition] = []
        for sample in samples:
            if sample.hostname not in self.twin.hosts_by_name:
                continue  # the database is away, and without a row there is no slot
            try:
                host, kind = self.twin.fold(sample)
                if kind is Arrival.FRESH or kind is Arrival.REANCHORED:
                    transitions += self._judge(host, sample.received_at)
            except Exception:
                log.exception("the live view passes over a sample of %s; it is stored", sample.hostname)
        self._publish(transitions)

    def _judge(self, host: Host, now: Instant) -> list[Transition]:
        """What the host's newest sample does to its alerts. A sample ends its silence."""
        open_alerts = self.open_alerts.of(host.hostname)
        transitions = evaluate(self.rules, host, open_alerts, now)
        if HOST_OFFLINE in open_alerts:
            transitions.append(resolve(open_alerts[HOST_OFFLINE], now, "sample"))
        self._apply(transitions)
        return transitions

    def _apply(self, transitions: Iterable[Transition]) -> None:
        self.open_alerts.apply(transitions)
        for hostname in {t.alert.hostname for t in transitions if t.kind != "moved"}:
            self.twin.set_severity(hostname, self.open_alerts.severity_of(hostname))

    def _publish(self, transitions: Iterable[Transition]) -> None:
        if self._readiness.is_ready:
            for transition in transitions:
                if transition.kind != "moved":
                    self._realtime.publish(ALERTS, ALERT_UPDATE, alert_update(transition))

    def sweep(self) -> None:
        """Silent hosts turn stale, then offline; their alerts follow, and fire by the silence while EGO was up."""
        now, rule = self._clock.now(), self._silence_rule
        self.twin.sweep(now)
        if rule is None:
            return
        transitions: list[Transition] = []
        for host in self.twin.hosts_by_name.values():
            if host.last_seen_at is None:
                continue
            open_alerts = self.open_alerts.of(host.hostname)
            if now - max(host.last_seen_at, self.started_at) >= rule.fire_at * SECOND:
                silence = now - host.last_seen_at
                transitions += evaluate_silence(rule, host.hostname, silence, open_alerts, now)
            elif HOST_OFFLINE in open_alerts and host.last_seen_at > open_alerts[HOST_OFFLINE].created_at:
                transitions.append(
                    resolve(open_alerts[HOST_OFFLINE], now, "sample")
                )  # a late one is a sign of life too
        self._apply(transitions)
        self._publish(transitions)

    def tick(self) -> None:
        """One frame for everybody."""
        now = self._clock.now()
        self._frames.take(now)
        self._audience.show(now)

    def forget(self, hostname: str, actor: Actor) -> None:
        """Let a host leave: its alerts resolve, its pending commands are cancelled. Raises NotFound, Conflict."""
        host = self.twin.hosts_by_name.get(hostname)
        if host is None:
            raise NotFound(f"there is no host {hostname}; GET /api/hosts lists those that there are")
        if host.role != Role.HOST:
            raise Conflict(f"{hostname} is the {host.role} of this twin and cannot be removed")
        self._saver.save()  # what it was until now is kept
        now = self._clock.now()
        cancelled = self._storage.write(lambda tx: _remove(tx, host, actor, now))
        transitions = [resolve(alert, now, "host-removed") for alert in self.open_alerts.of(hostname).values()]
        self.twin.forget(hostname)
        self._port.send(Message(removed=[hostname]))
        self._apply(transitions)
        self._publish(transitions)
        self._tell_cancelled(cancelled)
        self._saver.save()
        self.tick()

    # ------------------------------------------------------------------ a start

    def settle(self) -> None:
        """After a restore: end the alerts that nothing else would end, and show each host's severity.

        Those are the alerts of hosts that were removed and of rules that are no longer in force.
        """
        rules = {rule.name for rule in self.rules}
        for alert in self.open_alerts.all():
            if alert.hostname not in self.twin.hosts_by_name:
                self._apply([resolve(alert, self.started_at, "host-removed")])
            elif alert.metric not in rules:
                self._apply([resolve(alert, self.started_at, "rule-removed")])
        for hostname in {alert.hostname for alert in self.open_alerts.all()}:
            self.twin.set_severity(hostname, self.open_alerts.severity_of(hostname))


def _remove(tx: Tx, host: Host, actor: Actor, now: Instant) -> list[Command]:
    twin_store.remove(tx, host.id, now)
    return command_store.cancel_pending_of(tx, host.hostname, "host removed", actor, now)
