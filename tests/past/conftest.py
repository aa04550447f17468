"""An EGO with a clock that the test sets, on each kind of database, and the `Past` that reads its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from mirror_stage.core.config import Config
from mirror_stage.past.domain import Scene
from mirror_stage.past.service import Past
from mirror_stage.storage.db import Base, Storage, engine_options
from tests.builders import SetClock
from tests.pipeline.conftest import Bench


def past_of(bench: Bench, **watching: Any) -> Past:
    """The `Past` of this EGO, wired as in the application. `watching`: who EGO is, and how often it measures itself."""
    twin = bench.twin
    scene = Scene(twin.hub, twin.hub_ip, twin.role_of, twin.status_after)
    clock: Any = bench.clock
    kept = Config().kept_by_resolution
    return Past(
        bench.storage,
        clock,
        scene,
        kept_by_resolution=kept,
        until_recorded=bench.saver.until_recorded,
        twin_id=lambda: bench.frames.twin_id,
        **watching,
    )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An open storage with the tables of all models."""
    options: dict[str, Any] = {}
    if request.param == "sqlite":
        config = Config(testing=True)
        options = {"poolclass": StaticPool}
    else:
        config = Config(db_url=request.getfixturevalue("postgresql").new_database())
    engine = create_engine(config.database_url, **engine_options(config), **options)
    storage = Storage(config)
    storage.open(engine)
    Base.metadata.create_all(engine)
    yield storage
    storage.close()


@pytest.fixture
def new_bench(storage: Storage) -> Callable[[], Bench]:
    """Make an EGO with empty tables."""

    def make() -> Bench:
        storage.write(lambda tx: [tx.execute(table.delete()) for table in reversed(Base.metadata.sorted_tables)])
        return Bench(storage, SetClock())

    return make


@pytest.fixture
def bench(new_bench: Callable[[], Bench]) -> Bench:
    return new_bench()
