"""Tiers of history.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLLUPS = ("host_metrics_1m", "host_metrics_15m")
METRICS = (
    "cpu_load",
    "memory_used_percent",
    "swap_used_percent",
    "load_average",
    "cpu_temperature",
    "gpu_temperature",
    "rx_gbps",
    "tx_gbps",
    "utilization_ratio",
    "fullest_disk_percent",
)


LIMITS = {"utilization_ratio": 10_000}
SCALES = dict(zip(METRICS, (10, 10, 10, 100, 10, 10, 100_000, 100_000, 10_000, 10), strict=True))
VALUES = {"utilization_ratio": "CASE WHEN tx_gbps > rx_gbps THEN tx_gbps ELSE rx_gbps END / net_capacity_gbps"}


def upgrade() -> None:
    op.add_column("host_metric_samples", sa.Column("tx_gbps", sa.Double(), nullable=True))
    op.add_column("host_metric_samples", sa.Column("rx_gbps", sa.Double(), nullable=True))
    has_timescale, is_licensed = timescale()
    if has_timescale:
        make_hypertable()
    if is_licensed:
        make_aggregates()
    else:
        make_rollups()
    op.create_table(
        "rollup_dirty",
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_claimed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("resolution", "at_second", "host_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history_tiers",
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("closed_until", sa.BigInteger(), nullable=False),
        sa.Column("done_until", sa.BigInteger(), nullable=False),
        sa.Column("pruned_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resolution"),
    )


def timescale() -> tuple[bool, bool]:
    """(whether TimescaleDB is installed or could be created, whether its licence allows more than hypertables)."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return False, False
    ask = sa.text
    if not connection.execute(ask("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")).scalar():
        if not connection.execute(
            ask("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'")
        ).scalar():
            return False, False
        if "timescaledb" not in connection.execute(ask("SELECT current_setting('shared_preload_libraries')")).scalar():
            return False, False
        try:
            with connection.begin_nested():
                connection.execute(ask("CREATE EXTENSION timescaledb"))
        except sa.exc.DBAPIError:  # this role may not create it: use plain tables
            return False, False
    return True, connection.execute(ask("SELECT current_setting('timescaledb.license', true)")).scalar() == "timescale"


def make_hypertable() -> None:
    op.execute(
        "SELECT create_hypertable('host_metric_samples', 'at_second', chunk_time_interval => 3600,"
        " create_default_indexes => false, migrate_data => true, if_not_exists => true)"
    )
    op.execute(
        "CREATE OR REPLACE FUNCTION ego_now_seconds() RETURNS bigint LANGUAGE sql STABLE AS"
        " $$ SELECT extract(epoch FROM now())::bigint $$"
    )
    op.execute("SELECT set_integer_now_func('host_metric_samples', 'ego_now_seconds', replace_if_exists => true)")


def make_aggregates() -> None:
    """Create the rollups as continuous aggregates. TimescaleDB computes buckets that are not in them yet at each query."""
    op.execute(
        "ALTER TABLE host_metric_samples SET (timescaledb.compress, timescaledb.compress_segmentby = 'host_id',"
        " timescaledb.compress_orderby = 'at_second, at_ms')"
    )
    samples = ", ".join(column for metric in METRICS for column in of_samples(metric))
    minutes = ", ".join(column for metric in METRICS for column in of_minutes(metric))
    for view, source, seconds, count, columns in (
        ("host_metrics_1m", "host_metric_samples", 60, "count(*)", samples),
        ("host_metrics_15m", "host_metrics_1m", 900, "sum(samples)", minutes),
    ):
        bucket = f"time_bucket({seconds}::bigint, at_second)"
        op.execute(
            f"CREATE MATERIALIZED VIEW {view} WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
            f" SELECT host_id, {bucket} AS at_second, CAST({count} AS bigint) AS samples, {columns}"
            f" FROM {source} GROUP BY host_id, {bucket} WITH NO DATA"
        )
        op.execute(f"ALTER MATERIALIZED VIEW {view} SET (timescaledb.compress = true)")


def of_samples(metric: str) -> list[str]:
    """The SQL of min, max, sum and count of a metric in whole units: limited, and halves rounded away from zero."""
    value, scale, most = VALUES.get(metric, metric), SCALES[metric], LIMITS.get(metric, 2_000_000_000)

    def units(of: str) -> str:
        scaled = f"({of}) * {scale}"
        held = f"CASE WHEN {scaled} > {most} THEN {most} WHEN {scaled} < -{most} THEN -{most} ELSE {scaled} END"
        return f"CAST(trunc({held} + sign({of}) * 0.5) AS bigint)"

    return [
        f"{units(f'min({value})')} AS {metric}_min",
        f"{units(f'max({value})')} AS {metric}_max",
        f"CAST(sum({units(value)}) AS bigint) AS {metric}_sum",
        f"CAST(nullif(count({value}), count(*)) AS bigint) AS {metric}_count",
    ]


def of_minutes(metric: str) -> list[str]:
    return [
        f"min({metric}_min) AS {metric}_min",
        f"max({metric}_max) AS {metric}_max",
        f"CAST(sum({metric}_sum) AS bigint) AS {metric}_sum",
        f"CAST(nullif(sum(coalesce({metric}_count, samples)), sum(samples)) AS bigint) AS {metric}_count",
    ]


def make_rollups() -> None:
    for table in ROLLUPS:
        op.create_table(
            table,
            sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("at_second", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("samples", sa.Integer(), nullable=False),
            *(column for metric in METRICS for column in summaries_of(metric)),
            sa.PrimaryKeyConstraint("host_id", "at_second"),
            sqlite_with_rowid=False,
        )


def summaries_of(metric: str) -> list[sa.Column]:
    return [
        sa.Column(f"{metric}_min", sa.Integer(), nullable=True),
        sa.Column(f"{metric}_max", sa.Integer(), nullable=True),
        sa.Column(f"{metric}_sum", sa.BigInteger(), nullable=True),
        sa.Column(f"{metric}_count", sa.Integer(), nullable=True),
    ]


def downgrade() -> None:
    op.drop_table("history_tiers")
    op.drop_table("rollup_dirty")
    connection = op.get_bind()
    views = "SELECT count(*) FROM pg_views WHERE viewname = 'host_metrics_15m'"
    is_view = connection.dialect.name == "postgresql" and connection.execute(sa.text(views)).scalar()
    for table in reversed(ROLLUPS):
        op.execute(f"DROP {'MATERIALIZED VIEW' if is_view else 'TABLE'} {table}")
    if is_view:
        op.execute("SELECT remove_compression_policy('host_metric_samples', if_exists => true)")
        op.execute("ALTER TABLE host_metric_samples SET (timescaledb.compress = false)")
    op.drop_column("host_metric_samples", "rx_gbps")
    op.drop_column("host_metric_samples", "tx_gbps")
    if connection.dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS ego_now_seconds()")  # the hypertable's clock
