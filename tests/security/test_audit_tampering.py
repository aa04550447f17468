"""T21: whoever changes, removes, inserts or swaps rows of the audit by SQL is found out, on each kind of database.

The chain has no key. So it does not show that its newest rows were cut off, or that all of it was written anew: for that
somebody must have kept a later hash elsewhere (`access/chain.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields

import pytest
from sqlalchemy import Connection, text

from mirror_stage.access import store
from mirror_stage.access.chain import Event, Head, fault, linked
from mirror_stage.access.domain import ADMIN, EGO, LOCAL, Actor
from mirror_stage.access.service import People
from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Storage, db
from tests.builders import SetClock

ROWS, TIMES = 60, 50
NOW = 1_800_000_000_000
TEXTS = ("actor", "peer", "what", "subject", "detail", "previous", "hash")
Tamper = Callable[[Connection, random.Random], None]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An open storage with an audit of ROWS rows."""
    config = Config(sqlite_path=tmp_path_factory.mktemp("audit") / "ego.db")
    if request.param == "postgresql":
        config = Config(db_url=request.getfixturevalue("postgresql").new_database())
    app = create_app(config, with_storage=False)
    storage: Storage = app.extensions["mirror_stage"][Storage]
    migrate.upgrade(app)
    with app.app_context():
        if not storage.is_open:
            storage.open(db.engine)
        storage.write(record)
        yield storage
        storage.close()


def record(tx: Connection) -> None:
    for number in range(ROWS):
        who = Actor(LOCAL, f"user-{number % 3}", "10.0.0.7" if number % 2 else None, ADMIN)
        detail = None if number % 4 else f"web-{number % 5}: reboot"
        store.record(tx, who, Event("command-created", f"id-{number}", detail), NOW + number)


def change(tx: Connection, chosen: random.Random) -> None:
    column = chosen.choice(["at", *TEXTS])
    value = chosen.choice(["at + 1", "at - 1"]) if column == "at" else f"coalesce({column}, '') || 'x'"
    tx.execute(text(f"UPDATE audit SET {column} = {value} WHERE seq = :seq"), {"seq": chosen.randint(1, ROWS)})


def blank(tx: Connection, chosen: random.Random) -> None:
    """Nothing in the place of a text, or an empty text in the place of nothing."""
    column = chosen.choice(["peer", "detail"])
    swapped = f"CASE WHEN {column} IS NULL THEN '' ELSE NULL END"
    tx.execute(text(f"UPDATE audit SET {column} = {swapped} WHERE seq = :seq"), {"seq": chosen.randint(1, ROWS)})


def remove(tx: Connection, chosen: random.Random) -> None:
    first = chosen.randint(1, ROWS - 5)
    tx.execute(text("DELETE FROM audit WHERE seq BETWEEN :a AND :b"), {"a": first, "b": first + chosen.randint(0, 3)})


def remove_and_renumber(tx: Connection, chosen: random.Random) -> None:
    seq = chosen.randint(1, ROWS - 1)
    tx.execute(text("DELETE FROM audit WHERE seq = :seq"), {"seq": seq})
    tx.execute(text("UPDATE audit SET seq = seq + 1000 WHERE seq > :seq"), {"seq": seq})
    tx.execute(text("UPDATE audit SET seq = seq - 1001 WHERE seq > 1000"))


def insert(tx: Connection, chosen: random.Random) -> None:
    """A copy of a row, as the next one after the newest or before the oldest."""
    place = chosen.choice(["(SELECT max(seq) + 1 FROM audit)", "0", "-1"])
    columns = ", ".join(["at", *TEXTS])
    copy = f"INSERT INTO audit (seq, {columns}) SELECT {place}, {columns} FROM audit WHERE seq = :seq"
    tx.execute(text(copy), {"seq": chosen.randint(1, ROWS)})


def swap(tx: Connection, chosen: random.Random) -> None:
    one, other = chosen.sample(range(1, ROWS + 1), 2)
    for before, after in ((one, 1_000), (other, one), (1_000, other)):
        tx.execute(text("UPDATE audit SET seq = :after WHERE seq = :before"), {"before": before, "after": after})


TAMPERS: tuple[Tamper, ...] = (change, blank, remove, remove_and_renumber, insert, swap)


def what_is_wrong(tx: Connection) -> str | None:
    return fault(store.audit_begin(tx), store.audit_rows(tx, None, 10 * ROWS))


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found_out_every_time(storage: Storage, tamper: Tamper) -> None:
    chosen = random.Random(tamper.__name__)
    for number in range(TIMES):

        def attempt(tx: Connection) -> tuple[bool, str | None]:
            before = store.audit_rows(tx, None, 10 * ROWS)
            assert what_is_wrong(tx) is None
            savepoint = tx.begin_nested()
            tamper(tx, chosen)
            found = store.audit_rows(tx, None, 10 * ROWS) != before, what_is_wrong(tx)
            savepoint.rollback()
            return found

        is_changed, trouble = storage.write(attempt)
        assert is_changed, f"attempt {number} has changed nothing"
        assert trouble is not None, f"attempt {number} was not noticed"


def test_a_row_before_the_first_is_found_out_too(storage: Storage) -> None:
    """`audit list` shows it, so `audit verify` has to read it."""
    people = People(storage, SetClock(NOW + ROWS))
    forged = linked(Head(-2), NOW, "ada", None, Event("command-created", "id-0", "web-01: reboot"))
    columns = ", ".join(each.name for each in fields(forged))
    values = ", ".join(f":{each.name}" for each in fields(forged))
    storage.write(lambda tx: tx.execute(text(f"INSERT INTO audit ({columns}) VALUES ({values})"), asdict(forged)))
    try:
        assert forged in people.audit(1, 10 * ROWS)[0]
        trouble, _, _ = people.verify_audit(EGO)
        assert trouble == "row -1 comes before row 1, which is the first"
    finally:
        storage.write(lambda tx: tx.execute(text("DELETE FROM audit WHERE seq = -1")))
    assert people.verify_audit(EGO)[0] is None
