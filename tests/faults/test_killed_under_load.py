"""T1: EGO is killed under load, again and again. Each acknowledged sample is stored once, and EGO is back in 5 s."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults import print_figures, short_and_full
from tests.faults.load import Batches, Connection, Load, stored_samples
from tests.servers import EgoServer, wait_until

READY_SECONDS = 5.0
SEED = 20251101

# requests a second, samples a request, connections
PACES = [(20, 100, 8), (300, 1, 8)]


@pytest.mark.parametrize("kills", short_and_full(2, 20))
def test_acknowledged_samples_survive_a_kill(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], kills: int, slack: float
) -> None:
    ego = start_ego(database_settings)
    chance = random.Random(SEED)
    acknowledged, resent, cut_off, ready, computed = set(), set(), 0, [], []
    everything = [(Batches(samples, stem=f"by-{samples}"), pace, connections) for pace, samples, connections in PACES]

    for number in range(kills):
        batches, pace, connections = everything[number % len(everything)]
        load = Load(ego, batches, connections, requests_per_second=pace).start()
        wait_until(lambda load=load: load.acknowledged, what="the first acknowledgement")
        time.sleep(chance.uniform(0.3, 1.0))
        wait_until(lambda load=load: load.under_way, every=0.0005, what="a request that is under way")
        time.sleep(chance.uniform(0, 0.01))  # before, during or after its commit
        ego.kill()
        wait_until(lambda load=load: load.unanswered, what="a sender that noticed the kill")
        load.stop()
        assert ego.process is not None
        assert ego.process.returncode == -signal.SIGKILL
        assert set(load.statuses) == {202}, f"seed {SEED}: {load.statuses}"
        cut_off += len(load.unanswered)
        acknowledged |= load.acknowledged

        started = time.monotonic()
        ego.start()
        ready.append(time.monotonic() - started)
        computed.append(ego.cpu_seconds())
        stored = stored_samples(ego)
        assert acknowledged - stored.keys() == set(), f"seed {SEED}: acknowledged, but not stored"
        connection = Connection(ego.port)
        for batch in load.unanswered:  # batches without an answer are sent again, as every agent does
            assert connection.post("/api/metrics/batch", batch.body).status == 202
            resent |= set(batch.keys)
        connection.close()

    stored = stored_samples(ego)
    duplicates = sum(stored.values()) - len(stored)
    print_figures(
        "T1",
        kills=f"{kills}/{kills}",
        acknowledged=len(acknowledged),
        missing=len(acknowledged - stored.keys()),
        cut_off_and_sent_again=cut_off,
        duplicate_rows=duplicates,
        slowest_start_s=max(ready),
        of_it_computing_s=max(computed),
    )
    assert stored.keys() == acknowledged | resent
    assert duplicates == 0
    assert max(ready) <= READY_SECONDS * slack
    assert max(computed) <= READY_SECONDS
