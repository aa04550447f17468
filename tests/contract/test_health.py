"""docs/contract.md, section 1, Health: liveness, readiness, and what this EGO says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import assert_problem, host_when, post, snapshot
from tests.servers import EgoServer, PostgresqlServer, wait_until

RULES = [
    dict(zip(("name", "measure", "unit", "fireAt", "resolveAt", "severity", "criticalAt"), row, strict=True))
    | {"above": row[0] != "disk_filling", "where": "*"}
    for row in (
        ("cpu_load_high", "cpuLoad", "%", 80, 70, "warning", None),
        ("memory_high", "memoryUsedPercent", "%", 90, 80, "warning", None),
        ("swap_full", "swapUsedPercent", "%", 90, 85, "warning", 97),
        ("disk_full", "diskUsedPercent", "%", 90, 85, "warning", 97),
        ("disk_filling", "diskDaysToFull", "d", 3, 5, "warning", 1),
        ("cpu_temperature_high", "cpuTemperature", "°C", 85, 75, "warning", None),
        ("gpu_temperature_high", "gpuTemperature", "°C", 80, 70, "warning", None),
        ("link_congestion", "utilization", "ratio", 0.9, 0.7, "warning", 1.0),
        ("clock_skew", "clockOffsetSeconds", "s", 300, 240, "info", None),
        ("identity_conflict", "machinesOfName", "machines", 2, 1, "warning", None),
        ("ego_isolated", "hostsCutOff", "hosts", 3, 0, "critical", None),
        ("host_offline", "silenceSeconds", "s", 60, None, "critical", None),
    )
]


def test_health_is_exactly_ok_as_plain_text(ego: EgoServer) -> None:
    answer = ego.get("/api/health")
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert answer.headers["Content-Type"].split(";")[0] == "text/plain"


def test_readiness_tells_of_every_part(ego: EgoServer) -> None:
    answer = ego.get("/api/health/ready")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    body = answer.json()
    assert body.keys() == {"ready", "checks"}
    assert body["ready"] is True
    checks = body["checks"]
    assert checks.keys() >= {"database", "redis", "writer", "scheduler"}
    for name, check in checks.items():
        assert check["ok"] is True or name == "refused", name  # other tests of this EGO are refused a lot
        assert isinstance(check["detail"], str), name
        assert check.keys() <= {"ok", "detail", "latencyMs"}, name
    assert 0 <= checks["database"]["latencyMs"] < 2_000
    assert checks["writer"]["detail"] == "queue 0 of 2000"
    kind = "postgresql" if "MIRROR_STAGE_DB_URL" in ego.settings else "sqlite, wal, full"
    assert kind in checks["database"]["detail"].lower()


def test_info_says_what_this_ego_is_and_by_which_rules_it_judges(ego: EgoServer) -> None:
    answer = ego.get("/api/info")
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {
        "version", "build", "twinId", "features", "hub", "ego", "rules", "staleAfterSeconds", "offlineAfterSeconds",
        "dispatch",
    }  # fmt: skip
    assert re.match(r"project5-[0-9a-z]+\Z", body["twinId"])
    assert body["twinId"] == snapshot(ego)["twinId"]
    assert (body["hub"], body["staleAfterSeconds"], body["offlineAfterSeconds"]) == ("core-switch", 15, 60)
    assert body["rules"] == RULES
    assert all(isinstance(feature, str) for feature in body["features"])
    assert body["version"]


class Severed:
    """An EGO on a database that the test can make unreachable."""

    def __init__(self, ego: EgoServer, postgresql: PostgresqlServer):
        self.ego = ego
        self._administration = f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres"
        self._database = ego.settings["MIRROR_STAGE_DB_URL"].rpartition("/")[2]

    def shut(self) -> None:
        """Refuse new connections to the database and end the open ones."""
        with psycopg.connect(self._administration, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._database]
            )

    def open(self) -> None:
        """Allow connections again."""
        with psycopg.connect(self._administration, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS true")


@pytest.fixture
def severed(start_ego: Callable[..., EgoServer], postgresql: PostgresqlServer) -> Iterator[Severed]:
    yield Severed(start_ego({"MIRROR_STAGE_DB_URL": postgresql.new_database()}), postgresql)


def test_without_its_database_ego_lives_refuses_to_acknowledge_and_recovers(severed: Severed) -> None:
    ego, hostname = severed.ego, unique_hostname()
    post(ego, make_sample(hostname, cpu_percent=1))
    severed.shut()
    try:
        assert ego.get("/api/health").text == "ok"
        ready = ego.get("/api/health/ready")
        assert ready.status_code == 503
        assert ready.json()["ready"] is False
        assert ready.json()["checks"]["database"]["ok"] is False
        assert_problem(ego.post_samples(make_sample(hostname, cpu_percent=2)), 503)
        host_when(ego, hostname, lambda host: host["metrics"]["cpuLoad"] == 2)  # the live view still moves
        assert_problem(ego.post("/api/commands", json={"hostname": hostname, "command": "uptime"}), 503)
    finally:
        severed.open()
    receipt = wait_until(lambda: ego.post_samples(make_sample(hostname, cpu_percent=3)).status_code == 202, 10)
    assert receipt
    wait_until(ego.is_ready, 10, what="EGO is ready again")
