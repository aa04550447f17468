"""docs/contract.md, sections 1 and 2: the twin as it was, what changed between two moments, and what happened in a stretch of time."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import (
    SNAPSHOT_KEYS,
    ago,
    assert_problem,
    create,
    finished_command,
    host_of,
    instant,
    link_of,
    now,
    post,
    settled,
)
from tests.servers import EgoServer, wait_until

MOMENT_KEYS = SNAPSHOT_KEYS | {"at", "resolution", "alerts"}


def moment(ego: EgoServer, at: str) -> dict[str, Any]:
    """The twin as it was."""
    answer = ego.get("/api/twin/state", params={"at": at})
    assert answer.status_code == 200, answer.text[:400]
    found: dict[str, Any] = answer.json()
    return found


def after(receipt: dict[str, Any]) -> str:
    """A moment that shows an acknowledged batch and nothing that comes later."""
    time.sleep(0.005)
    return str(receipt["receivedAt"])


def test_a_moment_shows_what_the_live_twin_showed(ego: EgoServer) -> None:
    hostname, start = unique_hostname(), now()
    traffic = {"primary_interface_speed_mbps": 1000, "rack": "R1", "tags": {"room": "attic"}}
    early = after(post(ego, make_sample(hostname, at=ago(10, start), net_bytes_tx=0, net_bytes_rx=0, **traffic)))
    receipt = post(ego, make_sample(hostname, cpu_percent=95, net_bytes_tx=10**8, net_bytes_rx=10**8, **traffic))
    late = after(receipt)
    live = settled(ego)
    post(ego, make_sample(hostname, cpu_percent=5, rack="R2"))
    then = moment(ego, late)
    assert then.keys() == MOMENT_KEYS
    assert (then["type"], then["twinId"], then["at"], then["generatedAt"]) == ("twin-state", live["twinId"], late, late)
    assert then["resolution"] == "raw"
    assert host_of(then, hostname) == host_of(live, hostname)
    assert link_of(then, hostname) == link_of(live, hostname)
    assert then["hosts"][0]["role"] == "hub"
    (alert,) = [alert for alert in then["alerts"] if alert["hostname"] == hostname]
    assert (alert["metric"], alert["status"], alert["currentValue"]) == ("cpu_load_high", "active", 95)
    assert (alert["resolvedAt"], alert["resolvedReason"]) == (None, None)
    before = host_of(moment(ego, early), hostname)
    assert before is not None
    assert (before["metrics"]["cpuLoad"], before["severity"]) == (12.5, None)


def test_before_the_first_sample_there_is_only_the_hub(ego: EgoServer) -> None:
    then = moment(ego, "2001-01-01T00:00:00Z")
    assert [host["role"] for host in then["hosts"]] == ["hub"]
    assert (then["links"], then["alerts"], then["resolution"]) == ([], [], "15m")


@pytest.mark.parametrize(
    "at", ["", "yesterday", "2025-11-01", "1e9", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_a_malformed_moment_is_refused(sqlite_ego: EgoServer, at: str) -> None:
    assert_problem(sqlite_ego.get("/api/twin/state", params={"at": at}), 400, naming="at")


def test_the_future_is_refused(ego: EgoServer) -> None:
    assert_problem(ego.get("/api/twin/state", params={"at": ago(-60)}), 400, naming="at")
    assert_problem(ego.get("/api/twin/diff", params={"from": ago(60), "to": ago(-60)}), 400, naming="to")
    assert_problem(ego.get("/api/timeline", params={"to": ago(-60)}), 400, naming="to")


def test_a_settled_moment_may_be_cached_and_its_etag_saves_sending_it_again(ego: EgoServer) -> None:
    for seconds, lasts in ((1, "private, max-age=0"), (86_400, "private, max-age=3600")):
        at = {"at": ago(seconds)}

        def is_saved(at: dict[str, str] = at, lasts: str = lasts) -> bool:
            first = ego.get("/api/twin/state", params=at)
            assert first.headers["Cache-Control"] == lasts
            again = ego.get("/api/twin/state", params=at, headers={"If-None-Match": first.headers["ETag"]})
            if again.headers["ETag"] != first.headers["ETag"]:
                return False  # what hosts said of themselves a second ago was recorded in between
            assert (again.status_code, again.content) == (304, b"")
            return True

        wait_until(is_saved)


def test_a_diff_lists_the_hosts_that_came_left_moved_and_changed(ego: EgoServer) -> None:
    moved, hot, gone, new = (unique_hostname(stem) for stem in ("moved", "hot", "gone", "new"))
    post(ego, make_sample(moved, rack="R1"), make_sample(hot, cpu_percent=10, memory_used_percent=50))
    start = after(post(ego, make_sample(gone)))
    assert requests.delete(f"{ego.url}/api/hosts/{gone}", timeout=10).status_code == 204
    post(ego, make_sample(moved, rack="R2"), make_sample(hot, cpu_percent=60, memory_used_percent=55))
    end = after(post(ego, make_sample(new)))
    found = ego.get("/api/twin/diff", params={"from": start, "to": end}).json()
    assert (found["from"], found["to"], found["resolutions"]) == (start, end, ["raw", "raw"])
    assert new in found["came"]
    assert gone in found["went"]
    assert gone not in found["came"]
    (move,) = [row for row in found["moved"] if row["hostname"] == moved]
    assert (move["before"]["rack"], move["after"]["rack"]) == ("R1", "R2")
    changes = [row for row in found["metrics"] if row["hostname"] == hot]
    assert changes == [{"hostname": hot, "metric": "cpuLoad", "before": 10, "after": 60, "change": 50}]
    for threshold, metrics in (
        ("cpuLoad:60", set()),
        ("4", {"cpuLoad", "memoryUsedPercent"}),
        ("memoryUsedPercent:4", {"cpuLoad", "memoryUsedPercent"}),
    ):
        found = ego.get("/api/twin/diff", params={"from": start, "to": end, "threshold": threshold}).json()
        assert {row["metric"] for row in found["metrics"] if row["hostname"] == hot} == metrics, threshold


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "from"),
        ({"from": "2025-11-01T00:00:00Z", "to": "2025-10-01T00:00:00Z"}, "from"),
        ({"from": "2025-11-01T00:00:00Z", "threshold": "speed:1"}, "threshold"),
        ({"from": "2025-11-01T00:00:00Z", "threshold": "cpuLoad:much"}, "threshold"),
        ({"from": "2025-11-01T00:00:00Z", "threshold": "-1"}, "threshold"),
        ({"from": "2025-11-01T00:00:00Z", "threshold": "nan"}, "threshold"),
    ],
)
def test_a_bad_diff_query_is_refused_with_the_field_named(
    sqlite_ego: EgoServer, query: dict[str, str], field: str
) -> None:
    assert_problem(sqlite_ego.get("/api/twin/diff", params=query), 400, naming=field)


def test_the_timeline_counts_alerts_commands_and_hosts(ego: EgoServer) -> None:
    hostname, start = unique_hostname(), now()
    post(ego, make_sample(hostname, cpu_percent=95))
    finished_command(ego)
    finished_command(ego, status="failed")
    create(ego, unique_hostname())
    time.sleep(0.01)
    post(ego, make_sample(hostname, cpu_percent=5))
    settled(ego)
    found = ego.get("/api/timeline", params={"from": ago(10, start), "buckets": 7}).json()
    assert found["from"] == ago(10, start).replace("+00:00", "Z")
    assert len(found["t"]) == 7
    assert (instant(found["to"]) - instant(found["from"])).total_seconds() == pytest.approx(7 * found["bucketSeconds"])
    for counts in (*found["alerts"]["fired"].values(), *found["commands"].values(), found["hosts"]["online"]):
        assert len(counts) == 7
    for name in ("fired", "active", "resolved"):
        assert sum(found["alerts"][name]["warning"]) >= 1, name
    created, ended, failed = (sum(found["commands"][name]) for name in ("created", "finished", "failed"))
    assert (created >= 3, ended >= 2, failed >= 1) == (True, True, True)
    assert found["hosts"]["online"][-1] > 0
    assert len(ego.get("/api/timeline").json()["t"]) == 120


@pytest.mark.parametrize(
    "query", [{"buckets": "0"}, {"buckets": "1001"}, {"buckets": "x"}, {"from": "2025-13-01T00:00:00Z"}, {"to": "soon"}]
)
def test_a_bad_timeline_query_is_refused_with_the_field_named(sqlite_ego: EgoServer, query: dict[str, str]) -> None:
    assert_problem(sqlite_ego.get("/api/timeline", params=query), 400, naming=next(iter(query)))


def test_info_says_that_the_past_can_be_replayed(ego: EgoServer) -> None:
    assert "replay" in ego.get("/api/info").json()["features"]


@pytest.mark.parametrize("since", ["1970-01-01T00:00:00Z", "2020-02-29T12:00:00Z"])
def test_any_moment_and_any_stretch_of_the_past_is_answered_at_once(ego: EgoServer, since: str) -> None:
    post(ego, make_sample(unique_hostname()))
    ever = "2100-12-31T23:59:59Z"
    for path, query, status in (
        ("/api/twin/state", {"at": since}, 200),
        ("/api/twin/state", {"at": ever}, 400),
        ("/api/twin/diff", {"from": since}, 200),
        ("/api/twin/diff", {"from": since, "to": "2021-01-01T00:00:00Z"}, 200),
        ("/api/twin/diff", {"from": since, "to": ever}, 400),
        ("/api/timeline", {"from": since}, 200),
        ("/api/timeline", {"from": since, "buckets": 1_000}, 200),
        ("/api/timeline", {"from": since, "to": "2021-01-01T00:00:00Z", "buckets": 1_000}, 200),
        ("/api/timeline", {"from": since, "to": ever}, 400),
        ("/api/alerts", {"page": 100, "pageSize": 100}, 200),
        ("/api/commands", {"page": 100, "pageSize": 100}, 200),
    ):
        answer = ego.get(path, params=query)
        assert answer.status_code == status, (path, query, answer.text[:400])
        assert answer.elapsed.total_seconds() < 5, (path, query)


def test_the_processes_of_a_moment_and_since_when(ego: EgoServer) -> None:
    name = unique_hostname("busy")
    rows = [{"pid": 7, "name": "backup", "username": "root", "cpu_percent": 95.0, "memory_percent": 2.5}]
    post(ego, make_sample(name, top_processes=rows))

    def ask(**query: str) -> requests.Response:
        return ego.get("/api/history/processes", params=query)

    wait_until(lambda: ask(hostname=name).json()["total"] == 1, 20, what="EGO notes the processes of a minute")
    (item,) = ask(hostname=name).json()["items"]
    assert [item[one] for one in ("name", "username", "count", "cpuPercent", "cpu")] == [
        "backup",
        "root",
        1,
        95.0,
        [95.0],
    ]
    assert item["cpuSince"]["isExact"] is False
    assert ask(hostname=name, name="other").json()["items"] == []
    assert_problem(ask(hostname="nobody"), 404)
    assert_problem(ask(), 400)
    assert_problem(ask(hostname=name, at="2099-01-01T00:00:00Z"), 400)
