"""The first schema.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("current_value", sa.Double(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.Column("resolved_reason", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.create_index("alerts_newest_first", ["created_at", "id"], unique=False)
        batch_op.create_index("alerts_of_host", ["hostname", "created_at"], unique=False)
        batch_op.create_index(
            "alerts_one_active",
            ["hostname", "metric", "subject"],
            unique=True,
            sqlite_where=sa.text("status = 'active'"),
            postgresql_where=sa.text("status = 'active'"),
        )

    op.create_table(
        "commands",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("timeout_seconds", sa.Double(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("start_reported_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("stdout_bytes", sa.BigInteger(), nullable=True),
        sa.Column("stderr_bytes", sa.BigInteger(), nullable=True),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("retry_of", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("result_digest", sa.Text(), nullable=True),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("output_seq", sa.BigInteger(), nullable=False),
        sa.Column("output_bytes", sa.BigInteger(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("command_folded", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("stdout", sa.Text(), nullable=True),
        sa.Column("stderr", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.create_index("commands_by_status", ["status", "seq"], unique=False)
        batch_op.create_index("commands_leases", ["lease_until"], unique=False)
        batch_op.create_index("commands_of_host", ["hostname", "seq"], unique=False)
        batch_op.create_index("commands_queue", ["hostname", "status", "seq"], unique=False)

    op.create_table(
        "ego_state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "host_metric_samples",
        sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("reported_after_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_after_ms", sa.BigInteger(), nullable=False),
        sa.Column("cpu_load", sa.Double(), nullable=False),
        sa.Column("memory_used_percent", sa.Double(), nullable=False),
        sa.Column("swap_used_percent", sa.Double(), nullable=True),
        sa.Column("load_average", sa.Double(), nullable=False),
        sa.Column("uptime_seconds", sa.Double(), nullable=False),
        sa.Column("cpu_temperature", sa.Double(), nullable=True),
        sa.Column("gpu_temperature", sa.Double(), nullable=True),
        sa.Column("memory_available_bytes", sa.BigInteger(), nullable=True),
        sa.Column("net_bytes_tx", sa.BigInteger(), nullable=True),
        sa.Column("net_bytes_rx", sa.BigInteger(), nullable=True),
        sa.Column("net_capacity_gbps", sa.Double(), nullable=True),
        sa.Column("fullest_disk_percent", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("at_second", "host_id", "at_ms"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "host_metrics",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("last_poll_at", sa.BigInteger(), nullable=True),
        sa.Column("reported_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("agent_version", sa.Text(), nullable=True),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("command_policy", sa.Text(), nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("rack", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.Column("place_x", sa.Double(), nullable=True),
        sa.Column("place_y", sa.Double(), nullable=True),
        sa.Column("place_z", sa.Double(), nullable=True),
        sa.Column("position_x", sa.Double(), nullable=True),
        sa.Column("position_y", sa.Double(), nullable=True),
        sa.Column("position_z", sa.Double(), nullable=True),
        sa.Column("cpu_load", sa.Double(), nullable=True),
        sa.Column("memory_used_percent", sa.Double(), nullable=True),
        sa.Column("swap_used_percent", sa.Double(), nullable=True),
        sa.Column("load_average", sa.Double(), nullable=True),
        sa.Column("uptime_seconds", sa.Double(), nullable=True),
        sa.Column("cpu_temperature", sa.Double(), nullable=True),
        sa.Column("gpu_temperature", sa.Double(), nullable=True),
        sa.Column("memory_total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_available_bytes", sa.BigInteger(), nullable=True),
        sa.Column("net_bytes_tx", sa.BigInteger(), nullable=True),
        sa.Column("net_bytes_rx", sa.BigInteger(), nullable=True),
        sa.Column("tx_gbps", sa.Double(), nullable=True),
        sa.Column("rx_gbps", sa.Double(), nullable=True),
        sa.Column("net_capacity_gbps", sa.Double(), nullable=True),
        sa.Column("fullest_disk_percent", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hostname"),
    )
    op.create_table(
        "command_events",
        sa.Column(
            "command_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("peer", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["command_seq"],
            ["commands.seq"],
        ),
        sa.PrimaryKeyConstraint("command_seq", "version"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "command_outputs",
        sa.Column(
            "command_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Text(), nullable=False),
        sa.Column("end_byte", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["command_seq"],
            ["commands.seq"],
        ),
        sa.PrimaryKeyConstraint("command_seq", "seq"),
    )
    op.create_table(
        "host_details",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.Column("sample", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id"],
            ["host_metrics.id"],
        ),
        sa.PrimaryKeyConstraint("host_id"),
    )


def downgrade() -> None:
    op.drop_table("host_details")
    op.drop_table("command_outputs")
    op.drop_table("command_events")
    op.drop_table("host_metrics")
    op.drop_table("host_metric_samples")
    op.drop_table("ego_state")
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.drop_index("commands_queue")
        batch_op.drop_index("commands_of_host")
        batch_op.drop_index("commands_leases")
        batch_op.drop_index("commands_by_status")

    op.drop_table("commands")
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.drop_index(
            "alerts_one_active",
            sqlite_where=sa.text("status = 'active'"),
            postgresql_where=sa.text("status = 'active'"),
        )
        batch_op.drop_index("alerts_of_host")
        batch_op.drop_index("alerts_newest_first")

    op.drop_table("alerts")
