"""Which tests run in one process: those that share servers. To start an EGO costs more CPU time than most tests do."""

from __future__ import annotations

import re
from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

# The groups that take longest begin first. All others follow in the order of their names.
FIRST = (
    "contract on sqlite",
    "contract on postgresql",
    "contract on servers of its own",
    "tests/notifications/test_real.py",
    "tests/pipeline/test_recording.py",
    "tests/exporter",
    "tests/notifications/",
)
# Files of the contract that ask other servers than `sqlite_ego` and `postgresql_ego`.
ON_OTHER_SERVERS = {"test_alert_rules", "test_digital_twin_socket", "test_settings"}


def group_of(nodeid: str) -> str:
    """The name of the group of a test: its file, its folder, or in the contract the server that it asks."""
    path, _, name = nodeid.partition("::")
    if path.startswith("tests/exporter/"):
        return "tests/exporter"
    if not path.startswith("tests/contract/"):
        return path
    if PurePath(path).stem in ON_OTHER_SERVERS:
        return "contract on servers of its own"
    return "contract on postgresql" if re.search(r"\[postgresql\b", name) else "contract on sqlite"


def place_of(nodeid: str) -> int:
    """How early the group of a test begins: 0 is the first."""
    group = group_of(nodeid)
    return next((place for place, first in enumerate(FIRST) if group.startswith(first)), len(FIRST))


class ByServers(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands whole groups to the processes, in the order in which the tests are collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
