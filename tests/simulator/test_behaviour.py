"""The time series of a fleet are repeatable, within the limits of the hardware, and consistent with each other."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.core.instants import DAY, MINUTE, SECOND, Instant
from mirror_stage.metrics.measures import MEASURES, names_of
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.fleet import make_fleet
from mirror_stage.simulator.scenarios import AS_USUAL, SCENARIOS
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.wire import Encoder
from mirror_stage.twin.throughput import rates_of, set_rates
from tests.simulator.fleets import BEGAN_AT, encoders, fleet_of, samples_at

instants = st.integers(BEGAN_AT - 400 * DAY, BEGAN_AT + 400 * DAY)
seeds = st.integers(0, 3)
scenarios = st.sampled_from(sorted(SCENARIOS))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(), hosts=st.integers(1, 50), scenario=scenarios, ats=st.lists(instants, min_size=2, max_size=4))
def test_a_seed_gives_the_same_fleet_and_series_in_any_order_of_requests(
    seed: int, hosts: int, scenario: str, ats: list[Instant]
) -> None:
    there, back = (encoders(make_fleet(hosts, seed), scenario) for _ in range(2))
    moments = [Moment(at) for at in ats]
    forwards = [[machine.sample(moment) for moment in moments] for machine in there]
    backwards = [[machine.sample(moment) for moment in reversed(moments)] for machine in back]
    assert forwards == [series[::-1] for series in backwards]


@settings(max_examples=25, deadline=None)
@given(seed=seeds, scenario=scenarios, at=instants, later=st.integers(1, 10 * MINUTE))
def test_counters_rise_and_never_faster_than_the_link(seed: int, scenario: str, at: Instant, later: Instant) -> None:
    fleet = fleet_of(60, seed)
    changes = SCENARIOS[scenario].changes(fleet)
    for machine in fleet.machines:
        behaviour = Behaviour(machine, changes.get(machine.hostname, AS_USUAL), BEGAN_AT)
        before, after = behaviour.vitals(Moment(at)), behaviour.vitals(Moment(at + later))
        if after.uptime_seconds < before.uptime_seconds:
            assert 0 <= after.bytes_tx <= machine.link_bytes * after.uptime_seconds
            continue
        most = machine.link_bytes * later / SECOND + 1
        assert 0 <= after.bytes_tx - before.bytes_tx <= most, machine.hostname
        assert 0 <= after.bytes_rx - before.bytes_rx <= most, machine.hostname
        assert after.bytes_tx < 2**53


def test_a_switch_carries_what_the_machines_below_it_send_and_receive() -> None:
    fleet = fleet_of(60, 7)
    machines = encoders(fleet)
    before, after = (
        {sample.hostname: sample for sample in samples_at(machines, BEGAN_AT + offset)} for offset in (0, 30 * SECOND)
    )
    for name, sample in after.items():
        set_rates(sample, before[name])
    rates = {name: rates_of(sample) for name, sample in after.items()}
    for switch in (machine for machine in fleet.machines if machine.is_switch):
        direct = [rates[machine.hostname] for machine in fleet.machines if machine.uplink == switch.hostname]
        own = rates[switch.hostname]
        assert own is not None
        assert direct
        assert abs(own.tx_gbps - sum(rate.tx_gbps for rate in direct if rate)) < 1e-6
        assert abs(own.rx_gbps - sum(rate.rx_gbps for rate in direct if rate)) < 1e-6


def test_a_chip_warms_up_after_its_load_has_risen_and_cools_after_it_has_fallen() -> None:
    web = next(machine for machine in fleet_of(60, 7).machines if machine.role == "web")
    rush = SCENARIOS["rush-hour"].changes(fleet_of(60, 7))[web.hostname]
    calm, busy = Behaviour(web), Behaviour(web, rush, BEGAN_AT)

    def added(seconds: int) -> tuple[float, float]:
        """The load and the °C that the rush hour has added after these seconds."""
        moment = Moment(BEGAN_AT + seconds * SECOND)
        usual, now = calm.vitals(moment), busy.vitals(moment)
        return now.load - usual.load, now.cpu_celsius - usual.cpu_celsius

    rising, held, falling, over = added(40), added(280), added(400), added(1_800)
    full = held[1] / held[0]
    assert rising[0] > 0.1
    assert rising[1] / rising[0] < 0.7 * full  # the load has risen, the temperature rises later
    assert falling[1] / falling[0] > 1.05 * full  # the load has fallen, the temperature falls later
    assert max(map(abs, over)) < 0.01


def test_load_follows_the_day_of_its_role() -> None:
    web = next(machine for machine in fleet_of(60, 7).machines if machine.role == "web")
    behaviour = Behaviour(web)
    midnight = BEGAN_AT - BEGAN_AT % DAY

    def mean_load(hour: int) -> float:
        loads = [behaviour.vitals(Moment(midnight + hour * 3_600_000 + n * 17_000)).load for n in range(200)]
        return sum(loads) / len(loads)

    assert mean_load(19) > mean_load(7) + 0.15


def test_the_servers_of_a_rack_rise_and_fall_together() -> None:
    machines = [machine for machine in fleet_of(60, 7).racks["A1"] if not machine.is_switch]
    moments = [Moment(BEGAN_AT + n * 20_000) for n in range(200)]
    series = [[Behaviour(machine).vitals(moment).load for moment in moments] for machine in machines[:8]]
    assert min(_correlation(series[0], other) for other in series[1:]) > 0.25


def test_a_sample_is_complete_for_ego() -> None:
    machine = next(machine for machine in fleet_of(60, 7).machines if machine.gpu_load is not None)
    (sample,) = samples_at([Encoder(Behaviour(machine))], BEGAN_AT)
    missing = [name for name in (row.name for row in fields(sample)) if getattr(sample, name) is None]
    assert set(missing) == {
        "position",
        "interval_seconds",
        "agent_instance",
        "primary_interface",
        *names_of(one for one in MEASURES if one.counter is not None),
    }  # EGO computes rates itself
    assert sample.net_capacity_gbps == machine.link_mbps / 1000
    assert len(sample.details.cpu_per_core) == 2 * machine.hardware.cores
    assert len(sample.details.top_processes) == 5


def _correlation(xs: list[float], ys: list[float]) -> float:
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    both = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return both / (sum((x - mx) ** 2 for x in xs) * sum((y - my) ** 2 for y in ys)) ** 0.5
