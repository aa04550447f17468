"""Everything that a sample can cause, on one page: history, twin, alerts, frames. The only module that knows several domains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
from gevent.lock import BoundedSemaphore

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import HOST_OFFLINE, Alert, Rule, Transition, evaluate, evaluate_silence, resolve
from mirror_stage.alerts.events import ALERT_UPDATE, alert_update
from mirror_stage.alerts.events import NAMESPACE as ALERTS
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.commands import store as command_store
from mirror_stage.commands.domain import EGO, Command
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.core.problems import BadRow, Conflict, Invalid, NotFound, Problem, Refused
from mirror_stage.core.readiness import Readiness
from mirror_stage.history import store as history
from mirror_stage.history import tiers
from mirror_stage.metrics.decoder import SampleStruct
from mirror_stage.metrics.domain import Receipt, Sample
from mirror_stage.pipeline.writer import Answer
from mirror_stage.storage import notes
from mirror_stage.storage.db import Storage, Tx, attempt
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.domain import OWN_VERSIONS, Arrival, Host, Identity, Role, not_after
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.geometry import Place
from mirror_stage.twin.state import Twin
from mirror_stage.twin.throughput import rates_between
from mirror_stage.web.realtime import Realtime

log = logging.getLogger(__name__)

DETAILS_EVERY: Instant = 30 * SECOND
Found = dict[str, tuple[int, Place]]  # (id, place) by hostname


@dataclass(slots=True)
class Saved:
    """What the database has of a host's details, so that they are written rarely."""

    at: Instant = 0
    hardware: tuple[Any, ...] = ()


@dataclass(slots=True)
class Registry:
    """The hosts that have a row: the edge needs their ids before it commits their samples."""

    ids_by_hostname: dict[str, int] = field(default_factory=dict)
    places_by_hostname: dict[str, Place] = field(default_factory=dict)

    def drop(self, hostname: str) -> None:
        del self.ids_by_hostname[hostname], self.places_by_hostname[hostname]

    def take(self, found: Found) -> None:
        for hostname, (host_id, spot) in found.items():
            self.ids_by_hostname[hostname], self.places_by_hostname[hostname] = host_id, spot


