"""Statistics of the database: rows and size of every table, time range and bytes per row of every tier."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND, to_optional_text
from mirror_stage.storage.backup import size
from mirror_stage.storage.db import Base


@dataclass(frozen=True)
class TableStats:
    """A table. `bytes` includes its indexes; None if the database does not know them."""

    name: str
    rows: int
    bytes: int | None


@dataclass(frozen=True)
class TierStats:
    """A tier of the history, with its oldest and newest instant."""

    resolution: str
    rows: int
    bytes: int | None
    oldest: str | None
    newest: str | None

    @property
    def bytes_per_row(self) -> float | None:
        return round(self.bytes / self.rows, 1) if self.bytes is not None and self.rows else None


@dataclass(frozen=True)
class Stats:
    """The whole database. `reusable_bytes` are free inside the file, `disk_free_bytes` on its disk."""

    database: str
    revision: str | None
    bytes: int
    log_bytes: int | None
    reusable_bytes: int | None
    disk_free_bytes: int | None
    tables: tuple[TableStats, ...]
    tiers: tuple[TierStats, ...]


def gather(tx: Connection, config: Config, revision: str | None, tiers: Iterable[tuple[str, str]]) -> Stats:
    """The statistics of a database; `tiers` are (resolution, table). Reads every table once."""
    on_postgresql = tx.dialect.name == "postgresql"
    if on_postgresql:
        tx.execute(text("SET LOCAL statement_timeout = 0"))  # counting may take long; only the caller waits
    names = [name for name in Base.metadata.tables if _is_there(tx, name)]  # an older schema has fewer tables
    bytes_of = _postgresql_sizes(tx, names) if on_postgresql else _sqlite_sizes(tx)
    tables = [
        TableStats(name, tx.execute(text(f"SELECT count(*) FROM {name}")).scalar_one(), bytes_of.get(name))
        for name in sorted(names)
    ]
    by_name = {table.name: table for table in tables}
    found = [_tier(tx, resolution, by_name[table]) for resolution, table in tiers if table in by_name]
    if on_postgresql:
        total: int = tx.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        where = tx.engine.url.render_as_string(hide_password=True)
        return Stats(where, revision, total, None, None, None, tuple(tables), tuple(found))
    path = config.sqlite_path.absolute()
    log = path.with_name(f"{path.name}-wal")
    pages, free, page_bytes = (
        tx.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "freelist_count", "page_size")
    )
    return Stats(
        str(path),
        revision,
        pages * page_bytes,
        log.stat().st_size if log.exists() else 0,
        free * page_bytes,
        shutil.disk_usage(path.parent).free,
        tuple(tables),
        tuple(found),
    )


def _is_there(tx: Connection, name: str) -> bool:
    if tx.dialect.name == "postgresql":
        return bool(tx.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}).scalar_one())
    return bool(tx.execute(text("SELECT count(*) FROM sqlite_master WHERE name = :name"), {"name": name}).scalar_one())


def _tier(tx: Connection, resolution: str, table: TableStats) -> TierStats:
    found = tx.execute(text(f"SELECT min(at_second), max(at_second) FROM {table.name}")).one()
    oldest, newest = (to_optional_text(None if second is None else second * SECOND) for second in found)
    return TierStats(resolution, table.rows, table.bytes, oldest, newest)


def _sqlite_sizes(tx: Connection) -> dict[str, int]:
    """Bytes by table, with its indexes. Empty if SQLite was built without dbstat."""
    if not tx.execute(text("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')")).scalar_one():
        return {}
    rows = tx.execute(
        text(
            "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name "
            "WHERE s.aggregate = TRUE GROUP BY m.tbl_name"
        )
    )
    return {name: int(total) for name, total in rows}


def _postgresql_sizes(tx: Connection, names: list[str]) -> dict[str, int]:
    """Bytes by table, with its indexes; for hypertables of TimescaleDB with all chunks."""
    size_of = "pg_total_relation_size(oid)"
    if tx.execute(text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")).first():
        size_of = f"coalesce(hypertable_size(oid::regclass), {size_of})"
    statement = text(
        f"SELECT relname, {size_of} FROM pg_class"
        " WHERE relname = ANY(:names) AND relnamespace = current_schema()::regnamespace"
    )
    return {name: int(total) for name, total in tx.execute(statement, {"names": names})}


def to_json(stats: Stats) -> str:
    """The statistics as JSON: bytes are whole numbers, instants ISO 8601, unknown values null."""
    document = asdict(stats)
    for row, tier in zip(document["tiers"], stats.tiers, strict=True):
        row["bytes_per_row"] = tier.bytes_per_row
    return json.dumps({_camel(name): _camelled(value) for name, value in document.items()}, indent=2)


def _camelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel(name): _camelled(inner) for name, inner in value.items()}
    return [_camelled(inner) for inner in value] if isinstance(value, list | tuple) else value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def to_text(stats: Stats) -> str:
    """The statistics as text for people, in aligned columns."""
    about = [f"{stats.database}, schema {stats.revision or 'empty'}: {size(stats.bytes)}"]
    parts = (
        ("log", stats.log_bytes),
        ("reusable inside", stats.reusable_bytes),
        ("free on the disk", stats.disk_free_bytes),
    )
    about += [f"{name} {size(count)}" for name, count in parts if count is not None]
    tables: list[tuple[str, ...]] = [("table", "rows", "size")]
    tables += [(table.name, f"{table.rows:,}", _size(table.bytes)) for table in stats.tables]
    tiers: list[tuple[str, ...]] = [("tier", "rows", "size", "bytes a row", "oldest", "newest")]
    for tier in stats.tiers:
        density = "-" if tier.bytes_per_row is None else f"{tier.bytes_per_row:,.1f}"
        tiers.append(
            (tier.resolution, f"{tier.rows:,}", _size(tier.bytes), density, tier.oldest or "-", tier.newest or "-")
        )
    return "\n\n".join([", ".join(about), _columns(tables), _columns(tiers)])


def _size(count: int | None) -> str:
    return "-" if count is None else size(count)


def _columns(rows: list[tuple[str, ...]]) -> str:
    """The rows as aligned text: the first column to the left, the others to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
