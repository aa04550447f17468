"""The HUD in a real browser."""

import pytest

pytest.register_assert_rewrite("tests.hud.browser")  # its asserts say what they saw
