"""Makes a fleet from a seed: rooms, racks, switches and servers, with their hardware and load patterns. Pure."""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mirror_stage.core.instants import DAY, SECOND, Instant
from mirror_stage.simulator.signals import PERIODS_SECONDS, Signal, total

HUB = "core-switch"  # EGO's default hub; the uplink of each room's switch
COUNTER_LIMIT = 0.9 * 2**53  # bytes; counters must stay below 2^53
GIB = 2**30
SMALLEST_NETWORK = 4  # hosts; a smaller fleet has no switches
RACK_HEIGHT, TALL_RACK_HEIGHT, TALL_FROM = 20, 40, 1_000
LINKS_MBPS = (1_000, 10_000, 25_000, 40_000, 100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000)
SWITCH = "switch"


@dataclass(frozen=True)
class Hardware:
    """The hardware of a machine, as its BIOS and operating system report it."""

    manufacturer: str
    model: str
    bios: str
    cpu: str
    cores: int
    memory_gib: int
    distro: str
    release: str
    kernel: str


@dataclass(frozen=True)
class Disk:
    """A mounted disk. `fill` is its used ratio, without the daily change."""

    device: str
    mountpoint: str
    fstype: str
    total_bytes: int
    fill: float


@dataclass(frozen=True)
class Role:
    """A kind of server. Loads are ratios of the whole CPU; traffic is a ratio of the link at full load.

    The daily load is highest at `peak_hour` (UTC). `rush` is the load that a rush hour adds; the sum may exceed 1.
    """

    name: str
    tier: str
    share: int  # of the servers
    load: float
    day: float
    swing: float
    peak_hour: float
    rush: float
    sends: float
    receives: float
    memory: float
    links_mbps: tuple[int, ...]
    cores: tuple[int, ...]
    memory_gib: tuple[int, ...]
    data_disk_gib: int
    has_gpu: bool
    processes: tuple[tuple[str, str], ...]  # name and user, the busiest first


ROLES: tuple[Role, ...] = (
    Role("web", "edge", 24, 0.34, 0.17, 0.14, 19, 0.50, 0.16, 0.05, 0.42, (10_000,), (8, 16), (32, 64), 0, False,
         (("nginx", "www-data"), ("nginx", "www-data"), ("varnishd", "vcache"), ("node_exporter", "nobody"), ("sshd", "root"))),
    Role("app", "application", 26, 0.38, 0.16, 0.15, 15, 0.44, 0.08, 0.08, 0.58, (10_000,), (8, 16), (64, 128), 0, False,
         (("java", "app"), ("gunicorn", "app"), ("gunicorn", "app"), ("redis-server", "redis"), ("sshd", "root"))),
    Role("db", "data", 12, 0.40, 0.12, 0.13, 15, 0.24, 0.09, 0.06, 0.74, (25_000,), (16, 32), (128, 256), 3_840, False,
         (("postgres", "postgres"), ("postgres", "postgres"), ("postgres", "postgres"), ("pgbouncer", "postgres"), ("sshd", "root"))),
    Role("cache", "data", 8, 0.22, 0.08, 0.09, 18, 0.30, 0.14, 0.10, 0.70, (10_000,), (8,), (64, 128), 0, False,
         (("redis-server", "redis"), ("redis-server", "redis"), ("memcached", "memcache"), ("node_exporter", "nobody"), ("sshd", "root"))),
    Role("store", "storage", 10, 0.24, 0.10, 0.10, 3, 0.10, 0.12, 0.16, 0.60, (25_000,), (8, 16), (64, 128), 15_360, False,
         (("ceph-osd", "ceph"), ("ceph-osd", "ceph"), ("ceph-osd", "ceph"), ("ceph-mon", "ceph"), ("sshd", "root"))),
    Role("titan", "compute", 12, 0.54, 0.05, 0.16, 1, 0.05, 0.05, 0.11, 0.62, (25_000,), (32,), (256, 512), 7_680, True,
         (("python3", "train"), ("python3", "train"), ("ray::worker", "train"), ("nvidia-smi", "root"), ("sshd", "root"))),
    Role("build", "platform", 8, 0.40, 0.16, 0.16, 14, 0.12, 0.06, 0.10, 0.46, (1_000, 10_000), (16, 32), (64, 128), 1_920, False,
         (("cc1plus", "ci"), ("ld.lld", "ci"), ("dockerd", "root"), ("gitlab-runner", "ci"), ("sshd", "root"))),
)  # fmt: skip
SWITCH_PROCESSES = (("bgpd", "root"), ("switchd", "root"), ("lldpd", "root"), ("snmpd", "root"), ("sshd", "root"))

