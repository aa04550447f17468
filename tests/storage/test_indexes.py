"""Every query about the past and every step of EGO's own jobs uses an index, so that large tables are not read whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from mirror_stage.access import store as access
from mirror_stage.alerts import store as alerts
from mirror_stage.app import create_app
from mirror_stage.commands import store as commands
from mirror_stage.core.config import Config
from mirror_stage.disks import store as disks
from mirror_stage.enrolment import store as enrolment
from mirror_stage.history import series, tiers
from mirror_stage.history import store as history
from mirror_stage.history.domain import METRICS, RAW, ROLLUPS, Window
from mirror_stage.notifications import store as notifications
from mirror_stage.notifications.domain import Intent
from mirror_stage.processes import store as processes
from mirror_stage.quiet import store as quiet
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Storage, Tx, engine_options
from mirror_stage.twin import store as twin

LARGE = (
    "host_metric_samples", "host_metrics_1m", "host_metrics_15m", "host_identities", "alerts", "alert_events",
    "command_events", "command_outputs", "rollup_dirty", "audit", "credentials", "sessions", "agents", "enrol_codes",
    "quiet_versions", "alert_groups", "alert_group_members", "deliveries", "disk_levels", "process_minutes",
)  # fmt: skip
AT, HOUR, DAY = 1_762_000_000_000, 3_600_000, 86_400_000
SECOND = AT // 1000
GROUPS = dict.fromkeys(range(1, 100), 0)
MINUTES = Window(SECOND - 3600, SECOND, 60, ROLLUPS[0])
HALF_HOURS = Window(SECOND - 7200, SECOND, 1800, ROLLUPS[1])

QUESTIONS: dict[str, Callable[[Tx], object]] = {
    "levels of disks": lambda tx: (disks.of_hosts(tx, [1, 2], SECOND - 7 * 86_400), disks.prune(tx, SECOND, 500)),
    "processes of a host": lambda tx: (
        processes.of_host(tx, 1, SECOND - 86_400, SECOND),
        processes.prune(tx, SECOND, 500),
    ),
    "alerts of a moment": lambda tx: alerts.active_at(tx, AT),
    "alerts of a stretch": lambda tx: alerts.counts_between(tx, AT - DAY, AT, 100),
    "silences in force": lambda tx: (quiet.keys(tx, AT), quiet.newest(tx, AT), quiet.count_open(tx, "silence", AT)),
    "one silence": lambda tx: quiet.newest_of(tx, "silence", "a"),
    "silences of a moment": lambda tx: quiet.as_of(tx, AT, AT - HOUR),
    "old silences": lambda tx: quiet.prune(tx, AT - DAY, 200),
    "old people's things": lambda tx: access.prune(tx, AT - DAY, 200),
    "credentials of requests": lambda tx: access.known(tx, ["token:a", "session:b"]),
    "old agents and codes": lambda tx: enrolment.prune(tx, AT - DAY, 200),
    "agents of requests": lambda tx: enrolment.stranger(tx, "web-01", AT),
    "agents that changed": lambda tx: enrolment.changed_since(tx, AT, "a", 500),
    "hosts that wait": lambda tx: (enrolment.forget_silent(tx, AT), enrolment.count_waiting(tx)),
    "first use of a token": lambda tx: enrolment.note_first_use(tx, "t", "a", "web-01", 2, AT),
    "what happened to alerts": lambda tx: alerts.to_take(tx, 500),
    "groups of a start": lambda tx: notifications.load(tx, AT - HOUR),
    "who has something to send": lambda tx: notifications.due_channels(tx, AT),
    "the next message": lambda tx: notifications.claim(tx, "ops", AT),
    "messages of a minute": lambda tx: notifications.count_accepted(tx, "ops", AT - 60_000),
    "a message to store": lambda tx: notifications.put(tx, Intent("i", "g", "ops", 1, "over", "info", {}), AT),
    "channels in trouble": lambda tx: notifications.troubles(tx, AT - DAY),
    "old groups and messages": lambda tx: notifications.prune(tx, AT - DAY, 200),
    "old alerts": lambda tx: alerts.prune(tx, AT - DAY, 1_000_000, 500),
    "open commands": commands.open_counts,
    "commands of a stretch": lambda tx: commands.counts_between(tx, AT - DAY, AT, 100),
    "hosts of a moment": lambda tx: twin.identities_at(tx, AT),
    "comings and goings": lambda tx: twin.comings_and_goings(tx, AT - DAY, AT),
    "old identities": lambda tx: twin.prune_identities(tx, AT - DAY, 500),
    "old hosts": lambda tx: twin.prune_hosts(tx, AT - DAY, 500),
    "what was not saved": lambda tx: history.received_since(tx, AT, SECOND - 5, SECOND),
    "what was not saved, other clocks": lambda tx: history.received_since(tx, AT, SECOND - 5, SECOND, [1, 2]),
    "the newest sample": lambda tx: history.newest_second(tx, AT),
    "samples of a minute": lambda tx: history.newest_between(tx, [1, 2], SECOND - 60, SECOND, arrived_from=0, at=AT),
    "samples of some minutes": lambda tx: history.newest_in_minutes(tx, [(1, 0, SECOND)], at=AT),
    "buckets of a moment": lambda tx: history.newest_buckets(tx, ROLLUPS[0], [(1, SECOND), (2, SECOND)]),
    "one host": lambda tx: series.of_hosts(tx, MINUTES, [1], METRICS),
    "the ends of the history": lambda tx: series.extent(tx, [1, 2]),
    "all hosts by minutes": lambda tx: series.of_groups(tx, MINUTES, GROUPS, METRICS),
    "all hosts by half hours": lambda tx: series.of_groups(tx, HALF_HOURS, GROUPS, METRICS),
    "the next minute": lambda tx: tiers.next_bucket(tx, ROLLUPS[0], SECOND),
    "the next quarter": lambda tx: tiers.next_bucket(tx, ROLLUPS[1], SECOND),
    "a minute of some hosts": lambda tx: tiers.fill(tx, ROLLUPS[0], SECOND, SECOND + 60, range(1, 9)),
    "a quarter of some hosts": lambda tx: tiers.fill(tx, ROLLUPS[1], SECOND, SECOND + 900, range(1, 9)),
    "minutes of named hosts": lambda tx: tiers.fill(tx, ROLLUPS[0], SECOND, SECOND + 600, (1, 2)),
    "what came late": lambda tx: tiers.claim(tx, ROLLUPS[0], 100),
    "old samples": lambda tx: tiers._remove(tx, RAW, SECOND, SECOND + 60, range(1, 9)),
    "old minutes": lambda tx: tiers.prune_rollups(tx, ROLLUPS[0], [1, 2], SECOND),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An open storage, its schema made by the migrations."""
    if request.param == "sqlite":
        config = Config(sqlite_path=tmp_path_factory.mktemp("indexes") / Path("ego.db"))
    else:
        config = Config(db_url=request.getfixturevalue("postgresql").new_database())
    app = create_app(config, with_storage=False)
    migrate.upgrade(app)
    app.extensions["mirror_stage"][Storage].close()
    storage = Storage(config)
    storage.open(create_engine(config.database_url, **engine_options(config)))  # type: ignore[arg-type]
    yield storage
    storage.close()


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_large_table_is_read_whole(storage: Storage, name: str) -> None:
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if re.match(r"\s*(WITH|SELECT|DELETE|UPDATE|INSERT)\b", statement):
            driver = connection.connection.driver_connection
            if storage.is_postgresql:
                driver.execute("SET LOCAL enable_seqscan = off")  # empty tables are read whole, indexes or not
                rows = driver.execute(f"EXPLAIN {statement}", parameters).fetchall()
            else:
                rows = [row[3:] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            plans.append("\n".join(str(row[0]) for row in rows))

    def ask(tx: Tx) -> None:
        event.listen(tx, "before_cursor_execute", explain)
        QUESTIONS[name](tx)

    storage.write(ask)
    assert plans
    for plan in plans:
        for table in LARGE:
            whole = rf"Seq Scan on {table}\b" if storage.is_postgresql else rf"SCAN (\w+ )?{table}\b(?! USING)"
            assert not re.search(whole, plan), plan
