"""The past of the twin: its state at a moment, the difference of two moments, the timeline of a stretch; and pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import gevent
from gevent.lock import BoundedSemaphore

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import SEVERITIES, Alert, silent_since
from mirror_stage.alerts.measures import SILENCE
from mirror_stage.alerts.schemas import AlertSchema
from mirror_stage.commands import store as command_store
from mirror_stage.commands.domain import CREATED, SUCCEEDED
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import DAY, MINUTE, SECOND, Instant, to_text
from mirror_stage.core.problems import Invalid, NotFound, Unavailable
from mirror_stage.history import series, tiers
from mirror_stage.history import store as history
from mirror_stage.history.domain import RAW, RESOLUTIONS, ROLLUPS, Reading, Resolution
from mirror_stage.past.availability import PERIODS, Span, availability, merged, presence_of
from mirror_stage.past.domain import (
    THRESHOLDS,
    Known,
    Level,
    Moment,
    Scene,
    Stretch,
    active_in_each,
    alert_as_it_was,
    difference,
    host_as_it_was,
    presence,
    uplinks_of,
    with_hub,
    with_names,
    with_severities,
)
from mirror_stage.storage.db import Storage
from mirror_stage.twin import encode
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import CLOCK_SLACK, Host

WINDOW: Instant = MINUTE  # all samples of this time are read in one scan; a host silent for longer is looked up alone
UNROLLED_MAX: Instant = 15 * MINUTE  # how far back a scan may go for samples that are not rolled up yet
CROWD = 100  # from so many hosts last seen in one minute, one scan is cheaper than 60 look-ups per host
FINE_WATCHED: Instant = 7 * DAY  # in this time it is known to the minute when EGO was running
FRESH_SLACK = 5  # seconds that EGO's next sample of itself may come late
SEEKS_MAX = 3  # so many minutes of a silent host are searched for a sample that had arrived
RECORDED_AFTER: Instant = 5 * SECOND  # the tables may not have a moment younger than this yet
DEFAULT_STRETCH: Instant = DAY
YIELD_EVERY = 200
PRUNED_AT_ONCE = 500

AT_ONCE = 2  # moments that are worked out: of 10,000 hosts one takes 160 MB
QUEUE_SECONDS = 10.0  # others wait so long for their turn

Value = TypeVar("Value")
_alert_schema = AlertSchema()

AlertsShown = Callable[[Sequence[Alert], Sequence[Host], Instant], list[Alert]]


class Past:
    """Answers queries about the past from the tables, with the same functions that make the live twin."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        scene: Scene,
        *,
        kept_by_resolution: Mapping[str, Instant],
        until_recorded: Callable[[], None],
        twin_id: Callable[[], str],
        alerts_shown: AlertsShown = lambda alerts, _hosts, _at: list(alerts),
        watcher: str = "",
        watched_every: Instant = 5 * SECOND,
    ):
        """`alerts_shown` adds to the alerts of a moment what kept them quiet then.

        `watcher` is the host that EGO runs on, and that it measures itself so often: while it has no samples, EGO was not running.
        """
        self._storage, self._clock, self._scene = storage, clock, scene
        self._kept, self._until_recorded, self._twin_id = kept_by_resolution, until_recorded, twin_id
        self._alerts_shown = alerts_shown
        self._watcher, self._watched_every = watcher, watched_every
        self._turns = BoundedSemaphore(AT_ONCE)

    # ------------------------------------------------------------------ one moment

    def moment(self, at: Instant, name: str = "at") -> Moment:
        """The twin as EGO knew it at an instant. Raises Invalid for an instant in the future; `name` is the query's field."""
        self._must_be_over(at, name)
        known = [Known(*row) for row in self._storage.read(lambda tx: twin_store.identities_at(tx, at))]
        stored = self._storage.read(lambda tx: alert_store.active_at(tx, at))
        reach = self._storage.read(tiers.tiers)
        resolution = finest(reach, self._kept, at, self._clock.now())
        offline_by_host = {alert.hostname: alert for alert in stored if alert.measure == SILENCE}
        readings = Readings(self._storage, at, known, offline_by_host, reach).of(resolution)
        known = [replace(one, reading=readings.get(one.identity.host_id)) for one in known]
        return self._composed(at, resolution, known, stored, offline_by_host)

    def _composed(
        self,
        at: Instant,
        resolution: Resolution,
        known: list[Known],
        stored: list[Alert],
        offline_by_host: Mapping[str, Alert],
    ) -> Moment:
        scene = self._scene
        uplink_of = uplinks_of(known, scene.hub)
        hosts = [
            host_as_it_was(one, offline_by_host.get(one.hostname), uplink_of.get(one.hostname), scene, at)
            for one in yielding(known)
        ]
        hosts_by_name = {host.hostname: host for host in hosts}
        alerts = [alert_as_it_was(alert, hosts_by_name.get(alert.hostname), at) for alert in stored]
        return Moment(at, resolution.name, with_names(with_hub(with_severities(hosts, alerts), scene)), alerts)

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """A turn of AT_ONCE. Raises Unavailable if none is free in time."""
        if not self._turns.acquire(timeout=QUEUE_SECONDS):
            raise Unavailable("too many others ask for the past; ask again in a moment")
        try:
            yield
        finally:
            self._turns.release()

    def body(self, at: Instant) -> bytes:
        """The snapshot at an instant, encoded for the wire. Raises Invalid, Unavailable."""
        with self._in_turn():
            return self._body(at)

    def _body(self, at: Instant) -> bytes:
        moment = self.moment(at)
        head = {"type": "twin-state", "twinId": self._twin_id()} | encode.head_of("past", 0, at)
        head |= {"at": to_text(at), "resolution": moment.resolution}
        alerts = self._alerts_shown(moment.alerts, moment.hosts, at)
        head |= {"alerts": [_alert_schema.dump(alert) for alert in yielding(alerts)]}
        return encode.snapshot(head, yielding(moment.hosts), encode.Fragments(), with_slots=False)

    def is_settled(self, at: Instant) -> bool:
        """Whether the answer for an instant can no longer change, except by retention."""
        return at < self._clock.now() - UNROLLED_MAX

    # ------------------------------------------------------------------ two moments

    def diff(self, start: Instant, end: Instant | None, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """The difference of the twin between two instants; `thresholds` replace the defaults of their metrics.

        Raises Invalid, Unavailable.
        """
        end = self._clock.now() if end is None else end
        _must_rise(start, end)
        asked = {**THRESHOLDS, **thresholds}
        with self._in_turn():
            before, after = self.moment(start, "from"), self.moment(end, "to")
            found = difference(before, after, asked)
        resolutions = [before.resolution, after.resolution]
        return {"from": to_text(start), "to": to_text(end), "resolutions": resolutions, "thresholds": asked} | found

    # ------------------------------------------------------------------ a stretch of time

    def timeline(self, start: Instant | None, end: Instant | None, buckets: int) -> dict[str, Any]:
        """Alerts, commands and hosts online in each of `buckets` equal parts of a time range; the default is the last day."""
        end = self._clock.now() if end is None else end
        start = end - DEFAULT_STRETCH if start is None else start
        self._must_be_over(end, "to")
        _must_rise(start, end)
        stretch = Stretch(start, end, buckets)
        there = {row[2].host_id for row in self._storage.read(lambda tx: twin_store.identities_at(tx, start))}
        turns = self._storage.read(lambda tx: twin_store.comings_and_goings(tx, start, end - 1))
        alerts = self._storage.read(lambda tx: alert_store.counts_between(tx, start, end, buckets))
        commands = self._storage.read(lambda tx: command_store.counts_between(tx, start, end, buckets))
        online = (
            present - silent
            for present, silent in zip(
                presence(there, turns, stretch).means(), _offline(alerts, stretch).means(), strict=True
            )
        )
        return {
            "from": to_text(start),
            "to": to_text(end),
            "bucketSeconds": stretch.width_ms / SECOND,
            "t": [to_text(at) for at in stretch.starts()],
            "alerts": _alerts_by_severity(alerts, buckets),
            "commands": _commands(commands, buckets),
            "hosts": {"online": [round(max(0.0, mean), 3) for mean in online]},
        }

    # ------------------------------------------------------------------ how long a host was online

    def availability(self, hostname: str) -> dict[str, Any]:
        """How much of each of PERIODS until now a host was online, offline, or not watched. Raises NotFound for a host that never was."""
        now = self._clock.now()
        longest = max(length for _, length in PERIODS)
        self._until_recorded()
        ids = self._storage.read(lambda tx: series.ids_of(tx, [hostname, self._watcher]))
        if hostname not in ids:
            raise NotFound(f"there has never been a host {hostname}; GET /api/hosts lists those that there are")
        turns = self._storage.read(lambda tx: twin_store.turns_of(tx, ids[hostname]))
        alerts = self._storage.read(lambda tx: alert_store.offline_since(tx, hostname, now - longest))
        there = presence_of(turns, now)
        silent = [(silent_since(alert), alert.resolved_at or now) for alert in alerts]
        watched = self._watched(ids.get(self._watcher), now - longest, now)
        periods = []
        for name, length in PERIODS:
            found = availability(there, watched, silent, (now - length, now))
            periods.append(
                {
                    "period": name,
                    "from": to_text(now - length),
                    "onlineSeconds": found.online / SECOND,
                    "offlineSeconds": found.offline / SECOND,
                    "unknownSeconds": found.unknown / SECOND,
                    "outages": found.outages,
                    "availability": None if found.share is None else round(found.share, 6),
                }
            )
        return {"hostname": hostname, "to": to_text(now), "periods": periods}

    def _watched(self, watcher: int | None, start: Instant, end: Instant) -> list[Span]:
        """When EGO was running: to the minute in the last week, before it to 15 minutes. Without a watcher: always."""
        if watcher is None:
            return [(start, end)]
        minutes, quarters = ROLLUPS
        every = self._watched_every // SECOND
        fine = max(start, end - FINE_WATCHED) // SECOND
        done = self._storage.read(tiers.tiers)[minutes.name].done_until
        fresh = max(done, (end - UNROLLED_MAX) // SECOND)
        parts = ((quarters, start // SECOND, fine), (minutes, fine, done))
        spans = [
            span
            for tier, first, last in parts
            for span in self._storage.read(
                lambda tx, tier=tier, first=first, last=last: history.stretches(  # type: ignore[misc]
                    tx, watcher, tier, first, last, tier.seconds + every
                )
            )
        ]
        seconds = self._storage.read(lambda tx: history.seconds_of(tx, watcher, fresh, end // SECOND))
        near = every + FRESH_SLACK
        spans += [(second - near, second + near) for second in seconds]
        return merged((max(first * SECOND, start), min(last * SECOND, end)) for first, last in spans)

    def prune(self, now: Instant) -> None:
        """Delete identities and removed hosts that are older than the longest retention, in small steps."""
        kept_since = now - max(self._kept.values())
        for prune in (twin_store.prune_identities, twin_store.prune_hosts):
            while self._storage.own.write(partial(prune, kept_since=kept_since, most=PRUNED_AT_ONCE)) == PRUNED_AT_ONCE:
                gevent.sleep(0)

    def _must_be_over(self, at: Instant, name: str) -> None:
        now = self._clock.now()
        if at > now:
            detail = f"{to_text(at)} is in the future; EGO's clock says {to_text(now)}"
            raise Invalid(f"{name}: {detail}", errors=[{"field": name, "message": detail}])
        if at > now - RECORDED_AFTER:
            self._until_recorded()


def yielding(values: Iterable[Value]) -> Iterator[Value]:
    """The same values; lets other greenlets run after every YIELD_EVERY of them."""
    for n, value in enumerate(values, 1):
        yield value
        if n % YIELD_EVERY == 0:
            gevent.sleep(0)


def finest(
    reach: Mapping[str, tiers.Tier], kept_by_resolution: Mapping[str, Instant], at: Instant, now: Instant
) -> Resolution:
    """The finest tier that still has a moment; the coarsest one for moments that no tier has."""
    for resolution in RESOLUTIONS[:-1]:
        first = at - WINDOW - 2 * CLOCK_SLACK if resolution is RAW else at
        if first >= max(reach[resolution.name].pruned_until * SECOND, now - kept_by_resolution[resolution.name]):
            return resolution
    return RESOLUTIONS[-1]


def _must_rise(start: Instant, end: Instant) -> None:
    if start >= end:
        detail = f"{to_text(start)} is not before {to_text(end)}"
        raise Invalid(f"from: {detail}", errors=[{"field": "from", "message": detail}])


def _offline(alerts: Mapping[str, alert_store.Counts], stretch: Stretch) -> Level:
    """The number of offline hosts over time, from their `host_offline` alerts."""
    level = Level(stretch, sum(count for offline, _, _, count, _ in alerts["open"] if offline))
    for name, sign in (("fired", 1), ("resolved", -1)):
        for offline, _, bucket, count, since_start in alerts[name]:
            if offline:
                level.step(bucket, sign * count, sign * since_start)
    return level


def _alerts_by_severity(alerts: Mapping[str, alert_store.Counts], buckets: int) -> dict[str, dict[str, list[int]]]:
    counted = {name: {severity: [0] * buckets for severity in SEVERITIES} for name in alerts}
    for name, rows in alerts.items():
        for _, severity, bucket, count, _ in rows:
            counted[name][severity][bucket] += count
    fired, resolved, was_open = counted["fired"], counted["resolved"], counted["open"]
    active = {one: active_in_each(was_open[one][0], fired[one], resolved[one]) for one in SEVERITIES}
    return {"fired": fired, "active": active, "resolved": resolved}


def _commands(rows: Iterable[tuple[int, str, str, int]], buckets: int) -> dict[str, list[int]]:
    counted = {name: [0] * buckets for name in ("created", "finished", "failed")}
    for bucket, transition, status, count in rows:
        if transition == CREATED.name:
            counted["created"][bucket] += count
        else:
            counted["finished"][bucket] += count
            counted["failed"][bucket] += count if status != SUCCEEDED else 0
    return counted


class Readings:
    """What the history knows of each host at a moment, found with as few reads as possible."""

    def __init__(
        self,
        storage: Storage,
        at: Instant,
        known: Iterable[Known],
        offline_by_host: Mapping[str, Alert],
        reach: Mapping[str, tiers.Tier],
    ):
        self._storage, self._at, self._reach = storage, at, reach
        self._identities = {one.identity.host_id: one.identity for one in known}
        silences = {
            one.identity.host_id: silent_since(offline_by_host[one.hostname]) + 2 * SECOND
            for one in known
            if one.hostname in offline_by_host
        }
        self._heard_until = {host_id: min(at, silences.get(host_id, at)) for host_id in self._identities}
        self._found: dict[int, Reading] = {}

    def of(self, resolution: Resolution) -> dict[int, Reading]:
        """The reading of each host by its id: from this tier, or from a coarser one if this tier has none."""
        if resolution is RAW:
            self._scan()
            self._seek()
        else:
            before = {host_id: self._second(host_id) for host_id in self._identities}
            for tier in ROLLUPS[ROLLUPS.index(resolution) :]:
                self._take(self._buckets(tier, {one: before[one] for one in self._missing()}))
        return self._found

    def _missing(self) -> list[int]:
        return [host_id for host_id in self._identities if host_id not in self._found]

    def _take(self, readings: Iterable[Reading]) -> None:
        self._found |= {reading.host_id: reading for reading in readings}

    def _second(self, host_id: int) -> int:
        """The latest second, by the host's clock, at which EGO can have last heard from it."""
        return (self._heard_until[host_id] + self._identities[host_id].clock_offset) // SECOND

    def _scan(self) -> None:
        """Find the hosts that sent a sample within WINDOW or one that is not rolled up yet.

        Hosts whose clocks agree are found in one scan.
        """
        by_offset: dict[int, list[int]] = {}
        for host_id, identity in self._identities.items():
            offset = identity.clock_offset
            by_offset.setdefault(0 if abs(offset) <= CLOCK_SLACK else round(offset / CLOCK_SLACK), []).append(host_id)
        done_until = self._reach[ROLLUPS[0].name].done_until * SECOND
        for step, host_ids in by_offset.items():
            ahead = step * CLOCK_SLACK
            end = self._at + ahead + 2 * CLOCK_SLACK
            self._between(host_ids, self._at - WINDOW, ahead, end)
            not_rolled_up = done_until - ahead - 2 * CLOCK_SLACK
            self._between(host_ids, max(not_rolled_up, self._at - UNROLLED_MAX), ahead, end)

    def _between(self, host_ids: Iterable[int], arrived_from: Instant, ahead: Instant, end: Instant) -> None:
        """Scan the samples since `arrived_from` of those of the hosts that are not found yet. Their clocks are `ahead` of EGO's."""
        first = arrived_from + ahead - 2 * CLOCK_SLACK
        if first >= end:
            return
        by_arrival: dict[Instant, list[int]] = {}  # most hosts are one group; a few came, or had their clock set, later
        for host_id in host_ids:
            if host_id not in self._found:
                counts_from = max(arrived_from, self._identities[host_id].counts_from)
                by_arrival.setdefault(counts_from, []).append(host_id)
        for since, some in by_arrival.items():
            self._take(self._scanned(some, first // SECOND, end // SECOND, since))

    def _scanned(self, host_ids: Sequence[int], first: int, last: int, since: Instant) -> Sequence[Reading]:
        return self._storage.read(
            lambda tx: history.newest_between(tx, host_ids, first, last, arrived_from=since, at=self._at)
        )

    def _seek(self) -> None:
        """Find the last sample of the silent hosts: the newest minute of a rollup says where it lies.

        If all samples of that minute arrived after the moment, an earlier minute is searched.
        """
        minutes, quarters = ROLLUPS
        slack = CLOCK_SLACK // SECOND
        before = {host_id: self._second(host_id) + slack for host_id in self._missing()}
        for _ in range(SEEKS_MAX):
            if not before:
                return
            buckets = {reading.host_id: reading for reading in self._buckets(minutes, before)}
            older = {host_id: second for host_id, second in before.items() if host_id not in buckets}
            self._take(self._buckets(quarters, older))
            kept_from = self._reach[RAW.name].pruned_until * SECOND
            self._take(reading for reading in buckets.values() if reading.until <= kept_from)
            minutes_of = {
                host_id: reading.until // SECOND - minutes.seconds
                for host_id, reading in buckets.items()
                if host_id not in self._found
            }
            self._take(self._samples_in(minutes_of))
            before = {one: start - 1 for one, start in minutes_of.items() if one not in self._found}

    def _samples_in(self, minutes: Mapping[int, int]) -> list[Reading]:
        """The newest sample of each host in a minute, given by its first second. One scan finds CROWD or more hosts."""
        crowds: dict[int, list[int]] = {}
        for host_id, second in minutes.items():
            identity = self._identities[host_id]
            if not identity.counts_from and identity.clock_offset <= 0:
                crowds.setdefault(second, []).append(host_id)
        found: list[Reading] = []
        alone = dict(minutes)
        for second, host_ids in crowds.items():
            if len(host_ids) >= CROWD:
                found += self._scanned(host_ids, second, second + MINUTE // SECOND - 1, 0)
                for host_id in host_ids:
                    del alone[host_id]
        wanted = [(host_id, self._identities[host_id].counts_from, second) for host_id, second in alone.items()]
        # samples of a clock that is ahead are ordered by arrival, so the newest may lie in the minute before
        wanted += [(one, since, second - 60) for one, since, second in wanted if self._identities[one].clock_offset > 0]
        if wanted:
            found += self._storage.read(lambda tx: history.newest_in_minutes(tx, wanted, at=self._at))
        return found

    def _buckets(self, tier: Resolution, seconds: Mapping[int, int]) -> Sequence[Reading]:
        if not seconds:
            return ()
        wanted = list(seconds.items())
        return self._storage.read(lambda tx: history.newest_buckets(tx, tier, wanted))
