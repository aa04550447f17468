"""EGO stops in under 3 s while requests are under way, and nothing that it acknowledged is missing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from mirror_stage.pipeline.saving import HOSTS_AT_ONCE
from tests.builders import make_sample
from tests.faults import print_figures
from tests.faults.browsers import GoodBrowser, open_browser
from tests.faults.load import Batches, Load, stored_samples
from tests.faults.slow_database import slowed_commits
from tests.servers import EgoServer, wait_until

STOP_SECONDS = 3.0
POLLS = 20


def test_ego_stops_quickly_while_requests_are_under_way(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], slack: float
) -> None:
    ego = start_ego(database_settings)
    load = Load(ego, Batches(100), connections=4, requests_per_second=20).start()
    wait_until(lambda: load.acknowledged, what="the first acknowledgement")
    good = [GoodBrowser(ego.port, stream=stream) for stream in ("full", "delta")]
    stuck = [open_browser(ego.port, stream=stream, receive_buffer=4096) for stream in ("full", "delta") * 3]
    answers: list[tuple[int, bytes]] = []

    def poll(number: int) -> None:
        answer = ego.get(f"/api/commands/pending/waiting-{number}?wait=30", timeout=40)
        answers.append((answer.status_code, answer.content))

    polls = [threading.Thread(target=poll, args=(number,), daemon=True) for number in range(POLLS)]
    wait_until(lambda: all(browser.ages_seconds for browser in good), what="the browsers see frames")
    open_before = ego.open_files()
    for thread in polls:
        thread.start()
    wait_until(lambda: ego.open_files() >= open_before + POLLS, what="every poll is accepted, not only connected")

    seconds = ego.stop()
    load.stop()
    for thread in polls:
        thread.join()
    for browser in itertools.chain(good, stuck):
        browser.close()
    assert ego.process is not None
    print_figures(
        "stop",
        took_s=seconds,
        polls_answered=len(answers),
        sockets=len(good) + len(stuck),
        status=ego.process.returncode,
    )
    assert seconds < STOP_SECONDS * slack
    assert ego.process.returncode == 0
    assert answers == [(200, b"[]")] * POLLS
    assert "Traceback" not in ego.log
    assert set(load.statuses) <= {202, 408, 503}  # after each of these refusals an agent sends again
    ego.start()
    assert load.acknowledged <= stored_samples(ego).keys()


def test_a_stop_that_needs_longer_to_save_is_not_cut(start_ego: Callable[..., EgoServer]) -> None:
    """Otherwise the next start replays samples, however cleanly EGO was stopped."""
    ego = start_ego()
    assert ego.post_samples(*(make_sample(f"h{number}") for number in range(4 * HOSTS_AT_ONCE))).status_code == 202
    with slowed_commits(ego, held_seconds=4.0, free_seconds=30):
        assert ego.stop() > STOP_SECONDS  # it had to wait for the lock: the fault fired
    assert ego.rows("SELECT value FROM ego_state WHERE name = 'saved_whole'") == [("yes",)]
    assert "could not be saved" not in ego.log
