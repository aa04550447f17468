"""What the fault tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def slack(request: pytest.FixtureRequest) -> float:
    """How many times a limit in seconds a test may take: short forms run beside other tests on the same cores."""
    return 1.0 if request.node.get_closest_marker("long") else 3.0
