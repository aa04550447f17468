"""The past of the twin: the identities of hosts, and indexes to find the alerts and transitions of a moment.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The past of the hosts before this migration is not known: take their present description for all of it.
KNOWN_TODAY = """
INSERT INTO host_identities (
    host_id, since, is_present, counts_from, clock_offset_ms, ip, tags, rack, position_x, position_y, position_z,
    agent_version, platform, memory_total_bytes, net_capacity_gbps
)
SELECT id, first_seen_at, true, first_seen_at, at - received_at, ip, tags, rack, position_x, position_y, position_z,
    agent_version, platform, memory_total_bytes, net_capacity_gbps
FROM host_metrics WHERE at IS NOT NULL AND first_seen_at IS NOT NULL
"""
REMOVED = """
INSERT INTO host_identities (host_id, since, is_present, counts_from, clock_offset_ms)
SELECT id, removed_at, false, removed_at, 0 FROM host_metrics WHERE removed_at > first_seen_at
"""


def upgrade() -> None:
    op.create_table(
        "host_identities",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("is_present", sa.Boolean(), nullable=False),
        sa.Column("counts_from", sa.BigInteger(), nullable=False),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.Column("rack", sa.Text(), nullable=True),
        sa.Column("position_x", sa.Double(), nullable=True),
        sa.Column("position_y", sa.Double(), nullable=True),
        sa.Column("position_z", sa.Double(), nullable=True),
        sa.Column("agent_version", sa.Text(), nullable=True),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("memory_total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("net_capacity_gbps", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host_metrics.id"]),
        sa.PrimaryKeyConstraint("host_id", "since"),
        sqlite_with_rowid=False,
    )
    op.execute(KNOWN_TODAY)
    op.execute(REMOVED)
    op.create_index("alerts_by_end", "alerts", ["resolved_at"])
    op.create_index("command_events_by_time", "command_events", ["at", "name", "status"])


def downgrade() -> None:
    op.drop_index("command_events_by_time", "command_events")
    op.drop_index("alerts_by_end", "alerts")
    op.drop_table("host_identities")
