"""T14: many agents poll at once, several under one hostname. Each command is handed out once, oldest first."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import requests
import sqlalchemy

from mirror_stage.access.domain import EGO
from mirror_stage.commands import store
from mirror_stage.commands.domain import NewCommand
from tests.builders import NoSigner, unique_hostname
from tests.faults import print_figures, short_and_full
from tests.faults.agents import create
from tests.servers import EgoServer, PostgresqlServer, running_ego, wait_until

HOSTS = 10
NOW = 1_762_000_000_000


class Pollers:
    """Agents that poll for the commands of any of the hosts, sometimes with a wait."""

    def __init__(self, ego: EgoServer, hostnames: list[str], count: int):
        self.handed_out: list[tuple[str, list[str]]] = []
        self.statuses: Counter[int] = Counter()
        self.errors: list[str] = []
        self._ego, self._hostnames = ego, hostnames
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._poll, args=(seed,), daemon=True) for seed in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _poll(self, seed: int) -> None:
        chance = random.Random(seed)
        with requests.Session() as session:
            while not self._stopping.is_set():
                self._stopping.wait(chance.uniform(0, 0.1))
                hostname, wait = (
                    chance.choice(self._hostnames),
                    chance.choice(["", "?wait=0.5", "?limit=1", "?limit=2&wait=0.2"]),
                )
                try:
                    answer = session.get(f"{self._ego.url}/api/commands/pending/{hostname}{wait}", timeout=30)
                except requests.RequestException as error:
                    self.errors.append(repr(error))
                    continue
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200 and answer.json():
                    self.handed_out.append((hostname, [item["id"] for item in answer.json()]))


@pytest.mark.parametrize("form", short_and_full((40, 16), (500, 32)))
def test_each_command_is_handed_out_once_and_in_order(ego: EgoServer, form: tuple[int, int]) -> None:
    commands, count = form
    hostnames = [unique_hostname("polled") for _ in range(HOSTS)]
    pollers = Pollers(ego, hostnames, count)
    try:
        created = {hostname: [] for hostname in hostnames}
        for hostname in itertools.islice(itertools.cycle(hostnames), commands):
            created[hostname].append(create(ego, hostname))
        handed = lambda: sum(len(ids) for _, ids in pollers.handed_out)  # noqa: E731
        wait_until(lambda: handed() >= commands, 30, what="every command is handed out")
    finally:
        pollers.stop()
    deliveries = Counter(id for _, ids in pollers.handed_out for id in ids)
    breaks = sum(disorder(ego, hostname, ids) for hostname, ids in created.items())
    breaks += sum(ids != sorted(ids, key=created[hostname].index) for hostname, ids in pollers.handed_out)
    print_figures(
        "T14",
        pollers=count,
        commands=commands,
        delivered_once=sum(times == 1 for times in deliveries.values()),
        order_breaks=breaks,
        polls=pollers.statuses.total(),
        statuses=dict(pollers.statuses),
        locked=ego.log.count("database is locked"),
    )
    assert deliveries == Counter(id for ids in created.values() for id in ids)
    assert breaks == 0
    assert pollers.errors == []
    assert set(pollers.statuses) == {200}
    assert "database is locked" not in ego.log


def disorder(ego: EgoServer, hostname: str, created: list[str]) -> int:
    """How many commands of a host were handed out before an older one."""
    rows = ego.rows("SELECT id, started_at FROM commands WHERE hostname = ? ORDER BY seq", hostname)
    assert [id for id, _ in rows] == created
    return sum(earlier > later for (_, earlier), (_, later) in itertools.pairwise(rows))


_engines: list[sqlalchemy.Engine] = []  # one engine in each claiming process


def connect(url: str, together: Any) -> None:
    """Connect, then wait until the other processes are connected, so that all claim at the same time."""
    _engines.append(sqlalchemy.create_engine(url))
    with _engines[0].connect():
        pass
    together.wait(60)


def claim_all(hostname: str) -> list[list[str]]:
    """The commands of a host that this process claims, with its own connection."""
    handed_out: list[list[str]] = []
    while not handed_out or handed_out[-1]:
        with _engines[0].begin() as tx:
            _, fresh = store.claim(tx, hostname, EGO, NOW, instance=None, limit=1)
        handed_out.append([command.id for command in fresh])
    _engines[0].dispose()
    return handed_out


def test_two_processes_never_claim_the_same_command(postgresql: PostgresqlServer, tmp_path: Any) -> None:
    """The claim on PostgreSQL alone, without an EGO, in whose single process there would be no race."""
    database = postgresql.new_database()
    with running_ego(tmp_path, {"MIRROR_STAGE_DB_URL": database}):
        pass  # EGO has created the tables
    url = database.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    created = []
    with engine.begin() as tx:
        for _ in range(100):
            new, id = NewCommand("titan-01", "true"), str(uuid.uuid4())
            created.append(store.create(tx, new, EGO, NOW, NoSigner(), id=id, key=None)[0].id)
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)  # all three processes begin together
    with ProcessPoolExecutor(3, mp_context=spawn, initializer=connect, initargs=(url, together)) as processes:
        handed_out = list(processes.map(claim_all, ["titan-01"] * 3))
    engine.dispose()
    by_process = [[id for ids in claims for id in ids] for claims in handed_out]
    print_figures("T14", processes=3, commands=len(created), handed_out_to_each=[len(ids) for ids in by_process])
    assert Counter(id for ids in by_process for id in ids) == Counter(created)
    for ids in by_process:
        assert ids == sorted(ids, key=created.index)
    assert sum(bool(ids) for ids in by_process) >= 2, "the processes did not claim at the same time"
