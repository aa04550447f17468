"""docs/contract.md, sections 2 and 5: an EGO with other settings: hub, its own host and monitor, rules, limits of silence."""

from __future__ import annotations

import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import active_alerts, assert_problem, host_when, link_of, now, post, settled, shown, snapshot
from tests.servers import EgoServer


def test_the_settings_show_in_info_and_in_the_twin(other_ego: EgoServer) -> None:
    body = other_ego.get("/api/info").json()
    assert (body["hub"], body["ego"]) == ("spine-1", "ego-99")
    assert (body["staleAfterSeconds"], body["offlineAfterSeconds"]) == (2, 30)
    hub = snapshot(other_ego)["hosts"][0]
    assert (hub["hostname"], hub["ip"], hub["role"]) == ("spine-1", "10.0.0.254", "hub")


def test_ego_is_an_ordinary_host_that_reports_itself(other_ego: EgoServer) -> None:
    host = host_when(other_ego, "ego-99", lambda host: True, seconds=3)
    assert (host["role"], host["displayName"], host["ip"], host["rack"]) == ("ego", "EGO", "10.0.0.100", "R0")
    assert (host["status"], host["isSynthetic"], host["uplink"]) == ("online", False, "spine-1")
    assert host["metrics"]["memoryTotalBytes"] > 0
    assert host["metrics"]["uptimeSeconds"] > 0
    assert_problem(requests.delete(f"{other_ego.url}/api/hosts/ego-99", timeout=10), 409)


def test_the_built_in_monitor_yields_while_a_reflector_reports_egos_own_host(other_ego: EgoServer) -> None:
    first = host_when(other_ego, "ego-99", lambda host: host["agentVersion"] != "9.9.9", seconds=8)
    host_when(other_ego, "ego-99", lambda host: host["lastSeen"] > first["lastSeen"])  # the monitor continues by itself
    post(other_ego, make_sample("ego-99", cpu_percent=33.25, agent_version="9.9.9"))
    started, seen = now(), set()
    while (now() - started).total_seconds() < 1.5:  # longer than the monitor's interval, shorter than it waits
        host = shown(other_ego, "ego-99")
        seen.add((host["agentVersion"], host["role"]))
    assert seen == {("9.9.9", "ego")}
    host_when(other_ego, "ego-99", lambda host: host["agentVersion"] == first["agentVersion"], seconds=8)


def test_the_hub_is_no_longer_synthetic_once_a_host_of_its_name_reports_itself(other_ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(other_ego, make_sample(hostname))
    assert link_of(settled(other_ego), hostname)["source"] == "spine-1"
    post(other_ego, make_sample("spine-1", cpu_percent=12.5, ip="10.0.0.1", tags={"uplink": hostname}))
    frame = settled(other_ego)
    hub = frame["hosts"][0]
    assert (hub["hostname"], hub["role"], hub["isSynthetic"], hub["status"]) == ("spine-1", "hub", False, "online")
    assert (hub["metrics"]["cpuLoad"], hub["agentVersion"], hub["platform"]) == (12.5, "0.1.0", "Linux-x86_64")
    assert hub["position"] == {"x": 0, "y": 0, "z": 0}
    assert hub["uplink"] is None
    assert [link for link in frame["links"] if link["target"] == "spine-1"] == []
    assert link_of(frame, hostname)["source"] == "spine-1"
    assert requests.delete(f"{other_ego.url}/api/hosts/spine-1", timeout=10).status_code == 204
    assert settled(other_ego)["hosts"][0]["isSynthetic"] is True
    assert_problem(requests.delete(f"{other_ego.url}/api/hosts/spine-1", timeout=10), 409)


def test_a_file_changes_the_rules(other_ego: EgoServer) -> None:
    hostname = unique_hostname()
    rules = {rule["name"]: rule for rule in other_ego.get("/api/info").json()["rules"]}
    changed = {
        "name": "cpu_load_high",
        "measure": "cpuLoad",
        "unit": "%",
        "fireAt": 50,
        "resolveAt": 20,
        "severity": "critical",
        "criticalAt": None,
        "above": True,
        "where": "*",
    }
    assert rules["cpu_load_high"] == changed
    assert "memory_high" not in rules
    assert rules["host_offline"]["fireAt"] == 30
    post(other_ego, make_sample(hostname, cpu_percent=50, memory_used_percent=99))
    alerts = active_alerts(other_ego, hostname)
    assert {metric: row["severity"] for metric, row in alerts.items()} == {"cpu_load_high": "critical"}
