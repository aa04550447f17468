"""The network of a machine: its interfaces, which of them leads to EGO, and how fast that is."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from mirror_stage.reflector import links
from mirror_stage.reflector.links import Kind, Link
from mirror_stage.reflector.machine import Machine

INTERFACES_MAX = 64  # the contract's
COUNTER_WRAP = 2**53  # a counter beyond what JSON holds goes round: one rate is lost, not all that follow
LOOK_EVERY_SECONDS = 30.0  # at the stacks of interfaces, unless one has come, gone or changed
RESOLVE_EVERY_SECONDS, UNRESOLVED_SECONDS = 60.0, 10.0
DOCUMENTATION_ADDRESS = ("198.51.100.1", 9)  # RFC 5737: nobody's, so the way there is the default route's, of any table

_CLASS = "/sys/class/net"
_COUNTED = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout")
_DEAD_ENDS = (links.LOOPBACK, "dummy")  # may own the address of a host that speaks OSPF or BGP
_TUNNEL_TYPES = {"vxlan", "geneve", "wireguard", "gre", "gretap", "ip6gre", "ip6gretap", "ipip", "sit", "ppp", "amt"}
_PARENTS_TYPES = {"vlan", "macvlan", "macvtap"}  # their drivers report the speed of the parent

Fields = dict[str, Any]

logger = logging.getLogger(__name__)


class WayToEgo:
    """Which of this machine's addresses EGO is reached from."""

    def __init__(self, ego: str | None, machine: Machine) -> None:
        self._machine = machine
        parts = urlsplit(ego or "")
        self._host, self._port = parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
        self._remotes: list[tuple[Any, ...]] = []
        self._due = 0.0

    def resolve(self) -> Fields:
        """Ask now and then what EGO's name means; may take long. Nothing for the sample."""
        if self._host is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + UNRESOLVED_SECONDS
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            self._remotes = [address for _, _, _, _, address in found]
            self._due = time.monotonic() + RESOLVE_EVERY_SECONDS
        return {}

    def local_address(self) -> str | None:
        """The address that samples are sent from; None where EGO is this machine, unreachable or not known."""
        for remote in self._remotes:
            address = self._machine.local_address(remote)
            if address is not None and not _is_loopback(address):
                return address
        return None


class Network:
    """The interfaces, and which of them is the primary one: that whose counters are the host's."""

    def __init__(self, ip: str | None = None, machine: Machine | None = None, way: WayToEgo | None = None) -> None:
        self._ip = ip
        self._machine = machine or Machine()
        self._way = way or WayToEgo(None, self._machine)
        self._primary: str | None = None
        self._is_told = False
        self._looked: dict[str, Link] = {}
        self._looked_for: Any = None
        self._look_due = 0.0

    def read(self) -> Fields:
        """`interfaces`, and of the primary one its name, counters, speed and IPv4 address.

        The counters are left out of the sample in which another interface has become the primary one: an EGO that does
        not look at its name would make a rate of them that never was.
        """
        system = self._machine.psutil
        counters: Mapping[str, Any] = system.net_io_counters(pernic=True, nowrap=False)
        stats: Mapping[str, Any] = attempt(system.net_if_stats) or {}
        owners = _owners(attempt(system.net_if_addrs) or {}, counters)
        known = self._links(counters, stats)
        traffic = {name: int(counted.bytes_sent + counted.bytes_recv) for name, counted in counters.items()}
        towards_ego = self._way.local_address()
        primary = self._primary_of(known, traffic, owners, towards_ego)
        has_moved = self._primary is not None and primary != self._primary
        self._primary = primary
        speeds = {name: links.capacity_mbps(name, known) for name in counters}
        kept = (
            links.most_important(known, traffic, primary, INTERFACES_MAX) if len(traffic) > INTERFACES_MAX else traffic
        )
        fields: Fields = {"interfaces": [_row(counters[n], known[n], speeds[n]) for n in counters if n in kept]}
        fields["ip"] = self._ip or _ipv4_of(primary, owners, towards_ego)
        if primary is None:
            return fields
        fields["primary_interface"] = primary
        fields["tags"] = {"primary_interface": primary}
        if not has_moved:
            fields["net_bytes_tx"] = _counter(counters[primary].bytes_sent)
            fields["net_bytes_rx"] = _counter(counters[primary].bytes_recv)
        if speeds[primary] is not None:
            fields["primary_interface_speed_mbps"] = speeds[primary]
            fields["tags"]["primary_interface_speed_mbps"] = f"{speeds[primary]:.0f}"
        elif any(speed is not None for speed in speeds.values()):
            fields["primary_interface_speed_mbps"] = 0  # unknown: or EGO would take that of another interface
        return fields

    def _primary_of(
        self, known: Mapping[str, Link], traffic: Mapping[str, int], owners: Mapping[str, str], towards_ego: str | None
    ) -> str | None:
        """The first way out that is an interface with counters and no dead end."""
        for name in self._ways_out(known, traffic, owners, towards_ego):
            if name is not None and name in traffic and not name.startswith(_DEAD_ENDS):
                return name
        if not self._is_told:
            self._is_told = True
            logger.warning("no interface leads anywhere: no address and no counters until one does")
        return None

    def _ways_out(
        self, known: Mapping[str, Link], traffic: Mapping[str, int], owners: Mapping[str, str], towards_ego: str | None
    ) -> Iterator[str | None]:
        """Interfaces that may be the primary one: the way to EGO before the default route, a guess at last."""
        yield owners.get(towards_ego or "")
        yield links.default_interface(self._machine.text("/proc/net/route"), self._machine.text("/proc/net/ipv6_route"))
        yield owners.get(self._machine.local_address(DOCUMENTATION_ADDRESS) or "")
        yield owners.get(self._ip or "")
        yield links.busiest(known, traffic, set(owners.values()), self._primary)

    def _links(self, counters: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Link]:
        """The interfaces by name; what is under them is looked up when something has changed, and now and then."""
        seen = {name: (stats[name].isup, stats[name].speed) if name in stats else None for name in counters}
        if seen != self._looked_for or time.monotonic() >= self._look_due:
            self._looked = looked_up(self._machine, seen)
            self._looked_for, self._look_due = seen, time.monotonic() + LOOK_EVERY_SECONDS
        return self._looked


