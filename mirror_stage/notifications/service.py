"""Takes up what happened to alerts, puts it into groups, and stores what has to be sent. The owner of the twin does it, nobody else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import gevent

from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.domain import ROOT_BACK, Alert
from mirror_stage.alerts.store import Recorded
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import HOUR, SECOND, Instant
from mirror_stage.core.selector import Labels
from mirror_stage.notifications import domain, grouping, store
from mirror_stage.notifications.domain import Group, Intent, Member, MemberKey, Route
from mirror_stage.notifications.grouping import FOREVER, SEND, Verdict
from mirror_stage.storage.db import Lane, Tx

log = logging.getLogger(__name__)

TAKEN_MAX = 200  # events in one transaction: it takes some ten milliseconds, and samples wait for it
LOOKED_MAX = 25  # groups in one transaction, for the same reason
INTENTS_MAX = 20  # messages in one transaction: one group may have many channels
REMEMBERED: Instant = HOUR  # a closed group, for what flaps
QUIET_EVERY: Instant = 5 * SECOND  # how often it is asked why a problem is quiet

QuietReasons = Callable[[Alert, Instant], Sequence[str]]


@dataclass(slots=True)
class Changes:
    """What one step writes, in one transaction. `moved` are problems that left a group, `told` the groups of which something is told."""

    taken: list[tuple[str, int]] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    members: dict[tuple[str, MemberKey], Member] = field(default_factory=dict)
    moved: list[tuple[str, Member]] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)
    grouped: dict[tuple[str, int], str] = field(default_factory=dict)  # the group by alert and version of its event
    told: list[str] = field(default_factory=list)

    def touch(self, group: Group, *members: Member) -> None:
        if group.id not in self.groups:
            group.version += 1
        self.groups[group.id] = group
        self.members |= {(group.id, one.key): one for one in members}

    def write(self, tx: Tx, now: Instant, *, is_dry: bool) -> None:
        store.forget(tx, self.moved)
        store.save(tx, self.groups.values(), [(group, one) for (group, _), one in self.members.items()])
        for group in self.told:
            store.note_told(tx, group, now)
        for intent in (*self.intents, *self._ends_of_fallbacks(tx)):
            store.put(tx, intent, now, is_dry=is_dry)
        alert_store.take(tx, self.taken)
        alert_store.group(tx, self.grouped)

    def _ends_of_fallbacks(self, tx: Tx) -> list[Intent]:
        """The ends for the channels that got a problem because another channel did not take it."""
        ends = [one for one in self.intents if one.kind == domain.OVER]
        meant = {(one.group_id, one.channel) for one in ends}
        found = {}
        for one in ends:
            for channel in store.channels_of(tx, one.group_id):
                if (one.group_id, channel) not in meant:
                    id = domain.delivery_id(one.group_id, one.sequence, channel)
                    found[id] = replace(one, id=id, channel=channel)
        return list(found.values())

    def __bool__(self) -> bool:
        return bool(self.taken or self.groups or self.moved)


class Notifier:
    """The groups of alerts. `step` takes up events, and decides what is told; it never sends.

    An event is taken up in the transaction that writes its group. So a kill at any point loses none, and counts none twice.

    What has one cause is one group; the cause is that which is stored with the alert. `labels_of` says what a host is.
    `quiet_reasons` says why nobody shall be told of an alert now; `muted` why a mute time, given by its name, is on, None if it
    is not. `grouped` hears in which groups alerts, by their ids, are told. `mode`: `on`; `dry`: messages are stored and not sent;
    `off`: events are taken up, and that is all.
    """

    def __init__(
        self,
        lane: Lane,
        clock: Clock,
        *,
        labels_of: Callable[[str], Labels],
        routes: Callable[[], Sequence[Route]],
        open_alert: Callable[[MemberKey], Alert | None],
        quiet_reasons: QuietReasons = lambda _alert, _now: (),
        grouped: Callable[[Mapping[str, str]], None] = lambda _groups: None,
        muted: Callable[[str, Instant], str | None] = lambda _name, _now: None,
        tell: Callable[[Group, Instant], None] = lambda _group, _now: None,
        mode: str = "on",
    ):
        self._lane, self._clock, self._mode = lane, clock, mode
        self._labels_of, self._routes, self._open_alert = labels_of, routes, open_alert
        self.quiet_reasons, self._muted, self._grouped, self._tell = quiet_reasons, muted, grouped, tell
        self._groups: dict[str, Group] | None = None  # by id: open ones, and those that were closed a while ago
        self._by_key: dict[str, dict[str, Group]] = {}  # the same, by key and id
        self._open_by_member: dict[MemberKey, dict[str, Group]] = {}
        self._by_host: dict[str, set[MemberKey]] = {}
        self._next_look: dict[str, Instant] = {}
        self._quiet_asked_at: Instant = 0
        self._has_more = False  # groups that are due and were not looked at

    def step(self) -> bool:
        """Take up what happened, and look at the groups that are due. Returns whether there is something new to send."""
        found = False
        while True:
            events = self._lane.read(lambda tx: alert_store.to_take(tx, TAKEN_MAX))
            found = self._step(events, is_last=len(events) < TAKEN_MAX) or found
            if len(events) < TAKEN_MAX and not self._has_more:
                return found
            gevent.sleep(0)

    def forget(self) -> None:
        """Read the groups anew at the next step: another process may have changed them."""
        self._groups = None

    def _step(self, events: Sequence[Recorded], *, is_last: bool) -> bool:
        now, changes = self._clock.now(), Changes()
        self._has_more, is_whole = False, True
        try:
            if self._groups is None:
                self._load(now)
            if self._mode == "off":
                changes.taken = [(one.alert.id, one.version) for one in events]
            else:
                for event in events:
                    is_whole = self._take_or_leave(event, changes) and is_whole
                if is_last:
                    self._look_at_all(now, changes)
            if changes:
                self._lane.write(lambda tx: changes.write(tx, now, is_dry=self._mode == "dry"))
        except BaseException:
            self._groups = None  # they are ahead of what is stored
            raise
        if not is_whole:
            self._groups = None
        if changes.grouped:
            self._grouped({alert_id: group for (alert_id, _), group in changes.grouped.items()})
        for group in changes.groups.values():
            self._tell(group, now)
        return bool(changes.intents)

    def _load(self, now: Instant) -> None:
        groups = self._lane.read(lambda tx: store.load(tx, now - REMEMBERED))
        self._groups, self._by_key, self._open_by_member, self._by_host, self._next_look = {}, {}, {}, {}, {}
        for group in groups:
            self._keep(group)
            if group.closed_at is None:
                self._next_look[group.id] = 0
                for key, member in group.members.items():
                    if member.reason != ROOT_BACK:  # that is told in another group
                        self._index(group, key)

    def _keep(self, group: Group) -> None:
        assert self._groups is not None
        self._groups[group.id] = group
        self._by_key.setdefault(group.key, {})[group.id] = group

    def _drop(self, group: Group) -> None:
        assert self._groups is not None
        del self._groups[group.id]
        same = self._by_key[group.key]
        del same[group.id]
        if not same:
            del self._by_key[group.key]

    def _index(self, group: Group, key: MemberKey) -> None:
        self._open_by_member.setdefault(key, {})[group.id] = group
        self._by_host.setdefault(key[0], set()).add(key)

    def _unindex(self, group: Group, key: MemberKey) -> None:
        groups = self._open_by_member.get(key, {})
        groups.pop(group.id, None)
        if not groups:
            self._open_by_member.pop(key, None)
            keys = self._by_host.get(key[0], set())
            keys.discard(key)
            if not keys:
                self._by_host.pop(key[0], None)

    # ------------------------------------------------------------------ events

    def _take_or_leave(self, event: Recorded, changes: Changes) -> bool:
        """Take an event up; whether that went well. One that cannot be taken up is left out, so that the others go on."""
        try:
            self._take(event, changes)
        except Exception:
            log.exception("what happened to alert %s (version %d) is told to nobody", event.alert.id, event.version)
            return False
        return True

    def _take(self, event: Recorded, changes: Changes) -> None:
        alert = replace(event.alert, version=event.version, severity=event.severity, updated_at=event.at)
        if event.transition == "cause":
            alert = replace(alert, cause=event.cause)
        changes.taken.append((alert.id, event.version))
        key = (alert.hostname, alert.metric, alert.subject)
        for member_key in self._by_host.get(alert.hostname, ()):
            for group in self._open_by_member[member_key].values():
                member = group.members[member_key]
                if member.is_unknown and member_key != key:
                    grouping.host_changed(member, alert.metric, event.transition, event.reason, event.at)
                    self._touch(changes, group, member)
        groups = list(self._open_by_member.get(key, {}).values())
        if event.transition == "fired":
            self._fired(alert, groups, changes)
            return
        for group in groups:
            member = group.members[key]
            if member.alert_id != alert.id or member.version >= event.version:
                continue
            if event.transition == "severity":
                grouping.change(member, alert, event.severity, event.value)
                member.version = event.version
            elif event.transition == "resolved":
                grouping.end(member, event.version, event.at, event.reason, event.value)
            self._touch(changes, group, member)
        if event.transition == "cause":
            for group in groups:
                self._move(alert, group, changes)
        if event.transition == "severity":
            self._became_worse(alert, event.severity, groups, changes)

    def _fired(self, alert: Alert, groups: list[Group], changes: Changes) -> None:
        """The alert joins the groups where its problem is known, and those of its other routes."""
        for group in groups:
            if group.members[alert.hostname, alert.metric, alert.subject].alert_id != alert.id:
                grouping.fire(group, alert)
                changes.grouped.setdefault((alert.id, alert.version), group.id)
                self._touch(changes, group, group.members[alert.hostname, alert.metric, alert.subject])
        self._join(alert, alert.severity, {group.route for group in groups}, changes)

    def _became_worse(self, alert: Alert, severity: str, groups: list[Group], changes: Changes) -> None:
        """A route may take only what is so severe."""
        self._join(alert, severity, {group.route for group in groups}, changes)

    def _join(self, alert: Alert, severity: str, known: set[str | None], changes: Changes) -> None:
        labels = self._labels_of(alert.hostname)
        routes = domain.routes_of(self._routes(), alert.metric, severity, labels)
        names: list[str | None] = [route.name for route in routes]
        for name in names or ([None] if not known else []):
            if name not in known:
                self._add(alert, name, labels.rack, changes)

    def _add(self, alert: Alert, route: str | None, rack: str | None, changes: Changes) -> Group:
        cause = None if alert.cause is None else alert.cause.text
        key = domain.key_of(route, cause, alert.metric, rack)
        member_key = (alert.hostname, alert.metric, alert.subject)
        same = list(self._by_key.get(key, {}).values())
        group = next((one for one in same if one.closed_at is None), None)
        if group is None:
            at = alert.updated_at
            rule, place = (None, None) if cause is not None else (alert.metric, rack)
            id = domain.group_id(key, alert.id, alert.version)
            group = Group(id, key, route, cause, rule, place, at, at, version=0)
            self._keep(group)
        earlier = [at for one in same if member_key in one.members for at in one.members[member_key].fires]
        grouping.fire(group, alert, tuple(sorted(set(earlier))))
        self._index(group, member_key)
        self._touch(changes, group, group.members[member_key])
        changes.grouped.setdefault((alert.id, alert.version), group.id)
        return group

    def _move(self, alert: Alert, group: Group, changes: Changes) -> None:
        """Move an alert to the group of its cause. What was told without a cause stays; what was told with another one ends there."""
        key = (alert.hostname, alert.metric, alert.subject)
        member, is_told = group.members[key], group.told_at is not None
        cause = None if alert.cause is None else alert.cause.text
        if cause == group.cause or (is_told and group.cause is None):
            return
        self._unindex(group, key)
        if is_told:
            grouping.end(member, alert.version, alert.updated_at, ROOT_BACK, None)
            self._touch(changes, group, member)
        else:
            del group.members[key]
            changes.members.pop((group.id, key), None)
            changes.moved.append((group.id, member))
            changes.touch(group)
            if not group.members:
                group.closed_at = alert.updated_at
                self._next_look.pop(group.id, None)
        joined = self._add(alert, group.route, self._labels_of(alert.hostname).rack, changes)
        new = joined.members[key]
        new.fires, new.quiet, new.was_quiet = member.fires, member.quiet, member.was_quiet
        if not is_told and joined.told_at is None:
            joined.opened_at = min(joined.opened_at, group.opened_at)

    def _touch(self, changes: Changes, group: Group, *members: Member) -> None:
        changes.touch(group, *members)
        self._next_look[group.id] = 0

    # ------------------------------------------------------------------ looks

    def _look_at_all(self, now: Instant, changes: Changes) -> None:
        assert self._groups is not None
        if now - self._quiet_asked_at >= QUIET_EVERY:
            self._quiet_asked_at = now
            for id in list(self._next_look):
                self._ask_quiet(self._groups[id], now, changes)
        due = [id for id, at in self._next_look.items() if at <= now]
        for number, id in enumerate(due):
            if number >= LOOKED_MAX or len(changes.intents) >= INTENTS_MAX:
                self._has_more = True
                break
            if id in self._next_look:
                self._look(self._groups[id], now, changes)
        for group in [one for one in self._groups.values() if one.closed_at is not None]:
            if group.closed_at is not None and group.closed_at < now - REMEMBERED:
                self._drop(group)

    def _quiet(self, alert: Alert, now: Instant) -> tuple[str, ...]:
        """Why an alert is quiet. If nobody can say, it is not: better told once too often than not at all."""
        try:
            return tuple(self.quiet_reasons(alert, now))
        except Exception:
            log.exception("alert %s: whether it is quiet could not be asked; it is told", alert.id)
            return ()

    def _ask_quiet(self, group: Group, now: Instant, changes: Changes) -> None:
        route = self._route_of(group)
        muted = tuple(filter(None, (self._muted(name, now) for name in route.mute_times))) if route is not None else ()
        for member in group.open_members(now):
            alert = self._open_alert(member.key)
            if alert is None:
                continue
            of_route = muted if route is not None and route.mutes(alert.severity) else ()
            if grouping.set_quiet(member, (*self._quiet(alert, now), *of_route)):
                self._touch(changes, group, member)

    def _route_of(self, group: Group) -> Route | None:
        return next((one for one in self._routes() if one.name == group.route), None)

    def _look(self, group: Group, now: Instant, changes: Changes) -> None:
        self._ask_quiet(group, now, changes)
        route = self._route_of(group)
        verdict = grouping.look(group, now, route.escalate_after if route is not None else None)
        if verdict.what == SEND:
            self._send(group, route, verdict, now, changes)
        grouping.told(group, verdict, now)
        if verdict.what == SEND or verdict.kind is not None:
            changes.touch(group)
        if verdict.what == SEND and verdict.kind != domain.OVER:
            changes.told.append(group.id)
        if group.closed_at is None:
            self._next_look[group.id] = now + 1 if verdict.what == SEND else max(verdict.next_look_at, now + 1)
            return
        self._next_look.pop(group.id, None)
        for key in list(group.members):
            self._unindex(group, key)

    def _send(self, group: Group, route: Route | None, verdict: Verdict, now: Instant, changes: Changes) -> None:
        """Make the intents of a message. An end goes to whoever got the problem, whatever the routes say now."""
        if verdict.kind == domain.OVER:
            channels = group.told_to
        elif route is None:
            channels = ()
        else:
            escalated = route.escalate_to if verdict.kind == domain.ESCALATED or group.is_escalated else ()
            channels = (
                escalated if verdict.kind == domain.ESCALATED else tuple(dict.fromkeys((*route.channels, *escalated)))
            )
        group.told_to = tuple(dict.fromkeys((*group.told_to, *channels)))
        facts, sequence = domain.facts_of(group, now), group.sequence + 1
        for channel in channels:
            id = domain.delivery_id(group.id, sequence, channel)
            changes.intents.append(
                Intent(id, group.id, channel, sequence, verdict.kind or domain.OPENED, group.severity, facts)
            )
        log.debug("group %s: %s, %s", group.id, verdict.kind, verdict.reason)

    @property
    def next_look_at(self) -> Instant:
        """When the next group is due."""
        return min(self._next_look.values(), default=FOREVER)
