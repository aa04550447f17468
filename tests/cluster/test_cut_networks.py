"""The owner's network to PostgreSQL or to Redis is cut: another worker takes over, and the old owner comes back as an edge."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import make_sample
from tests.cluster.conftest import Pair, running_pair, shows, takes
from tests.faults import print_figures, short_and_full
from tests.faults.cables import Cable, cables
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import EgoServer, PostgresqlServer, RedisServer, slowness, wait_until

TAKEN_OVER_SECONDS = (
    5.0  # 2 s until an owner counts as lost, or 1 s until it resigns, the beats, and the next one's start
)


@dataclass
class CutPair:
    """A pair, and the cables of each of its EGOs by what they lead to."""

    pair: Pair
    cables: Sequence[dict[str, Cable]]


@pytest.fixture
def wired(postgresql: PostgresqlServer, tmp_path: Path) -> Iterator[CutPair]:
    database = postgresql.new_database()
    found: list[dict[str, Cable]] = []

    with cables(postgresql.port, postgresql.port) as to_postgresql, cables(0, 0) as to_redis:

        def own(redis: RedisServer) -> Sequence[dict[str, str]]:
            for one, other in zip(to_postgresql, to_redis, strict=True):
                other.target = redis.port
                found.append({"PostgreSQL": one, "Redis": other})
            return [
                {
                    "MIRROR_STAGE_DB_URL": database.replace(f":{postgresql.port}/", f":{each['PostgreSQL'].port}/"),
                    "MIRROR_STAGE_REDIS_URL": f"redis://127.0.0.1:{each['Redis'].port}",
                }
                for each in found
            ]

        with running_pair(tmp_path, database, own) as pair:
            yield CutPair(pair, found)
            for each in found:
                for cable in each.values():
                    cable.mend()


@pytest.mark.parametrize("times", short_and_full(1, 20))
@pytest.mark.parametrize("to", ["PostgreSQL", "Redis"])
def test_an_owner_that_is_cut_off_is_replaced_and_comes_back(wired: CutPair, to: str, times: int) -> None:
    pair, took, back, acknowledged = wired.pair, [], [], set()
    for number in range(times):
        owner, edge, generation = pair.owner(), pair.edge(), pair.generation()
        cable = wired.cables[pair.both.index(owner)][to]
        hot = f"hot-{number}"
        owner.post_samples(make_sample(hot, cpu_percent=99))
        load = Load(edge, Batches(20, stem=f"load-{number}"), 4, requests_per_second=40).start()
        wait_until(lambda load=load: len(load.acknowledged) > 200, what="the load runs")
        fold, lost, before = slowness(), time.monotonic(), cable.lost_bytes
        cable.cut()
        wait_until(lambda edge=edge, last=generation: generation_at(edge) > last, 30, every=0.05, what="another owner")
        wait_until(lambda edge=edge, number=number: takes(edge, f"after-{number}"), 20, every=0.05)
        took.append((time.monotonic() - lost) / fold)
        wait_until(lambda cable=cable, before=before: cable.lost_bytes > before, what="the cut was in the way")
        load.stop()
        assert set(load.statuses) == {202}, load.statuses
        acknowledged |= load.acknowledged
        cable.mend()
        mended, fold = time.monotonic(), slowness()
        wait_until(lambda: all(pair.checks(ego)["cluster"]["ok"] for ego in pair.both), 40, what="both take part")
        wait_until(lambda owner=owner, number=number: shows(owner, f"after-{number}"), 20, what="it shows the twin")
        back.append((time.monotonic() - mended) / fold)
        assert pair.owner() is edge
        events = "SELECT 1 FROM alert_events e JOIN alerts a ON a.id = e.alert_id WHERE hostname = ?"
        assert len(edge.rows(events, hot)) == 1
    stored = stored_samples(pair.both[0])
    print_figures(
        f"owner cut off from {to}",
        times=times,
        acknowledged=len(acknowledged),
        missing=len(acknowledged - stored.keys()),
        slowest_takeover_s=max(took),
        slowest_return_s=max(back),
    )
    assert acknowledged - stored.keys() == set()
    assert max(stored.values()) == 1
    assert max(took) <= TAKEN_OVER_SECONDS


def generation_at(ego: EgoServer) -> int:
    """The generation of the twin's owner, asked over the network of one EGO."""
    return int(ego.rows("SELECT generation FROM cluster_owner")[0][0])
