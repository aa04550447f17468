"""The file of what was revoked stays as long as what it says. `security/test_revocations.py` restores real backups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror_stage.access.revocations import COMPACTED_FROM, Revocations
from mirror_stage.core.config import Config
from mirror_stage.enrolment import store as enrolment_store
from mirror_stage.storage import notes
from mirror_stage.storage.db import Storage
from tests.builders import SetClock
from tests.storages import migrated


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A database with the newest schema."""
    with migrated(Config(sqlite_path=tmp_path / "ego.db")) as storage:
        yield storage


def revocations(storage: Storage, file: Path) -> Revocations:
    clock = SetClock()
    others = (enrolment_store.revoke_again, enrolment_store.REVOKES)
    return Revocations(storage.own, clock, file, others)  # type: ignore[arg-type]


def lines(twin: str, count: int, hosts: int) -> list[str]:
    """Lines of agents that have renewed their tokens again and again."""
    told = (
        {"twin": twin, "seq": n, "hash": f"{n:064x}", "what": "agent-rotated", "subject": f"h{n % hosts}"}
        for n in range(count)
    )
    return [json.dumps(line) for line in told]


def test_a_file_of_many_renewals_keeps_the_last_one_of_each_host(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "ego.revoked"
    own, other = lines(storage.write(notes.twin_id), COMPACTED_FROM, 3), lines("project5-other", 1, 1)
    file.write_text("\n".join([*other, *own, '{"twin": "cut o']))
    revocations(storage, file).compact()
    assert file.read_text().splitlines() == [*other, *own[-3:]]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_short_file_stays_as_it_is(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "ego.revoked"
    file.write_text("\n".join(lines("project5-other", COMPACTED_FROM - 1, 1)))
    before = file.read_text()
    revocations(storage, file).compact()
    assert file.read_text() == before


def test_without_a_file_there_is_nothing_to_do(storage: Storage, tmp_path: Path) -> None:
    found = revocations(storage, tmp_path / "ego.revoked")
    found.compact()
    assert found.enforce() is None
    assert not (tmp_path / "ego.revoked").exists()
