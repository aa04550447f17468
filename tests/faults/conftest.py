"""The fixture that all fault tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def slack(request: pytest.FixtureRequest) -> float:
    """The factor for a test's limits in seconds: short forms share their cores with other tests."""
    return 1.0 if request.node.get_closest_marker("long") else 3.0
