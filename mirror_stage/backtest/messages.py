"""How many messages stretches of alerts would have been, by the rules of the groups. Pure: time is in the stretches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from mirror_stage.alerts.domain import Alert, Rule
from mirror_stage.backtest.domain import Firing
from mirror_stage.core.instants import Instant
from mirror_stage.notifications import grouping
from mirror_stage.notifications.domain import OVER, Group, Member, MemberKey

Stretch = tuple[str, str | None, Firing]  # hostname, rack, when


def messages(rule: Rule, stretches: Iterable[Stretch], until: Instant, breathe: Callable[[], bool]) -> int | None:
    """The messages of one route that takes all of them, if nothing keeps them quiet and no other cause is known.

    `breathe` is called between two steps; None if it says that there is no time left.
    """
    events_by_rack: dict[str | None, list[tuple[Instant, str, Firing]]] = defaultdict(list)
    for hostname, rack, firing in stretches:
        events_by_rack[rack].append((firing.began_at, hostname, firing))
        if firing.ended_at is not None:
            events_by_rack[rack].append((firing.ended_at, hostname, firing))
    sent = 0
    for rack, events in events_by_rack.items():
        events.sort(key=lambda event: (event[0], event[0] == event[2].began_at, event[1]))
        group, look_at, n, ended = None, grouping.FOREVER, 0, Ended()
        while n < len(events) or group is not None:
            if not breathe():
                return None
            now = min(events[n][0] if n < len(events) else grouping.FOREVER, look_at)
            if now >= until:
                break
            if n < len(events) and events[n][0] == now:
                group = _apply(group, rule, rack, events[n], ended)
                n += 1
            assert group is not None
            verdict = grouping.look(group, now)
            grouping.told(group, verdict, now)
            sent += verdict.what == grouping.SEND
            look_at = now if verdict.what == grouping.SEND else verdict.next_look_at
            if verdict.kind == OVER:
                group, look_at, ended = None, grouping.FOREVER, Ended()
    return sent


class Ended:
    """The problems of a group that have ended. They leave it until they are back, because each look goes through all that are in it."""

    def __init__(self) -> None:
        self._kept: dict[MemberKey, Member] = {}
        self._last: MemberKey | None = None

    def take(self, group: Group, key: MemberKey, now: Instant) -> None:
        """A problem has ended. It stays in the group until the next one ends: the group closes some time after its last end."""
        last = None if self._last is None else group.members.get(self._last)
        if last is not None and self._last != key and not last.is_open(now):
            self._kept[last.key] = group.members.pop(last.key)
        self._last = key

    def give_back(self, group: Group, key: MemberKey) -> None:
        """A problem is back, perhaps one that has ended before."""
        if key in self._kept:
            group.members[key] = self._kept.pop(key)


def _apply(
    group: Group | None, rule: Rule, rack: str | None, event: tuple[Instant, str, Firing], ended: Ended
) -> Group | None:
    """The group after a stretch began or ended."""
    at, hostname, firing = event
    if at == firing.began_at:
        group = group or Group("", "", "", None, rule.name, rack, at, at)
        alert = Alert(
            "",
            hostname,
            rule.name,
            rule.measure,
            rule.severity,
            rule.fire_at,
            rule.fire_at,
            created_at=at,
            updated_at=at,
        )
        ended.give_back(group, (hostname, rule.name, None))
        grouping.fire(group, alert)
    if at == firing.ended_at and group is not None:
        member = group.members.get((hostname, rule.name, None))
        if member is not None:
            grouping.end(member, 1, at, "value", None)
            ended.take(group, member.key, at)
    return group
