"""The owner: folds samples into the live twin and judges alerts. Nothing else changes these, but `restore.py` at a start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mirror_stage.alerts.causes import ISOLATED, Causes
from mirror_stage.alerts.domain import ALERT, OFFLINE, PENDING, Ack, Alert, Key, Rule, Transition, caused, heed, resolve
from mirror_stage.alerts.evaluation import evaluate_cut_off, evaluate_silence, is_meant
from mirror_stage.alerts.judge import Judge
from mirror_stage.alerts.measures import CUT_OFF, SILENCE
from mirror_stage.alerts.minutes import Minutes, Whole
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.turns import Turns
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.outbox import UNTOLD, Outbox
from mirror_stage.pipeline.port import Message, Registered
from mirror_stage.pipeline.saving import Saver
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.domain import Arrival, Host, Role, Status
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.state import Twin
from mirror_stage.twin.throughput import interface_errors

log = logging.getLogger(__name__)

PAUSE_SECONDS = 3.0  # a sweep is due each second; a longer gap between two means that EGO stood still


class Owner:
    """Changes the twin and the open alerts. It receives samples, polls and removals through the port."""

    def __init__(
        self,
        *,
        twin: Twin,
        open_alerts: OpenAlerts,
        rules: tuple[Rule, ...],
        frames: Frames,
        audience: Audience,
        outbox: Outbox,
        saver: Saver,
        clock: Clock,
        is_listening: Callable[[], bool] = lambda: True,
        elapsed: Callable[[], float] = elapsed_seconds,
        acks: Callable[[], Mapping[str, Ack]] = dict,
        causes: Causes | None = None,
        breathe: Callable[[], None] | None = None,
    ):
        """`is_listening` says whether samples get through; `elapsed` counts seconds, also while EGO stands still.

        `acks` reads which alerts somebody acknowledges, by their ids. `causes` decides what silenced hosts. `breathe` lets others have
        a turn while many hosts are judged.
        """
        self._breathe = breathe or Turns().breathe
        self._frames, self._audience, self._saver, self._outbox, self._clock = frames, audience, saver, outbox, clock
        self._is_listening, self._elapsed, self._acks, self._causes = is_listening, elapsed, acks, causes
        self._ended_acks: dict[
            str, Instant
        ] = {}  # by alert: when that was asked for which has ended, until it is stored
        self.twin, self.open_alerts, self.minutes = twin, open_alerts, Minutes()
        self._judge_by = self._new_judge(rules)
        self._swept_at = elapsed()
        self._resumed_at: Instant = 0  # when this process last began to listen again
        self.started_at: Instant = clock.now()
        self.is_leading = False  # until the twin is restored; with several workers, one of them leads
        self.is_live = False  # False while it folds samples that an owner before may have judged and told

    def _new_judge(self, rules: Iterable[Rule]) -> Judge:
        judge = Judge(rules, lambda host: self.twin.limits.of(host.interval).stale_after)
        self.minutes.need(judge.rules)
        return judge

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return self._judge_by.rules

    # ------------------------------------------------------------------ what happens

    def hear(self, message: Message) -> None:
        """Apply a message of an edge: new hosts, samples, polls, removed hosts, acknowledged alerts."""
        self._add(message.newcomers)
        self.absorb(message.samples)
        for hostname, at in message.polls.items():
            self.twin.polled(hostname, at)
        for hostname in message.removed:
            self._leave(hostname)
        if message.acknowledged:
            self.look_at_acks()

    def _add(self, newcomers: Registered) -> None:
        for hostname, (host_id, place) in newcomers.items():
            if hostname not in self.twin.hosts_by_name:
                self.twin.add(host_id, hostname, place)

    def absorb(self, samples: Sequence[Sample]) -> None:
        """Fold samples into the twin and the open alerts. A sample that cannot be folded is logged and skipped."""
        for sample in samples:
            known = self.twin.hosts_by_name.get(sample.hostname)
            if known is None:
                continue  # the database fails, so the host has no row, and without a row no place in the twin
            try:
                host, kind = self.twin.fold(sample)
                is_newest = kind is Arrival.FRESH or kind is Arrival.REANCHORED
                if is_newest:
                    host.interface_errors = interface_errors(known.sample, sample)
                if is_newest and not sample.is_repeated:  # a repeated sample was judged before
                    self._judge(host, sample.received_at, self.minutes.take(sample))
            except Exception:
                log.exception("the live view passes over a sample of %s; it is stored", sample.hostname)

    def _judge(self, host: Host, now: Instant, minute: Whole | None = None) -> None:
        """Update the host's alerts from its newest sample, which also ends its offline alert, and from a minute that is over."""
        open_alerts, pending = self.open_alerts.of(host.hostname), self.open_alerts.pending_of(host.hostname)
        transitions = self._judge_by.judge(host, open_alerts, now, pending)
        if minute is not None:
            transitions += self._judge_by.judge_minute(host, minute, open_alerts, now, pending)
        if open_alerts:
            transitions += [resolve(alert, now, "sample") for alert in _silences(open_alerts)]
        if transitions:
            self._apply(transitions)

    def _apply(self, transitions: Sequence[Transition]) -> None:
        """Apply transitions and put them into the outbox. Those of a replay are stored, but never told."""
        if not transitions:
            return
        self.open_alerts.apply(transitions)
        self._outbox.put(transitions, self._clock.now(), is_told=not (self.is_leading or self.is_live))
        self._ended_acks |= {t.alert.id: t.ack_at for t in transitions if t.ack_at is not None}
        for hostname in {t.alert.hostname for t in transitions if t.kind not in UNTOLD}:
            self.twin.set_severity(hostname, self.open_alerts.severity_of(hostname))

    def sweep(self) -> None:
        """Mark silent hosts stale, then offline, and update their alerts. Silence counts only while EGO listened.

        Others have their turn between two hosts: samples may arrive, and hosts may leave.
        """
        now = self._clock.now()
        self._notice_pause()
        if not self._is_listening():
            self._resumed_at = now
        self.twin.sweep(now, self._resumed_at, self._give_turn)
        for hostname in list(self.twin.hosts_by_name):
            self._give_turn()
            host = self.twin.hosts_by_name.get(hostname)
            if host is not None and host.last_seen_at is not None:
                self._apply(self._judge_silence(host, host.last_seen_at, now))
        if self._causes is not None:
            alerts, listening_since = self.open_alerts.each(), max(self.started_at, self._resumed_at)
            for alert, cause in self._causes.look(alerts, listening_since, now, self._give_turn):
                self._give_turn()
                current = self.open_alerts.now(alert)
                if current is not None:
                    self._apply(caused(current, cause, now))
            self._apply(self._judge_isolation(self._causes, now))

    def _judge_silence(self, host: Host, last_seen_at: Instant, now: Instant) -> list[Transition]:
        """What follows for a host from how long it has been silent."""
        open_alerts, listened = (
            self.open_alerts.of(host.hostname),
            now - max(last_seen_at, self.started_at, self._resumed_at),
        )
        own = self.twin.limits.of(host.interval).offline_after / SECOND if host.interval else 0
        found: list[Transition] = []
        for rule in self._judge_by.plan_of(host).silence:
            alert = open_alerts.get((rule.name, None))
            if listened >= max(rule.fire_at, own) * SECOND:
                its_rule = rule.beginning_at(own) if host.interval else rule
                found += evaluate_silence(its_rule, host.hostname, now - last_seen_at, open_alerts, now)
            elif alert is not None and last_seen_at > alert.created_at:
                found.append(resolve(alert, now, "sample"))  # a late sample counts too
        return found

    def _judge_isolation(self, causes: Causes, now: Instant) -> list[Transition]:
        """What follows for EGO's own host from how many hosts are silent because EGO is cut off."""
        host, hosts = self.twin.hosts_by_name.get(self.twin.ego), self.open_alerts.hidden().get(ISOLATED, 0)
        if host is None:
            return []
        of_host, pending = self.open_alerts.of(host.hostname), self.open_alerts.pending_of(host.hostname)
        if not hosts and not any(one.measure == CUT_OFF for one in (*of_host.values(), *pending.values())):
            return []
        cause = causes.isolation(self.open_alerts.each())
        rules = self._judge_by.plan_of(host).cut_off
        return [
            transition
            for rule in rules
            for transition in evaluate_cut_off(rule, host.hostname, cause, hosts, of_host, pending, now)
        ]

    def disk_readings(self) -> list[tuple[int, str, dict[str, tuple[int, int]]]]:
        """(id, name, (used, usable) bytes by mountpoint) of each host. Of one that is offline no disk is known."""
        hosts = [host for host in self.twin.hosts_by_name.values() if host.sample is not None]
        return [
            (
                host.id,
                host.hostname,
                {} if host.status == Status.OFFLINE or host.sample is None else host.sample.disk_levels,
            )
            for host in hosts
        ]

    def process_readings(self) -> list[tuple[int, Instant, Sequence[Any]]]:
        """(id, instant of the newest sample, its busiest processes) of each host that has just told which these are."""
        samples = [(host.id, host.sample) for host in self.twin.hosts_by_name.values() if host.sample is not None]
        return [(host_id, sample.at, sample.top_processes) for host_id, sample in samples if sample.top_processes]

    def look_at_acks(self) -> None:
        """Acknowledge the alerts for which somebody has asked for it, and end what is withdrawn or over.

        The database is the truth, so it does not matter which worker was asked, nor whether this one has heard of it.
        """
        acks, now = self._acks(), self._clock.now()
        self._ended_acks = {id: at for id, at in self._ended_acks.items() if id in acks}
        for known in [one for one in self.open_alerts.each() if one.ack_at is not None or one.id in acks]:
            self._breathe()
            alert, asked = self.open_alerts.now(known), acks.get(known.id)
            if alert is None:
                continue
            if asked is not None and asked.at <= self._ended_acks.get(alert.id, -1):
                continue
            transition = heed(alert, asked, now)
            if transition is not None:
                self._apply([transition])

    def _give_turn(self) -> None:
        """Let others have a turn during a sweep, which may take seconds then: that is no pause."""
        self._breathe()
        self._notice_pause()

    def _notice_pause(self) -> None:
        """Count silence from now on, if EGO stood still: it was stopped, suspended or blocked."""
        elapsed = self._elapsed()
        paused, self._swept_at = elapsed - self._swept_at, elapsed
        if paused > PAUSE_SECONDS:
            log.warning("EGO stood still for %.1f s; the silence of hosts is counted from now on", paused)
            self._resumed_at = self._clock.now()

    def tick(self) -> None:
        """Tell the transitions that have waited too long for the database, and show every client a new frame."""
        now = self._clock.now()
        self._outbox.hurry(now)
        self._frames.take(now)
        self._audience.show(now)

    def refresh(self, after: Instant | None = None) -> None:
        """Make a new frame for a REST request, unless the newest one is new enough. With `after`, always make one."""
        if after is None:
            self._frames.refresh(self._clock.now())
        else:
            self._frames.take(self._clock.now())

    def record_and_show(self) -> None:
        """Record and show what happened, at once. Called where no scheduler runs."""
        self._saver.record()
        self.tick()

    def _leave(self, hostname: str) -> None:
        """Take a removed host out of the twin, and resolve its alerts."""
        host = self.twin.forget(hostname)
        self.open_alerts.forget_pending(hostname)
        self.minutes.forget(hostname)
        if host is None:
            return
        transitions = [
            resolve(alert, self._clock.now(), "host-removed") for alert in self.open_alerts.of(hostname).values()
        ]
        if host.role is Role.HUB:  # only its report is removed; the hub itself always stays
            self.twin.add(host.id, hostname, host.place)
        self._apply(transitions)
        self._saver.save()
        self.tick()

    def change_rules(self, rules: Iterable[Rule]) -> None:
        """Judge by these rules from now on. Alerts of rules that are no longer for their host end."""
        self._judge_by = self._new_judge(rules)
        self._end_unruled(self._clock.now())

    def _end_unruled(self, now: Instant) -> None:
        """End the alerts of hosts that were removed, and those whose rule is not in force for their host."""
        for known in [*self.open_alerts.all(), *self.open_alerts.all_pending()]:
            self._breathe()
            alert = self.open_alerts.now(known)
            if alert is None:
                continue
            host = self.twin.hosts_by_name.get(alert.hostname)
            reason = "host-removed" if host is None else None
            if host is not None and not self._is_ruled(host, alert):
                reason = "rule-removed"
            if reason is not None:
                self._apply([Transition("passed", alert) if alert.status == PENDING else resolve(alert, now, reason)])

    def _is_ruled(self, host: Host, alert: Alert) -> bool:
        plan = self._judge_by.plan_of(host)
        return any(one.rule.name == alert.rule and _is_of(one.rule, alert) for one in plan.applied)

    # ------------------------------------------------------------------ a start

    def begin(self) -> Instant:
        """Count silence from now on. Returns this instant."""
        self.started_at, self._swept_at = self._clock.now(), self._elapsed()
        return self.started_at

    def judge_first(self, host: Host) -> None:
        """Judge a host by its first sample: EGO may have stopped after it stored both, and before it judged."""
        if host.sample is not None and OFFLINE not in self.open_alerts.of(host.hostname):
            self._judge(host, host.sample.received_at)

    def end_orphaned_alerts(self) -> None:
        """After a restore: end the alerts that nothing else would end, and show each host's severity.

        Those are the alerts of hosts that were removed and of rules that are no longer in force.
        """
        self._end_unruled(self.started_at)
        for hostname in {alert.hostname for alert in self.open_alerts.all()}:
            self.twin.set_severity(hostname, self.open_alerts.severity_of(hostname))


def _silences(open_alerts: Mapping[Key, Alert]) -> list[Alert]:
    """Those of a host's open alerts that a sample ends."""
    return [alert for alert in open_alerts.values() if alert.measure == SILENCE]


def _is_of(rule: Rule, alert: Alert) -> bool:
    """Whether a rule would still fire an alert about this."""
    if alert.metric != rule.name:
        return rule.no_data == ALERT  # it tells that a value of the rule is missing
    return rule.measure == alert.measure and (alert.subject is None or is_meant(rule.subjects, alert.subject))
