"""Silences, maintenance and mute times, each version of them.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quiet_versions",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.Column("replaced_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id", "number"),
    )
    newest = sa.text("replaced_at IS NULL")
    op.create_index(
        "quiet_versions_newest", "quiet_versions", ["ends_at"], sqlite_where=newest, postgresql_where=newest
    )
    op.create_index("quiet_versions_replaced", "quiet_versions", ["replaced_at"])


def downgrade() -> None:
    op.drop_table("quiet_versions")
