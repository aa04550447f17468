"""One real EGO for the tests of this folder that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import EgoServer, running_ego


@pytest.fixture(scope="session")
def guarded_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """A real EGO on SQLite. Each address of 127.0.0.0/8 is another peer."""
    with running_ego(tmp_path_factory.mktemp("guarded")) as server:
        yield server