def looked_up(machine: Machine, seen: Mapping[str, tuple[bool, float] | None]) -> dict[str, Link]:
    """The interfaces by name, from /sys/class/net and what psutil has `seen` of them: up, Mbit/s."""
    found: dict[str, Link] = {}
    masters: dict[str, list[str]] = {}
    for name, told in seen.items():
        folder = f"{_CLASS}/{name}"
        entries = set(machine.names(folder))
        if "master" in entries:
            masters.setdefault(machine.link(f"{folder}/master"), []).append(name)
        is_up, speed = told or (_is_up(machine, folder), machine.number(f"{folder}/speed"))
        found[name] = replace(_looked_at(machine, folder, entries), name=name, is_up=is_up, speed_mbps=speed)
    for master, members in masters.items():
        link = found.get(master)
        if link is not None and not link.under and link.kind is Kind.BARE:
            found[master] = replace(link, kind=Kind.STACKED, under=tuple(members))
    return found


def _looked_at(machine: Machine, folder: str, entries: set[str]) -> Link:
    """The kind of an interface and what is under it, by the entries of its folder."""
    under = tuple(entry.removeprefix("lower_") for entry in sorted(entries) if entry.startswith("lower_"))
    if "bonding" in entries:
        mode = machine.text(f"{folder}/bonding/mode").split()
        slaves = tuple(machine.text(f"{folder}/bonding/slaves").split()) or under
        active = machine.text(f"{folder}/bonding/active_slave").strip()
        return Link("", Kind.BOND, under=slaves, bond_mode=mode[0] if mode else "", active=active)
    if "bridge" in entries:
        return Link("", Kind.STACKED, under=tuple(machine.names(f"{folder}/brif")) or under)
    uevent = machine.text(f"{folder}/uevent").splitlines()
    kind = next((line.removeprefix("DEVTYPE=") for line in uevent if line.startswith("DEVTYPE=")), "")
    return Link("", _kind_of(entries, kind), under=under if kind not in _TUNNEL_TYPES else ())


def _kind_of(entries: set[str], device_type: str) -> Kind:
    """What an interface is that is neither a bridge nor a bond."""
    if not entries:
        return Kind.UNTOLD
    if "tun_flags" in entries or device_type in _TUNNEL_TYPES:
        return Kind.BARE
    if entries & {"device", "wireless", "phy80211"}:
        return Kind.WIRED
    if any(entry.startswith("lower_") for entry in entries):
        return Kind.STACKED
    return Kind.PARENTS if device_type in _PARENTS_TYPES else Kind.BARE


def _is_up(machine: Machine, folder: str) -> bool | None:
    """Whether an interface is up where psutil cannot say: one that fails (EINVAL, EIO) makes it fail for all."""
    state = machine.text(f"{folder}/operstate").strip()
    if state in {"", "unknown"}:
        carrier = machine.number(f"{folder}/carrier")
        return None if carrier is None else carrier == 1
    return state == "up"


def _owners(addresses_by_interface: Mapping[str, Sequence[Any]], interfaces: Collection[str]) -> dict[str, str]:
    """The interface of each address, without loopback's; IPv4 in the system's order, IPv6 without its zone.

    An address with a label (venet0:0) is the interface's.
    """
    owners: dict[str, str] = {}
    for label, addresses in addresses_by_interface.items():
        interface = label if label in interfaces else label.partition(":")[0]
        for address in addresses:
            text = str(address.address).partition("%")[0]
            if address.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(text):
                owners.setdefault(text, interface)
    return owners


def _ipv4_of(interface: str | None, owners: Mapping[str, str], preferred: str | None) -> str | None:
    """The IPv4 address of an interface: the preferred one where it has that, else its first."""
    own = [address for address, owner in owners.items() if owner == interface and ":" not in address]
    if preferred is not None and ":" not in preferred and (preferred in own or not own):
        return preferred
    return own[0] if own else None


def _row(counted: Any, link: Link, speed_mbps: float | None) -> Fields:
    """One of `interfaces`; what is unknown is left out."""
    return {
        "name": link.name,
        **{member: _counter(getattr(counted, member)) for member in _COUNTED},
        "speed_mbps": speed_mbps,
        "is_up": link.is_up,
    }


def _counter(value: int) -> int:
    return value % COUNTER_WRAP if value >= 0 else value


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def attempt(read: Callable[[], Any]) -> Any:
    """What `read` returns; None where this system does not offer it, denies it, or shows something psutil cannot read."""
    try:
        return read()
    except Exception:
        return None
