"""The busiest processes of each host, minute by minute.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "process_minutes",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("processes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "at_second"),
        sqlite_with_rowid=False,
    )
    op.create_index("process_minutes_by_minute", "process_minutes", ["at_second"])


def downgrade() -> None:
    op.drop_table("process_minutes")
