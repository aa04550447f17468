"""Samples with unknown values; the agent that reported a host last, and its primary interface.

Revision ID: 0006
Revises: 0005
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SAMPLES = "host_metric_samples"
NEEDED = ("cpu_load", "memory_used_percent", "load_average", "uptime_seconds")


def upgrade() -> None:
    _require(is_required=False)
    op.add_column("host_metrics", sa.Column("agent_instance", sa.Text(), nullable=True))
    op.add_column("host_metrics", sa.Column("primary_interface", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back. The old tables cannot hold samples with unknown values, so those are deleted."""
    op.drop_column("host_metrics", "primary_interface")
    op.drop_column("host_metrics", "agent_instance")
    op.execute(f"DELETE FROM {SAMPLES} WHERE {' OR '.join(f'{name} IS NULL' for name in NEEDED)}")
    _require(is_required=True)


def _require(*, is_required: bool) -> None:
    """Add NOT NULL to the required columns, or remove it, without copying the table, which may hold a day of samples.

    SQLite has no statement for it. Its documentation (ALTER TABLE, "Making Other Kinds Of Table Schema Changes") edits
    the stored schema for a change like this one, which does not touch the rows.
    """
    if op.get_bind().dialect.name != "sqlite":
        for name in NEEDED:
            op.alter_column(SAMPLES, name, existing_type=sa.Double(), nullable=not is_required)
        return
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    schema = connection.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = ?", (SAMPLES,)).scalar_one()
    for name in NEEDED:
        before, after = rf"\b({name} \w+)( NOT NULL)?", r"\1 NOT NULL" if is_required else r"\1"
        schema, changed = re.subn(before, after, schema)
        if changed != 1:
            raise RuntimeError(f"{SAMPLES}.{name} is not where it was expected in the schema")
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (schema, SAMPLES))
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
