"""A silence that the command line makes and ends: a running EGO, and everybody who watches it, know within a second or two."""

from __future__ import annotations

import json
from typing import Any

from tests.builders import make_sample, unique_hostname
from tests.contract.clients import listening
from tests.contract.wire import active_alerts, post, settled
from tests.security.credentials import run
from tests.servers import EgoServer, wait_until


def test_ego_knows_within_a_moment_what_the_command_line_has_changed(ego: EgoServer) -> None:
    hostname, note = unique_hostname("hot"), unique_hostname("note")
    post(ego, make_sample(hostname, cpu_percent=91), *(make_sample(unique_hostname()) for _ in range(3)))
    settled(ego)

    def why_quiet() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = active_alerts(ego, hostname)["cpu_load_high"]["suppressedBy"]
        return found

    assert why_quiet() == []
    with listening(ego, "/alerts") as listener:
        printed = run(ego, f"silences add --where host:{hostname} --rule cpu_load_high --lasts 1h --note {note}")
        id, _, until = printed.strip().partition(" until ")
        wait_until(why_quiet, 3, what="the silence in force")
        (why,) = why_quiet()
        assert (why["kind"], why["id"], why["until"], why["note"]) == ("silence", id, until, note)
        assert why["by"].startswith("command-line:")
        assert id in [row["id"] for row in json.loads(run(ego, "silences list --json"))]
        assert [row["note"] for row in ego.get("/api/silences").json()["items"] if row["id"] == id] == [note]
        run(ego, f"silences end {id}")
        wait_until(lambda: not why_quiet(), 3, what="the silence ended")
        run(ego, f"silences end {id}")

        def heard() -> list[tuple[str, str]]:
            ours = [one for one in listener.of("silence-update") if one["item"]["id"] == id]
            return [(one["kind"], one["change"]) for one in ours]

        wait_until(lambda: len(heard()) == 2, 2, what="both changes are told")
    assert heard() == [("silence", "created"), ("silence", "ended")]
    assert "more than 30% of the fleet" in run(ego, "silences add --where * --lasts 1h", status=1)
