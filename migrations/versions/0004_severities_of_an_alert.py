"""The earlier severities of an alert. They do not follow from its values, because of hysteresis.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert_severities",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "until"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("alert_severities")
