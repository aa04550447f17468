"""Reads the network interfaces of a machine, and finds the primary one: the one that leads to EGO, and its speed."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from mirror_stage.reflector import links
from mirror_stage.reflector.last_check import UNDER_PRIMARY
from mirror_stage.reflector.links import Kind, Link
from mirror_stage.reflector.machine import Machine

COUNTER_WRAP = 2**53  # a counter beyond what JSON holds exactly wraps around: this loses one rate only
LOOK_EVERY_SECONDS = 30.0  # at what is below the interfaces; sooner if one has come, gone or changed
RESOLVE_EVERY_SECONDS, UNRESOLVED_SECONDS = 60.0, 10.0
DOCUMENTATION_ADDRESS = (
    "198.51.100.1",
    9,
)  # RFC 5737: belongs to nobody, so the system uses its default route, of any routing table

_CLASS = "/sys/class/net"
_COUNTED = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout")
_DEAD_END = re.compile(r"lo\d*|dummy\d*")  # with OSPF or BGP the host's address may stand on these
_TUNNEL_TYPES = {"vxlan", "geneve", "wireguard", "gre", "gretap", "ip6gre", "ip6gretap", "ipip", "sit", "ppp", "amt"}
_PARENTS_TYPES = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"}  # their drivers report the speed of the parent

Fields = dict[str, Any]

logger = logging.getLogger(__name__)


class WayToEgo:
    """Finds the local address from which this machine reaches EGO."""

    def __init__(self, ego: str | None, machine: Machine) -> None:
        self._machine = machine
        parts = urlsplit(ego or "")
        self._host, self._port = parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
        self._remotes: list[tuple[Any, ...]] = []
        self._due = 0.0

    def resolve(self) -> Fields:
        """Look up EGO's name in DNS now and then; may take long. Returns no fields."""
        if self._host is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + UNRESOLVED_SECONDS
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            self._remotes = [address for _, _, _, _, address in found]
            self._due = time.monotonic() + RESOLVE_EVERY_SECONDS
        return {}

    def local_address(self) -> str | None:
        """The local address that samples are sent from; None if EGO is on this machine, unreachable or not set."""
        for remote in self._remotes:
            address = self._machine.local_address(remote)
            if address is not None and not _is_loopback(address):
                return address
        return None


class Network:
    """Reads the interfaces. The counters of the primary one are those of the host."""

    def __init__(self, ip: str | None = None, machine: Machine | None = None, way: WayToEgo | None = None) -> None:
        self._ip = ip
        self._machine = machine or Machine()
        self._way = way or WayToEgo(None, self._machine)
        self._primary: str | None = None
        self._has_counted = False
        self._is_logged = False
        self._looked: dict[str, Link] = {}
        self._looked_for: Any = None
        self._look_due = 0.0

    def read(self) -> Fields:
        """`interfaces`, and of the primary one its name, counters, speed, IPv4 address and what is below it.

        When another interface becomes the primary one, that sample has no counters: an EGO that ignores the interface's
        name would compute a wrong rate from the counters of two interfaces. Nor has the sample in which the counters are
        suddenly 0: some drivers say so for a moment, and the next sample would have a rate from 0 to the old value.
        """
        system = self._machine.psutil
        counters: Mapping[str, Any] = system.net_io_counters(pernic=True, nowrap=False)
        stats: Mapping[str, Any] = attempt(system.net_if_stats) or {}
        interface_by_address = _interfaces_by_address(attempt(system.net_if_addrs) or {}, counters)
        known = self._links(counters, stats)
        traffic = {name: int(counted.bytes_sent + counted.bytes_recv) for name, counted in counters.items()}
        towards_ego = self._way.local_address()
        primary = self._primary_of(known, traffic, interface_by_address, towards_ego)
        has_moved = self._primary is not None and primary != self._primary
        self._primary = primary
        speeds = {name: links.capacity_mbps(name, known) for name in counters}
        fields: Fields = {"interfaces": [_row(counters[n], known[n], speeds[n]) for n in counters]}
        fields["ip"] = self._ip or _ipv4_of(primary, interface_by_address, towards_ego)
        if primary is None:
            return fields
        fields["primary_interface"] = primary
        fields[UNDER_PRIMARY] = links.all_under(primary, known)
        fields["tags"] = {"primary_interface": primary}
        had_counted, self._has_counted = self._has_counted, bool(traffic[primary])
        if not has_moved and (self._has_counted or not had_counted):
            fields["net_bytes_tx"] = wrapped(counters[primary].bytes_sent)
            fields["net_bytes_rx"] = wrapped(counters[primary].bytes_recv)
        if speeds[primary] is not None:
            fields["primary_interface_speed_mbps"] = speeds[primary]
            fields["tags"]["primary_interface_speed_mbps"] = f"{speeds[primary]:.0f}"
        elif any(speed is not None for speed in speeds.values()):
            fields["primary_interface_speed_mbps"] = (
                0  # 0 means unknown; without it EGO would take the speed of another interface
            )
        return fields

    def _primary_of(
        self,
        known: Mapping[str, Link],
        traffic: Mapping[str, int],
        interface_by_address: Mapping[str, str],
        towards_ego: str | None,
    ) -> str | None:
        """The first candidate that has counters and is neither loopback nor a dummy; None if there is none."""
        for name in self._ways_out(known, traffic, interface_by_address, towards_ego):
            if name is not None and name in traffic and _DEAD_END.fullmatch(name) is None:
                return name
        if not self._is_logged:
            self._is_logged = True
            logger.warning(
                "found no interface that leads to a network: samples have no address and no counters until there is one"
            )
        return None

    def _ways_out(
        self,
        known: Mapping[str, Link],
        traffic: Mapping[str, int],
        interface_by_address: Mapping[str, str],
        towards_ego: str | None,
    ) -> Iterator[str | None]:
        """Candidates for the primary interface, best first: the way to EGO, the default route, at last a guess by traffic."""
        yield interface_by_address.get(towards_ego or "")
        yield links.default_interface(self._machine.text("/proc/net/route"), self._machine.text("/proc/net/ipv6_route"))
        yield interface_by_address.get(self._machine.local_address(DOCUMENTATION_ADDRESS) or "")
        yield interface_by_address.get(self._ip or "")
        yield links.busiest(known, traffic, set(interface_by_address.values()), self._primary)

    def _links(self, counters: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Link]:
        """The interfaces by name. Reads /sys again when an interface has changed, and every LOOK_EVERY_SECONDS."""
        seen = {name: (stats[name].isup, stats[name].speed) if name in stats else None for name in counters}
        if seen != self._looked_for or time.monotonic() >= self._look_due:
            self._looked = looked_up(self._machine, seen)
            self._looked_for, self._look_due = seen, time.monotonic() + LOOK_EVERY_SECONDS
        return self._looked


