"""The servers of this suite. Starting one takes seconds, so all tests share a few and use hostnames of their own.

They end with the package: one that nobody asks still works every second.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders import make_sample
from tests.contract.wire import KeepingEgo
from tests.servers import EgoServer, PostgresqlServer, running_ego, running_redis


def with_hosts(ego: EgoServer) -> EgoServer:
    """This EGO, with some hosts: of very few a snapshot can be smaller than a delta, and EGO sends what is smaller."""
    assert ego.post_samples(*(make_sample(f"first-{number:02}") for number in range(30))).status_code == 202
    return ego


@pytest.fixture(scope="package")
def sqlite_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """One real EGO on SQLite."""
    with running_ego(tmp_path_factory.mktemp("ego-sqlite"), kind=KeepingEgo) as server:
        yield with_hosts(server)


@pytest.fixture(scope="package")
def postgresql_ego(postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """One real EGO on PostgreSQL."""
    settings = {"MIRROR_STAGE_DB_URL": postgresql.new_database()}
    with running_ego(tmp_path_factory.mktemp("ego-postgresql"), settings, kind=KeepingEgo) as server:
        yield with_hosts(server)


@pytest.fixture(scope="package")
def cluster_ego(postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """One real EGO of two workers."""
    folder = tmp_path_factory.mktemp("ego-cluster")
    with running_redis(folder) as redis:
        settings = {
            "MIRROR_STAGE_DB_URL": postgresql.new_database(),
            "MIRROR_STAGE_REDIS_URL": redis,
            "WEB_CONCURRENCY": "2",
        }
        with running_ego(folder, settings, kind=KeepingEgo) as server:
            yield with_hosts(server)


@pytest.fixture(scope="package", params=["sqlite", "postgresql", pytest.param("cluster", marks=pytest.mark.long)])
def ego(request: pytest.FixtureRequest) -> EgoServer:
    """One real EGO on each kind of database, with the contract's defaults.

    A case that is refused before storage is reached takes `sqlite_ego` instead: it runs once.
    """
    server: EgoServer = request.getfixturevalue(f"{request.param}_ego")
    return server


@pytest.fixture(scope="package")
def hasty_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO whose hosts are stale after 1.5 s of silence, and offline after 3 s."""
    settings = {"MIRROR_STAGE_STALE_AFTER_SECONDS": "1.5", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "3"}
    with running_ego(tmp_path_factory.mktemp("hasty"), settings, kind=KeepingEgo) as server:
        yield server


@pytest.fixture(scope="package")
def other_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO with the built-in monitor and with other settings than the defaults."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "rules.toml").write_text(
        "[cpu_load_high]\nfire_at = 50\nresolve_at = 20\nseverity = 'critical'\n[memory_high]\nenabled = false\n"
    )
    settings = {
        "MIRROR_STAGE_HUB_HOSTNAME": "spine-1",
        "MIRROR_STAGE_HUB_IP": "10.0.0.254",
        "MIRROR_STAGE_EGO_MONITOR_ENABLED": "true",
        "MIRROR_STAGE_EGO_MONITOR_INTERVAL_MS": "1000",
        "EGO_HOSTNAME": "ego-99",
        "EGO_DISPLAY_NAME": "EGO",
        "EGO_PRIMARY_IP": "10.0.0.100",
        "EGO_RACK": "R0",
        "MIRROR_STAGE_STALE_AFTER_SECONDS": "2",
        "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "30",
        "MIRROR_STAGE_ALERT_RULES": str(folder / "rules.toml"),
    }
    with running_ego(folder, settings, kind=KeepingEgo) as server:
        yield server
