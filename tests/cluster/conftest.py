"""Two machines with one worker each, which share one PostgreSQL and one Redis. So a test chooses which one it asks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_sample
from tests.servers import ROOT, EgoServer, PostgresqlServer, RedisServer, wait_until


@dataclass
class Pair:
    """Two EGOs of one cluster, with their Redis."""

    one: EgoServer
    other: EgoServer
    redis: RedisServer

    @property
    def both(self) -> tuple[EgoServer, EgoServer]:
        return self.one, self.other

    def generation(self) -> int:
        """The generation of the twin's owner."""
        return int(self.one.rows("SELECT generation FROM cluster_owner")[0][0])

    def owner(self) -> EgoServer:
        """The EGO that owns the twin."""
        [(pid,)] = self.one.rows(
            "SELECT w.pid FROM cluster_owner o JOIN cluster_workers w ON w.id = o.worker WHERE o.worker IS NOT NULL"
        )
        return next(ego for ego in self.both if ego.process and ego.process.poll() is None and pid in ego.pids())

    def edge(self) -> EgoServer:
        """The EGO that does not."""
        owner = self.owner()
        return next(ego for ego in self.both if ego is not owner)

    def begin(self) -> Pair:
        for ego in self.both:
            ego.start(wait=False)
        for ego in self.both:
            ego.wait_ready()
        wait_until(lambda: all(self.checks(ego)["cluster"]["ok"] for ego in self.both), what="both take part")
        return self

    def end(self) -> None:
        for ego in self.both:
            if ego.process is not None and ego.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ego.worker_pid(), signal.SIGCONT)  # a stopped worker would not stop
                try:
                    ego.stop()
                except subprocess.TimeoutExpired:
                    ego.kill()

    @staticmethod
    def checks(ego: EgoServer) -> dict[str, Any]:
        """The readiness checks of an EGO."""
        found: dict[str, Any] = ego.get("/api/health/ready").json()["checks"]
        return found


def hosts_of(ego: EgoServer, path: str = "/api/twin/state") -> dict[str, dict[str, Any]]:
    """The hosts of the twin by their names, as an EGO shows them."""
    answer = ego.get(path)
    assert answer.status_code == 200, answer.text
    return {host["hostname"]: host for host in answer.json()["hosts"]}


def shows(ego: EgoServer, hostname: str) -> bool:
    """Whether an EGO shows a host. A worker that begins anew answers 503, or not at all."""
    with contextlib.suppress(Exception):
        return hostname in hosts_of(ego)
    return False


def takes(ego: EgoServer, hostname: str) -> bool:
    """Whether an EGO takes a new sample and shows it."""
    with contextlib.suppress(Exception):
        posted = ego.post_samples(make_sample(hostname), timeout=3)
        return posted.status_code == 202 and hostname in hosts_of(ego)
    return False


@contextlib.contextmanager
def running_pair(
    folder: Path,
    database: str,
    own: Callable[[RedisServer], Sequence[dict[str, str]]] = lambda _: ({}, {}),
    sources: Path = ROOT,
    **settings: str,
) -> Iterator[Pair]:
    """A cluster of two, from the checkout `sources`. It is ended afterwards. `own` gives the settings of each alone."""
    with RedisServer(folder) as redis:
        shared = {"MIRROR_STAGE_DB_URL": database, "MIRROR_STAGE_REDIS_URL": redis.url, **settings}
        folders = [folder / name for name in ("one", "other")]
        for each in folders:
            each.mkdir()
        shared["MIRROR_STAGE_TLS_DIR"] = str(folder / "keys")  # both machines sign with the same keys
        egos = (EgoServer(each, shared | more, sources=sources) for each, more in zip(folders, own(redis), strict=True))
        pair = Pair(*egos, redis)
        try:
            yield pair.begin()
        finally:
            pair.end()


@pytest.fixture(scope="package")
def shared_pair(postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A cluster for all tests that break nothing."""
    with running_pair(tmp_path_factory.mktemp("pair"), postgresql.new_database()) as pair:
        yield pair


@pytest.fixture
def pair(postgresql: PostgresqlServer, tmp_path: Path) -> Iterator[Pair]:
    """A cluster of the test's own, which it may break."""
    with running_pair(tmp_path, postgresql.new_database()) as pair:
        yield pair


def pause() -> None:
    """Let the clock go on by a millisecond, so that the next sample of a host has a time of its own."""
    time.sleep(0.002)