def looked_up(machine: Machine, seen: Mapping[str, tuple[bool, float] | None]) -> dict[str, Link]:
    """The interfaces by name, from /sys/class/net and from psutil: `seen` holds (is up, Mbit/s) by name."""
    found: dict[str, Link] = {}
    masters: dict[str, list[str]] = {}
    for name, status in seen.items():
        folder = f"{_CLASS}/{name}"
        entries = set(machine.names(folder))
        if "master" in entries:
            masters.setdefault(machine.link(f"{folder}/master"), []).append(name)
        is_up, speed = status or (_is_up(machine, folder), machine.number(f"{folder}/speed"))
        found[name] = replace(_looked_at(machine, folder, entries), name=name, is_up=is_up, speed_mbps=speed)
    for master, members in masters.items():
        link = found.get(master)
        if link is not None and not link.under and link.kind is Kind.VIRTUAL:
            found[master] = replace(link, kind=Kind.STACKED, under=tuple(members))
    return found


def _looked_at(machine: Machine, folder: str, entries: set[str]) -> Link:
    """The kind of an interface and what is below it, from its folder in /sys/class/net."""
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
    """The kind of an interface that is neither a bridge nor a bond."""
    if not entries:
        return Kind.UNKNOWN
    if "tun_flags" in entries or device_type in _TUNNEL_TYPES:
        return Kind.VIRTUAL
    if entries & {"device", "wireless", "phy80211"}:
        return Kind.WIRED
    if any(entry.startswith("lower_") for entry in entries):
        return Kind.STACKED
    return Kind.HIDDEN_PARENT if device_type in _PARENTS_TYPES else Kind.VIRTUAL


def _is_up(machine: Machine, folder: str) -> bool | None:
    """Whether an interface is up, read without psutil: there one broken interface (EINVAL, EIO) makes the call fail for all."""
    state = machine.text(f"{folder}/operstate").strip()
    if state in {"", "unknown"}:
        carrier = machine.number(f"{folder}/carrier")
        return None if carrier is None else carrier == 1
    return state == "up"


def _interfaces_by_address(
    addresses_by_interface: Mapping[str, Sequence[Any]], interfaces: Collection[str]
) -> dict[str, str]:
    """The interface of each address but loopback's. IPv4 keeps the system's order; IPv6 is written without its zone.

    An address with a label (venet0:0) belongs to the interface before the colon.
    """
    interface_by_address: dict[str, str] = {}
    for label, addresses in addresses_by_interface.items():
        interface = label if label in interfaces else label.partition(":")[0]
        for address in addresses:
            text = str(address.address).partition("%")[0]
            if address.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(text):
                interface_by_address.setdefault(text, interface)
    return interface_by_address


def _ipv4_of(interface: str | None, interface_by_address: Mapping[str, str], preferred: str | None) -> str | None:
    """The IPv4 address of an interface: the preferred one if it has that, else its first."""
    own = [address for address, owner in interface_by_address.items() if owner == interface and ":" not in address]
    if preferred is not None and ":" not in preferred and (preferred in own or not own):
        return preferred
    return own[0] if own else None


def _row(counted: Any, link: Link, speed_mbps: float | None) -> Fields:
    """One row of `interfaces`; the last check leaves out its unknown members."""
    return {
        "name": link.name,
        **{member: wrapped(getattr(counted, member)) for member in _COUNTED},
        "speed_mbps": speed_mbps,
        "is_up": link.is_up,
    }


def wrapped(value: int) -> int:
    """A counter modulo 2^53, because larger whole numbers are not exact in JSON."""
    return value % COUNTER_WRAP if value >= 0 else value


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def attempt(read: Callable[[], Any]) -> Any:
    """What `read` returns; None if it raises: the system does not offer the value, denies it, or psutil cannot read it."""
    try:
        return read()
    except Exception:
        return None
