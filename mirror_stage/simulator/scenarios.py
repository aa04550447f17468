"""The scenarios: what changes on which machine, and when, in seconds since the start. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mirror_stage.simulator.fleet import Fleet, Machine
from mirror_stage.simulator.signals import Ramps, hump

MINUTE = 60.0
SETTLES = 10.0  # seconds before the first change, so that the normal state is visible first


@dataclass(frozen=True)
class Outage:
    """Silence from `after` for `lasting` seconds, repeated every `every` seconds if that is set."""

    after: float
    lasting: float
    every: float | None = None

    def covers(self, seconds: float) -> bool:
        """Whether the machine is silent at this second."""
        since = seconds - self.after
        if since < 0:
            return False
        return (since if self.every is None else since % self.every) < self.lasting


@dataclass(frozen=True)
class Skew:
    """A clock that is `seconds` ahead (behind if negative) from `after` until `until`."""

    after: float
    until: float
    seconds: float

    def at(self, seconds: float) -> float:
        """How far the clock is ahead at this second."""
        return self.seconds if self.after <= seconds < self.until else 0.0


@dataclass(frozen=True)
class Change:
    """What a scenario changes on a machine.

    `surge` rises from 0 to 1 in a rush hour, `air` is in °C, `restarts_after` reboots the machine and resets its counters.
    """

    surge: Ramps = ()
    air: Ramps = ()
    outage: Outage | None = None
    skew: Skew | None = None
    restarts_after: float | None = None


AS_USUAL = Change()
Changes = Mapping[str, Change]  # by hostname; hosts that are missing behave as usual


@dataclass(frozen=True)
class Scenario:
    """A scenario: its name, what the user will see, and its changes for a fleet."""

    name: str
    summary: str
    changes: Callable[[Fleet], Changes]


def _calm(_fleet: Fleet) -> Changes:
    return {}


def _rush_hour(fleet: Fleet) -> Changes:
    rush = Change(surge=hump(SETTLES, rise=MINUTE, hold=4 * MINUTE, fall=2 * MINUTE, height=1.0))
    return {machine.hostname: rush for machine in fleet.machines}


def _rack_overheats(fleet: Fleet) -> Changes:
    hot = Change(air=hump(SETTLES, rise=MINUTE, hold=4 * MINUTE, fall=2 * MINUTE, height=54.0))
    return {machine.hostname: hot for machine in _some_rack(fleet)}


def _switch_dies(fleet: Fleet) -> Changes:
    dead = Change(outage=Outage(SETTLES, lasting=5 * MINUTE))
    victim = _some_rack(fleet)[-1]  # the smallest fleets have no switch, so only this server fails
    switch = next((machine for machine in fleet.machines if machine.hostname == victim.uplink), victim)
    return {machine.hostname: dead for machine in (switch, *fleet.below(switch.hostname))}


def _counter_resets(fleet: Fleet) -> Changes:
    some = _some(fleet, fleet.machines, share=5)
    return {machine.hostname: Change(restarts_after=SETTLES + 7.0 * place) for place, machine in enumerate(some)}


def _clock_skew(fleet: Fleet) -> Changes:
    some = _some(fleet, fleet.machines, share=10)
    offsets = (7 * MINUTE, -11 * MINUTE)
    return {
        machine.hostname: Change(skew=Skew(SETTLES, SETTLES + 5 * MINUTE, offsets[place % 2]))
        for place, machine in enumerate(some)
    }


def _flapping(fleet: Fleet) -> Changes:
    some = _some(fleet, [machine for machine in fleet.machines if not machine.is_switch], share=10)
    return {
        machine.hostname: Change(outage=Outage(SETTLES + 3.0 * (place % 10), lasting=75.0, every=105.0))
        for place, machine in enumerate(some)
    }


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("calm", "an ordinary day: nothing is wrong", _calm),
        Scenario("rush-hour", "load and traffic rise everywhere within a minute, for 4 minutes", _rush_hour),
        Scenario("rack-overheats", "the cooling of one rack fails for 4 minutes", _rack_overheats),
        Scenario("switch-dies", "a rack's switch and all below it fall silent for 5 minutes", _switch_dies),
        Scenario("counter-resets", "one host in 5 starts anew, its counters at 0", _counter_resets),
        Scenario("clock-skew", "one clock in 10 is 7 minutes ahead or 11 behind, for 5 minutes", _clock_skew),
        Scenario("flapping", "one server in 10 falls silent for 75 seconds, again and again", _flapping),
    )
}


def _some_rack(fleet: Fleet) -> list[Machine]:
    """The machines of one rack, chosen by the fleet's seed."""
    racks = fleet.racks
    return racks[_dice(fleet).choice(list(racks))]


def _some(fleet: Fleet, machines: list[Machine] | tuple[Machine, ...], share: int) -> list[Machine]:
    """One in `share` of the machines, at least one if there are any."""
    return _dice(fleet).sample(list(machines), -(-len(machines) // share))


def _dice(fleet: Fleet) -> random.Random:
    return random.Random(f"scenario {fleet.seed}")
