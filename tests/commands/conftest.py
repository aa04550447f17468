"""Fixtures of the command queue's tests."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from tests.commands.bench import CommandBench


@pytest.fixture
def bench() -> CommandBench:
    """The command queue of this test."""
    return CommandBench()


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """A REST client of one EGO that the tests of a module share. Each test uses its own host."""
    return create_app(Config(testing=True)).test_client()
