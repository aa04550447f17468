"""Groups of alerts, what has to be sent about them, and which events of alerts are taken up.

What happened before this migration counts as taken: nobody is told of it.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alert_events", sa.Column("is_taken", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE alert_events SET is_taken = true")
    op.create_index(
        "alert_events_to_take",
        "alert_events",
        ["at", "alert_id", "version"],
        sqlite_where=sa.text("NOT is_taken"),
        postgresql_where=sa.text("NOT is_taken"),
    )
    op.create_table(
        "alert_groups",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("rack", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("first_told_at", sa.BigInteger(), nullable=True),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("told_severity", sa.Text(), nullable=True),
        sa.Column("told_to", sa.Text(), nullable=False),
        sa.Column("is_flapping", sa.Boolean(), nullable=False),
        sa.Column("is_escalated", sa.Boolean(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("alert_groups_by_end", "alert_groups", ["closed_at"])
    op.create_table(
        "alert_group_members",
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("fired_at", sa.BigInteger(), nullable=False),
        sa.Column("fires", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("is_unknown", sa.Boolean(), nullable=False),
        sa.Column("told_severity", sa.Text(), nullable=True),
        sa.Column("quiet", sa.Text(), nullable=False),
        sa.Column("was_quiet", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "hostname", "rule", "subject"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_since", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("merged_into", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    waits = sa.text("state IN ('queued', 'retry', 'leased')")
    op.create_index(
        "deliveries_waiting",
        "deliveries",
        ["channel", "due_since", "sequence"],
        sqlite_where=waits,
        postgresql_where=waits,
    )
    op.create_index("deliveries_of_group", "deliveries", ["group_id", "channel"])
    op.create_index("deliveries_newest_first", "deliveries", ["created_at", "id"])
    op.create_index("deliveries_of_channel", "deliveries", ["channel", "ended_at"])


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("alert_group_members")
    op.drop_table("alert_groups")
    op.drop_index("alert_events_to_take", "alert_events")
    with op.batch_alter_table("alert_events") as table:
        table.drop_column("is_taken")
