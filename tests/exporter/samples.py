"""Hosts as the twin has them, for the figures of the fleet."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from mirror_stage.metrics.decoder import decode_batch
from mirror_stage.metrics.domain import stamp
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.fleet import make_fleet
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.wire import Encoder, batch
from mirror_stage.twin.domain import Host, Role, Status, fold
from tests.builders import decoded, make_sample

NOW = 1_762_000_000_000
_ids = itertools.count(1)


def host(hostname: str = "titan-01", *, status: str = Status.ONLINE, **fields: Any) -> Host:
    """A host with one sample that has these fields."""
    (sample,) = decoded(make_sample(hostname, at=NOW, **fields), received_at=NOW)
    return shown(hostname, sample, status)


def shown(hostname: str, sample: Any, status: str = Status.ONLINE) -> Host:
    folded, _ = fold(Host(next(_ids), hostname, Role.HOST, (0.0, 0.0, 0.0)), sample)
    return replace(folded, status=status)


def simulated(count: int) -> list[Host]:
    """The hosts of a simulated fleet, with all that their agents report."""
    machines = make_fleet(count, seed=7).machines
    hosts: list[Host] = []
    for some in (machines[first : first + 500] for first in range(0, len(machines), 500)):
        body = batch(Encoder(Behaviour(machine)).sample(Moment(NOW)) for machine in some)
        hosts += [shown(sample.hostname, sample) for sample in stamp(decode_batch(body).samples, NOW)]
    return hosts
