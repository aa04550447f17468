"""Identities: a new row when a host's description, presence or clock changes, and none for each sample."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.access.domain import EGO
from mirror_stage.core.instants import HOUR, SECOND, Instant
from mirror_stage.core.problems import Unavailable
from mirror_stage.twin import store as twin_store
from tests.builders import make_sample
from tests.pipeline.conftest import Bench


def post(bench: Bench, host: str = "a", *, seconds: float = 1, clock_offset: Instant = 0, **fields: Any) -> Instant:
    """Let time pass, post a sample and save. Returns the instant of its arrival."""
    now = bench.clock.advance(seconds)
    bench.post(make_sample(host, at=now + clock_offset, **fields))
    bench.saver.save()
    return now


def identities(bench: Bench, at: Instant) -> dict[str, Any]:
    found = bench.storage.read(lambda tx: twin_store.identities_at(tx, at))
    return {hostname: identity for hostname, _, identity in found}


def sinces(bench: Bench) -> list[tuple[Instant, bool]]:
    rows = bench.storage.read(lambda tx: twin_store.comings_and_goings(tx, 0, bench.clock.now()))
    return [(since, is_present) for _, since, is_present in rows]


def test_only_a_change_makes_a_row(bench: Bench) -> None:
    came = post(bench, rack="R1", tags={"uplink": "b", "display_name": "Titan"})
    for cpu in (10, 95, 20):
        post(bench, rack="R1", tags={"uplink": "b", "display_name": "Titan"}, cpu_percent=cpu, net_bytes_tx=cpu)
    moved = post(bench, rack="R2", position={"x": 1, "y": 2, "z": 3}, memory_total_bytes=2**33)
    assert sinces(bench) == [(came, True), (moved, True)]
    before, after = identities(bench, moved - 1)["a"], identities(bench, moved)["a"]
    assert (before.rack, before.tags, before.position) == ("R1", {"uplink": "b", "display_name": "Titan"}, None)
    assert (after.rack, after.tags, after.position, after.memory_total_bytes) == ("R2", None, (1.0, 2.0, 3.0), 2**33)
    assert identities(bench, came - 1) == {}


def test_a_host_that_was_removed_is_gone_until_it_returns(bench: Bench) -> None:
    came = post(bench, rack="R1")
    bench.clock.advance(1)
    bench.remover.remove("a", EGO)
    left = bench.clock.now()
    returned = post(bench, rack="R1")
    assert sinces(bench) == [(came, True), (left, False), (returned, True)]
    assert [list(identities(bench, at)) for at in (left - 1, left, returned)] == [["a"], [], ["a"]]
    assert identities(bench, returned)["a"].counts_from == returned


def test_the_offset_of_a_hosts_clock_is_part_of_its_identity(bench: Bench) -> None:
    came = post(bench, clock_offset=-10 * SECOND)
    post(bench)  # within the slack
    slow = post(bench, seconds=120, clock_offset=-90 * SECOND)
    assert sinces(bench) == [(came, True), (slow, True)]
    identity = identities(bench, slow)["a"]
    assert (identity.clock_offset, identity.counts_from) == (-90 * SECOND, slow)


def test_identities_continue_after_a_restart_and_after_a_kill(bench: Bench) -> None:
    came = bench.clock.advance(1)
    bench.post(make_sample("a", at=came, rack="R1"))  # registered, and never saved
    again = bench.again()
    post(again, rack="R1")
    moved = post(again, rack="R2")
    assert sinces(bench) == [(came, True), (moved, True)]


def test_an_identity_that_could_not_be_saved_is_saved_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    came = post(bench, rack="R1")
    with monkeypatch.context() as patched:

        def away(*_arguments: Any) -> None:
            raise Unavailable("the database does not answer")

        patched.setattr(twin_store, "save_identities", away)
        moved = post(bench, rack="R2")
    assert sinces(bench) == [(came, True)]
    bench.saver.save()
    assert sinces(bench) == [(came, True), (moved, True)]


def test_pruning_keeps_the_identity_in_force_at_the_cutoff(bench: Bench) -> None:
    racks = [post(bench, rack=f"R{n}") for n in range(5)]
    cutoff = racks[3] + 1
    bench.clock.advance(24 * HOUR / SECOND)
    pruned = [bench.storage.write(lambda tx: twin_store.prune_identities(tx, cutoff, most=2)) for _ in range(3)]
    assert pruned == [2, 1, 0]
    assert identities(bench, cutoff)["a"].rack == "R3"
    assert [since for since, _ in sinces(bench)] == racks[3:]
