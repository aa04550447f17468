"""The migrations lead to the schema of the models on every database, and can be undone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from mirror_stage.alerts.store import active_at
from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.history import series
from mirror_stage.history.domain import METRICS_BY_NAME, ROLLUPS, Window
from mirror_stage.history.store import newest_buckets
from mirror_stage.storage import migrate
from mirror_stage.storage.db import ASKED, Base, Storage, engine_options
from mirror_stage.twin.store import identities_at
from tests.servers import PostgresqlServer


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    if request.param == "sqlite":
        return Config(sqlite_path=tmp_path / "ego.db")
    return Config(db_url=request.getfixturevalue("postgresql").new_database())


def tables(config: Config) -> set[str]:
    engine = create_engine(config.database_url, **engine_options(config))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def drift(config: Config) -> list[Any]:
    """The differences between the models and the schema."""
    engine = create_engine(config.database_url, **engine_options(config))
    try:
        with engine.connect() as connection:
            return compare_metadata(MigrationContext.configure(connection), Base.metadata)
    finally:
        engine.dispose()


def test_the_migrations_lead_to_the_models_and_can_be_undone(config: Config) -> None:
    app = create_app(config, with_storage=False)
    try:
        assert migrate.current(app) is None
        migrate.upgrade(app)
        migrate.upgrade(app)  # a second start finds nothing to do
        assert migrate.current(app) == migrate.head()
        assert drift(config) == []
        migrate.downgrade(app, "base")
        assert migrate.current(app) is None
        assert tables(config) <= {"alembic_version"}
        migrate.upgrade(app)
        assert set(Base.metadata.tables) <= tables(config)
    finally:
        app.extensions["mirror_stage"][Storage].close()


@pytest.mark.long
def test_a_migration_may_take_longer_than_a_request(postgresql: PostgresqlServer) -> None:
    """The limits of requests would end it, and each start would begin it again."""
    config = Config(db_url=postgresql.new_database())
    app = create_app(config, with_storage=False)
    try:
        migrate.upgrade(app, "0011")
        with psycopg.connect(str(config.db_url)) as holder:
            holder.execute("LOCK TABLE commands IN ACCESS EXCLUSIVE MODE")
            release = threading.Timer(max(ASKED.write, ASKED.lock) + 1, holder.rollback)
            release.start()
            began = time.monotonic()
            migrate.upgrade(app)
            assert time.monotonic() - began > ASKED.write  # it had to wait: the fault fired
            release.join()
        assert migrate.current(app) == migrate.head()
    finally:
        app.extensions["mirror_stage"][Storage].close()


def test_the_earlier_severities_of_alerts_become_events_and_this_can_be_undone(config: Config) -> None:
    app = create_app(config, with_storage=False)
    storage = app.extensions["mirror_stage"][Storage]

    def rows(statement: str) -> list[tuple[Any, ...]]:
        return storage.read(lambda tx: [tuple(row) for row in tx.execute(text(statement))])

    try:
        migrate.upgrade(app, "0004")
        alerts = """
            ('1', 'a', 'link_congestion', '', 'warning', 0.9, 0.6, 'resolved', 1000, 5000, 5000, 'value', 9),
            ('2', 'b', 'cpu_load_high', '', 'warning', 80, 90, 'active', 2000, 2000, NULL, NULL, 1)
        """
        storage.write(lambda tx: tx.execute(text(f"INSERT INTO alerts VALUES {alerts}")))
        severities = [("1", 2000, "warning"), ("1", 3000, "critical")]
        for alert_id, until, severity in severities:
            values = f"('{alert_id}', {until}, '{severity}')"
            storage.write(lambda tx, v=values: tx.execute(text(f"INSERT INTO alert_severities VALUES {v}")))
        migrate.upgrade(app)
        assert rows(
            "SELECT alert_id, version, transition, at, severity, value, reason FROM alert_events ORDER BY 1, 2"
        ) == [
            ("1", 1, "fired", 1000, "warning", None, None),
            ("1", 2, "severity", 2000, "critical", None, None),
            ("1", 3, "severity", 3000, "warning", None, None),
            ("1", 9, "resolved", 5000, "warning", 0.6, "value"),
            ("2", 1, "fired", 2000, "warning", None, None),
        ]
        assert rows("SELECT id, measure FROM alerts ORDER BY 1") == [("1", "utilization"), ("2", "cpuLoad")]
        then = {at: [alert.severity for alert in storage.read(lambda tx, at=at: active_at(tx, at)) if alert.id == "1"]
                for at in (1500, 2500, 3500)}  # fmt: skip
        assert then == {1500: ["warning"], 2500: ["critical"], 3500: ["warning"]}
        migrate.downgrade(app, "0004")
        assert rows("SELECT alert_id, until, severity FROM alert_severities ORDER BY 2") == severities
    finally:
        storage.close()


def test_rollups_from_before_a_metric_know_nothing_of_it(config: Config) -> None:
    app = create_app(config, with_storage=False)
    storage = app.extensions["mirror_stage"][Storage]
    since = 1_762_000_200  # a quarter of an hour begins
    metrics = [METRICS_BY_NAME[name] for name in ("cpuLoad", "diskReadBytesPerSecond")]
    try:
        migrate.upgrade(app, "0007")
        tiers = f"('raw', {since}, {since}, 0, 0), ('1m', {since + 60}, {since + 60}, 0, 0), ('15m', {since}, {since}, 0, 0)"
        storage.write(lambda tx: tx.execute(text(f"INSERT INTO history_tiers VALUES {tiers}")))
        storage.write(lambda tx: tx.execute(text("INSERT INTO host_metrics (id, hostname) VALUES (1, 'a')")))
        columns = "host_id, at_second, samples, cpu_load_min, cpu_load_max, cpu_load_sum"
        for table in ("host_metrics_1m", "host_metrics_15m"):
            values = f"(1, {since}, 4, 100, 400, 1000)"
            storage.write(lambda tx, t=table, v=values: tx.execute(text(f"INSERT INTO {t} ({columns}) VALUES {v}")))
        migrate.upgrade(app)
        columns = (
            "at_second, host_id, at_ms, reported_after_ms, received_after_ms, cpu_load, disk_read_bytes_per_second"
        )
        samples = f"({since + 60}, 1, 0, 0, 0, 20, NULL), ({since + 61}, 1, 0, 0, 0, 30, 2048)"
        storage.write(lambda tx: tx.execute(text(f"INSERT INTO host_metric_samples ({columns}) VALUES {samples}")))

        def asked(step: int) -> list[Any]:
            window = Window(since, since + 120, step, ROLLUPS[0])
            return storage.read(lambda tx: series.of_hosts(tx, window, [1], metrics))

        old, new = (1, since, 4, 100, 400, 1000, None, None, None, None, 0), (200, 300, 500, None, 2, 2, 2, 1)
        assert asked(60) == [old, (1, since + 60, 2, *new)]
        assert asked(120) == [(1, since, 6, 100, 400, 1500, None, 2, 2, 2, 1)]
        (reading,) = storage.read(lambda tx: newest_buckets(tx, ROLLUPS[1], [(1, since)]))
        assert (reading.values["cpu_load"], reading.values["disk_read_bytes_per_second"]) == (25.0, None)
    finally:
        storage.close()


def test_the_upgrade_takes_the_present_description_of_hosts_for_their_past(config: Config) -> None:
    app = create_app(config, with_storage=False)
    storage = app.extensions["mirror_stage"][Storage]
    try:
        migrate.upgrade(app, "0002")
        columns = "id, hostname, first_seen_at, removed_at, at, received_at, rack, tags"
        rows = "(1, 'here', 1000, NULL, 4990, 5000, 'R1', NULL), (2, 'gone', 1000, 3000, 2000, 2000, 'R2', '{\"a\": \"b\"}')"
        storage.write(lambda tx: tx.execute(text(f"INSERT INTO host_metrics ({columns}) VALUES {rows}")))
        storage.write(lambda tx: tx.execute(text("INSERT INTO host_metrics (id, hostname) VALUES (3, 'core-switch')")))
        migrate.upgrade(app)
        for at, expected in ((999, []), (1000, ["here", "gone"]), (3000, ["here"])):
            found = storage.read(lambda tx, at=at: identities_at(tx, at))
            assert [hostname for hostname, _, _ in found] == expected, at
        identity = storage.read(lambda tx: identities_at(tx, 2999))[1][2]
        assert (identity.rack, identity.tags, identity.clock_offset) == ("R2", {"a": "b"}, 0)
    finally:
        storage.close()
