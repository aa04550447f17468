"""The signatures of commands and of cancels.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS = ("signed", "signed_cancel")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("commands", sa.Column(name, sa.Text(), nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("commands", name)
