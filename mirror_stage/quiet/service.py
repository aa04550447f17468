"""Silences, maintenance and mute times: what people write down, and which alerts nobody is told of because of it.

The database is the truth. Each process keeps in memory what is in force, and looks each second whether somebody else, another
worker or the command line, has changed anything. So an answer about an alert asks no database.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gevent

from mirror_stage.access.domain import Actor
from mirror_stage.alerts.domain import NO_DATA_OF, SEVERITIES, Alert, worst
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import DAY, Instant, to_text
from mirror_stage.core.problems import BadRow, Conflict, Invalid, NotFound, Refused
from mirror_stage.core.selector import Labels, Selector
from mirror_stage.core.variables import nearest
from mirror_stage.quiet import store
from mirror_stage.quiet.domain import (
    BEGAN,
    CHANGED,
    COUNT_MAX,
    CREATED,
    ENDED,
    FILE,
    HUD,
    KINDS,
    LASTS_MAX,
    MAINTENANCE,
    MUTE_TIME,
    ON,
    OVER,
    SHARE_MAX,
    SILENCE,
    WAITING,
    Maintenance,
    Silence,
    Version,
    What,
    Written,
    is_broad,
    rule_of,
    span_trouble,
    suppressions,
)
from mirror_stage.quiet.mute_times import MuteTime
from mirror_stage.storage.db import Storage
from mirror_stage.twin.domain import Host, labels_of

PRUNED_AT_ONCE = 200
NAME_SHOWN = 64
NAMES: Mapping[str, str] = {SILENCE: "silence", MAINTENANCE: "maintenance", MUTE_TIME: "mute time"}

Stored = tuple[Version, bool]  # and whether it is new
Told = Callable[[str, Version, Instant], None]  # what has changed, the version, EGO's time


@dataclass(frozen=True, slots=True)
class Meant:
    """How many hosts of the fleet, and how many open alerts, a silence would mean; whether that has to be confirmed."""

    hosts: int
    fleet: int
    alerts: int
    must_confirm: bool


class Quiet:
    """When nobody is told although something is wrong.

    `hosts_named` are those of these hosts that the twin has, `fleet` all of them. `open_alerts` are the active alerts. `grace`
    is how long hosts may take to come back after maintenance. `rule_names` are those of the alert rules, also of those that
    are off. `kept` is how long versions are kept that count no more. `tell` is called for each change, once; `is_leading` says
    whether this process tells what it has not changed itself. `routes_muted_by` names the routes that have a mute time.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        hosts_named: Callable[[AbstractSet[str]], Iterable[Host]],
        fleet: Callable[[], Iterable[Host]],
        open_alerts: Callable[[], Sequence[Alert]],
        rule_names: Callable[[], Iterable[str]],
        grace: Instant,
        kept: Instant,
        tell: Told,
        is_leading: Callable[[], bool],
        routes_muted_by: Callable[[Any, str], Sequence[str]] = lambda _tx, _name: (),
    ):
        self._storage, self._clock, self.grace, self._kept = storage, clock, grace, kept
        self._hosts_named, self._fleet, self._open_alerts = hosts_named, fleet, open_alerts
        self._rule_names, self._tell, self._is_leading = rule_names, tell, is_leading
        self._routes_muted_by = routes_muted_by
        self._newest: dict[tuple[str, str], Version] | None = None  # by kind and id; None: never looked
        self._states: dict[tuple[str, str], str] = {}
        self._in_force: tuple[Instant, list[Version]] = (-1, [])

    # ------------------------------------------------------------------ what others ask

    def reasons(self, alert: Alert, now: Instant) -> Sequence[str]:
        """Why nobody is told of an alert, in words; empty if somebody may be told."""
        found = self._suppressions([alert], now)[alert.id]
        said = [f"{NAMES[one.kind]} {one.id} of {one.by} until {to_text(one.until)}" for one in found]
        if alert.ack_at is not None and alert.ack_until is not None and now < alert.ack_until:
            said.append(f"acknowledged by {alert.ack_by} until {to_text(alert.ack_until)}")
        return said

    def shown(self, alerts: Sequence[Alert]) -> list[Alert]:
        """The alerts, each active one with what keeps it quiet now."""
        active = [alert for alert in alerts if alert.status == "active"]
        found = self._suppressions(active, self._clock.now()) if active else {}
        return [
            replace(alert, suppressed_by=tuple(found[alert.id])) if found.get(alert.id) else alert for alert in alerts
        ]

    def shown_at(self, alerts: Sequence[Alert], hosts: Iterable[Host], at: Instant) -> list[Alert]:
        """The alerts that were active at an instant, each with what kept it quiet then; `hosts` as they were then."""
        versions = self._storage.read(lambda tx: store.as_of(tx, at, at - self.grace))
        if not versions:
            return list(alerts)
        labels = {host.hostname: labels_of(host) for host in hosts}
        return [
            replace(
                alert,
                suppressed_by=tuple(
                    suppressions(versions, alert, labels.get(alert.hostname, Labels(alert.hostname)), at, self.grace)
                ),
            )
            for alert in alerts
        ]

    def muted(self, name: str, now: Instant) -> str | None:
        """Why a mute time keeps routes quiet, in words; None if it does not, or if there is none of this name."""
        found = self._known().get((MUTE_TIME, name))
        if found is None or found.state(now, self.grace) != ON or not isinstance(found.what, MuteTime):
            return None
        until = found.what.ends_at(now)
        return f"mute time {name} until {to_text(until)}" if until is not None else f"mute time {name}"

    def mute_time_names(self, tx: Any) -> set[str]:
        """The names of all mute times."""
        return {one.id for one in store.newest(tx, self._clock.now()) if one.kind == MUTE_TIME}

    def mute_times(self) -> Mapping[str, MuteTime]:
        """The mute times, by name."""
        known = self._known()
        return {
            id: one.what for (_, id), one in known.items() if isinstance(one.what, MuteTime) and one.change != ENDED
        }

    def _suppressions(self, alerts: Sequence[Alert], now: Instant) -> dict[str, list[Any]]:
        """What keeps each alert quiet, by the alert's id."""
        at, in_force = self._in_force
        if at != now:
            in_force = [one for one in self._known().values() if one.state(now, self.grace) == ON]
            in_force = [one for one in in_force if one.kind != MUTE_TIME]
            self._in_force = now, in_force
        if not in_force:
            return {alert.id: [] for alert in alerts}
        labels = {host.hostname: labels_of(host) for host in self._hosts_named({alert.hostname for alert in alerts})}
        return {
            alert.id: suppressions(in_force, alert, labels.get(alert.hostname, Labels(alert.hostname)), now, self.grace)
            for alert in alerts
        }

    def _known(self) -> dict[tuple[str, str], Version]:
        if self._newest is None:
            self.look()
        assert self._newest is not None
        return self._newest

    # ------------------------------------------------------------------ what people do

    def listed(self, kind: str, state: str | None, at: Instant | None = None) -> list[Version]:
        """Those of a kind, newest first: by their state, None for all that are not over. `at`: as they were then."""
        now = self._clock.now()
        moment = now if at is None else at
        since = moment - self.grace if state != OVER else 0
        found = self._storage.read(lambda tx: store.newest(tx, since) if at is None else store.as_of(tx, moment, since))
        states = {state} if state is not None else {WAITING, ON}
        return [one for one in found if one.kind == kind and one.state(moment, self.grace) in states]

    def create(
        self, kind: str, what: What, actor: Actor, *, id: str | None = None, is_confirmed: bool = False
    ) -> Version:
        """A new one. Raises Invalid, Conflict if the name is taken or too many hosts are meant, Refused if there are too many."""
        now, made = self._clock.now(), id or secrets.token_hex(6)
        self._check(what, now, is_confirmed=is_confirmed)
        unknown = self._unknown_rule(what)
        if unknown is not None:
            raise unknown

        def work(tx: Any) -> Stored:
            if store.count_open(tx, kind, now) >= COUNT_MAX[kind]:
                raise Refused(f"there are {COUNT_MAX[kind]} already; end those that nobody needs", retry_after=60)
            before = store.newest_of(tx, kind, made)
            if before is not None and before.change != ENDED:
                raise Conflict(f"there is a {NAMES[kind]} {made} already; change that one, or take another name")
            return self._stored(tx, self._next(before, kind, made, CREATED, what, actor, now), actor)

        return self._written(work, now)

    def change(self, kind: str, id: str, what: What, actor: Actor, *, is_confirmed: bool = False) -> Version:
        """The same one, with other contents. Raises Invalid, NotFound, and Conflict if it is over or too many hosts are meant."""
        now = self._clock.now()
        self._check(what, now, is_confirmed=is_confirmed)
        unknown = self._unknown_rule(what)

        def work(tx: Any) -> Stored:
            before = self._editable(self._open(store.newest_of(tx, kind, id), kind, id, now))
            if unknown is not None and rule_of(what) != rule_of(before.what):
                raise unknown
            if isinstance(what, Silence | Maintenance) and isinstance(before.what, Silence | Maintenance):
                began = before.what.begins_at
                is_moved = what.begins_at > now or began > now
                new = replace(what, begins_at=what.begins_at if is_moved else began)  # what has begun has begun then
                return self._stored(tx, self._next(before, kind, id, CHANGED, new, actor, now), actor)
            return self._stored(tx, self._next(before, kind, id, CHANGED, what, actor, now), actor)

        return self._written(work, now)

    def end(self, kind: str, id: str, actor: Actor) -> Version:
        """End one now. One that is over already stays so. Raises NotFound."""
        now = self._clock.now()

        def work(tx: Any) -> Stored:
            before = store.newest_of(tx, kind, id)
            if before is not None and before.state(now, self.grace) == OVER:
                return before, False
            before = self._editable(self._open(before, kind, id, now))
            self._check_unused(tx, before)
            what = before.what
            if isinstance(what, Silence | Maintenance):
                what = replace(what, ends_at=now if what.ends_at is None else min(now, what.ends_at))
            return self._stored(tx, self._next(before, kind, id, ENDED, what, actor, now), actor)

        return self._written(work, now)

    def _open(self, found: Version | None, kind: str, id: str, now: Instant) -> Version:
        """The one that was found, if it is not over. Raises NotFound, Conflict."""
        if found is None:
            raise NotFound(f"there is no {NAMES[kind]} {id[:NAME_SHOWN]!a}")
        if found.state(now, self.grace) == OVER:
            raise Conflict(f"this {NAMES[kind]} is over; make a new one")
        return found

    @staticmethod
    def _editable(found: Version) -> Version:
        if found.source == FILE:
            raise Conflict(
                f"this {NAMES[found.kind]} is kept in a file; change it there, and apply it: mirror-stage alerts apply FILE"
            )
        return found

    def _check_unused(self, tx: Any, found: Version) -> None:
        """Raise Conflict if it is a mute time that a route names."""
        users = self._routes_muted_by(tx, found.id) if found.kind == MUTE_TIME else ()
        if users:
            raise Conflict(f"the route {users[0]} has the mute time {found.id}; change the route first")

    @staticmethod
    def _next(
        before: Version | None,
        kind: str,
        id: str,
        change: str,
        what: What,
        actor: Actor,
        now: Instant,
        source: str = HUD,
    ) -> Version:
        at, number = (now, 1) if before is None else (max(now, before.at + 1), before.number + 1)
        return Version(kind, id, number, at, actor.recorded_as, change, what, source=source)

    @staticmethod
    def _stored(tx: Any, version: Version, actor: Actor) -> Stored:
        store.append(tx, version, actor)
        return version, True

    def _written(self, work: Callable[[Any], Stored], now: Instant) -> Version:
        """The version that `work` has stored; this process knows of it, and tells it, at once."""
        try:
            version, is_new = self._storage.write(work)
        except BadRow as error:  # two requests made the same name at the same moment
            raise Conflict("somebody else has just made one of this name; look again") from error
        if is_new:
            self._learn(version, now)
        return version

    def _learn(self, version: Version, now: Instant) -> None:
        known = self._known()
        before = known.get((version.kind, version.id))
        if before is None or before.number < version.number:
            known[version.kind, version.id] = version
            self._states[version.kind, version.id] = version.state(now, self.grace)
            self._in_force = (-1, [])
            self._tell(version.change, version, now)

    # ------------------------------------------------------------------ documents

    def document(self, tx: Any) -> list[Version]:
        """All that are not over, by kind and name."""
        now = self._clock.now()
        found = [one for one in store.newest(tx, now - self.grace) if one.state(now, self.grace) != OVER]
        return sorted(found, key=lambda one: (KINDS.index(one.kind), one.id))

    def planned(
        self, tx: Any, wanted: Mapping[tuple[str, str], Written], rules: AbstractSet[str], *, prune: bool
    ) -> dict[tuple[str, str], str]:
        """What a document would change, by kind and name: `added`, `changed`, `removed`. Raises Invalid, Conflict.

        `rules` are the names that silences may have. What is over by now is passed over. Of silences and maintenance `prune` ends only
        what came from a file: the others are somebody's work of the moment.
        """
        now, changes = self._clock.now(), dict[tuple[str, str], str]()
        there = {(one.kind, one.id): one for one in self.document(tx)}
        for (kind, id), written in wanted.items():
            before = there.get((kind, id))
            what = written.as_after(before)
            if before is not None and before.what == what:
                continue
            if not isinstance(what, MuteTime) and what.ends_at is not None and what.ends_at <= now:
                if before is not None:
                    changes[kind, id] = "removed"
                continue
            try:
                self._check(what, now, is_confirmed=written.is_confirmed)
                unknown = self._unknown_rule(what, rules)
                if unknown is not None:
                    raise unknown
            except Invalid as why:
                raise Invalid(f"{NAMES[kind]} {id}: {why.detail}", errors=why.errors) from why
            changes[kind, id] = "added" if before is None else "changed"
        if prune:
            gone = [key for key, one in there.items() if one.kind == MUTE_TIME or one.source == FILE]
            changes |= {key: "removed" for key in gone if key not in wanted}
        for kind in KINDS:
            of_kind = [change for (each, _), change in changes.items() if each == kind]
            count = sum(one.kind == kind for one in there.values()) + of_kind.count("added") - of_kind.count("removed")
            if count > COUNT_MAX[kind]:
                raise Invalid(f"there would be {count} of {NAMES[kind]}; {COUNT_MAX[kind]} are allowed")
        return changes

    def carry_out(
        self, tx: Any, changes: Mapping[tuple[str, str], str], wanted: Mapping[tuple[str, str], Written], actor: Actor
    ) -> list[Version]:
        """Make the changes that were planned in this transaction; the new versions, for `learn`."""
        now, made = self._clock.now(), []
        for (kind, id), change in changes.items():
            before = store.newest_of(tx, kind, id)
            is_open = before is not None and before.state(now, self.grace) != OVER
            if change == "removed":
                assert before is not None
                what = before.what
                if isinstance(what, Silence | Maintenance):
                    what = replace(what, ends_at=now if what.ends_at is None else min(now, what.ends_at))
                said = ENDED
            else:
                what, said = wanted[kind, id].as_after(before if is_open else None), CHANGED if is_open else CREATED
            made.append(self._next(before, kind, id, said, what, actor, now, FILE))
            store.append(tx, made[-1], actor)
        return made

    def learn(self, made: Sequence[Version]) -> None:
        """Know of what was carried out, and tell it."""
        now = self._clock.now()
        for version in made:
            self._learn(version, now)

    # ------------------------------------------------------------------

    def _check(self, what: What, now: Instant, *, is_confirmed: bool) -> None:
        """Raise Invalid for a time that cannot be, Conflict for more hosts than anybody should silence by a slip."""
        if isinstance(what, MuteTime):
            return
        lasts_max = LASTS_MAX if isinstance(what, Silence) else None
        trouble = span_trouble(what.begins_at, what.ends_at, now, lasts_max)
        if trouble is not None:
            raise Invalid(f"endsAt: {trouble}", errors=[{"field": "endsAt", "message": trouble}])
        if (
            isinstance(what, Maintenance)
            and what.ends_at is None
            and (what.weekly is None or what.weekly.ends_at(now) is None)
        ):
            trouble = "these hours never end; say endsAt, or leave out some hours of the week"
            raise Invalid(f"weekly: {trouble}", errors=[{"field": "weekly", "message": trouble}])
        if what.where is None or is_confirmed:
            return
        found, fleet = self._hosts_of(what.where)
        if is_broad(found, fleet):
            raise Conflict(
                f"{what.where.text} is {found} of {fleet} hosts, more than {SHARE_MAX:.0%} of the fleet; "
                'send "confirm": true to do it all the same'
            )

    def _unknown_rule(self, what: What, known: AbstractSet[str] | None = None) -> Invalid | None:
        """What is wrong with a silence for a rule that does not exist: it would keep nothing quiet, and nobody would know."""
        rule = rule_of(what)
        names = [] if rule is None else [*(self._rule_names() if known is None else known)]
        if rule is None or rule.removesuffix(NO_DATA_OF) in names:
            return None
        detail = (
            f"there is no alert rule {rule[:NAME_SHOWN]!a}{nearest(rule, names) or '; GET /api/alert-rules lists them'}"
        )
        return Invalid(f"rule: {detail}", errors=[{"field": "rule", "message": detail}])

    def _hosts_of(self, where: Selector) -> tuple[int, int]:
        """How many hosts a selector means, and how many there are."""
        hosts = [labels_of(host) for host in self._fleet() if not host.is_synthetic]
        return sum(map(where.matches, hosts)), len(hosts)

    def meant(self, where: Selector, rule: str | None) -> Meant:
        """What a silence of these hosts, and of a rule or (None) of every one, would mean now."""
        now = self._clock.now()
        silence = Silence(where, rule, None, None, SEVERITIES[-1], now, now + 1, "")
        found, fleet = self._hosts_of(where)
        return Meant(found, fleet, len(self._alerts_of(silence)), is_broad(found, fleet))

    def worst_now(self, silence: Silence) -> str:
        """The worst severity among the open alerts that a silence means; `critical` if there are none."""
        return worst(iter(self._alerts_of(replace(silence, up_to=SEVERITIES[-1])))) or SEVERITIES[-1]

    def _alerts_of(self, silence: Silence) -> list[Alert]:
        """The open alerts that a silence covers."""
        alerts = self._open_alerts()
        labels = {host.hostname: labels_of(host) for host in self._hosts_named({alert.hostname for alert in alerts})}
        return [a for a in alerts if silence.covers(a, labels.get(a.hostname, Labels(a.hostname)))]

    # ------------------------------------------------------------------ jobs

    def look(self) -> None:
        """Learn what another process has changed. The process that leads tells it, and what has begun or is over by itself."""
        now = self._clock.now()
        since = now - self.grace - DAY
        here = self._newest
        known_keys = {(one.kind, one.id, one.number) for one in (here or {}).values()}
        found_keys = self._storage.own.read(lambda tx: store.keys(tx, since))
        if here is None or found_keys != known_keys:
            found = self._storage.own.read(lambda tx: store.newest(tx, since))
            self._newest = {(one.kind, one.id): one for one in found}
            self._in_force = (-1, [])
        states = {key: one.state(now, self.grace) for key, one in (self._newest or {}).items()}
        before, self._states = self._states, states
        if here is not None and self._is_leading():
            self._tell_changes(here, before, now)

    def _tell_changes(
        self, here: Mapping[tuple[str, str], Version], before: Mapping[tuple[str, str], str], now: Instant
    ) -> None:
        for key, version in (self._newest or {}).items():
            if key not in here or here[key].number != version.number:
                self._tell(version.change, version, now)
            elif before.get(key) != self._states[key]:
                self._tell(BEGAN if self._states[key] == ON else OVER, version, now)

    def prune(self, now: Instant) -> None:
        """Remove versions that have not counted for longer than resolved alerts are kept, in small steps."""
        prune = partial(store.prune, before=now - self._kept, most=PRUNED_AT_ONCE)
        while self._storage.own.write(prune) == PRUNED_AT_ONCE:
            gevent.sleep(0)
