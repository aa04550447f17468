"""Makes every commit of an EGO slow, from another process: `python -m tests.faults.slow_database <database> <held> <free>`.

It takes the write lock, holds it, releases it for a moment, and repeats this until its standard input ends.
"""

from __future__ import annotations

import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.servers import ROOT, EgoServer


@contextmanager
def slowed_commits(ego: EgoServer, *, held_seconds: float, free_seconds: float) -> Iterator[None]:
    """Inside the `with` block, the write lock of EGO's database is held for `held_seconds`, again and again."""
    database = ego.settings.get("MIRROR_STAGE_DB_URL") or ego.environment["MIRROR_STAGE_SQLITE_PATH"]
    command = [sys.executable, "-m", "tests.faults.slow_database", database, str(held_seconds), str(free_seconds)]
    holder = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"holding\n"
        yield
    finally:
        holder.stdin.close()
        holder.wait(timeout=10)
        holder.stdout.close()


def main(database: str, held_seconds: float, free_seconds: float) -> None:
    if database.startswith("postgres"):
        connection = psycopg.connect(database, autocommit=True)
        take = "BEGIN; LOCK TABLE host_metric_samples IN EXCLUSIVE MODE"
    else:
        connection = sqlite3.connect(database, timeout=30, isolation_level=None)  # type: ignore[assignment]
        take = "BEGIN IMMEDIATE"
    is_first = True
    while True:
        connection.execute(take)
        if is_first:
            print("holding", flush=True)
            is_first = False
        time.sleep(held_seconds)
        connection.execute("ROLLBACK")
        if select.select([sys.stdin], [], [], free_seconds)[0]:
            return


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