CHASSIS = (
    ("Dell Inc.", "PowerEdge R660", "2.3.5"),
    ("HPE", "ProLiant DL360 Gen11", "1.58"),
    ("Supermicro", "SYS-621C-TN12R", "2.1"),
    ("Lenovo", "ThinkSystem SR630 V3", "ESE124B-3.10"),
)
SYSTEMS = (
    ("Debian GNU/Linux", "12", "6.1.0-28-amd64"),
    ("Ubuntu", "24.04", "6.8.0-51-generic"),
    ("Rocky Linux", "9.5", "5.14.0-503.el9"),
)
SWITCH_HARDWARE = Hardware(
    "Edgecore",
    "AS7726-32X",
    "1.4.2",
    "Intel(R) Atom(TM) CPU C3558 @ 2.20GHz",
    4,
    16,
    "SONiC",
    "202405",
    "6.1.0-22-2-amd64",
)
CPUS_BY_CORES: Mapping[int, str] = {
    8: "AMD EPYC 9124 16-Core Processor",
    16: "Intel(R) Xeon(R) Gold 6426Y",
    32: "AMD EPYC 9354 32-Core Processor",
}


@dataclass(frozen=True)
class Machine:
    """A host of the fleet. `load` and `gpu_load` are ratios, `sends` and `receives` bytes per second.

    At full load its CPU is `heat_celsius` hotter than when idle. It reboots every `boots_every` ms.
    """

    hostname: str
    display_name: str
    role: str
    tier: str
    room: str
    rack: str
    ip: str
    uplink: str
    link_mbps: int
    hardware: Hardware
    disks: tuple[Disk, ...]
    processes: tuple[tuple[str, str], ...]
    load: Signal
    gpu_load: Signal | None
    sends: Signal
    receives: Signal
    memory: float
    air_celsius: float
    heat_celsius: float
    boots_every: Instant
    boot_offset: Instant

    @property
    def is_switch(self) -> bool:
        return self.role == SWITCH

    @property
    def link_bytes(self) -> float:
        """The capacity of the link in one direction, bytes per second."""
        return self.link_mbps * 1e6 / 8


@dataclass(frozen=True)
class Fleet:
    """All machines; each comes after its uplink."""

    seed: int
    machines: tuple[Machine, ...]

    @property
    def racks(self) -> dict[str, list[Machine]]:
        """The machines of each rack."""
        by_rack: dict[str, list[Machine]] = {}
        for machine in self.machines:
            by_rack.setdefault(machine.rack, []).append(machine)
        return by_rack

    def below(self, hostname: str) -> list[Machine]:
        """The machines below a machine, directly or not."""
        found = {hostname}
        for machine in self.machines:
            if machine.uplink in found:
                found.add(machine.hostname)
        return [machine for machine in self.machines if machine.hostname in found and machine.hostname != hostname]


def make_fleet(hosts: int, seed: int) -> Fleet:
    """The fleet of so many hosts (switches included) for a seed: always the same."""
    return Fleet(seed, tuple(_Builder(hosts, random.Random(f"fleet {seed} {hosts}")).machines()))


