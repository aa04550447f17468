"""Every database keeps one contract: a write commits wholly or not at all, and fails as BadRow or as Unavailable."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from mirror_stage.alerts.models import AlertRow
from mirror_stage.core.config import Config
from mirror_stage.core.problems import BadRow, NotFound, Unavailable
from mirror_stage.storage.db import Base, Storage, engine_options
from mirror_stage.storage.notes import EgoState
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows

STATE: Any = EgoState.__table__


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An open storage with the tables of all models, on each kind of database."""
    options: dict[str, Any] = {}
    if request.param == "memory":
        config = Config(testing=True)
        options = {"poolclass": StaticPool}
    elif request.param == "sqlite":
        config = Config(sqlite_path=tmp_path / "ego.db")
    else:
        config = Config(db_url=request.getfixturevalue("postgresql").new_database())
    engine = create_engine(config.database_url, **engine_options(config), **options)
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    yield storage
    storage.close()


def state_of(storage: Storage) -> dict[str, str]:
    return dict(storage.read(lambda tx: [tuple(row) for row in tx.execute(text("SELECT name, value FROM ego_state"))]))


def put(name: str | None, value: str) -> Any:
    return lambda tx: tx.execute(
        text("INSERT INTO ego_state (name, value) VALUES (:name, :value)"), {"name": name, "value": value}
    )


def test_a_write_is_committed_and_answers(storage: Storage) -> None:
    assert storage.write(lambda tx: (put("a", "1")(tx), "done")[1]) == "done"
    assert state_of(storage) == {"a": "1"}


def test_a_problem_in_the_middle_of_a_write_leaves_nothing(storage: Storage) -> None:
    def work(tx: Any) -> None:
        put("a", "1")(tx)
        raise NotFound("no such thing")

    with pytest.raises(NotFound):
        storage.write(work)
    assert state_of(storage) == {}


@pytest.mark.parametrize("bad", [("a", "again"), (None, "no name")])
def test_a_bad_row_raises_bad_row_and_not_unavailable(storage: Storage, bad: tuple[str | None, str]) -> None:
    storage.write(put("a", "1"))
    with pytest.raises(BadRow):
        storage.write(put(*bad))
    assert state_of(storage) == {"a": "1"}


def test_a_query_that_takes_too_long_is_interrupted(storage: Storage) -> None:
    if storage.description == "postgresql":
        forever = "SELECT pg_sleep(5)"
    elif storage.is_in_memory:
        pytest.skip("in memory there is no reader of its own, and nothing large enough to ask for")
    else:
        forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    if "sqlite" in storage.description:
        pytest.skip("without monkey-patching SQLite is asked in the calling thread; see the tests under gevent below")
    with pytest.raises(Unavailable, match="ask for less"):
        storage.read(lambda tx: tx.execute(text(forever)).scalar())
    assert state_of(storage) == {}


def test_many_rows_go_in_one_statement_and_the_first_stays(storage: Storage) -> None:
    rows = [(f"k{n}", f"v{n}") for n in range(1000)]
    assert storage.write(lambda tx: insert_rows(tx, STATE, ("name", "value"), rows, KEEP_FIRST)) == 1000
    assert (
        storage.write(lambda tx: insert_rows(tx, STATE, ("name", "value"), [("k1", "x"), ("new", "y")], KEEP_FIRST))
        == 1
    )
    assert state_of(storage)["k1"] == "v1"
    storage.write(lambda tx: insert_rows(tx, STATE, ("name", "value"), [("k1", "x")], REPLACE))
    assert state_of(storage)["k1"] == "x"


def test_two_active_alerts_of_one_host_and_rule_cannot_be_stored(storage: Storage) -> None:
    def row(identity: str, status: str) -> tuple[Any, ...]:
        return (identity, "a", "cpu_load_high", "cpuLoad", "", "warning", 80.0, 90.0, status, 1, 1, 1)

    table: Any = AlertRow.__table__
    columns = tuple(column.name for column in table.columns if not column.nullable)
    storage.write(lambda tx: insert_rows(tx, table, columns, [row("1", "active"), row("2", "resolved")], REPLACE))
    with pytest.raises(BadRow):
        storage.write(lambda tx: insert_rows(tx, table, columns, [row("3", "active")], REPLACE))


def test_opening_a_database_that_does_not_exist_raises_unavailable(tmp_path: Path) -> None:
    config = Config(db_url="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        Storage(config).open(create_engine(config.database_url, **engine_options(config)))


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from sqlalchemy import create_engine, text
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.storage.db import Base, Storage, engine_options
import mirror_stage.storage.notes
from pathlib import Path
config = Config(sqlite_path=Path(sys.argv[1]))
engine = create_engine(config.database_url, **engine_options(config))
storage = Storage(config); storage.open(engine); Base.metadata.create_all(engine)
def write(n): storage.write(lambda tx: tx.execute(text("INSERT INTO ego_state (name, value) VALUES (:n, 'x')"), {"n": str(n)}))
def count(): return storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM ego_state")).scalar())
"""

ENDLESS_QUESTIONS = """
forever = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
gaps, last = [], time.monotonic()
def tick():
    global last
    while True:
        gevent.sleep(0.01); now = time.monotonic(); gaps.append(now - last); last = now
ticker = gevent.spawn(tick)
refused = 0
def ask():
    global refused
    try: storage.read(lambda tx: tx.execute(forever).scalar())
    except Unavailable: refused += 1
asking = [gevent.spawn(ask) for _ in range(2)]
gevent.joinall([gevent.spawn(write, n) for n in range(200)], raise_error=True)
written_at = time.monotonic()
gevent.joinall(asking)
stored = count()
try: storage.read(lambda tx: tx.execute(text("DELETE FROM ego_state")))
except Unavailable: print("read-only", end=" ")
print(stored, refused, time.monotonic() > written_at, max(gaps) < 1.5)
storage.close()
"""


CLOSED_IN_THE_MIDDLE = """
done, refused = [], []
def until_closed(act):
    try:
        while True: done.append(act())
    except Unavailable as why: refused.append(str(why))
busy = [gevent.spawn(until_closed, act) for act in 20 * [count, lambda: write(time.monotonic_ns())]]
gevent.sleep(0.3)
storage.close()
gevent.joinall(busy, timeout=5)
stored = create_engine(config.database_url).connect().execute(text("SELECT count(*) FROM ego_state")).scalar()
print(len(refused), stored == done.count(None) > 20, set(refused))
"""


def under_gevent(script: str, folder: Path) -> str:
    """The output of a script that runs in its own process, with gevent's patches and an open `storage`."""
    command = [sys.executable, "-c", UNDER_GEVENT + script, str(folder / "ego.db")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return answer.stdout.strip()


def test_under_gevent_a_long_query_blocks_neither_the_event_loop_nor_writes(tmp_path: Path) -> None:
    """Two endless questions are interrupted, 200 writers get through beside them, a reader cannot write."""
    assert under_gevent(ENDLESS_QUESTIONS, tmp_path) == "read-only 200 2 True True"


def test_calls_that_run_when_sqlite_closes_finish_and_later_calls_are_refused(tmp_path: Path) -> None:
    """40 greenlets read and write without pause: each ends, and what was answered is stored."""
    said = under_gevent(CLOSED_IN_THE_MIDDLE, tmp_path)
    assert said == "40 True {'the database is not open: EGO is starting or stopping'}"
