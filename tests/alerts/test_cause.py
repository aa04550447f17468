"""The cause of a silence: by example, and in networks that are made up."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from mirror_stage.alerts.cause import EGO as ISOLATED
from mirror_stage.alerts.cause import HELD, HOST, Cause, Network, Seen
from mirror_stage.core.instants import MINUTE, SECOND, Instant

T0 = 1_800_000_000_000
OFFLINE_AFTER = 60 * SECOND
HUB, EGO = "core", "ego"


# ------------------------------------------------------------------ made-up networks


@dataclass
class World:
    """A network, what fails in it and when; and what EGO can know of it."""

    uplinks: dict[str, str] = field(default_factory=dict)  # as they are
    watched: dict[str, Instant] = field(default_factory=dict)  # the interval of each host with an agent
    told: dict[str, str] = field(default_factory=dict)  # the uplinks as the hosts' tags say
    fails: dict[str, Instant] = field(default_factory=dict)
    phase: dict[str, Instant] = field(default_factory=dict)

    def way(self, hostname: str, links: Mapping[str, str]) -> list[str]:
        """The nodes from EGO to a host, both included."""
        up, down = self._to_hub(EGO, links), self._to_hub(hostname, links)
        shared = next(node for node in up if node in down)
        return [*up[: up.index(shared)], shared, *reversed(down[: down.index(shared)])]

    @staticmethod
    def _to_hub(node: str, links: Mapping[str, str]) -> list[str]:
        way = [node]
        while way[-1] != HUB:
            way.append(links.get(way[-1], HUB))
        return way

    def cut(self, hostname: str) -> tuple[Instant, str] | None:
        """When a host was cut off, and by what; None if it was not."""
        failed = [
            (self.fails[node], place, node)
            for place, node in enumerate(self.way(hostname, self.uplinks))
            if node in self.fails
        ]
        return (min(failed)[0], min(failed)[2]) if failed else None

    def is_told_up_to(self, cause: str, hostname: str) -> bool:
        """Whether somebody tells each link between EGO and what cut a host off; else EGO takes a switch for one at the hub."""
        told = {name: self.uplinks[name] for name in self.told} | {EGO: self.uplinks[EGO]}
        way, as_told = self.way(hostname, self.uplinks), self.way(hostname, told)
        until = way.index(cause) + 1
        return as_told[:until] == way[:until]

    def last_seen(self, hostname: str, now: Instant) -> Instant:
        cut = self.cut(hostname)
        until, interval, phase = min(now, cut[0]) if cut else now, self.watched[hostname], self.phase[hostname]
        return phase + (until - phase) // interval * interval

    def network(self, now: Instant) -> Network:
        seen = {EGO: Seen(now, 5 * SECOND, self.told.get(EGO))}
        for name, interval in self.watched.items():
            last = self.last_seen(name, now)
            seen[name] = Seen(last, interval, self.told.get(name), is_offline=now - last >= OFFLINE_AFTER)
        return Network(seen, ego=EGO, hub=HUB, ego_uplink=self.uplinks[EGO])


def world(seed: int, wrong: float = 0.0) -> World:
    """Halls, racks and servers, some of them with virtual machines; no, some or all switches have agents; one to three failures."""
    chance = random.Random(seed)
    made, switches, servers = World(), [], []
    for hall in range(chance.randint(1, 4)):
        made.uplinks[f"hall-{hall}"] = HUB
        switches.append(f"hall-{hall}")
        for rack in range(chance.randint(1, 6)):
            switch = f"switch-{hall}-{rack}"
            made.uplinks[switch] = f"hall-{hall}"
            switches.append(switch)
            for number in range(chance.randint(1, 20)):
                server = f"server-{hall}-{rack}-{number}"
                made.uplinks[server] = switch
                servers.append(server)
                for machine in range(chance.randint(1, 4) if chance.random() < 0.1 else 0):
                    made.uplinks[f"{server}-vm-{machine}"] = server
    made.uplinks[EGO] = chance.choice([name for name in switches if name.startswith("switch")])
    share = chance.choice([0.0, 0.5, 1.0])
    for name in made.uplinks:
        if name != EGO and (name not in switches or chance.random() < share):
            made.watched[name] = chance.choice([5, 5, 5, 5, 10, 30]) * SECOND
            made.phase[name] = T0 - chance.randrange(made.watched[name])
    made.told = {name: uplink for name, uplink in made.uplinks.items() if name in made.watched}
    racks = [name for name in switches if name.startswith("switch")]
    for name in made.told:
        if name.startswith("server") and chance.random() < wrong:
            made.told[name] = chance.choice(racks)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        failing = chance.choice(switches if chance.random() < 0.8 else servers)
        delay = chance.choice([0, 0, chance.randrange(20), chance.randrange(60, 400)])
        made.fails[failing] = T0 + MINUTE + delay * SECOND
    return made


@dataclass
class Score:
    """Of the silent hosts: how many there are, and how many EGO judges right; all, and those whose links EGO knows up to the true cause.

    A link is known if a tag says it, rightly or not.
    """

    silent: int = 0
    right: int = 0
    known: int = 0
    known_right: int = 0

    def count(self, made: World) -> None:
        cuts = {name: cut for name in made.watched if (cut := made.cut(name)) is not None}
        decided = {}
        networks: dict[Instant, Network] = {}
        for name in cuts:
            when = (
                -(-(made.last_seen(name, T0 + 60 * MINUTE) + OFFLINE_AFTER + HELD) // SECOND) * SECOND
            )  # the next sweep
            networks[when] = networks.get(when) or made.network(when)
            found = networks[when].cause_of(name, when)
            assert found is not None
            decided[name] = found.name
        groups, truth = grouped(decided), grouped({name: cause for name, (_, cause) in cuts.items()})
        named = set(made.told.values()) | set(made.watched)
        misled = {name for name in cuts if made.told[name] != made.uplinks[name]}
        for name, (_, cause) in cuts.items():
            is_right = decided[name] == cause or groups[decided[name]] - misled == truth[cause] - misled != set()
            is_known = cause in named and cause in made.way(name, made.told | {EGO: made.uplinks[EGO]})
            is_known = is_known and made.is_told_up_to(cause, name)
            self.silent += 1
            self.right += is_right
            self.known += is_known
            self.known_right += is_right and is_known


def grouped(cause_by_host: Mapping[str, str]) -> Mapping[str, set[str]]:
    groups: dict[str, set[str]] = defaultdict(set)
    for name, cause in cause_by_host.items():
        groups[cause].add(name)
    return groups


def scored(seeds: range, wrong: float = 0.0) -> Score:
    score = Score()
    for seed in seeds:
        score.count(world(seed, wrong))
    return score


FRESH = range(91_000, 91_100)  # the code was not tuned to these, nor to those of LONG
LONG = range(92_000, 92_400)
RIGHT, TWO_PERCENT_WRONG = 0.0, 0.02


@pytest.mark.parametrize(
    ("seeds", "wrong", "least"),
    [
        (FRESH, RIGHT, 0.985),
        (FRESH, TWO_PERCENT_WRONG, 0.96),
        pytest.param(LONG, RIGHT, 0.985, marks=pytest.mark.long),
        pytest.param(LONG, TWO_PERCENT_WRONG, 0.96, marks=pytest.mark.long),
    ],
)
def test_nearly_every_host_whose_link_is_known_gets_the_right_cause(seeds: range, wrong: float, least: float) -> None:
    """What is missed failed within seconds of something else on its way, or lies in a row of nodes between which nobody is heard."""
    score = scored(seeds, wrong)
    assert score.known > 1_500
    assert score.known_right / score.known >= least, score
    assert score.right / score.silent >= 0.87, score


# ------------------------------------------------------------------ examples


NOW = T0 + 10 * MINUTE
FELL = NOW - 75 * SECOND


def seen(last: Instant = NOW - 2 * SECOND, uplink: str | None = None, **fields: object) -> Seen:
    one = Seen(last, 5 * SECOND, uplink, is_offline=NOW - last >= OFFLINE_AFTER)
    return replace(one, **fields)  # type: ignore[arg-type]


def decided(hosts: Mapping[str, Seen], ego_uplink: str | None = None) -> dict[str, str]:
    network = Network({EGO: seen(NOW, None)} | hosts, ego=EGO, hub=HUB, ego_uplink=ego_uplink)
    found = {name: network.cause_of(name, NOW) for name, one in hosts.items() if one.is_offline}
    return {name: cause.text for name, cause in found.items() if cause is not None}


def rack(switch: str, size: int, last: Instant) -> dict[str, Seen]:
    return {f"{switch}-{number}": seen(last, switch, rack=switch) for number in range(size)}


def test_a_switch_without_an_agent_is_named_by_those_behind_it() -> None:
    found = decided(rack("sw-1", 4, FELL) | rack("sw-2", 4, NOW - SECOND))
    assert found == {f"sw-1-{number}": "sw-1" for number in range(4)}


def test_a_host_that_dies_alone_is_its_own_cause() -> None:
    hosts = rack("sw-1", 4, NOW - SECOND) | {"sw-1-2": seen(FELL, "sw-1")}
    assert decided(hosts) == {"sw-1-2": "sw-1-2"}


def test_a_switch_that_fell_silent_long_before_has_not_cut_anybody_off() -> None:
    hosts = {"sw-1": seen(FELL - 5 * MINUTE, HUB)} | rack("sw-1", 4, NOW - SECOND) | {"sw-1-2": seen(FELL, "sw-1")}
    assert decided(hosts) == {"sw-1": "sw-1", "sw-1-2": "sw-1-2"}


def test_one_wrong_tag_does_not_acquit_a_switch() -> None:
    hosts = {"sw-1": seen(FELL, HUB)} | rack("sw-1", 6, FELL) | {"elsewhere": seen(NOW - SECOND, "sw-1")}
    assert set(decided(hosts | rack("sw-2", 4, NOW - SECOND)).values()) == {"sw-1"}


def test_a_switch_and_its_hall_that_fail_one_after_the_other_are_two_causes() -> None:
    """A host that is heard every 30 s cannot say which of the two it was; its neighbours of 5 s can."""
    early = rack("sw-1", 4, FELL - 20 * SECOND) | {"slow": seen(FELL - 25 * SECOND, "sw-1", interval=30 * SECOND)}
    hosts = {"sw-1": seen(FELL - 20 * SECOND, "hall"), "sw-2": seen(FELL, "hall"), "hall": seen(FELL, HUB)}
    found = decided(hosts | early | rack("sw-2", 8, FELL) | rack("sw-3", 4, NOW - SECOND))
    assert {found[name] for name in early} == {"sw-1"}
    assert {found[name] for name in ("sw-2-0", "sw-2-1", "sw-2", "hall")} == {"hall"}


def test_one_wrong_tag_that_moves_a_server_with_its_machines_does_not_acquit_a_switch() -> None:
    machines = {f"vm-{number}": seen(NOW - SECOND, "elsewhere") for number in range(4)}
    hosts = {"sw-1": seen(FELL, HUB), "elsewhere": seen(NOW - SECOND, "sw-1")} | rack("sw-1", 4, FELL) | machines
    assert {found for name, found in decided(hosts | rack("sw-2", 4, NOW)).items()} == {"sw-1"}


def test_hosts_of_an_unknown_way_that_are_heard_prove_that_ego_is_not_cut_off() -> None:
    hosts = rack("sw-1", 4, FELL) | rack("sw-2", 4, FELL) | {f"other-{number}": seen() for number in range(3)}
    assert set(decided(hosts, "sw-0").values()) == {HUB}


def test_without_a_way_a_whole_rack_is_the_cause_and_half_a_rack_is_not() -> None:
    whole = {f"a-{number}": seen(FELL, rack="R1", room="Hall") for number in range(3)}
    others = {f"b-{number}": seen(rack="R2", room="Hall") for number in range(3)}
    assert set(decided(whole | others).values()) == {"rack R1"}
    assert decided(whole | others | {"a-3": seen(rack="R1")}) == {name: name for name in whole}
    two = {name: replace(one, rack=None) for name, one in whole.items()}
    assert set(decided(two | {"c": seen(rack="R9")}).values()) == {"room Hall"}


def test_when_everybody_falls_silent_ego_is_cut_off() -> None:
    hosts = rack("sw-1", 4, FELL) | rack("sw-2", 4, FELL + 4 * SECOND) | {"alone": seen(FELL)}
    assert set(decided(hosts, "sw-0").values()) == {"ego_isolated at sw-0"}
    network = Network({EGO: seen(NOW)} | hosts, ego=EGO, hub=HUB, ego_uplink="sw-0")
    assert network.cause_of("alone", NOW) == Cause(ISOLATED, "sw-0")


def test_ego_is_cut_off_although_the_machines_on_its_own_host_are_heard() -> None:
    hosts = rack("sw-1", 4, FELL) | rack("sw-2", 4, FELL) | {"vm-1": seen(NOW - SECOND, EGO)}
    assert set(decided(hosts, "sw-0").values()) == {"ego_isolated at sw-0"}


def test_two_hosts_of_three_are_no_isolation() -> None:
    hosts = {"a": seen(FELL), "b": seen(FELL), "c": seen()}
    assert decided(hosts) == {"a": "a", "b": "b"}


def test_a_cause_is_held_while_a_watched_node_before_it_is_not_yet_offline() -> None:
    slow = seen(FELL - SECOND, HUB, interval=60 * SECOND, is_offline=False)
    network = Network(
        {EGO: seen(NOW), "sw-1": slow} | rack("sw-1", 4, FELL) | rack("sw-2", 4, NOW - SECOND), ego=EGO, hub=HUB
    )
    assert network.cause_of("sw-1-0", NOW, may_hold=True) is None
    assert network.cause_of("sw-1-0", NOW + 30 * SECOND) == Cause(HOST, "sw-1")


@pytest.mark.parametrize(
    "uplinks", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}, {"a": EGO, HUB: "a"}, {"a": ""}]
)
def test_circles_and_nonsense_end(uplinks: dict[str, str]) -> None:
    hosts = {name: seen(FELL, uplinks.get(name)) for name in ("a", "b", "c", HUB)} | {"d": seen()}
    assert decided(hosts).keys() == {"a", "b", "c", HUB}


def test_a_storm_of_5000_hosts_costs_little() -> None:
    """5,000 hosts in 125 racks behind ten halls, of which one half falls silent; and a chain of 5,000."""
    hosts = {f"sw-{number}": seen(NOW - SECOND, f"hall-{number % 10}") for number in range(125)}
    hosts |= {f"h-{number}": seen(FELL if number % 2 else NOW, f"sw-{number % 125}") for number in range(5_000)}
    chain = {f"c-{number}": seen(FELL, f"c-{number - 1}" if number else HUB) for number in range(5_000)}
    for one in (hosts, chain):
        began = time.process_time()
        assert len(decided(one)) >= 2_500
        assert time.process_time() - began < 1.0
