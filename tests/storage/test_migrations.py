"""One history of the schema for every database: it ends where the models are, and can be gone back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from mirror_stage.app import create_app
from mirror_stage.config import Config
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Base, engine_options


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
    """What the models have and the schema has not, or the other way round."""
    engine = create_engine(config.database_url, **engine_options(config))
    try:
        with engine.connect() as connection:
            return compare_metadata(MigrationContext.configure(connection), Base.metadata)
    finally:
        engine.dispose()


def test_the_migrations_end_where_the_models_are_and_can_be_gone_back(config: Config) -> None:
    app = create_app(config, open_storage=False)
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
        app.extensions["mirror_stage"].storage.close()
