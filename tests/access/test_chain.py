"""The audit as a chain of hashes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirror_stage.access.chain import BEGINNING, Event, Head, Row, fault, linked


def chain(length: int, head: Head | None = None) -> list[Row]:
    head, rows = head or Head(), []
    for number in range(length):
        row = linked(head, 1_000 + number, "ada", "10.0.0.7", Event("token-created", f"t{number}", None))
        head = Head(row.seq, row.hash)
        rows.append(row)
    return rows


def test_a_chain_begins_with_one_and_is_whole() -> None:
    rows = chain(5)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].previous == BEGINNING
    assert fault(Head(), rows) is None
    assert fault(Head(), []) is None


@pytest.mark.parametrize("field", ["at", "actor", "peer", "what", "subject", "detail", "previous", "hash"])
def test_a_row_that_was_changed_is_noticed(field: str) -> None:
    rows = chain(5)
    rows[2] = replace(rows[2], **{field: 7 if field == "at" else "other"})
    assert "row 3" in (fault(Head(), rows) or "") or "row 4" in (fault(Head(), rows) or "")


def test_a_row_that_was_removed_inserted_or_moved_is_noticed() -> None:
    rows = chain(5)
    assert "row 3 is missing" in (fault(Head(), rows[:2] + rows[3:]) or "")
    assert "row 1 is missing" in (fault(Head(), rows[1:]) or "")
    assert fault(Head(), [*rows[:2], rows[3], rows[2], rows[4]])
    renumbered = [replace(row, seq=row.seq - 1) for row in rows[3:]]
    assert "does not follow" in (fault(Head(), rows[:2] + renumbered) or "")


def test_a_chain_goes_on_behind_what_was_pruned() -> None:
    rows = chain(5)
    assert fault(Head(rows[1].seq, rows[1].hash), rows[2:]) is None
    assert fault(Head(rows[1].seq, BEGINNING), rows[2:])


def test_texts_of_two_fields_do_not_run_together() -> None:
    one, other = (linked(Head(), 1, "ada", None, Event("a", *pair)).hash for pair in (("b", "c"), ("bc", "")))
    assert one != other
