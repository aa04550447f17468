"""Inserts many rows with few statements: `VALUES` with many rows on SQLite, one JSON text on PostgreSQL.

SQLite: `executemany` of sqlite3 releases the interpreter lock at every row. Beside a busy Python thread it took 50 times
as long for 1,000 rows as one statement. A JSON text (`json_each`) takes 12 times as much CPU as `VALUES` for rows of 38
columns, because SQLite searches the text of the row again for each column.

PostgreSQL: arrays (`unnest`) take 20 times as much CPU in Python as a JSON text, because psycopg writes them value by
value, and four times as long in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import Connection, Table

from mirror_stage.core.problems import BadRow

KEEP_FIRST = "nothing"
REPLACE = "update"
VARIABLES_MAX = 32_766  # of one statement of SQLite: https://www.sqlite.org/limits.html, SQLITE_MAX_VARIABLE_NUMBER


def insert_rows(
    tx: Connection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    conflict: str,
    *,
    highest: tuple[str, ...] = (),
) -> int:
    """Insert `rows` (values in the order of `columns`). Returns how many were stored.

    If the primary key exists, `KEEP_FIRST` keeps the stored row and `REPLACE` overwrites the named columns; of those in
    `highest` the higher value stays. Raises BadRow if a value cannot be written as JSON, for PostgreSQL.
    """
    if not rows:
        return 0
    if tx.dialect.name == "sqlite":
        return _insert_into_sqlite(tx, table, columns, rows, conflict, highest)
    try:
        told = orjson.dumps(rows).decode()
    except TypeError as error:  # a text that is no Unicode, a number beyond 64 bits
        raise BadRow(str(error)) from error
    return tx.exec_driver_sql(_insert_json(table, columns, conflict, highest), (told,)).rowcount


def _insert_into_sqlite(
    tx: Connection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    conflict: str,
    highest: tuple[str, ...],
) -> int:
    """Each statement takes a power of two of rows, so that sqlite3 finds it among the statements it has prepared."""
    done = stored = 0
    while done < len(rows):
        some = 1 << min(len(rows) - done, VARIABLES_MAX // len(columns)).bit_length() - 1
        values = tuple(chain.from_iterable(rows[done : done + some]))
        stored += tx.exec_driver_sql(_insert_values(table, columns, some, conflict, highest), values).rowcount
        done += some
    return stored


def given(
    tx: Connection, name: str, columns: tuple[str, ...], rows: Sequence[Sequence[int]]
) -> tuple[str, dict[str, Any]]:
    """(SQL, parameters) of a common table expression with `rows` of whole numbers, for a query about many hosts at once."""
    if tx.dialect.name == "sqlite":
        values = ", ".join(f"json_extract(value, '$[{n}]') AS {column}" for n, column in enumerate(columns))
        return f"{name} AS MATERIALIZED (SELECT {values} FROM json_each(:{name}))", {name: orjson.dumps(rows).decode()}
    arrays = ", ".join(f"CAST(:{name}_{column} AS bigint[])" for column in columns)
    table = f"{name}({', '.join(columns)}) AS MATERIALIZED (SELECT * FROM unnest({arrays}))"
    return table, {f"{name}_{column}": [row[n] for row in rows] for n, column in enumerate(columns)}


@lru_cache(maxsize=256)
def _insert_values(
    table: Table, columns: tuple[str, ...], rows: int, conflict: str, highest: tuple[str, ...] = ()
) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return _insert(table, columns, f"VALUES {', '.join([row] * rows)}", conflict, highest)


@lru_cache(maxsize=64)
def _insert_json(table: Table, columns: tuple[str, ...], conflict: str, highest: tuple[str, ...] = ()) -> str:
    types = (table.c[name].type.compile(_postgresql()) for name in columns)
    values = ", ".join(f"(value ->> {n})::{type_}" for n, type_ in enumerate(types))
    return _insert(table, columns, f"SELECT {values} FROM jsonb_array_elements(%s::jsonb)", conflict, highest)


def _insert(table: Table, columns: tuple[str, ...], source: str, conflict: str, highest: tuple[str, ...]) -> str:
    keys = [column.name for column in table.primary_key]
    action = "DO NOTHING"
    if conflict == REPLACE:
        sets = ", ".join(f"{name} = {_new(table, name, highest)}" for name in columns if name not in keys)
        action = f"DO UPDATE SET {sets}"
    return f"INSERT INTO {table.name} ({', '.join(columns)}) {source} ON CONFLICT ({', '.join(keys)}) {action}"


def _new(table: Table, name: str, highest: tuple[str, ...]) -> str:
    theirs, mine = f"excluded.{name}", f"{table.name}.{name}"
    return f"CASE WHEN {mine} > {theirs} THEN {mine} ELSE {theirs} END" if name in highest else theirs


def _postgresql() -> Any:
    from sqlalchemy.dialects import postgresql

    return postgresql.dialect()
