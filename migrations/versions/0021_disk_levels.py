"""How full each disk was, hour by hour.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "disk_levels",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mount", sa.Text(), nullable=False),
        sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("most_used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "mount", "at_second"),
        sqlite_with_rowid=False,
    )
    op.create_index("disk_levels_by_hour", "disk_levels", ["at_second"])


def downgrade() -> None:
    op.drop_table("disk_levels")
