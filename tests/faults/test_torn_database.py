"""T2: the database after a crash is not corrupt, and contains a prefix of what was acknowledged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import make_sample
from tests.faults import print_figures, short_and_full
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import EgoServer, PostgresqlServer, running_ego, wait_until

SEED = 20251102


def copied(ego_folder: Path, target: Path, *, cut_at: float | None = None) -> Path:
    """A copy of the database as it is on the disk now, with its log cut at a share of its length."""
    target.mkdir(exist_ok=True)
    database, log = target / "ego.db", target / "ego.db-wal"
    shutil.copy(ego_folder / "ego.db", database)
    shutil.copy(ego_folder / "ego.db-wal", log)
    if cut_at is not None:
        with log.open("r+b") as file:
            file.truncate(int(log.stat().st_size * cut_at))
    (target / "ego.db-shm").unlink(missing_ok=True)
    return database


def commits_in(database: Path) -> list[int]:
    """The `load_average` (here: the request's number) of the samples that survived, in order. Checks the integrity."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'host_metric_samples'").fetchall():
            return []  # cut before the schema
        return [
            row[0] for row in connection.execute("SELECT DISTINCT load_average FROM host_metric_samples ORDER BY 1")
        ]


@pytest.mark.parametrize("forms", short_and_full((4, 25), (50, 200)))
def test_copies_and_cut_logs_contain_a_prefix_of_the_commits(
    start_ego: Callable[..., EgoServer], tmp_path: Path, forms: tuple[int, int]
) -> None:
    ego = start_ego()
    (copies, cuts), chance, whole, number = forms, random.Random(SEED), 0, 0
    session_start = int(time.time() * 1000) - 60_000

    def post(count: int) -> None:
        nonlocal number
        for _ in range(count):
            samples = [make_sample(f"h{n}", at=session_start + number, load_average=number) for n in range(20)]
            assert ego.post_samples(*samples).status_code == 202
            number += 1

    post(5)
    for copy in range(copies):  # the process is stopped at any point, as a crash would stop it
        post(chance.randint(1, 5))
        for pid in ego.pids():
            os.kill(pid, signal.SIGSTOP)
        try:
            database = copied(ego.folder, tmp_path / f"copy-{copy}")
        finally:
            for pid in ego.pids():
                os.kill(pid, signal.SIGCONT)
        assert commits_in(database) == list(range(number)), f"seed {SEED}"
        whole += 1
    survived = []
    for cut in range(cuts):
        commits = commits_in(copied(ego.folder, tmp_path / f"cut-{cut}", cut_at=chance.random()))
        assert commits == list(range(len(commits))), f"seed {SEED}, cut {cut}"
        survived.append(len(commits))
        shutil.rmtree(tmp_path / f"cut-{cut}")
        whole += 1
    print_figures(
        "T2 sqlite", whole=f"{whole}/{copies + cuts}", commits=number, fewest=min(survived), most=max(survived)
    )
    assert whole == copies + cuts


@pytest.mark.parametrize("crashes", short_and_full(2, 10))
def test_an_immediate_stop_of_postgresql_loses_no_acknowledged_sample(tmp_path: Path, crashes: int) -> None:
    server = PostgresqlServer(fsync=True).start()
    acknowledged, back = set(), []
    try:
        with running_ego(tmp_path, {"MIRROR_STAGE_DB_URL": server.new_database()}) as ego:
            for crash in range(crashes):
                load = Load(ego, Batches(20, stem=f"crash-{crash}"), 4, requests_per_second=50).start()
                wait_until(lambda load=load: len(load.acknowledged) > 100, 20, what="some acknowledgements")
                server.stop(signal.SIGQUIT)
                wait_until(lambda load=load: set(load.statuses) & {503, 504}, 20, what="refusals: the fault fired")
                load.stop()
                assert set(load.statuses) <= {202, 503, 504}, load.statuses
                acknowledged |= load.acknowledged
                server.start()
                started = time.monotonic()
                ego.wait_ready()
                back.append(time.monotonic() - started)
            stored = stored_samples(ego)
    finally:
        server.remove()
    lost = acknowledged - stored.keys()
    print_figures(
        "T2 postgresql", crashes=crashes, acknowledged=len(acknowledged), lost=len(lost), slowest_return_s=max(back)
    )
    assert not lost
    assert max(stored.values()) == 1
