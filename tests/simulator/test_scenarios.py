"""Each scenario has the effect of its name on EGO's twin and alerts, and no other."""

from __future__ import annotations

import pytest

from mirror_stage.core.instants import HOUR, MINUTE, SECOND
from mirror_stage.simulator.fleet import HUB, SWITCH
from mirror_stage.simulator.scenarios import SCENARIOS
from mirror_stage.twin.domain import Status, uplinks
from tests.simulator.fleets import BEGAN_AT, Watched, encoders, fleet_of, samples_at

TEN_MINUTES = 600


def test_a_calm_day_fires_nothing() -> None:
    watched = Watched("calm")
    watched.watch(0, 24 * 3_600, every=1_200)
    assert {rule for _, rule in watched.fired} <= {"host_offline"}  # with so few samples a host counts as silent
    watched = Watched("calm")
    watched.watch(0, 120)
    assert watched.fired == set()
    assert watched.hosts_that_are(Status.ONLINE) == {machine.hostname for machine in watched.fleet.machines}


def test_a_rush_hour_brings_load_to_the_front_and_traffic_to_the_trunks() -> None:
    watched = Watched("rush-hour")
    before = Watched("calm")
    watched.watch(0, 240)
    before.watch(0, 240)
    busy, congested = watched.hosts_with("cpu_load_high"), watched.hosts_with("link_congestion")
    roles = {machine.hostname: machine.role for machine in watched.fleet.machines}
    assert {"web", "app"} <= {roles[host] for host in busy}
    assert {roles[host] for host in congested} <= {SWITCH}
    assert {rule for _, rule in watched.fired} <= {"cpu_load_high", "link_congestion"}
    for name, host in watched.hosts_by_name.items():
        usual = before.hosts_by_name[name].utilization
        assert host.utilization is not None
        assert usual is not None
        assert usual < host.utilization <= 1.0, name
    watched.watch(240, TEN_MINUTES)
    assert watched.alerts.all() == []


def test_a_rack_that_overheats_is_hot_alone() -> None:
    watched = Watched("rack-overheats")
    watched.watch(0, 240)
    hot = watched.hosts_with("cpu_temperature_high")
    rack = next(members for members in watched.fleet.racks.values() if members[-1].hostname in hot)
    assert hot == {machine.hostname for machine in rack}
    assert watched.hosts_with("gpu_temperature_high") == {m.hostname for m in rack if m.gpu_load is not None}
    assert {rule for _, rule in watched.fired} <= {"cpu_temperature_high", "gpu_temperature_high"}
    watched.watch(240, TEN_MINUTES + 120)
    assert watched.alerts.all() == []


def test_a_switch_that_dies_takes_the_hosts_below_it_offline() -> None:
    watched = Watched("switch-dies")
    watched.watch(0, 120)
    gone = watched.hosts_that_are(Status.OFFLINE)
    (switch,) = [m for m in watched.fleet.machines if m.role == SWITCH and m.hostname in gone]
    assert gone == {switch.hostname, *(machine.hostname for machine in watched.fleet.below(switch.hostname))}
    assert len(gone) > 10
    assert watched.hosts_with("host_offline") == gone
    watched.watch(120, TEN_MINUTES)
    assert watched.hosts_that_are(Status.OFFLINE) == set()
    assert watched.alerts.all() == []


def test_counters_that_are_reset_make_the_rates_unknown_once() -> None:
    watched = Watched("counter-resets")
    watched.watch(0, 180)
    changed = set(SCENARIOS["counter-resets"].changes(watched.fleet))
    assert len(changed) == 12
    assert {host: times for host, times in watched.without_rates.items() if times} == dict.fromkeys(changed, 1)
    assert watched.fired == set()


def test_clocks_that_are_wrong_fire_clock_skew_and_keep_their_hosts_online() -> None:
    watched = Watched("clock-skew")
    watched.watch(0, 120)
    changed = set(SCENARIOS["clock-skew"].changes(watched.fleet))
    assert len(changed) == 6
    assert watched.hosts_with("clock_skew") == changed
    assert watched.hosts_that_are(Status.ONLINE) == set(watched.hosts_by_name)
    assert {rule for _, rule in watched.fired} == {"clock_skew"}
    watched.watch(120, TEN_MINUTES)
    assert watched.alerts.all() == []


def test_hosts_that_flap_go_offline_and_come_back_again_and_again() -> None:
    watched = Watched("flapping")
    flapping = set(SCENARIOS["flapping"].changes(watched.fleet))
    times_offline = dict.fromkeys(flapping, 0)
    for second in range(0, TEN_MINUTES, 10):
        before = watched.hosts_that_are(Status.OFFLINE)
        watched.watch(second, second + 10)
        for host in watched.hosts_that_are(Status.OFFLINE) - before:
            times_offline[host] += 1  # KeyError: this host must not go offline
    assert min(times_offline.values()) >= 4
    assert {rule for _, rule in watched.fired} == {"host_offline"}


@pytest.mark.parametrize("hosts", [1, 3, 4, 5, 21, 60, 200, 999, 1_000, 5_000])
def test_a_fleet_has_the_requested_number_of_hosts_and_every_uplink_exists(hosts: int) -> None:
    fleet = fleet_of(hosts, 7)
    assert len(fleet.machines) == hosts
    assert len({machine.hostname for machine in fleet.machines}) == hosts
    assert len({machine.ip for machine in fleet.machines}) == hosts
    wanted = {machine.hostname: machine.uplink for machine in fleet.machines}
    assert uplinks(dict(wanted), HUB) == wanted  # every uplink exists, and there is no cycle
    switches = {machine.hostname for machine in fleet.machines if machine.is_switch}
    assert set(wanted.values()) <= switches | {HUB}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("hosts", [1, 4])
def test_every_scenario_but_calm_changes_a_host_even_in_the_smallest_fleets(scenario: str, hosts: int) -> None:
    fleet = fleet_of(hosts, 7)
    changed = SCENARIOS[scenario].changes(fleet)
    assert bool(changed) == (scenario != "calm")
    for later in (0, MINUTE, HOUR):
        samples_at(encoders(fleet, scenario), BEGAN_AT + later + SECOND)
