"""A row for each transition of an alert, the measure of an alert, and the interval of a host.

The rows of `alert_severities` become events. Their values were not stored before now, so they are NULL.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MEASURES = {
    "cpu_load_high": "cpuLoad",
    "memory_high": "memoryUsedPercent",
    "cpu_temperature_high": "cpuTemperature",
    "gpu_temperature_high": "gpuTemperature",
    "link_congestion": "utilization",
    "clock_skew": "clockOffsetSeconds",
    "host_offline": "silenceSeconds",
}
EVENTS = """
    INSERT INTO alert_events (alert_id, version, transition, at, severity, value, reason)
    SELECT id, 1, 'fired', created_at, coalesce(
        (SELECT s.severity FROM alert_severities s WHERE s.alert_id = a.id ORDER BY s.until LIMIT 1), a.severity
    ), CAST(NULL AS double precision), CAST(NULL AS text) FROM alerts a
    UNION ALL
    SELECT a.id, 1 + row_number() OVER of_alert, 'severity', s.until,
        coalesce(lead(s.severity) OVER of_alert, a.severity), NULL, NULL
    FROM alert_severities s JOIN alerts a ON a.id = s.alert_id
    WINDOW of_alert AS (PARTITION BY s.alert_id ORDER BY s.until)
    UNION ALL
    SELECT a.id, CASE WHEN a.version > n.changes + 1 THEN a.version ELSE n.changes + 2 END, 'resolved', a.resolved_at,
        a.severity, a.current_value, a.resolved_reason
    FROM alerts a JOIN (
        SELECT b.id, count(s.until) AS changes FROM alerts b LEFT JOIN alert_severities s ON s.alert_id = b.id GROUP BY b.id
    ) n ON n.id = a.id
    WHERE a.status = 'resolved'
"""
SEVERITIES = """
    INSERT INTO alert_severities (alert_id, until, severity)
    SELECT alert_id, at, before FROM (
        SELECT alert_id, at, version, transition, lag(severity) OVER of_alert AS before
        FROM alert_events WINDOW of_alert AS (PARTITION BY alert_id ORDER BY version)
    ) e
    WHERE transition = 'severity'
    ON CONFLICT (alert_id, until) DO NOTHING
"""


def upgrade() -> None:
    op.create_table(
        "alert_events",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("transition", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", "version"),
        sqlite_with_rowid=False,
    )
    op.execute(EVENTS)
    op.drop_table("alert_severities")
    op.add_column("alerts", sa.Column("measure", sa.Text(), nullable=False, server_default=""))
    alerts = sa.table("alerts", sa.column("metric", sa.Text()), sa.column("measure", sa.Text()))
    for metric, measure in MEASURES.items():
        op.execute(alerts.update().where(alerts.c.metric == metric).values(measure=measure))
    op.add_column("host_metrics", sa.Column("interval_ms", sa.BigInteger(), nullable=True))
    op.add_column("host_identities", sa.Column("interval_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("host_identities", "interval_ms")
    op.drop_column("host_metrics", "interval_ms")
    op.drop_column("alerts", "measure")
    op.create_table(
        "alert_severities",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "until"),
        sqlite_with_rowid=False,
    )
    op.execute(SEVERITIES)
    op.drop_table("alert_events")
