"""Alerts that are unknown or acknowledged, who did what to them, and what waits to fire or to resolve.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

OF_ALERTS = {
    "unknown_since": sa.BigInteger,
    "ack_by": sa.Text,
    "ack_note": sa.Text,
    "ack_at": sa.BigInteger,
    "ack_until": sa.BigInteger,
}
OF_EVENTS = {"actor": sa.Text, "note": sa.Text, "until": sa.BigInteger}


def upgrade() -> None:
    for table, columns in (("alerts", OF_ALERTS), ("alert_events", OF_EVENTS)):
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind(), nullable=True))
    op.create_table(
        "alert_waits",
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("judged_at", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("missing_since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hostname", "metric", "subject"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alert_acks",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("alert_acks")
    op.drop_table("alert_waits")
    for table, columns in (("alert_events", OF_EVENTS), ("alerts", OF_ALERTS)):
        for name in columns:
            op.drop_column(table, name)