class Pipeline:
    """The way of a sample through this process."""

    def __init__(
        self,
        *,
        storage: Storage,
        twin: Twin,
        open_alerts: OpenAlerts,
        rules: tuple[Rule, ...],
        frames: Frames,
        audience: Audience,
        realtime: Realtime,
        readiness: Readiness,
        clock: Clock,
        max_hosts: int,
        tell_cancelled: Callable[[list[Command]], None],
    ):
        self._storage, self._realtime, self._clock = storage, realtime, clock
        self._tell_cancelled = tell_cancelled
        self.twin, self.open_alerts, self.rules = twin, open_alerts, rules
        self.frames, self._audience, self._readiness = frames, audience, readiness
        self._silence_rule = next((rule for rule in rules if rule.name == HOST_OFFLINE), None)
        self._registry, self._max_hosts = Registry(), max_hosts
        self._details: dict[int, Saved] = {}
        self._started_at: Instant = clock.now()
        self._saving = BoundedSemaphore(1)
        self.trouble: str | None = None

    @property
    def is_degraded(self) -> bool:
        """Whether the last commit failed."""
        return self.trouble is not None

    # ------------------------------------------------------------------ edge

    def admit(self, batches: Sequence[Sequence[Sample]]) -> list[Answer]:
        """Commit every waiting batch at once, hand them to the owner, and say how each fared."""
        if (
            self.is_degraded
        ):  # the last commit failed, and this one may hang as long: the live view does not wait for it
            self._absorb_each(batches)
        answers = self._commit(batches)
        refused = (Invalid, Refused)
        self._absorb_each(s for s, answer in zip(batches, answers, strict=True) if not isinstance(answer, refused))
        return answers

    def _commit(self, batches: Sequence[Sequence[Sample]]) -> list[Answer]:
        found: Found = {}
        answers: list[Answer]
        try:
            try:
                answers = list(self._storage.write(lambda tx: self._append_together(tx, batches, found)))
            except (BadRow, Refused):
                found.clear()
                answers = self._storage.write(lambda tx: self._append_alone(tx, batches, found))
        except (Problem, BadRow) as why:
            problem = why if isinstance(why, Problem) else Invalid(f"the database refuses these samples: {why}")
            if not self.is_degraded:
                log.warning("samples are refused, the live view goes on: %s", problem.detail)
            self.trouble = problem.detail
            return [problem] * len(batches)
        self._registry.take(found)
        if self.is_degraded:
            log.info("samples are stored again")
        self.trouble = None
        return answers

    def _append_together(self, tx: Tx, batches: Sequence[Sequence[Sample]], found: Found) -> list[Receipt]:
        ids = self._ids(tx, (s for samples in batches for s in samples), found)
        self._measure(tx, batches, ids)
        receipts = history.append_together(tx, batches, ids)
        tiers.mark_late(tx, (s for samples in batches for s in samples), ids, self._clock.now() // SECOND)
        return receipts

    def _append_alone(self, tx: Tx, batches: Sequence[Sequence[Sample]], found: Found) -> list[Answer]:
        """Each batch under its own savepoint: a bad one fails alone, and duplicates are counted where they are."""
        answers: list[Answer] = []
        for samples in batches:
            newcomers = dict(found)
            try:
                answers.append(attempt(tx, partial(self._append, samples=samples, found=newcomers)))
                found.update(newcomers)
            except BadRow as why:
                answers.append(Invalid(f"the database refuses a value of this batch: {why}"))
            except Refused as why:
                answers.append(why)
        return answers

    def _append(self, tx: Tx, samples: Sequence[Sample], found: Found) -> Receipt:
        ids = self._ids(tx, samples, found)
        self._measure(tx, [samples], ids)
        receipt = history.append(tx, samples, ids)
        tiers.mark_late(tx, samples, ids, self._clock.now() // SECOND)
        return receipt

    def _measure(self, tx: Tx, batches: Sequence[Sequence[Sample]], ids: dict[str, int]) -> None:
        """Set the rates of every sample, each since the one before it: the history has rates, so nobody derives them later.

        The newest of a host is known to the twin, or came earlier in this group. A late sample is compared with the one
        before it in its batch, and the first such with the history: one question per batch and host.
        """
        hosts, newest = self.twin.hosts_by_name, dict[str, Sample]()
        for samples in batches:
            late: dict[str, Sample] = {}
            for sample in samples:
                hostname = sample.hostname
                before = newest.get(hostname) or (hosts[hostname].sample if hostname in hosts else None)
                if before is None or _is_newer(sample, before):
                    newest[hostname] = sample
                elif sample.net_bytes_tx is not None:
                    before = late.get(hostname) or history.before(tx, ids[hostname], sample)
                    late[hostname] = sample
                rates = rates_between(before, sample) if before is not None else None
                sample.tx_gbps, sample.rx_gbps = (rates.tx_gbps, rates.rx_gbps) if rates is not None else (None, None)

    def _ids(self, tx: Tx, samples: Iterable[Sample], found: Found) -> dict[str, int]:
        """The ids of the hosts of these samples; unknown ones are registered in this transaction. Raises Refused."""
        known = self._registry.ids_by_hostname
        ids = {hostname: host_id for hostname, (host_id, _) in found.items()}
        unknown: dict[str, Sample | None] = {}
        for sample in samples:
            if sample.hostname not in ids:
                host_id = known.get(sample.hostname)  # asked once: a host may be removed while this transaction waits
                if host_id is None:
                    unknown.setdefault(sample.hostname, sample)
                else:
                    ids[sample.hostname] = host_id
        if not unknown:
            return ids
        if len(known) + len(found) + len(unknown) > self._max_hosts:
            full = f"{self._max_hosts} hosts are known and no more are taken; raise MIRROR_STAGE_MAX_HOSTS"
            raise Refused(full, retry_after=60)
        registered = twin_store.register(tx, unknown, self.twin.hub)
        found.update(registered)
        return ids | {hostname: host_id for hostname, (host_id, _) in registered.items()}

    # ------------------------------------------------------------------ owner

    def _absorb_each(self, batches: Iterable[Sequence[Sample]]) -> None:
        """Absorb batch by batch. What is stored stays acknowledged, even if the live view cannot digest it."""
        for samples in batches:
            try:
                self.absorb(samples)
            except Exception:
                log.exception("the live view passes over a batch of %d samples; they are stored", len(samples))

    def absorb(self, samples: Iterable[Sample]) -> None:
        """Fold samples into the live twin and the open alerts; the only mutator of both."""
        transitions: list[Transition] = []
        for sample in samples:
            if self._is_known(sample.hostname):
                host, kind = self.twin.fold(sample)
                if kind is Arrival.FRESH or kind is Arrival.REANCHORED:
                    transitions += self._judge(host, sample.received_at)
        self._publish(transitions)

    def _is_known(self, hostname: str) -> bool:
        """Whether the twin has this host; one that was registered just now is let in."""
        if hostname in self.twin.hosts_by_name:
            return True
        host_id = self._registry.ids_by_hostname.get(hostname)
        if host_id is None:
            return False  # the database is away, and without a row there is no slot
        self.twin.admit(host_id, hostname, self._registry.places_by_hostname[hostname])
        return True

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
            if now - max(host.last_seen_at, self._started_at) >= rule.fire_at * SECOND:
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
        self.frames.take(now)
        self._audience.show(now)

    def forget(self, hostname: str) -> None:
        """Let a host leave: its alerts resolve, its pending commands are cancelled. Raises NotFound, Conflict."""
        host = self.twin.hosts_by_name.get(hostname)
        if host is None:
            raise NotFound(f"there is no host {hostname}; GET /api/hosts lists those that there are")
        if host.role != Role.HOST and not self._is_spoofed(host):
            raise Conflict(f"{hostname} is the {host.role} of this twin and cannot be removed")
        self.save()  # what it was until now is kept
        now = self._clock.now()
        cancelled = self._storage.write(lambda tx: self._remove(tx, host, now))
        transitions = [resolve(alert, now, "host-removed") for alert in self.open_alerts.of(hostname).values()]
        self.twin.forget(hostname)
        self._details.pop(host.id, None)
        if host.role is Role.HUB:
            self.twin.admit(host.id, hostname, host.place)
        else:
            self._registry.drop(hostname)
        self._apply(transitions)
        self._publish(transitions)
        self._tell_cancelled(cancelled)
        self.save()
        self.tick()

    @staticmethod
    def _is_spoofed(host: Host) -> bool:
        """Whether an agent's report stands where EGO would show its own: the hub, or this machine."""
        if host.sample is None:
            return False
        return host.role is Role.HUB or not host.sample.agent_version.startswith(OWN_VERSIONS)

    @staticmethod
    def _remove(tx: Tx, host: Host, now: Instant) -> list[Command]:
        twin_store.remove(tx, host.id, now)
        if host.role is Role.HUB:  # the report goes, the centre of the network stays
            twin_store.make_synthetic(tx, host.id)
        return command_store.cancel_pending_of(tx, host.hostname, "host removed", EGO, now)

    # ------------------------------------------------------------------ saving and restoring

    def save(self) -> None:
        """Write what changed since the last save: hosts, alerts, and now and then details. What fails stays dirty."""
        with self._saving:  # a job, a question and a removal may come at once; an older save must not end last
            now = self._clock.now()
            hosts, alerts = self.twin.take_dirty(), self.open_alerts.take_dirty()
            identities = self.twin.take_identities()
            if not hosts and not alerts and not self.is_degraded:
                return
            try:
                due = self._write_changes(hosts, alerts, identities, now)
            except (Problem, BadRow) as why:
                self.twin.mark_dirty(hosts)
                self.twin.mark_identities(identities)
                self.open_alerts.mark_dirty(alerts)
                log.warning("the twin was not saved, it will be tried again: %s", why)
                return
            self.trouble = None  # it stores again, even if nobody sends: who waits for readiness must not wait for ever
            for host in due:
                self._details[host.id] = Saved(now, _hardware(host))

    def _write_changes(
        self, hosts: list[Host], alerts: list[Alert], identities: list[Identity], now: Instant
    ) -> list[Host]:
        """The hosts whose details were written too."""
        due = [host for host in hosts if self._details_are_due(host, now)]
        try:
            self._storage.write(lambda tx: self._save(tx, hosts, alerts, identities, due, now))
        except BadRow:
            self._storage.write(lambda tx: self._save_each(tx, hosts, alerts, identities, due, now))
        return due

    @staticmethod
    def _save(
        tx: Tx, hosts: list[Host], alerts: list[Alert], identities: list[Identity], due: list[Host], now: Instant
    ) -> None:
        twin_store.save(tx, hosts, now)
        twin_store.save_identities(tx, identities)
        details = {host.id: msgspec.json.encode(host.sample.details).decode() for host in due if host.sample}
        twin_store.save_details(tx, details, now)
        alert_store.save(tx, alerts)

    def _save_each(
        self, tx: Tx, hosts: list[Host], alerts: list[Alert], identities: list[Identity], due: list[Host], now: Instant
    ) -> None:
        """Save one by one: a row that the database refuses is logged and does not hold the others up."""
        nothing: dict[str, Any] = {"hosts": [], "alerts": [], "identities": [], "due": [], "now": now}
        works = [(host.hostname, nothing | {"hosts": [host]}) for host in hosts]
        works += [(f"identity of host {one.host_id}", nothing | {"identities": [one]}) for one in identities]
        works += [(host.hostname, nothing | {"due": [host]}) for host in due]
        works += [(alert.message, nothing | {"alerts": [alert]}) for alert in alerts]
        for name, one in works:
            try:
                attempt(tx, partial(self._save, **one))
            except BadRow as why:
                log.error("the database refuses to save %s: %s", name, why)

    def _details_are_due(self, host: Host, now: Instant) -> bool:
        if host.sample is None or host.sample.details is None:
            return False
        saved = self._details.get(host.id)
        return saved is None or now - saved.at >= DETAILS_EVERY or saved.hardware != _hardware(host)

    def restore(self) -> None:
        """Bring back everything that was known: hosts, open alerts, then the history that the last save has not seen."""
        self._started_at = self._clock.now()
        self.frames.twin_id = self._storage.write(twin_store.twin_id)
        hub = self._storage.write(lambda tx: twin_store.register(tx, {self.twin.hub: None}, self.twin.hub))
        self._registry.take(hub)
        saved_at = self._storage.read(lambda tx: int(notes.read(tx, notes.SAVED_AT) or 0))
        known = self._storage.read(lambda tx: twin_store.identities_at(tx, self._started_at))
        identities = {identity.host_id: identity for _, _, identity in known}
        for host, details in self._storage.read(lambda tx: twin_store.load(tx, self.twin.hub, self.twin.ego)):
            if host.sample is not None or host.role is Role.HUB:
                self._restore_host(host, details, identities.get(host.id))
        self.open_alerts.restore(self._storage.read(alert_store.load_active))
        self._end_orphans()
        for hostname in {alert.hostname for alert in self.open_alerts.all()}:
            self.twin.set_severity(hostname, self.open_alerts.severity_of(hostname))
        self._replay(saved_at)
        self.twin.sweep(self._clock.now())
        self._readiness.is_ready = True
        self.tick()

    def _end_orphans(self) -> None:
        """Resolve alerts of hosts that were removed and of rules that are no longer in force: nothing else would."""
        rules = {rule.name for rule in self.rules}
        for alert in self.open_alerts.all():
            if alert.hostname not in self.twin.hosts_by_name:
                self._apply([resolve(alert, self._started_at, "host-removed")])
            elif alert.metric not in rules:
                self._apply([resolve(alert, self._started_at, "rule-removed")])

    def _restore_host(self, host: Host, details: str | None, identity: Identity | None) -> None:
        host = not_after(host, self._started_at)
        if host.role is Role.HUB and host.sample is None:
            host = replace(host, ip=self.twin.hub_ip)
        if host.sample is not None and details is not None:
            host.sample.details = msgspec.json.decode(details, type=SampleStruct)
        self._registry.take({host.hostname: (host.id, host.place)})
        self.twin.restore(host, identity)

    def _replay(self, saved_at: Instant) -> None:
        """Fold what arrived after the last save, as it came: of what a host sent at once the last is its newest."""
        names = {host.id: host.hostname for host in self.twin.hosts_by_name.values()}
        arrivals = {host.id: host.sample.received_at for host in self.twin.hosts_by_name.values() if host.sample}
        rows = self._storage.read(lambda tx: history.received_since(tx, saved_at, names))
        rows = [(id, values) for id, values in rows if values["received_at"] >= arrivals.get(id, 0)]
        newest_rows = {(host_id, values["received_at"]): n for n, (host_id, values) in enumerate(rows)}
        for n, (host_id, values) in enumerate(rows):
            newest = self.twin.hosts_by_name[names[host_id]].sample
            if newest is not None:
                is_newest = newest_rows[host_id, values["received_at"]] == n
                values["received_at"] = min(values["received_at"], self._started_at)
                self.absorb([replace(newest, **values, is_newest_of_request=is_newest)])


def _is_newer(sample: Sample, before: Sample) -> bool:
    """Whether a sample comes after another in their order; the first question answers it for every live agent."""
    if sample.at > before.at and sample.received_at >= before.received_at:
        return True
    return sample.order > before.order


def _hardware(host: Host) -> tuple[Any, ...]:
    """What rarely changes of a host's details."""
    told = host.sample.details if host.sample is not None else None
    return (
        getattr(told, "cpu_model", None),
        getattr(told, "os_kernel", None),
        getattr(told, "memory_total_bytes", None),
    )
