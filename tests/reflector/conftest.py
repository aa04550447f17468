"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reflector.scripted_ego import ScriptedEgo, scripted_ego


@pytest.fixture
def scripted() -> Iterator[ScriptedEgo]:
    """A server that answers as the test wants it to."""
    with scripted_ego() as ego:
        yield ego
