"""Redis is killed, stands still, comes back empty, or is full: no request is refused, and browsers are at most 3 s behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
import redis
from sqlalchemy import create_engine, text

from mirror_stage.cluster import store
from mirror_stage.cluster.without_redis import NONE
from tests.builders import make_sample
from tests.cluster.conftest import Pair, hosts_of
from tests.contract.clients import Listener
from tests.faults import print_figures, short_and_full
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import slowness, wait_until

BEHIND_SECONDS = 3.0
AS_BEFORE_SECONDS = 10.0


def killed(pair: Pair) -> Callable[[], object]:
    pair.redis.kill()
    return pair.redis.start  # it comes back empty


def stopped(pair: Pair) -> Callable[[], object]:
    pair.redis.signal(signal.SIGSTOP)
    return lambda: pair.redis.signal(signal.SIGCONT)


def full(pair: Pair) -> Callable[[], object]:
    client = redis.Redis.from_url(pair.redis.url)
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


@pytest.mark.parametrize("seconds", short_and_full(5, 60))
@pytest.mark.parametrize("fault", [killed, stopped, full])
def test_nothing_is_refused_because_of_redis(
    pair: Pair, fault: Callable[[Pair], Callable[[], object]], seconds: int
) -> None:
    heard = [Listener(ego, "/alerts") for ego in pair.both]
    loads = [Load(ego, Batches(10, stem=f"at-{ego.port}"), 2, requests_per_second=10).start() for ego in pair.both]
    wait_until(lambda: all(len(load.acknowledged) > 100 for load in loads), what="the load runs")
    mend = fault(pair)
    wait_until(lambda: any(not pair.checks(ego)["cluster"]["ok"] for ego in pair.both), what="the fault is noticed")
    began, behind, number = time.monotonic(), [], 0
    while time.monotonic() - began < seconds:
        for taker, shower in (pair.both, pair.both[::-1]):
            number += 1
            hostname, fold, posted = f"meanwhile-{number}", slowness(), time.monotonic()
            assert taker.post_samples(make_sample(hostname, cpu_percent=99)).status_code == 202
            wait_until(lambda shower=shower, hostname=hostname: hostname in hosts_of(shower), every=0.1)
            behind.append((time.monotonic() - posted) / fold)
    mend()
    mended, fold = time.monotonic(), slowness()
    wait_until(lambda: all(pair.checks(ego)["cluster"]["ok"] for ego in pair.both), 30, what="all is as before")
    as_before = (time.monotonic() - mended) / fold
    for load in loads:
        load.stop()
        assert set(load.statuses) == {202}, [answer.body[:300] for answer in load.refused[:3]]
        assert load.unanswered == []
    acknowledged = loads[0].acknowledged | loads[1].acknowledged
    stored = stored_samples(pair.one)
    print_figures(
        f"Redis {fault.__name__}",
        acknowledged=len(acknowledged),
        missing=len(acknowledged - stored.keys()),
        slowest_answer_s=max(max(load.seconds) for load in loads),
        furthest_behind_s=max(behind),
        as_before_after_s=as_before,
    )
    assert acknowledged - stored.keys() == set()
    wanted = {f"meanwhile-{one}" for one in range(1, number + 1)}
    for listener in heard:
        wait_until(lambda listener=listener: not untold(listener, wanted), what="every alert was told")
        assert len(fired(listener)) == len(set(fired(listener)))
        listener.close()
    assert max(behind) <= BEHIND_SECONDS + 0.5
    assert as_before <= AS_BEFORE_SECONDS


def untold(listener: Listener, wanted: set[str]) -> set[str]:
    """The hosts of whose alert a client has not heard."""
    return wanted - {host for host, _ in fired(listener)}


def fired(listener: Listener) -> list[tuple[str, int]]:
    """(host, version) of the alert events that a client has heard of the hosts of this test."""
    return [
        (one["alert"]["hostname"], one["version"])
        for one in listener.of("alert-update")
        if one["alert"]["hostname"].startswith("meanwhile") and one["transition"] == "fired"
    ]


def test_a_cluster_starts_without_redis(pair: Pair) -> None:
    pair.redis.kill()
    for ego in pair.both:
        ego.stop()
    for ego in pair.both:
        ego.start(wait=False)
    for ego in pair.both:
        ego.wait_ready()
        assert ego.post_samples(make_sample(f"by-{ego.port}")).status_code == 202
    for ego in pair.both:
        wait_until(lambda ego=ego: {f"by-{one.port}" for one in pair.both} <= hosts_of(ego).keys())
    pair.redis.start()
    wait_until(lambda: all(pair.checks(ego)["cluster"]["ok"] for ego in pair.both), 30, what="both use Redis")


def test_a_worker_that_begins_shows_no_frame_of_before(pair: Pair) -> None:
    """A frame is in the database while some worker lacks Redis: it would be old when the next worker begins."""
    pair.redis.signal(signal.SIGSTOP)
    wait_until(lambda: stored_frames(pair) == 1, 30, what="the owner stores its frame")
    pair.redis.signal(signal.SIGCONT)
    wait_until(lambda: stored_frames(pair) == 0, 30, what="the stored frame is removed")
    pair.one.rows(
        "INSERT INTO cluster_frame (id, generation, epoch, revision, body) VALUES (1, ?, 'before', 1, '')",
        pair.generation() - 1,
    )
    engine = create_engine(pair.one.settings["MIRROR_STAGE_DB_URL"].replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as tx:
        assert store.frame(tx, *NONE) is None
        tx.execute(text("UPDATE cluster_frame SET generation = generation + 1"))
        assert store.frame(tx, *NONE) == ("before", 1, b"")
    engine.dispose()


def stored_frames(pair: Pair) -> int:
    return len(pair.one.rows("SELECT 1 FROM cluster_frame"))
