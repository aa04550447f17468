"""docs/contract.md, promise P7, and leases across a restart: a command does not become lost because EGO was down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.builders import unique_hostname
from tests.faults import on_postgresql_in_full, print_figures
from tests.faults.agents import claimed, command, report
from tests.servers import EgoServer, wait_until

COMMANDS = 10
LEASE_SECONDS, DOWN_SECONDS = 4.0, 6.5  # EGO is down for longer than the leases last, and than 5 s


@on_postgresql_in_full
def test_no_command_is_lost_because_ego_was_down(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str]
) -> None:
    """Leases that would have ended meanwhile move forward. If the agent stays silent, its command is lost later."""
    ego = start_ego(database_settings)
    ids = [claimed(ego, unique_hostname("leased")) for _ in range(COMMANDS)]
    ego.rows("UPDATE commands SET lease_until = ?", int((time.time() + LEASE_SECONDS) * 1000))
    ego.kill()
    time.sleep(DOWN_SECONDS)  # the fault itself
    assert all(until < time.time() * 1000 for (until,) in _leases(ego)), "the leases did not end while EGO was down"

    ego.start()
    stands = Counter((command(ego, id)["status"], command(ego, id)["reason"]) for id in ids)
    reported = [report(ego, id) for id in ids[: COMMANDS // 2]]
    print_figures("T16", down_past_their_lease=COMMANDS, falsely_lost=stands["timeout", "lost"])
    assert stands == {("running", None): COMMANDS}
    assert {(answer.status_code, answer.json()["late"]) for answer in reported} == {(201, False)}
    silent = ids[COMMANDS // 2 :]
    wait_until(lambda: all(command(ego, id)["reason"] == "lost" for id in silent), 15, what="the silent ones are lost")


def _leases(ego: EgoServer) -> list[tuple[int]]:
    return [(int(until),) for (until,) in ego.rows("SELECT lease_until FROM commands")]
