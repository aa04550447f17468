"""A worker that is busy is no dead worker: the heart of the owner beats on while its event loop stands still."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from mirror_stage.cluster.store import LOST_AFTER
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND
from tests.servers import ROOT, PostgresqlServer
from tests.storages import migrated

STUCK_SECONDS = 3 * LOST_AFTER / SECOND

# A worker without anything but its place in the cluster. It says what happens to it, one JSON text a line; it stands still
# when it is told for how long.
WORKER = """
from gevent import monkey; monkey.patch_all()
import json, sys, time, gevent
from mirror_stage.cluster.membership import Membership
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import from_environment
from mirror_stage.storage.db import Storage, create_engine, engine_options

def say(**what):
    print(json.dumps(what), flush=True)

config, latest = from_environment(), 0.0
engine = create_engine(config.database_url, **engine_options(config))
storage = Storage(config)
storage.open(engine)
member = Membership(storage, storage.cluster, Clock(), is_linked=lambda: True, missed_since=lambda: None,
                    lead=lambda generation: say(leads=generation), depose=lambda why: say(deposed=why))

def watch():
    global latest
    while True:
        began = time.monotonic()
        gevent.sleep(0.05)
        latest = max(latest, time.monotonic() - began)

gevent.spawn(watch)
member.begin()
for line in iter(lambda: gevent.get_hub().threadpool.apply(sys.stdin.readline), ""):
    stuck = float(line)
    monkey.get_original("time", "sleep")(stuck)  # the whole event loop
    gevent.sleep(1.5)
    say(generation=member.generation, late=latest, known=member.standing.generation)
member.leave()
"""


class Worker:
    def __init__(self, database: str):
        command = [sys.executable, "-c", WORKER]
        environment = {"MIRROR_STAGE_DB_URL": database, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def says(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def stand_still(self, seconds: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Let it leave the cluster. What it has said and nobody has read."""
        rest, _ = self.process.communicate(timeout=30)
        return rest


def test_an_owner_whose_event_loop_stands_still_stays_the_owner(postgresql: PostgresqlServer) -> None:
    database = postgresql.new_database()
    with migrated(Config(db_url=database)):
        pass
    owner = Worker(database)
    assert owner.says() == {"leads": 1}
    other = Worker(database)
    owner.stand_still(STUCK_SECONDS)
    found = owner.says()
    assert found["late"] >= STUCK_SECONDS  # the fault fired
    assert (found["generation"], found["known"]) == (1, 1)
    other.stand_still(0)
    assert other.says()["generation"] == 0  # it was there, and has not taken over
    assert owner.end() == ""
    assert other.says() == {"leads": 2}  # at once, because the owner has left
    assert other.end() == ""
