"""PostgreSQL is stopped, or stands still, with two workers: 503, the live view goes on, and soon after its return 202."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.builders import make_sample
from tests.cluster.conftest import Pair, running_pair
from tests.faults import print_figures, short_and_full
from tests.faults.browsers import GoodBrowser
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import EgoServer, PostgresqlServer, slowness, wait_until

BACK_SECONDS = 5.0


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    found = PostgresqlServer()
    try:
        yield found.start()
    finally:
        found.remove()


def stopped(server: PostgresqlServer) -> Callable[[], object]:
    server.stop(signal.SIGQUIT)
    return server.start


def hung(server: PostgresqlServer) -> Callable[[], object]:
    server.signal(signal.SIGSTOP)
    return lambda: server.signal(signal.SIGCONT)


@pytest.mark.parametrize("seconds", short_and_full(6, 60))
@pytest.mark.parametrize("fault", [stopped, hung])
def test_two_workers_outlive_their_database(
    server: PostgresqlServer, tmp_path: Path, fault: Callable[[PostgresqlServer], Callable[[], object]], seconds: int
) -> None:
    with running_pair(tmp_path, server.new_database()) as pair:
        loads = [Load(ego, Batches(10, stem=f"at-{ego.port}"), 2, requests_per_second=10).start() for ego in pair.both]
        wait_until(lambda: all(len(load.acknowledged) > 100 for load in loads), what="the load runs")
        browsers = [GoodBrowser(ego.port) for ego in pair.both]
        mend = fault(server)
        refusals = [refusal(ego) for ego in pair.both]
        frames = [len(browser.ages_seconds) for browser in browsers]
        time.sleep(seconds)  # how long the fault lasts
        moved = [len(browser.ages_seconds) - before for browser, before in zip(browsers, frames, strict=True)]
        fold = slowness()
        mend()
        mended = time.monotonic()
        for ego in pair.both:
            wait_until(lambda ego=ego: is_taken(ego), 30, every=0.05, what="samples are taken again")
        back = (time.monotonic() - mended) / fold
        wait_until(lambda: all(is_well(pair, ego) for ego in pair.both), 30, every=0.1, what="both take part again")
        for load in loads:
            load.stop()
        for browser in browsers:
            browser.close()
        acknowledged = loads[0].acknowledged | loads[1].acknowledged
        stored = stored_samples(pair.one)
        print_figures(
            f"PostgreSQL {fault.__name__}",
            acknowledged=len(acknowledged),
            missing=len(acknowledged - stored.keys()),
            first_202_after_s=back,
            fewest_frames=min(moved),
        )
        assert all(status == 503 and after is not None for status, after in refusals), refusals
        assert min(moved) >= 1  # while a commit hangs, few samples get so far
        assert acknowledged - stored.keys() == set()
        assert back <= BACK_SECONDS


def refusal(ego: EgoServer) -> tuple[int, str | None]:
    """Status and `Retry-After` of the answer to a sample."""
    answer = ego.post_samples(make_sample("refused"))
    return answer.status_code, answer.headers.get("Retry-After")


def is_taken(ego: EgoServer) -> bool:
    with contextlib.suppress(requests.ConnectionError):  # the worker that owned the twin starts anew
        return ego.post_samples(make_sample(f"back-{ego.port}")).status_code == 202
    return False


def is_well(pair: Pair, ego: EgoServer) -> bool:
    answer = ego.get("/api/health/ready")
    return answer.status_code == 200 and bool(answer.json()["checks"]["cluster"]["ok"])
