"""`serve` asks for the schema's revision before anything else, so that a start imports EGO's libraries only once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Conflict
from mirror_stage.storage import migrate, revision
from mirror_stage.storage.db import Storage


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    if request.param == "sqlite":
        return Config(sqlite_path=tmp_path / "ego.db")
    return Config(db_url=request.getfixturevalue("postgresql").new_database())


def test_a_schema_is_the_newest_after_the_upgrade_only(config: Config) -> None:
    app = create_app(config, with_storage=False)
    seen: list[Any] = [revision.is_newest(config)]
    try:
        migrate.upgrade(app, "0007")
        seen.append(revision.is_newest(config))
        migrate.upgrade(app)
        seen.append(revision.is_newest(config))
    finally:
        app.extensions["mirror_stage"][Storage].close()
    assert seen == [False, False, True]
    assert revision.newest() == migrate.head()


def test_a_database_of_another_system_is_not_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "ego.db"
    with create_engine(f"sqlite:///{path}").begin() as tx:
        tx.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        tx.execute(text("INSERT INTO alembic_version VALUES ('1b2c3d4e')"))
    assert not revision.is_newest(Config(sqlite_path=path))
    path.write_bytes(b"no database")
    assert not revision.is_newest(Config(sqlite_path=path))


def test_a_command_without_a_database_of_this_version_says_where_it_looked(tmp_path: Path) -> None:
    """Whoever runs `admin link` in another folder must not make a second database there."""
    settings = Config(sqlite_path=tmp_path / "ego.db")
    with pytest.raises(
        Conflict, match=rf"^there is no database {tmp_path}/ego\.db yet: run this command in the folder"
    ):
        revision.require_newest(settings)
    settings.sqlite_path.write_bytes(b"no database")
    with pytest.raises(Conflict, match=rf"^{tmp_path}/ego\.db is no database of this version"):
        revision.require_newest(settings)
    with pytest.raises(Conflict, match="MIRROR_STAGE_DB_URL: has no database of this version"):
        revision.require_newest(Config(db_url="postgresql://127.0.0.1:9/none"))


def test_asking_imports_neither_sqlalchemy_nor_flask() -> None:
    code = "import sys; from mirror_stage.storage import revision; print({'sqlalchemy', 'flask', 'alembic'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
