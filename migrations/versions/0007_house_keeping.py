"""Pruning in pieces: which hosts of the current minute are pruned, and indexes for queries about the past.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("history_tiers", sa.Column("pruned_hosts", sa.Integer(), server_default="0", nullable=False))
    op.create_index("host_identities_by_time", "host_identities", ["since"])
    op.create_index("alerts_of_rule", "alerts", ["hostname", "metric", "subject", "created_at"])


def downgrade() -> None:
    op.drop_index("alerts_of_rule", "alerts")
    op.drop_index("host_identities_by_time", "host_identities")
    with op.batch_alter_table("history_tiers") as table:
        table.drop_column("pruned_hosts")
