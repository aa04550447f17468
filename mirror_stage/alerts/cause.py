"""The cause of a silence: of all hosts that are offline, which one has cut the others off. Pure.

The network is the tree of the uplinks, seen from EGO: what lies between EGO and a silent host may be what silenced it. A node on
this way is *innocent* if something behind it was heard after the host fell silent. The first node that is not innocent is the
cause. A node need not be watched to be one: a switch without an agent is named by those whose uplink it is.

Uplinks are tags, and some are wrong. So a tenth of the hosts behind a node may be heard without proving it innocent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mirror_stage.core.instants import SECOND, Instant

SLACK: Final[Instant] = 2 * SECOND
INTERVALS = 1.5  # a host that is well is heard again within so many of its intervals, and SLACK
TOLERATED, TOLERATED_FROM = 0.1, 5  # the part of the hosts behind a node that may be there by a wrong tag
TOGETHER: Final[Instant] = 30 * SECOND  # what fell silent within this time fell silent at once
HELD: Final[Instant] = 15 * SECOND  # at most so long a cause is not decided
GROUP_MIN = 6  # so many hosts are not there by wrong tags, if half of them are well
PLACE_MIN = 3  # hosts of a rack or a room that fall silent together
FLEET_MIN, FLEET_SHARE = 3, 0.6  # hosts that fall silent together, for EGO to be what is cut off
DEPTH_MAX = 64  # nodes between EGO and a host; deeper is no network, but a mistake
HOST, RACK, ROOM, EGO = "host", "rack", "room", "ego"  # kinds of causes
EGO_ISOLATED: Final = "ego_isolated"
_GO_ON: Final[Callable[[], None]] = lambda: None  # noqa: E731


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a watched host: its last sign of life, the usual time between two, its uplink, and where it stands."""

    last_seen: Instant
    interval: Instant
    uplink: str | None = None
    rack: str | None = None
    room: str | None = None
    is_offline: bool = False

    @property
    def spoken_by(self) -> Instant:
        """By when the host had spoken again, had it been well."""
        return self.last_seen + round(INTERVALS * self.interval) + SLACK


@dataclass(frozen=True, slots=True)
class Cause:
    """What cut a host off: a host or a switch, a rack, a room, or EGO's own connection, by its `name`.

    Of the kind EGO the name is the hop at which EGO is cut off. `since`: when the first host that it cut off fell silent.
    """

    kind: str
    name: str
    since: Instant = 0

    @property
    def key(self) -> tuple[str, str]:
        """The same for all that it cut off; what EGO itself is cut off from has one cause, whatever the hop."""
        return (EGO, "") if self.kind == EGO else (self.kind, self.name)

    @property
    def text(self) -> str:
        """For people: `sw-r1`, `rack R1`, `room Hall 2`, `ego_isolated at sw-0`."""
        if self.kind == HOST:
            return self.name
        return f"{EGO_ISOLATED} at {self.name}" if self.kind == EGO else f"{self.kind} {self.name}"

    def is_of(self, hostname: str) -> bool:
        """Whether it is this host itself."""
        return self.kind == HOST and self.name == hostname


