"""All SQL of the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, func, select

from mirror_stage.alerts.domain import Alert
from mirror_stage.alerts.models import AlertRow
from mirror_stage.storage.rows import REPLACE, insert_rows

_TABLE: Table = AlertRow.__table__  # type: ignore[assignment]
_COLUMNS = tuple(column.name for column in _TABLE.columns)


def save(tx: Connection, alerts: Sequence[Alert]) -> None:
    """Write alerts as they are now; the resolved ones first, so that never two are active for one host and rule."""
    in_order = sorted(alerts, key=lambda alert: alert.status == "active")
    insert_rows(tx, _TABLE, _COLUMNS, [_row(alert) for alert in in_order], REPLACE)


def _row(alert: Alert) -> tuple[Any, ...]:
    """A row. Its numbers are floats: rules say 80 and 0.9, and psycopg refuses an array of both kinds."""
    told = {
        "subject": alert.subject or "",
        "threshold": float(alert.threshold),
        "current_value": float(alert.current_value),
    }
    return tuple(told[name] if name in told else getattr(alert, name) for name in _COLUMNS)


def load_active(tx: Connection) -> list[Alert]:
    """Every active alert."""
    return [_alert(row) for row in tx.execute(select(_TABLE).where(_TABLE.c.status == "active")).mappings()]


def page(tx: Connection, filters: dict[str, str], offset: int, limit: int) -> tuple[list[Alert], int]:
    """One page of alerts, newest first, and how many there are. `filters`: hostname, metric, status."""
    wanted = select(_TABLE).where(*(_TABLE.c[name] == value for name, value in filters.items()))
    newest_first = wanted.order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc()).offset(offset).limit(limit)
    total: int = tx.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
    return [_alert(row) for row in tx.execute(newest_first).mappings()], total


def _alert(row: RowMapping) -> Alert:
    values = {name: row[name] for name in _COLUMNS} | {"subject": row["subject"] or None}
    return Alert(**values, told_value=round(row["current_value"], 1), told_at=row["updated_at"])
