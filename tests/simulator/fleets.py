"""A fleet as EGO would get it: decoded samples, without a server in between."""

from __future__ import annotations

from functools import cache

from mirror_stage.instants import Instant
from mirror_stage.metrics.decoder import decode_batch
from mirror_stage.metrics.domain import Sample, stamp
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.fleet import Fleet, make_fleet
from mirror_stage.simulator.scenarios import AS_USUAL, SCENARIOS
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.wire import Encoder, batch

BEGAN_AT: Instant = 1_790_000_000_000
fleet_of = cache(make_fleet)


def encoders(fleet: Fleet, scenario: str = "calm", began_at: Instant = BEGAN_AT) -> list[Encoder]:
    """Everything that a fleet's machines need to report."""
    changes = SCENARIOS[scenario].changes(fleet)
    return [Encoder(Behaviour(m, changes.get(m.hostname, AS_USUAL), began_at)) for m in fleet.machines]


def samples_at(machines: list[Encoder], at: Instant) -> list[Sample]:
    """The samples of an instant, as they are when EGO has just received them."""
    moment = Moment(at)
    decoded = decode_batch(batch(m.sample(moment) for m in machines if not m.behaviour.is_silent(at)))
    assert not decoded.errors, decoded.errors
    return stamp(decoded.samples, at)
