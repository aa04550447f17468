"""The HUD in a real browser."""

import pytest

pytest.register_assert_rewrite("tests.hud.browser")  # so that its failed asserts show the values
