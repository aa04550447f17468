"""Fixtures: servers that are started once, and EGOs of each test's own, real ones and one that answers as the test wants."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests import distribution
from tests.reflector.scripted_ego import ScriptedEgo, scripted_ego
from tests.servers import EgoServer, PostgresqlServer, running_ego

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Where this is set, each of the many servers and agents that the tests start compiles EGO's modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

gc.disable()  # until the tests are collected: they are kept, and each collection of garbage would look at all of them again


OWN_ADAPTER = requests.adapters.HTTPAdapter


@pytest.fixture(autouse=True)
def unbounded_requests() -> None:
    """What a test has done to `requests` in this process, as EGO's channels do in theirs, ends with it."""
    requests.sessions.HTTPAdapter = OWN_ADAPTER  # type: ignore[misc]


@pytest.hookimpl(trylast=True)  # after pytest has put the tests of each parameter of a fixture together
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes longest begin first. The order within a group stays."""
    items.sort(key=lambda item: distribution.place_of(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.ByServers | None:
    """With `--dist loadscope`, keep the tests together that share servers."""
    return distribution.ByServers(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_finish() -> None:
    """Look for garbage again, but only in what the tests make, and not as often: it took a tenth of their CPU time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what the skipped tests need."""
    skipped = " ".join(str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    packages = sorted(set(re.findall(r"is not installed: apt install (\w[\w -]*)", skipped)))
    if packages:
        terminalreporter.write_line(f"to run the skipped tests, too: sudo apt install {' '.join(packages)}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module."""
    from tests.hud.browser import launched  # Playwright is slow to import, and few tests need it

    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One real PostgreSQL for the whole run; ask it for `new_database()`."""
    server = PostgresqlServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of an EGO on each kind of database."""
    if request.param == "sqlite":
        return {}
    return {"MIRROR_STAGE_DB_URL": request.getfixturevalue("postgresql").new_database()}


@pytest.fixture
def start_ego(tmp_path: Path) -> Iterator[Callable[..., EgoServer]]:
    """Start an EGO of the test's own: `start_ego({"MIRROR_STAGE_...": "..."})`."""
    with ExitStack() as stack:

        def start(settings: dict[str, str] | None = None, **kwargs: Any) -> EgoServer:
            return stack.enter_context(running_ego(tmp_path, settings, **kwargs))

        yield start


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ego(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """One real EGO on each kind of database, shared by the tests of a module."""
    settings = {}
    if request.param == "postgresql":
        settings["MIRROR_STAGE_DB_URL"] = request.getfixturevalue("postgresql").new_database()
    with running_ego(tmp_path_factory.mktemp("ego"), settings) as server:
        yield server


@pytest.fixture
def scripted() -> Iterator[ScriptedEgo]:
    """A server that answers an agent as the test wants it to."""
    with scripted_ego() as ego:
        yield ego
