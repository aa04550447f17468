"""Copies everything from one database into another, of either kind. A copy that was interrupted goes on where it stopped.

Each piece is committed together with a mark that says how far its table is. While the table of these marks is there, the
copy is not finished, and no EGO uses the target (`foreign.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    Text,
    inspect,
    literal,
    null,
    select,
    text,
    tuple_,
)

from mirror_stage.core.problems import BadRow, Conflict, Unavailable
from mirror_stage.storage import timescale
from mirror_stage.storage.db import Base, Storage
from mirror_stage.storage.foreign import COPYING
from mirror_stage.storage.notes import EgoState
from mirror_stage.storage.pieces import Pace
from mirror_stage.storage.rows import KEEP_FIRST, REPLACE, insert_rows

NUMBERS_AT_ONCE, TEXTS_AT_ONCE = 10_000, 100  # rows of a piece at most: a row of the second kind may be large
DONE = "done"
_MADE_BY_A_START = frozenset({"ego_state", "history_tiers"})  # they have rows before anything was stored
# "source": the checksum of its notes when the copy began; a table's name: the key of its last copied row, or DONE
_MARKS = Table(COPYING, MetaData(), Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

Row = tuple[Any, ...]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Copied:
    """A table that is the same on both sides. The checksum does not depend on the order of the rows."""

    table: str
    rows: int
    checksum: str


def is_begun(target: Storage) -> bool:
    """Whether the target holds a copy that is not finished."""
    return target.own.read(lambda tx: inspect(tx).has_table(COPYING))


def must_be_empty(target: Storage) -> None:
    """Raise Conflict if an EGO has stored anything in the target."""
    table = target.own.read(_table_with_rows)
    if table is not None:
        raise Conflict(
            f"the target has data already, in the table {table}: name an empty database; nothing was changed"
        )


def copy(source: Storage, target: Storage, tell: Tell) -> tuple[list[Copied], bool]:
    """Copy every row, then compare both sides. Returns what was copied, and whether an earlier copy went on.

    The caller owns both databases, and both have the newest schema. Raises Conflict if a row cannot be stored in the
    target or if the two sides differ at the end.
    """
    tables = Base.metadata.sorted_tables  # a table stands after those that it refers to
    readers = {table.name: _Reader(source, table) for table in tables}
    state = readers[EgoState.__tablename__].examine().checksum  # EGO changes its notes whenever it runs
    marks = target.own.read(_marks)
    is_resumed = marks.get("source") == state
    if not is_resumed:
        target.own.write(partial(_begin, state=state))
        marks = {}
    for number, table in enumerate(tables, start=1):
        mark, where = marks.get(table.name), f"copying table {number} of {len(tables)}, {table.name}"
        for rows in _copy_table(readers[table.name], target, mark):
            tell(f"{where}: {rows:,} rows")
    _go_on_numbering(source, target)
    copied = [_compared(readers[table.name], _Reader(target, table), tell) for table in tables]
    target.own.write(_drop_marks)
    return copied, is_resumed


# ------------------------------------------------------------------ the target


def _table_with_rows(tx: Connection) -> str | None:
    there = set(inspect(tx).get_table_names())
    for table in Base.metadata.sorted_tables:
        if (
            table.name in there - _MADE_BY_A_START
            and tx.execute(select(literal(1)).select_from(table).limit(1)).first()
        ):
            return table.name
    return None


def _marks(tx: Connection) -> dict[str, str]:
    if not inspect(tx).has_table(COPYING):
        return {}
    return dict(tx.execute(select(_MARKS)).tuples().all())


def _begin(tx: Connection, state: str) -> None:
    """Empty the target, which holds nothing or an unfinished copy, and mark it as the copy of a source in this state."""
    if timescale.engine_of(tx) is timescale.Engine.CONTINUOUS:
        for table in timescale.drop_aggregates(tx):  # nothing can be inserted there: EGO's own tables take their place
            Base.metadata.tables[table].create(tx)
    for table in reversed(Base.metadata.sorted_tables):
        tx.execute(table.delete())
    _MARKS.create(tx, checkfirst=True)
    tx.execute(_MARKS.delete())
    _mark(tx, "source", state)


def _mark(tx: Connection, name: str, value: str) -> None:
    insert_rows(tx, _MARKS, ("name", "value"), [(name, value)], REPLACE)


def _drop_marks(tx: Connection) -> None:
    _MARKS.drop(tx)


def _insert(tx: Connection, table: Table, rows: list[Row]) -> None:
    insert_rows(tx, table, tuple(column.name for column in table.columns), rows, KEEP_FIRST)


# ------------------------------------------------------------------ one table


class _Reader:
    """Reads a table in pieces, in the order of its primary key."""

    def __init__(self, storage: Storage, table: Table):
        self.storage, self.table = storage, table
        self._keys = list(table.primary_key)
        self._places = [table.columns.keys().index(key.key) for key in self._keys]
        self._columns = storage.own.read(partial(_columns_of, table=table))
        self._most = TEXTS_AT_ONCE if any(isinstance(each.type, Text) for each in table.columns) else NUMBERS_AT_ONCE

    def key_of(self, row: Row) -> list[Any]:
        return [row[place] for place in self._places]

    def pace(self) -> Pace:
        return Pace(self._most // 10, least=1, most=self._most)

    def after(self, key: list[Any] | None, count: int) -> Callable[[Connection], list[Row]]:
        """The query for the next rows after a key, from the beginning without one."""
        query = select(*self._columns).order_by(*self._keys).limit(count)
        if key is not None:
            query = query.where(tuple_(*self._keys) > tuple_(*key))
        return lambda tx: [tuple(row) for row in tx.execute(query)]

    def pieces(self) -> Iterator[list[Row]]:
        """All rows, piece by piece."""
        pace, key = self.pace(), None
        while True:
            with pace.piece() as piece:
                rows = self.storage.own.read(piece.timed(self.after(key, piece.size)))
            if not rows:
                return
            yield rows
            key = self.key_of(rows[-1])

    def examine(self, tell: Tell = lambda _progress: None) -> Copied:
        """Count the rows and sum up their hashes."""
        count, total = 0, 0
        for rows in self.pieces():
            count += len(rows)
            for row in rows:
                total += int.from_bytes(hashlib.blake2b(_written(row), digest_size=16).digest(), "big")
            tell(f"{count:,} rows")
        return Copied(self.table.name, count, f"{total % 2**128:032x}")


def _columns_of(tx: Connection, table: Table) -> list[ColumnElement[Any]]:
    """The columns of a table. An aggregate of TimescaleDB lacks those of newer metrics: no sample in it has them."""
    there = {column["name"] for column in inspect(tx).get_columns(table.name)}
    return [
        column if column.name in there else literal(0) if column.name.endswith("_count") else null()
        for column in table.columns
    ]


def _written(row: Row) -> bytes:
    """A row as bytes, the same on every database."""
    found = orjson.dumps(row)
    if b"-0.0" in found:  # SQLite stores it as 0.0
        found = orjson.dumps([0.0 if isinstance(value, float) and value == 0 else value for value in row])
    return found


def _copy_table(reader: _Reader, target: Storage, mark: str | None) -> Iterator[int]:
    """Copy the rows of a table that come after its mark. Yields after each piece how many it has copied."""
    table, pace, count = reader.table, reader.pace(), 0
    key: list[Any] | None = None if mark in {None, DONE} else json.loads(mark)
    while mark != DONE:
        with pace.piece() as piece:
            rows = reader.storage.own.read(piece.timed(reader.after(key, piece.size)))
            key = reader.key_of(rows[-1]) if rows else None
            mark = json.dumps(key) if rows else DONE
            try:
                target.own.write(piece.timed(partial(_store, table=table, rows=rows, mark=mark)))
            except BadRow as why:
                raise Conflict(
                    f"{table.name}: a row between {reader.key_of(rows[0])} and {key} cannot be stored in the target: {why}"
                ) from why
        count += len(rows)
        yield count


def _store(tx: Connection, table: Table, rows: list[Row], mark: str) -> None:
    if rows:
        _insert(tx, table, rows)
    _mark(tx, table.name, mark)


def _compared(reader: _Reader, copy: _Reader, tell: Tell) -> Copied:
    """What both sides hold of a table. Raises Conflict if they differ."""
    name = reader.table.name
    before = reader.examine(lambda progress: tell(f"checking {name}: {progress}"))
    after = copy.examine(lambda progress: tell(f"checking the copy of {name}: {progress}"))
    if before != after:
        raise Conflict(
            f"the copy of {name} differs: {before.rows} rows with checksum {before.checksum}, and in the target {after.rows} "
            f"with {after.checksum}; no EGO will use it: name another database, or empty this one"
        )
    return after


# ------------------------------------------------------------------ numbers that the database gives


def _go_on_numbering(source: Storage, target: Storage) -> None:
    """Let the target number new rows from where the source stands: a number of a row that was pruned is not used again."""
    for table in Base.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None:
            last = source.own.read(partial(_last_number, table=table, column=column.name))
            if last:
                target.own.write(partial(_number_from, table=table, column=column.name, last=last))


def _last_number(tx: Connection, table: Table, column: str) -> int:
    numbers = [f"SELECT max({column}) AS number FROM {table.name}"]
    if tx.dialect.name == "postgresql":
        numbers.append(f"SELECT CASE WHEN is_called THEN last_value END FROM {_sequence(tx, table, column)}")
    else:
        numbers.append(f"SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'")
    found = tx.execute(text(f"SELECT max(number) FROM ({' UNION ALL '.join(numbers)}) AS numbers")).scalar()
    return int(found or 0)


def _number_from(tx: Connection, table: Table, column: str, last: int) -> None:
    if tx.dialect.name == "postgresql":
        tx.execute(text(f"SELECT setval('{_sequence(tx, table, column)}', :last)"), {"last": last})
    elif table.dialect_options["sqlite"]["autoincrement"]:
        tx.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        tx.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), {"name": table.name, "last": last})


def _sequence(tx: Connection, table: Table, column: str) -> str:
    found = tx.execute(
        text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column}
    ).scalar()
    if found is None:
        raise Unavailable(f"{table.name}.{column} has no sequence in PostgreSQL")
    return str(found)
