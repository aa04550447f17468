"""Inserts many rows with one statement: with `json_each` on SQLite, `unnest` on PostgreSQL.

`executemany` of sqlite3 releases the interpreter lock at every row. Beside a busy Python thread it took 50 times as long
for 1,000 rows as one statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, Table

KEEP_FIRST = "nothing"
REPLACE = "update"


def insert_rows(
    tx: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str
) -> int:
    """Insert `rows` (values in the order of `columns`). Returns how many were stored.

    If the primary key exists, `KEEP_FIRST` keeps the stored row and `REPLACE` overwrites the named columns.
    """
    if not rows:
        return 0
    statement = _insert_statement(table, columns, conflict, tx.dialect.name)
    return tx.exec_driver_sql(statement, _parameters(tx, rows)).rowcount


def _parameters(tx: Connection, rows: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    if tx.dialect.name == "sqlite":
        return (orjson.dumps(rows).decode(),)
    return tuple(list(column) for column in zip(*rows, strict=True))


def insert_json(tx: Connection, table: Table, columns: tuple[str, ...], rows: str, conflict: str) -> int:
    """The same for rows that are one JSON text already; SQLite only."""
    return tx.exec_driver_sql(_insert_statement(table, columns, conflict, "sqlite"), (rows,)).rowcount


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


@lru_cache(maxsize=64)
def _insert_statement(table: Table, columns: tuple[str, ...], conflict: str, dialect: str) -> str:
    names = ", ".join(columns)
    keys = [column.name for column in table.primary_key]
    if dialect == "sqlite":
        values = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(columns)))
        source = f"SELECT {values} FROM json_each(?) WHERE true"  # without WHERE, SQLite parses ON CONFLICT as the ON of a join
    else:
        arrays = ", ".join(f"%s::{table.c[name].type.compile(_postgresql())}[]" for name in columns)
        source = f"SELECT * FROM unnest({arrays})"
    action = "DO NOTHING"
    if conflict == REPLACE:
        sets = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
        action = f"DO UPDATE SET {sets}"
    return f"INSERT INTO {table.name} ({names}) {source} ON CONFLICT ({', '.join(keys)}) {action}"


def _postgresql() -> Any:
    from sqlalchemy.dialects import postgresql

    return postgresql.dialect()
