"""A lock on one table blocks only requests that need this table: samples, queries and jobs have their own lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg

from tests.builders import make_sample
from tests.servers import EgoServer, PostgresqlServer, wait_until


def test_a_lock_on_commands_holds_up_neither_samples_nor_frames(
    start_ego: Callable[..., EgoServer], postgresql: PostgresqlServer
) -> None:
    ego = start_ego({"MIRROR_STAGE_DB_URL": postgresql.new_database()})
    assert ego.post_samples(make_sample("titan")).status_code == 202
    body = {"hostname": "titan", "command": "uptime"}
    waiting: list[int] = []

    def ask() -> None:
        waiting.append(ego.post("/api/commands", json=body).status_code)

    with psycopg.connect(ego.settings["MIRROR_STAGE_DB_URL"]) as holder:
        holder.execute("LOCK TABLE commands IN ACCESS EXCLUSIVE MODE")
        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: ego.rows(blocked)[0][0] >= 6, what="every connection of those who ask waits for the lock")
        slowest = 0.0
        for number in range(20):
            began = time.monotonic()
            assert ego.post_samples(make_sample("titan", cpu_percent=number)).status_code == 202
            state = ego.get("/api/twin/state").json()["hosts"]
            slowest = max(slowest, time.monotonic() - began)
            assert next(host for host in state if host["hostname"] == "titan")["metrics"]["cpuLoad"] == number
        assert slowest < 2.0
        for thread in threads:
            thread.join()
    assert set(waiting) == {503}  # the fault fired: requests that needed the table were refused, with the reason
    assert "another transaction has held what this needs for 4 s" in ego.log
