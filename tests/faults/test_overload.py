"""T8: many more samples arrive than EGO can store. It refuses the rest, in little memory, and keeps acknowledged ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.builders import make_sample
from tests.faults import on_postgresql_in_full, print_figures, short_and_full
from tests.faults.load import Batches, Load, stored_samples
from tests.faults.slow_database import slowed_commits
from tests.servers import EgoServer, wait_until

MIB = 2**20
GROWTH_MAX = 64 * MIB
SENDERS = 120  # each has one request under way: together twice the limit of the queue
SAMPLES = 100
RECOVERY_SECONDS = 5.0
FILLER = {"tags": {f"tag-{number}": "x" * 30 for number in range(50)}, "cpu_per_core": [12.5] * 16}  # 2.6 kB a sample


@on_postgresql_in_full
@pytest.mark.parametrize("seconds", short_and_full(5, 60))
def test_overload_is_refused_and_nothing_acknowledged_is_dropped(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], seconds: float
) -> None:
    ego = start_ego(database_settings)
    batches = Batches(SAMPLES, one_host=True, **FILLER)
    warm_up = Load(ego, batches, connections=4).start()
    wait_until(lambda: warm_up.statuses[202] >= 50, 30, what="50 answers")
    before = ego.rss_bytes()
    peak = before
    assert set(warm_up.stop().statuses) == {202}

    with slowed_commits(ego, held_seconds=0.2, free_seconds=0.03):
        load = Load(ego, batches, SENDERS).start()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            peak = max(peak, ego.rss_bytes())
            time.sleep(0.05)
        load.stop()

    fine_since = time.monotonic()
    is_refused = True
    while is_refused and time.monotonic() - fine_since < RECOVERY_SECONDS:
        is_refused = ego.post_samples(make_sample("after")).status_code != 202
    after = [ego.post_samples(make_sample("after")).status_code for _ in range(20)]

    promised = load.acknowledged | warm_up.acknowledged
    stored = stored_samples(ego)
    without_hint = [answer for answer in load.refused if not (answer.retry_after or "").isdigit()]
    print_figures(
        "T8",
        statuses=dict(load.statuses),
        acknowledged=len(promised),
        missing=len(promised - stored.keys()),
        unanswered=len(load.unanswered),
        refusals_without_retry_after=len(without_hint),
        memory_mib=(peak - before) / MIB,
        taken_again_after_s=time.monotonic() - fine_since,
    )
    assert load.refused, "EGO refused nothing: this was no overload"
    assert set(load.statuses) <= {202, 429, 503}
    assert load.statuses[202] > 0
    assert load.unanswered == []
    assert without_hint == []
    assert promised <= stored.keys()
    assert set(after) == {202}
    assert peak - before <= GROWTH_MAX
    assert "Traceback" not in ego.log
