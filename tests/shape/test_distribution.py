"""Tests that share servers run in one process, and what takes longest begins first (tests/distribution.py)."""

from __future__ import annotations

import pytest

from tests import distribution
from tests.servers import ROOT


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/core/test_selector.py::test_a[postgresql]", "tests/core/test_selector.py"),
        ("tests/exporter/test_fleet.py::test_a", "tests/exporter"),
        ("tests/contract/test_hosts.py::test_a[postgresql-a name]", "contract on postgresql"),
        ("tests/contract/test_hosts.py::test_a[sqlite]", "contract on sqlite"),
        ("tests/contract/test_hosts.py::test_a", "contract on sqlite"),
        ("tests/contract/test_settings.py::test_a", "contract on servers of its own"),
    ],
)
def test_what_shares_a_server_is_one_group(nodeid: str, group: str) -> None:
    assert distribution.group_of(nodeid) == group


def test_the_files_that_are_named_exist() -> None:
    named = [name for name in distribution.FIRST if name.startswith("tests/")]
    named += [f"tests/contract/{stem}.py" for stem in distribution.ON_OTHER_SERVERS]
    assert [name for name in named if not (ROOT / name).exists()] == []