class Network:
    """The watched hosts and what lies between, as EGO sees them. Built in one pass over all, then asked about each silent host."""

    def __init__(
        self,
        seen: Mapping[str, Seen],
        *,
        ego: str,
        hub: str,
        ego_uplink: str | None = None,
        uplinks: Mapping[str, str] | None = None,
        breathe: Callable[[], None] = _GO_ON,
    ):
        """`ego` is the host that EGO runs on; it is never silent. `ego_uplink`: what EGO is connected to, if that is known.

        `uplinks` are those of nodes that say none themselves, because nobody watches them. `breathe` is called between two nodes.
        """
        self._seen, self._ego = seen, ego
        links = _links(seen, ego, hub, ego_uplink, uplinks or {})
        self._hop = links.get(ego, hub)
        self._parent, self._order = _rooted(links, ego)
        self._newest: dict[str, Instant] = {}  # when more of a node's hosts were heard than may be there by wrong tags
        self._due: dict[
            str, Instant
        ] = {}  # when a node must have been cut off, if it was: then one of its hosts was due
        self._half: dict[str, Instant] = {}  # when half of them were heard
        self._group: dict[
            str, Instant
        ] = {}  # when half of one group of hosts behind the node was heard: a rack, a hall
        self._branches: dict[str, list[Instant]] = {}  # `newest` of each branch, in rising order
        self._look_behind(breathe)
        self._of_place = self._places()
        self._slowest = max((round(INTERVALS * one.interval) for one in seen.values() if not one.is_offline), default=0)
        here = self._this_side()
        self._beyond = sorted(one.last_seen for name, one in seen.items() if name not in here)

    def _look_behind(self, breathe: Callable[[], None]) -> None:
        """From the leaves to EGO: the signs of life behind each node, sorted; the larger list takes the smaller ones in."""
        behind: dict[str, list[tuple[list[Instant], list[Instant]]]] = defaultdict(list)  # heard, and due
        branches: dict[str, list[Instant]] = defaultdict(list)
        groups: dict[str, list[Instant]] = defaultdict(list)
        for node in reversed(self._order):
            breathe()
            lists = sorted(behind.pop(node, []), key=lambda one: len(one[0]))
            heard, due = lists.pop() if lists else ([], [])
            for smaller in lists:
                _merge(heard, smaller[0])
                _merge(due, smaller[1])
            if node in self._seen:
                insort(heard, self._seen[node].last_seen)
                insort(due, self._seen[node].spoken_by)
            if not heard:
                continue
            self._newest[node], self._half[node] = heard[-1 - _tolerated(len(heard))], heard[len(heard) // 2]
            self._due[node] = due[min(bisect_left(due, self._newest[node]), len(due) - 1)]
            self._group[node] = max(groups.pop(node, [0]))
            self._branches[node] = sorted(branches.pop(node, []))
            parent = self._parent[node]
            if parent is not None:
                if len(heard) < GROUP_MIN and node in self._seen:  # one wrong tag moves a server with all its machines
                    heard, due = [self._newest[node]], [self._due[node]]
                behind[parent].append((heard, due))
                branches[parent].append(self._newest[node])
                groups[parent] += [self._group[node], self._half[node] if len(heard) >= GROUP_MIN else 0]

    def _this_side(self) -> set[str]:
        """EGO's host, and what is connected through it: that is heard also while EGO is cut off."""
        here = {self._ego}
        for node in self._order:
            if self._parent[node] in here and node != self._hop:
                here.add(node)
        return here

    def _places(self) -> dict[tuple[str, str | None], list[Seen]]:
        found: dict[tuple[str, str | None], list[Seen]] = defaultdict(list)
        for name, one in self._seen.items():
            if name != self._ego:
                for kind, place in ((RACK, one.rack), (ROOM, one.room)):
                    if place:
                        found[kind, place].append(one)
        return found

    def cause_of(self, hostname: str, now: Instant, *, may_hold: bool = False) -> Cause | None:
        """What silenced a host that is offline; None if that will be known in a moment. Without `may_hold` it is decided now."""
        one = self._seen[hostname]
        if self._is_isolated(one):
            return Cause(EGO, self._hop)
        way = self._way_to(hostname)
        for node, until in zip(way, self._spoken_by(way, one), strict=False):
            if self._is_innocent(node, one, until):
                continue
            if node in self._seen:
                suspect = self._seen[node]
                if may_hold and not suspect.is_offline:
                    return None
                if now < suspect.spoken_by:
                    continue
            if node == self._hop:
                if self._is_beyond_heard(one):
                    continue
                return Cause(EGO, node)
            return Cause(HOST, node)
        return Cause(HOST, hostname) if way else self._by_place(hostname, one, now)

    def _spoken_by(self, way: list[str], one: Seen) -> list[Instant]:
        """For each node before a host: by when somebody behind it had spoken again, had the way from there to the host been well.

        A host that is heard every 30 s says little; its neighbours of 5 s say when the switch before them all was cut off.
        """
        found, until = [], one.spoken_by
        for node in reversed(way[1:]):
            if self._newest[node] <= until:
                until = min(until, self._due[node])
            found.append(until)
        return found[::-1]

    def _is_innocent(self, node: str, one: Seen, until: Instant) -> bool:
        suspect, branches = self._seen.get(node), self._branches[node]
        fell_together = bisect_right(branches, one.spoken_by) - bisect_left(branches, one.last_seen - TOGETHER)
        is_silent = suspect is not None and suspect.last_seen <= one.spoken_by
        is_likely = is_silent or (fell_together >= PLACE_MIN and fell_together > len(branches) / 2)
        proof = self._half[node] if is_likely else self._newest[node]
        if max(proof, self._group[node]) > until:
            return True
        if suspect is None:
            return fell_together < 2  # then the cause lies within the only branch that fell silent
        fell_long_before = suspect.last_seen < one.last_seen - max(TOGETHER, round(INTERVALS * suspect.interval))
        return suspect.last_seen > one.spoken_by or fell_long_before

    def _is_isolated(self, one: Seen) -> bool:
        """Whether the whole fleet fell silent with this host, and nobody was heard since."""
        fleet = self._beyond
        if not fleet or fleet[-1] > one.spoken_by:
            return False
        first, last = one.last_seen - TOGETHER, one.last_seen + TOGETHER
        together = bisect_right(fleet, last) - bisect_left(fleet, first)
        were_online = len(fleet) - bisect_left(fleet, first)
        return together >= FLEET_MIN and together >= FLEET_SHARE * were_online

    def _is_beyond_heard(self, one: Seen) -> bool:
        """Whether somebody whose way is not known was heard since: the way led through the first hop, too."""
        fleet = self._beyond
        return bool(fleet) and fleet[-1 - _tolerated(len(fleet))] > one.spoken_by

    def _way_to(self, hostname: str) -> list[str]:
        """The nodes from EGO to a host, without EGO, with the host; empty if no way is known."""
        way: list[str] = []
        node: str | None = hostname if hostname in self._parent else None
        while node is not None and node != self._ego and len(way) < DEPTH_MAX:
            way.append(node)
            node = self._parent[node]
        return way[::-1] if node == self._ego else []

    def _by_place(self, hostname: str, one: Seen, now: Instant) -> Cause:
        """The rack or the room, if all of it fell silent together; else the host itself."""
        for kind, place in ((RACK, one.rack), (ROOM, one.room)):
            there = self._of_place.get((kind, place), ())
            if (
                place
                and len(there) >= PLACE_MIN
                and all(abs(other.last_seen - one.last_seen) <= TOGETHER and now >= other.spoken_by for other in there)
            ):
                return Cause(kind, place)
        return Cause(HOST, hostname)

    def is_settled(self, hostname: str, now: Instant) -> bool:
        """Whether everybody who is well must have been heard after this host fell silent, so that its cause will not look different later."""
        return now >= self._seen[hostname].spoken_by + self._slowest


def _merge(into: list[Instant], some: list[Instant]) -> None:
    for instant in some:
        insort(into, instant)


def _tolerated(count: int) -> int:
    """How many of so many hosts may be heard without proving anything."""
    return int(TOLERATED * count) if count >= TOLERATED_FROM else 0


def _links(
    seen: Mapping[str, Seen], ego: str, hub: str, ego_uplink: str | None, uplinks: Mapping[str, str]
) -> dict[str, str]:
    """The uplink of each node that has one. What others are connected through, and has no uplink of its own, is on the hub."""
    links = {name: uplink for name, uplink in uplinks.items() if name not in {uplink, hub}}
    links |= {name: one.uplink for name, one in seen.items() if one.uplink and name not in {one.uplink, hub}}
    if ego_uplink is not None:
        links[ego] = ego_uplink
    named = [*links.values(), ego]
    return {name: hub for name in named if name != hub} | links


def _rooted(links: Mapping[str, str], root: str) -> tuple[dict[str, str | None], list[str]]:
    """The links, followed in both directions from `root`: the node before each node, and the nodes with the nearest first."""
    beside: dict[str, list[str]] = defaultdict(list)
    for name, uplink in links.items():
        beside[name].append(uplink)
        beside[uplink].append(name)
    parent: dict[str, str | None] = {root: None}
    order = [root]
    for node in order:
        for other in beside[node]:
            if other not in parent:
                parent[other] = node
                order.append(other)
    return parent, order
