"""Tiers of history.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLLUPS = ("host_metrics_1m", "host_metrics_15m")
METRICS = (
    "cpu_load",
    "memory_used_percent",
    "swap_used_percent",
    "load_average",
    "cpu_temperature",
    "gpu_temperature",
    "rx_gbps",
    "tx_gbps",
    "utilization_ratio",
    "fullest_disk_percent",
)


def upgrade() -> None:
    op.add_column("host_metric_samples", sa.Column("tx_gbps", sa.Double(), nullable=True))
    op.add_column("host_metric_samples", sa.Column("rx_gbps", sa.Double(), nullable=True))
    for table in ROLLUPS:
        op.create_table(
            table,
            sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("samples", sa.Integer(), nullable=False),
            *(column for metric in METRICS for column in summaries_of(metric)),
            sa.PrimaryKeyConstraint("host_id", "at_second"),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "rollup_dirty",
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_claimed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("resolution", "at_second", "host_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history_tiers",
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("closed_until", sa.BigInteger(), nullable=False),
        sa.Column("done_until", sa.BigInteger(), nullable=False),
        sa.Column("pruned_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resolution"),
    )


def summaries_of(metric: str) -> list[sa.Column]:
    return [
        sa.Column(f"{metric}_min", sa.Integer(), nullable=True),
        sa.Column(f"{metric}_max", sa.Integer(), nullable=True),
        sa.Column(f"{metric}_sum", sa.BigInteger(), nullable=True),
        sa.Column(f"{metric}_count", sa.Integer(), nullable=True),
    ]


def downgrade() -> None:
    op.drop_table("history_tiers")
    op.drop_table("rollup_dirty")
    for table in reversed(ROLLUPS):
        op.drop_table(table)
    op.drop_column("host_metric_samples", "rx_gbps")
    op.drop_column("host_metric_samples", "tx_gbps")