class _Builder:
    """Builds a fleet from one stream of random numbers, rack by rack."""

    def __init__(self, hosts: int, dice: random.Random):
        self._hosts, self._dice = hosts, dice
        self._digits = max(2, len(str(hosts // 4)))
        self._numbers_by_role: dict[str, int] = {}

    def machines(self) -> Iterator[Machine]:
        """All machines; a switch comes before the machines below it."""
        if self._hosts < SMALLEST_NETWORK:
            yield from self._servers("Room A", "A1", "10.1.1", self._hosts, HUB)
            return
        for number, racks in enumerate(_plan(self._hosts)):
            letter = _letters(number)
            room, room_switch = f"Room {letter}", f"agg-{letter.lower()}"
            trunks: list[Machine] = []
            below: list[Machine] = []
            for index, height in enumerate(racks, start=1):
                rack, network = f"{letter}{index}", f"10.{number + 1}.{index}"
                servers = list(self._servers(room, rack, network, height - 1, f"sw-{rack.lower()}"))
                trunks.append(self._switch(f"sw-{rack.lower()}", room, rack, f"{network}.1", room_switch, servers))
                below += [trunks[-1], *servers]
            yield self._switch(room_switch, room, f"{letter}1", f"10.{number + 1}.0.1", HUB, trunks)
            yield from below

    def _servers(self, room: str, rack: str, network: str, count: int, uplink: str) -> Iterator[Machine]:
        """The servers of a rack. Most have the same role; all share in part the rack's load waves and air temperature."""
        dice = self._dice
        main_role = self._any_role()
        rack_waves = [cmath.rect(1.0, dice.uniform(0, math.tau)) for _ in PERIODS_SECONDS]
        air = dice.uniform(21.0, 24.0)
        for unit in range(count):
            role = main_role if dice.random() < 0.7 else self._any_role()
            yield self._server(role, room, rack, f"{network}.{10 + unit}", uplink, rack_waves, air + 0.06 * unit)

    def _any_role(self) -> Role:
        return self._dice.choices(ROLES, [role.share for role in ROLES])[0]

    def _server(
        self, role: Role, room: str, rack: str, ip: str, uplink: str, rack_waves: list[complex], air: float
    ) -> Machine:
        dice = self._dice
        number = self._numbers_by_role[role.name] = self._numbers_by_role.get(role.name, 0) + 1
        hostname = f"{role.name}-{number:0{self._digits}d}"
        load = _load(role, rack_waves, dice)
        link = dice.choice(role.links_mbps)
        bytes_per_load = link * 1e6 / 8 * dice.uniform(0.6, 1.0)
        sends, receives = load.scaled(bytes_per_load * role.sends), load.scaled(bytes_per_load * role.receives)
        return Machine(
            hostname=hostname,
            display_name=hostname,
            role=role.name,
            tier=role.tier,
            room=room,
            rack=rack,
            ip=ip,
            uplink=uplink,
            link_mbps=link,
            hardware=self._hardware(dice.choice(role.cores), dice.choice(role.memory_gib)),
            disks=self._disks(role),
            processes=role.processes,
            load=load,
            gpu_load=load.scaled(dice.uniform(0.8, 1.0) / load.peak) if role.has_gpu else None,
            sends=sends,
            receives=receives,
            memory=role.memory + dice.uniform(-0.06, 0.06),
            air_celsius=air,
            heat_celsius=dice.uniform(28.0, 36.0),
            **self._boots(sends, receives),
        )

    def _switch(self, hostname: str, room: str, rack: str, ip: str, uplink: str, below: list[Machine]) -> Machine:
        """A switch whose uplink carries exactly what the machines below send and receive, in a rush hour too."""
        dice = self._dice
        sends, receives = total(m.sends for m in below), total(m.receives for m in below)
        busier = max(sends, receives, key=lambda signal: signal.peak)
        return Machine(
            hostname=hostname,
            display_name=f"{rack} switch" if uplink != HUB else f"{room} switch",
            role=SWITCH,
            tier="network",
            room=room,
            rack=rack,
            ip=ip,
            uplink=uplink,
            link_mbps=next(mbps for mbps in LINKS_MBPS if mbps * 1e6 / 8 >= busier.peak),
            hardware=SWITCH_HARDWARE,
            disks=(Disk("/dev/sda3", "/", "ext4", 64 * GIB, dice.uniform(0.2, 0.35)),),
            processes=SWITCH_PROCESSES,
            load=busier.scaled(0.6 / busier.peak),
            gpu_load=None,
            sends=sends,
            receives=receives,
            memory=dice.uniform(0.35, 0.45),
            air_celsius=dice.uniform(24.0, 27.0),
            heat_celsius=22.0,
            **self._boots(sends, receives),
        )

    def _hardware(self, cores: int, memory_gib: int) -> Hardware:
        return Hardware(
            *self._dice.choice(CHASSIS), CPUS_BY_CORES[cores], cores, memory_gib, *self._dice.choice(SYSTEMS)
        )

    def _disks(self, role: Role) -> tuple[Disk, ...]:
        system = Disk("/dev/nvme0n1p2", "/", "ext4", 446 * GIB, self._dice.uniform(0.15, 0.5))
        if not role.data_disk_gib:
            return (system,)
        return system, Disk("/dev/nvme1n1", "/srv", "xfs", role.data_disk_gib * GIB, self._dice.uniform(0.35, 0.8))

    def _boots(self, sends: Signal, receives: Signal) -> dict[str, Instant]:
        """How often a machine reboots, and when: often enough that its counters stay below COUNTER_LIMIT."""
        longest = int(COUNTER_LIMIT / max(sends.peak, receives.peak) * SECOND)
        every = min(self._dice.randint(20 * DAY, 60 * DAY), longest)
        return {"boots_every": every, "boot_offset": self._dice.randrange(every)}


def _load(role: Role, rack_waves: list[complex], dice: random.Random) -> Signal:
    """A server's load: the daily wave of its role, and shorter waves that it shares in part with its rack."""
    day = cmath.rect(role.day, -math.tau * role.peak_hour / 24 + dice.gauss(0, 0.1))
    waves = [day * 0.75, day * day / role.day * 0.25]  # the second wave (half a day) makes mornings steeper
    shorter = len(PERIODS_SECONDS) - len(waves)
    for common in rack_waves[len(waves) :]:
        own = cmath.rect(1.0, dice.uniform(0, math.tau))
        waves.append((0.6 * common + 0.4 * own) * role.swing / shorter)
    mean = role.load * dice.uniform(0.92, 1.08)
    return Signal(mean, tuple(waves), surge=role.rush * dice.uniform(0.9, 1.1))


def _plan(hosts: int) -> list[list[int]]:
    """The rooms, each as a list of its racks' heights in hosts. A rack's switch counts; the room's own switch does not."""
    height = TALL_RACK_HEIGHT if hosts >= TALL_FROM else RACK_HEIGHT
    racks = math.ceil(hosts / height)
    rooms = math.ceil(math.sqrt(racks) / 1.5)
    heights = iter(_shares(hosts - rooms, racks))
    return [[next(heights) for _ in range(count)] for count in _shares(racks, rooms)]


def _shares(count: int, parts: int) -> list[int]:
    """A count, divided into parts that differ by at most one."""
    return [count // parts + (part < count % parts) for part in range(parts)]


def _letters(number: int) -> str:
    """A, B … Z, AA, AB …"""
    text = ""
    while number >= 0:
        text = chr(ord("A") + number % 26) + text
        number = number // 26 - 1
    return text
