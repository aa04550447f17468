"""The highest value that an alert has had. Of the alerts before this it is unknown.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("peak_value", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("alerts", "peak_value")
