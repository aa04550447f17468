"""Where a rule, a silence, maintenance or a mute time is kept: in the HUD, or in a file that somebody applies.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TABLES = ("alert_rules", "quiet_versions")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("source", sa.Text(), server_default="hud", nullable=False))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "source")
