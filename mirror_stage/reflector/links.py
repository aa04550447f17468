"""Network interfaces and the interfaces below them: works out their capacity, and which one is the primary one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from mirror_stage.metrics.domain import is_virtual, is_wire_speed

LOOPBACK = "lo"
ACTIVE_BACKUP, BROADCAST = "active-backup", "broadcast"  # bonding modes in which the members' speeds do not add up

_ROUTE_UP, _ROUTE_REJECT = 0x0001, 0x0200  # linux/route.h
_WHOLE, _HALF = 0x00000000, 0x00000080  # netmasks 0.0.0.0 and 128.0.0.0 in the byte order of /proc/net/route
_HALVES = {0x00000000, 0x00000080}  # 0.0.0.0/1 and 128.0.0.0/1, which OpenVPN sets instead of a default route


class Kind(Enum):
    """What an interface is, according to the operating system."""

    WIRED = auto()  # a network card, a radio, or the card of a virtual machine
    BOND = auto()
    STACKED = auto()  # a bridge, VLAN, team or macvlan: as fast as the fastest interface below it
    HIDDEN_PARENT = auto()  # a VLAN, macvlan or ipvlan whose parent is not visible; it reports its parent's speed
    VIRTUAL = auto()  # a tunnel, veth or dummy: no card and no interface below it; the speed it reports is meaningless
    UNKNOWN = auto()  # the system does not tell; decided by the interface's name


@dataclass(frozen=True)
class Link:
    """One interface. `speed_mbps` is what its driver reports; None is unknown."""

    name: str
    kind: Kind = Kind.UNKNOWN
    is_up: bool | None = None
    speed_mbps: float | None = None
    under: tuple[str, ...] = ()
    bond_mode: str = ""
    active: str = ""  # the member that an active-backup bond uses now


def capacity_mbps(name: str, links: Mapping[str, Link], above: tuple[str, ...] = ()) -> float | None:
    """The speed of the cards that an interface uses, Mbit/s; None if there are none, or if their speed is unknown."""
    link = links.get(name)
    if link is None or name in above or link.kind is Kind.VIRTUAL:
        return None
    if link.kind in {Kind.BOND, Kind.STACKED}:
        under = [member for member in link.under if member in links and links[member].is_up is not False]
        if link.bond_mode == ACTIVE_BACKUP:
            under = [link.active]
        return _together(link, [capacity_mbps(member, links, (*above, name)) for member in under])
    if link.kind is Kind.UNKNOWN and is_virtual(name):
        return None
    return link.speed_mbps if is_wire_speed(link.speed_mbps) else None


def _together(link: Link, speeds: Collection[float | None]) -> float | None:
    """The speed of a bond or a stacked interface whose members have these speeds; None if unknown."""
    known = [speed for speed in speeds if speed is not None]
    if not known or link.kind is Kind.STACKED:
        return max(known, default=None)
    if link.bond_mode == BROADCAST:
        return min(known)
    return sum(known) if len(known) == len(speeds) else None


def is_wired(name: str, links: Mapping[str, Link], above: tuple[str, ...] = ()) -> bool:
    """Whether an interface is a network card, or has one below it."""
    link = links.get(name)
    if link is None or name in above:
        return False
    if link.kind is Kind.UNKNOWN:
        return not is_virtual(name)
    return link.kind in {Kind.WIRED, Kind.HIDDEN_PARENT} or any(
        is_wired(member, links, (*above, name)) for member in link.under
    )


def all_under(name: str, links: Mapping[str, Link]) -> set[str]:
    """All interfaces below one, at any depth: the members of a bridge or bond, and their members."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        link = links.get(waiting.pop())
        fresh = set(link.under) - found if link is not None else set()
        found |= fresh
        waiting += fresh
    return found - {name}


def busiest(
    links: Mapping[str, Link], traffic: Mapping[str, int], addressed: Collection[str], former: str | None
) -> str | None:
    """The best candidate for the primary interface; None if there is none.

    A network card ranks first, then an interface with an address, then the `former` primary one, then most traffic.
    Members of a bridge or bond are no candidates: the bridge or bond is.
    """
    parts = {member for link in links.values() for member in link.under if link.kind in {Kind.BOND, Kind.STACKED}}
    parts -= set(addressed)  # a member with an address of its own, such as the parent of a VLAN, stays a candidate

    def rank(name: str) -> tuple[bool, bool, bool, int]:
        return is_wired(name, links), name in addressed, name == former, traffic[name]

    leading = [
        name
        for name, link in links.items()
        if name in traffic
        and name not in parts
        and name != LOOPBACK
        and link.is_up is not False
        and (is_wired(name, links) or not is_virtual(name))  # the card below the eth0 of a container is not visible
    ]
    return max(leading, key=rank, default=None)


def default_interface(ipv4_routes: str, ipv6_routes: str = "") -> str | None:
    """The interface of the default route with the lowest metric, never loopback.

    IPv4 comes first: a default route, else two routes to both halves of all addresses; then IPv6. Takes the texts of
    Linux's /proc/net/route and /proc/net/ipv6_route, and skips lines that it cannot read.
    """
    ipv4 = list(_ipv4_routes(ipv4_routes))
    return (
        _lowest_metric((metric, name) for metric, name, to, mask in ipv4 if to == 0 and mask == _WHOLE)
        or _lowest_metric(_halves(ipv4))
        or _lowest_metric(_ipv6_defaults(ipv6_routes))
    )


def _lowest_metric(routes: Iterable[tuple[int, str]]) -> str | None:
    best = min(routes, key=lambda route: route[0], default=None)  # the first of equals
    return best[1] if best is not None else None


def _halves(routes: Collection[tuple[int, str, int, int]]) -> Iterable[tuple[int, str]]:
    """(metric, interface) of interfaces with routes to both halves of all IPv4 addresses."""
    for metric, name, _, mask in routes:
        if mask == _HALF and {to for _, other, to, half in routes if (other, half) == (name, _HALF)} == _HALVES:
            yield metric, name


def _ipv4_routes(text: str) -> Iterable[tuple[int, str, int, int]]:
    """(metric, interface, destination, mask) of the routes that can be used."""
    for line in text.splitlines()[1:]:  # Iface Destination Gateway Flags RefCnt Use Metric Mask …
        columns = line.split()
        try:
            flags, route = int(columns[3], 16), (int(columns[6]), columns[0], int(columns[1], 16), int(columns[7], 16))
        except (ValueError, IndexError):
            continue
        if _is_usable(flags, columns[0]):
            yield route


def _ipv6_defaults(text: str) -> Iterable[tuple[int, str]]:
    for line in text.splitlines():  # destination prefix source prefix gateway metric refcount use flags interface
        columns = line.split()
        try:
            is_default = int(columns[0], 16) == 0 and int(columns[1], 16) == 0
            metric, flags, name = int(columns[5], 16), int(columns[8], 16), columns[9]
        except (ValueError, IndexError):
            continue
        if is_default and _is_usable(flags, name):
            yield metric, name


def _is_usable(flags: int, interface: str) -> bool:
    return bool(flags & _ROUTE_UP) and not flags & _ROUTE_REJECT and interface != LOOPBACK
