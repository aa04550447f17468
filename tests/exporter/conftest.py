"""One EGO for the tests that scrape it: how it writes figures does not depend on the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import EgoServer, running_ego


@pytest.fixture(scope="package")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server
