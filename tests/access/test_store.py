"""What the tables of people, credentials, sessions and the audit hold, and for how long, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mirror_stage.access import store
from mirror_stage.access.chain import Event, fault
from mirror_stage.access.domain import ADMIN, LOCAL, VIEWER, Actor
from mirror_stage.access.people import CredentialRow, SessionRow, key_of_session, key_of_token
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, MINUTE
from mirror_stage.core.problems import Conflict, NotFound
from mirror_stage.storage.db import Storage
from tests.storages import migrated

NOW = 1_800_000_000_000
WHO = Actor(LOCAL, role=ADMIN, peer="127.0.0.1")


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An open storage with the newest schema and nothing in it."""
    config = Config(sqlite_path=tmp_path / "ego.db")
    if request.param == "postgresql":
        config = Config(db_url=request.getfixturevalue("postgresql").new_database())
    with migrated(config) as storage:
        yield storage


def token(id: str, expires_at: int | None = None, principal: int | None = None) -> CredentialRow:
    return CredentialRow(id, "user", principal, None, VIEWER, NOW, "local", expires_at, None, None, None)


def session(id: str, principal: int, created_at: int = NOW) -> SessionRow:
    return SessionRow(id, principal, created_at, created_at, NOW + DAY, None, None, "vera", VIEWER)


def test_everything_in_the_life_of_a_person(storage: Storage) -> None:
    vera = storage.write(lambda tx: store.add_person(tx, "vera", VIEWER, None, WHO, NOW))
    with pytest.raises(Conflict, match="is there already"):
        storage.write(lambda tx: store.add_person(tx, "vera", ADMIN, None, WHO, NOW))
    storage.write(lambda tx: store.add_credential(tx, token("t1", principal=vera.id), "hash", WHO, NOW))
    storage.write(lambda tx: store.begin_session(tx, session("s1", vera.id), "c", "p", WHO, NOW))
    keys = [key_of_token("t1"), key_of_session("s1"), key_of_token("none")]
    known = storage.read(lambda tx: store.known(tx, keys))
    assert {key: (each.name, each.role, each.trouble(NOW)) for key, each in known.items()} == {
        "token:t1": ("vera", VIEWER, None),
        "session:s1": ("vera", VIEWER, None),
    }
    storage.write(lambda tx: store.set_password(tx, "vera", "argon", WHO, NOW + 1))
    assert storage.read(lambda tx: store.sessions(tx, None, NOW + 1)) == []
    storage.write(lambda tx: store.disable(tx, "vera", WHO, NOW + 2))
    known = storage.read(lambda tx: store.known(tx, keys))
    assert all("disabled" in (each.trouble(NOW + 2) or "") for each in known.values())
    for again in (
        lambda tx: store.disable(tx, "vera", WHO, NOW),
        lambda tx: store.set_password(tx, "no", "x", WHO, NOW),
    ):
        with pytest.raises(NotFound):
            storage.write(again)
    with pytest.raises(Conflict, match="keeps the name"):
        storage.write(lambda tx: store.add_person(tx, "vera", VIEWER, None, WHO, NOW))
    rows, total = storage.read(lambda tx: store.audit_page(tx, 0, 100))
    assert [row.what for row in reversed(rows)] == [
        "user-added",
        "token-created",
        "sign-in",
        "user-password",
        "user-disabled",
    ]
    assert (total, {(row.actor, row.peer) for row in rows}) == (5, {("local", "127.0.0.1")})


def test_a_link_is_used_once_and_only_with_its_secret(storage: Storage) -> None:
    vera = storage.write(lambda tx: store.person_for_link(tx, "vera", VIEWER, WHO, NOW))
    with pytest.raises(Conflict, match="has the role viewer"):
        storage.write(lambda tx: store.person_for_link(tx, "vera", ADMIN, WHO, NOW))
    link = CredentialRow("l1", "link", vera.id, None, VIEWER, NOW, "local", NOW + MINUTE, None, None, None)
    storage.write(lambda tx: store.add_credential(tx, link, "hash", WHO, NOW))

    def use(sha256: str, at: int) -> bool:
        return storage.write(lambda tx: store.use_link(tx, "l1", sha256, at)) is not None

    assert [use("other", NOW), use("hash", NOW + MINUTE), use("hash", NOW), use("hash", NOW)] == [
        False,
        False,
        True,
        False,
    ]
    assert storage.read(store.tokens) == []


def test_of_more_than_20_sessions_of_one_person_the_oldest_ends(storage: Storage) -> None:
    vera = storage.write(lambda tx: store.add_person(tx, "vera", VIEWER, None, WHO, NOW))
    for number in range(store.SESSIONS_OF_PERSON_MAX + 2):
        one = session(f"s{number}", vera.id, NOW - 100 + number)
        storage.write(lambda tx, one=one: store.begin_session(tx, one, "c", "p", WHO, NOW))
    left = [each.id for each in storage.read(lambda tx: store.sessions(tx, vera.id, NOW))]
    assert left == [f"s{number}" for number in range(store.SESSIONS_OF_PERSON_MAX + 1, 1, -1)]


def test_what_is_past_its_time_is_removed_and_the_audit_stays_whole(storage: Storage) -> None:
    vera = storage.write(lambda tx: store.add_person(tx, "vera", VIEWER, None, WHO, NOW - 401 * DAY))
    storage.write(lambda tx: store.record(tx, WHO, Event("read", "old"), NOW - 400 * DAY))
    storage.write(lambda tx: store.add_credential(tx, token("expired", NOW - 91 * DAY), "h", WHO, NOW - 100 * DAY))
    storage.write(lambda tx: store.add_credential(tx, token("endless"), "h", WHO, NOW - 99 * DAY))
    storage.write(lambda tx: store.add_credential(tx, token("revoked"), "h", WHO, NOW - 99 * DAY))
    storage.write(lambda tx: store.revoke(tx, "revoked", WHO, NOW - 89 * DAY))
    storage.write(lambda tx: store.begin_session(tx, session("s1", vera.id), "c", "p", WHO, NOW - 40 * DAY))
    storage.write(lambda tx: store.end_sessions(tx, WHO, NOW - 31 * DAY, only="s1"))
    removed = []
    while not removed or removed[-1]:
        removed.append(storage.write(lambda tx: store.prune(tx, NOW, 1)))
    assert sum(removed) == 4
    assert removed[0] == 3  # at most one of each kind at a time
    assert {each.id for each in storage.read(store.tokens)} == {"endless", "revoked"}
    assert storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM sessions")).scalar()) == 0
    rows = storage.read(lambda tx: store.audit_rows(tx, 0, 100))
    assert rows[0].seq == 3
    assert fault(storage.read(store.audit_begin), rows) is None
    storage.write(lambda tx: tx.execute(text("DELETE FROM audit WHERE seq = 3")))
    rows = storage.read(lambda tx: store.audit_rows(tx, 0, 100))
    assert "row 3 is missing" in (fault(storage.read(store.audit_begin), rows) or "")


def test_numbers_of_the_audit_go_on_after_all_rows_are_pruned(storage: Storage) -> None:
    storage.write(lambda tx: store.record(tx, WHO, Event("read"), NOW - 401 * DAY))
    storage.write(lambda tx: store.prune(tx, NOW, 10))
    storage.write(lambda tx: store.record(tx, WHO, Event("read"), NOW))
    rows = storage.read(lambda tx: store.audit_rows(tx, 0, 100))
    assert [row.seq for row in rows] == [2]
    assert fault(storage.read(store.audit_begin), rows) is None
