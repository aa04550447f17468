"""Which hosts may take part: agents, the codes with which they enrol, and the generations of their tokens.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

OF_AGENTS = (
    sa.Column("agent", sa.Text()),
    sa.Column("generation", sa.BigInteger()),
    sa.Column("replaced_by", sa.BigInteger()),
    sa.Column("suspended_at", sa.BigInteger()),
)


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("instance", sa.Text()),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger()),
        sa.Column("enrolled_by", sa.Text()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("takes_commands", sa.Boolean(), nullable=False),
    )
    op.create_index("agents_of_host", "agents", ["hostname"])
    is_live = sa.text("state IN ('enrolled', 'suspended')")
    op.create_index(
        "agents_enrolled", "agents", ["hostname"], unique=True, sqlite_where=is_live, postgresql_where=is_live
    )
    op.create_index("agents_by_state", "agents", ["state"])
    op.create_index("agents_by_change", "agents", ["changed_at", "id"])
    op.create_index("agents_by_end", "agents", ["ended_at"])
    op.create_table(
        "enrol_codes",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("uses_left", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("host_pattern", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
    )
    op.create_index("enrol_codes_by_end", "enrol_codes", ["expires_at"])
    for column in OF_AGENTS:
        op.add_column("credentials", sa.Column(column.name, column.type))
    op.create_index("credentials_of_host", "credentials", ["hostname"])


def downgrade() -> None:
    # An older EGO does not know of suspended agents: it would take their tokens.
    op.execute("UPDATE credentials SET revoked_at = suspended_at WHERE suspended_at IS NOT NULL AND revoked_at IS NULL")
    op.drop_index("credentials_of_host", "credentials")
    for column in OF_AGENTS:
        op.drop_column("credentials", column.name)
    op.drop_table("enrol_codes")
    op.drop_table("agents")
