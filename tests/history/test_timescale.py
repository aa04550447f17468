"""The history on a TimescaleDB: the same answers. Set MIRROR_STAGE_TEST_TIMESCALE_URL to a server that has it.

The URL is of a superuser's database, such as postgresql://postgres@127.0.0.1:5433/postgres: each test makes its own. Run
them on a server of either licence (`timescaledb.license` in its configuration): the tests ask the server which one it has.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.core.instants import to_text
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Storage
from tests.builders import make_sample
from tests.servers import EgoServer, wait_until

URL = os.environ.get("MIRROR_STAGE_TEST_TIMESCALE_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="MIRROR_STAGE_TEST_TIMESCALE_URL names no server with TimescaleDB")

_numbers = itertools.count(1)


@pytest.fixture
def licensed() -> Iterator[tuple[str, str]]:
    """(the server's licence, the URL of a fresh database)."""
    name = f"ego_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = urlsplit(URL)._replace(path=f"/{name}").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
    yield str(row[0]) if row else "", url
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_schema_can_be_made_and_taken_back(licensed: tuple[str, str]) -> None:
    app = create_app(Config(db_url=licensed[1]), with_storage=False)
    try:
        for _ in range(2):
            migrate.upgrade(app)
            assert migrate.current(app) == migrate.head()
            migrate.downgrade(app, "base")
    finally:
        app.extensions["mirror_stage"][Storage].close()


def test_the_catalog_has_what_ego_asks_it_for(licensed: tuple[str, str]) -> None:
    """`storage/timescale.py` reads how far a continuous aggregate is from tables that TimescaleDB does not promise to keep."""
    with psycopg.connect(licensed[1]) as connection:
        columns = connection.execute(
            "SELECT mat_hypertable_id, user_view_name FROM _timescaledb_catalog.continuous_agg"
        )
        assert columns.fetchall() == []
        found = connection.execute(
            "SELECT to_regprocedure('_timescaledb_functions.cagg_watermark(integer)')"
        ).fetchone()
        assert found != (None,), "_timescaledb_functions.cagg_watermark(integer) is gone"


def test_it_answers_like_any_other_database(
    licensed: tuple[str, str], start_ego: Callable[..., EgoServer], postgresql: Any
) -> None:
    licence, url = licensed
    timescale = start_ego({"MIRROR_STAGE_DB_URL": url})
    detail = timescale.get("/api/health/ready").json()["checks"]["database"]["detail"]
    assert ("continuous aggregates" if licence == "timescale" else "drop_chunks") in detail
    assert detail.split(", ", 1)[1] in timescale.log
    plain = start_ego({"MIRROR_STAGE_DB_URL": postgresql.new_database()})
    end = int(time.time()) - 5
    for ego in (timescale, plain):
        for host in ("a", "b"):
            samples = [
                make_sample(
                    host, at=(end - n * 37) * 1000, cpu_percent=n % 90 + 0.25, cpu_temperature=None if n % 3 else -4.45,
                    net_bytes_tx=(300 - n) * 10**8, net_bytes_rx=0, primary_interface_speed_mbps=100,
                )
                for n in range(300)
            ]  # fmt: skip
            assert ego.post_samples(*samples).status_code == 202
    span = f"from={to_text((end - 12_000) * 1000)}&to={to_text((end + 1) * 1000)}"
    questions = [f"/api/hosts/a/history?{span}&stepSeconds={step}" for step in (10, 60, 900, 3600)]
    questions += [f"/api/history?groupBy=all&{span}&stepSeconds=900", f"/api/history?hostname=b&{span}&stepSeconds=60"]
    for question in questions:
        expected = wait_until(
            lambda q=question: whole(plain, q), 20, every=0.2, what="PostgreSQL's rollups have all samples"
        )
        assert wait_until(lambda q=question: whole(timescale, q), 20, every=0.2) == expected, question


def whole(ego: EgoServer, question: str) -> Any:
    """The answer if it covers all samples of its range, else None."""
    answer = ego.get(question)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if "groups" in body:
        return body
    metrics = body["metrics"] if "metrics" in body else body["hosts"][0]["metrics"]
    return body if sum(metrics["cpuLoad"]["count"]) == 300 else None


def test_old_samples_are_dropped_by_chunks_and_stay_in_the_rollups(
    licensed: tuple[str, str], start_ego: Callable[..., EgoServer]
) -> None:
    licence, url = licensed
    ego = start_ego({"MIRROR_STAGE_DB_URL": url})
    end = int(time.time())
    old = [make_sample("a", at=(end - 8 * 3600 + n * 60) * 1000, cpu_percent=7) for n in range(60)]
    new = [make_sample("a", at=at * 1000) for at in (end - 300, end)]
    assert ego.post_samples(*old, *new).status_code == 202
    question = f"/api/hosts/a/history?metrics=cpuLoad&from={to_text((end - 9 * 3600) * 1000)}&stepSeconds=60"

    if licence == "timescale":
        with psycopg.connect(url, autocommit=True) as connection:  # the refresh policy does this each minute
            refresh = f"CALL refresh_continuous_aggregate('host_metrics_1m', {end - 10 * 3600}, {end - 120})"
            connection.execute(refresh)  # type: ignore[call-overload]
    else:
        wait_until(lambda: ego.rows("SELECT count(*) FROM host_metrics_1m")[0][0] >= 60, 30)
    wait_until(lambda: ego.rows("SELECT count(*) FROM rollup_dirty")[0][0] == 0, 30)
    ego.stop()
    ego.settings["MIRROR_STAGE_RETENTION_RAW_HOURS"] = "1"
    ego.start()
    wait_until(
        lambda: ego.rows("SELECT count(*) FROM host_metric_samples")[0][0] == 2, 30, what="old chunks are dropped"
    )
    columns = ego.get(question).json()["metrics"]["cpuLoad"]
    assert sum(columns["count"]) == 62
    assert set(columns["max"]) >= {7.0}
