"""How much the disks of a host read.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COUNTER, RATE = "disk_read_bytes", "disk_read_bytes_per_second"
ROLLUPS = ("host_metrics_1m", "host_metrics_15m")
SUMMARIES = {"min": sa.Integer, "max": sa.Integer, "sum": sa.BigInteger}


def upgrade() -> None:
    for table in ("host_metrics", "host_metric_samples"):
        op.add_column(table, sa.Column(COUNTER, sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column(RATE, sa.Double(), nullable=True))
    for table in own_rollups():
        for what, kind in SUMMARIES.items():
            op.add_column(table, sa.Column(f"{RATE}_{what}", kind(), nullable=True))
        # no sample of the rows that are there has it, and NULL would say that all have
        op.add_column(table, sa.Column(f"{RATE}_count", sa.Integer(), server_default="0", nullable=True))


def own_rollups() -> list[str]:
    """The rollups that are tables: a continuous aggregate of TimescaleDB cannot get a column (`Measure.is_aggregated`)."""
    tables = sa.inspect(op.get_bind()).get_table_names()
    return [table for table in ROLLUPS if table in tables]


def downgrade() -> None:
    for table in own_rollups():
        for what in (*SUMMARIES, "count"):
            op.drop_column(table, f"{RATE}_{what}")
    for table in ("host_metrics", "host_metric_samples"):
        op.drop_column(table, RATE)
        op.drop_column(table, COUNTER)
