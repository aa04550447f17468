"""docs/contract.md, section 1, Alerts: the table of rules with its hysteresis, and the lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import (
    ALERT_KEYS,
    PAGE_KEYS,
    UUID,
    active_alerts,
    ago,
    assert_problem,
    host_when,
    instant,
    now,
    post,
    shown,
    ungrouped,
)
from tests.servers import EgoServer, wait_until

# rule: (field, below the firing figure, exactly there, in between, just above the resolving figure, exactly there)
RULES: dict[str, tuple[str, float, float, float, float, float]] = {
    "cpu_load_high": ("cpu_load", 79.9, 80, 75, 70.1, 70),
    "memory_high": ("memory_used_percent", 89.9, 90, 85, 80.1, 80),
    "cpu_temperature_high": ("cpu_temperature", 84.9, 85, 80, 75.1, 75),
    "gpu_temperature_high": ("gpu_temperature", 79.9, 80, 75, 70.1, 70),
}
MEASURES = {
    "cpu_load_high": "cpuLoad", "memory_high": "memoryUsedPercent", "cpu_temperature_high": "cpuTemperature",
    "gpu_temperature_high": "gpuTemperature",
}  # fmt: skip


def alert_at(ego: EgoServer, hostname: str, metric: str, **fields: Any) -> dict[str, Any] | None:
    """The active alert of one metric after one more sample."""
    post(ego, make_sample(hostname) | fields)
    return active_alerts(ego, hostname).get(metric)


@pytest.mark.parametrize("metric", RULES)
def test_a_rule_fires_at_one_figure_resolves_at_the_other_and_does_nothing_in_between(
    ego: EgoServer, metric: str
) -> None:
    field, below, fires, between, above, resolves = RULES[metric]
    hostname = unique_hostname()
    assert alert_at(ego, hostname, metric, **{field: below}) is None
    fired = alert_at(ego, hostname, metric, **{field: fires})
    assert fired is not None
    assert fired.keys() == ALERT_KEYS
    assert UUID.match(fired["id"])
    assert {name: fired[name] for name in fired.keys() - {"id", "message", "createdAt", "updatedAt", "groupId"}} == {
        "hostname": hostname,
        "severity": "warning",
        "metric": metric,
        "subject": None,
        "threshold": fires,
        "currentValue": fires,
        "peakValue": fires,
        "status": "active",
        "resolvedAt": None,
        "resolvedReason": None,
        "rule": metric,
        "measure": MEASURES[metric],
        "unit": "°C" if "temperature" in field else "%",
        "state": "firing",
        "unknownSince": None,
        "ack": None,
        "cause": None,
        "suppressedBy": [],
    }
    assert abs((instant(fired["createdAt"]) - now()).total_seconds()) < 5
    assert fired["message"]
    assert shown(ego, hostname)["severity"] == "warning"
    for value in (between, above, 99 if field != "memory_used_percent" else 99.5):
        held = alert_at(ego, hostname, metric, **{field: value})
        assert held is not None
        assert (held["id"], held["currentValue"], held["createdAt"]) == (fired["id"], value, fired["createdAt"])
    assert alert_at(ego, hostname, metric, **{field: resolves}) is None
    assert shown(ego, hostname)["severity"] is None
    (over,) = listed(ego, hostname=hostname)["items"]
    assert (over["id"], over["status"], over["currentValue"]) == (fired["id"], "resolved", resolves)
    assert instant(over["resolvedAt"]) >= instant(over["createdAt"])
    assert over["resolvedReason"]
    again = alert_at(ego, hostname, metric, **{field: fires})
    assert again is not None
    assert again["id"] != fired["id"]


@pytest.mark.parametrize("field", ["cpu_temperature", "gpu_temperature"])
def test_a_missing_value_neither_fires_nor_resolves(ego: EgoServer, field: str) -> None:
    hostname, metric = unique_hostname(), f"{field}_high"
    assert alert_at(ego, hostname, metric) is None
    fired = ungrouped(alert_at(ego, hostname, metric, **{field: 95}))
    assert fired is not None
    assert ungrouped(alert_at(ego, hostname, metric)) == fired
    assert ungrouped(alert_at(ego, hostname, metric, **{field: None})) == fired
    assert alert_at(ego, hostname, metric, **{field: 60}) is None


class Link:
    """A host with a link of 1 Gbit/s, whose utilization the test sets."""

    def __init__(self, ego: EgoServer):
        self.ego, self.hostname, self.start = ego, unique_hostname(), now()
        self.seconds, self.sent = 200.0, 0
        self.report(0)

    def report(self, utilization: float) -> dict[str, Any] | None:
        """The alert after ten seconds at a utilization."""
        self.seconds -= 10
        self.sent += round(utilization * 1_250_000_000)
        counters = {"net_bytes_tx": self.sent, "net_bytes_rx": 0, "primary_interface_speed_mbps": 1000}
        at: str = ago(self.seconds, self.start)
        return alert_at(self.ego, self.hostname, "link_congestion", timestamp=at, **counters)


def test_congestion_has_two_severities_each_with_its_own_hysteresis(ego: EgoServer) -> None:
    link = Link(ego)
    course = [(0.5, None), (0.899, None), (0.901, "warning"), (0.999, "warning"), (1.001, "critical"),
              (0.951, "critical"), (0.949, "warning"), (0.701, "warning"), (1.5, "critical"), (0.699, None),
              (0.8, None)]  # fmt: skip
    seen = []
    for utilization, _ in course:
        alert = link.report(utilization)
        seen.append((utilization, alert["severity"] if alert else None))
        if alert is not None:
            assert alert["currentValue"] == pytest.approx(utilization, abs=1e-6)  # before clamping
            assert alert["threshold"] == 0.9
    assert seen == course
    assert len(listed(ego, hostname=link.hostname)["items"]) == 1


def test_the_worst_active_alert_is_the_hosts_severity(ego: EgoServer) -> None:
    link = Link(ego)
    post(ego, make_sample(link.hostname, at=ago(link.seconds - 1, link.start), cpu_percent=99))
    assert shown(ego, link.hostname)["severity"] == "warning"
    link.report(0)  # no rate: the sample before it had no counters
    link.report(2)
    assert shown(ego, link.hostname)["severity"] == "critical"
    link.report(0.1)
    assert shown(ego, link.hostname)["severity"] is None


def test_a_clock_skew_fires_at_five_minutes_and_resolves_at_four(ego: EgoServer) -> None:
    hostname, seen = unique_hostname(), []
    assert alert_at(ego, unique_hostname(), "clock_skew", timestamp=ago(290)) is None
    for offset in (301, 260, 245, 236):
        alert = alert_at(ego, hostname, "clock_skew", timestamp=ago(offset))
        seen.append((offset, alert["severity"] if alert else None))
        if alert is not None:
            assert alert["currentValue"] == pytest.approx(offset, abs=4)
            assert alert["threshold"] == 300
    assert seen == [(301, "info"), (260, "info"), (245, "info"), (236, None)]


def test_each_full_disk_is_an_alert_whose_subject_is_its_mount(ego: EgoServer) -> None:
    hostname = unique_hostname()

    def disks(**used: float) -> dict[str, tuple[str, str]]:
        """(severity, message) of the open alerts by subject, after a sample with these disks."""
        rows = [{"mountpoint": f"/{name}", "fstype": "ext4", "used_percent": percent} for name, percent in used.items()]
        rows.append({"mountpoint": "/snap/core/1", "fstype": "squashfs", "used_percent": 100})
        post(ego, make_sample(hostname, disks=rows, swap_used_percent=20))
        found = [alert for alert in ego.get("/api/alerts/active").json() if alert["hostname"] == hostname]
        assert {alert["metric"] for alert in found} <= {"disk_full"}
        return {alert["subject"]: (alert["severity"], alert["message"]) for alert in found}

    assert disks(var=89.9, home=89) == {}
    assert disks(var=90, home=97) == {
        "/var": ("warning", f"{hostname}: disk /var is 90% used"),
        "/home": ("critical", f"{hostname}: disk /home is 97% used"),
    }
    assert {subject: severity for subject, (severity, _) in disks(var=86, home=95).items()} == {
        "/var": "warning",
        "/home": "critical",
    }
    assert {subject: severity for subject, (severity, _) in disks(var=85, home=94).items()} == {"/home": "warning"}
    assert disks(var=10, home=10) == {}
    assert [alert["status"] for alert in listed(ego, hostname=hostname, metric="disk_full")["items"]] == [
        "resolved"
    ] * 2


def test_full_swap_is_an_alert(ego: EgoServer) -> None:
    hostname = unique_hostname()
    seen = [alert_at(ego, hostname, "swap_full", swap_used_percent=used) for used in (89, 90, 97, 95, 94, 86, 85)]
    severities = [alert["severity"] if alert else None for alert in seen]
    assert severities == [None, "warning", "critical", "critical", "warning", "warning", None]


def test_an_interval_is_taken_and_null_is_unknown(ego: EgoServer) -> None:
    hostname = unique_hostname()
    for interval in (0.5, 3600, None):
        assert post(ego, make_sample(hostname, interval_seconds=interval))["accepted"] == 1


def test_there_is_one_active_alert_per_host_and_metric(ego: EgoServer) -> None:
    hostname = unique_hostname()
    for value in (90, 95, 99):
        post(ego, make_sample(hostname, cpu_percent=value, memory_used_percent=95, cpu_temperature=95))
    assert active_alerts(ego, hostname).keys() == {"cpu_load_high", "memory_high", "cpu_temperature_high"}
    assert listed(ego, hostname=hostname)["total"] == 3


def test_alerts_that_had_ended_by_a_moment_are_found(ego: EgoServer) -> None:
    host = unique_hostname()
    alert_at(ego, host, "cpu_load_high", cpu_load=95)
    alert_at(ego, host, "cpu_load_high", cpu_load=5)
    query = {"hostname": host, "status": "resolved"}
    (ended,) = ego.get("/api/alerts", params=query).json()["items"]
    assert ended["peakValue"] == 95
    (found,) = ego.get("/api/alerts", params=query | {"endedBy": ended["resolvedAt"]}).json()["items"]
    assert ungrouped(found) == ungrouped(ended)
    assert ego.get("/api/alerts", params=query | {"endedBy": ago(3600)}).json()["total"] == 0


def test_an_offline_alert_ends_the_other_alerts_of_its_host_and_a_sample_ends_it(hasty_ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(hasty_ego, make_sample(hostname, cpu_percent=95))
    loaded = active_alerts(hasty_ego, hostname)["cpu_load_high"]
    silent = wait_until(lambda: active_alerts(hasty_ego, hostname).get("host_offline"), 8)
    assert (silent["severity"], silent["threshold"]) == ("critical", 3)
    assert 3 <= silent["currentValue"] < 8
    assert active_alerts(hasty_ego, hostname).keys() == {"host_offline"}
    host_when(hasty_ego, hostname, lambda host: (host["status"], host["severity"]) == ("offline", "critical"))
    rows = {alert["id"]: alert for alert in listed(hasty_ego, hostname=hostname)["items"]}
    assert (rows[loaded["id"]]["status"], rows[loaded["id"]]["resolvedReason"]) == ("resolved", "host-offline")
    post(hasty_ego, make_sample(hostname, cpu_percent=1))
    assert active_alerts(hasty_ego, hostname) == {}
    rows = {alert["id"]: alert for alert in listed(hasty_ego, hostname=hostname)["items"]}
    assert rows[silent["id"]]["status"] == "resolved"


def test_no_host_counts_as_silent_in_egos_first_minute(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at="2026-03-01T12:00:00Z"))  # its clock is wrong, but it has just reported
    assert "host_offline" not in active_alerts(ego, hostname)


# ------------------------------------------------------------------ the lists


def listed(ego: EgoServer, **query: Any) -> dict[str, Any]:
    """A page of alerts; the form is checked on the way."""
    answer = ego.get("/api/alerts", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body.keys() == PAGE_KEYS
    assert all(alert.keys() == ALERT_KEYS for alert in body["items"])
    return body


def test_alerts_are_listed_newest_first_in_pages(ego: EgoServer) -> None:
    hostname = unique_hostname()
    for _ in range(3):
        post(ego, make_sample(hostname, cpu_percent=90))
        post(ego, make_sample(hostname, cpu_percent=10))
    post(ego, make_sample(hostname, cpu_percent=90))
    every = listed(ego, hostname=hostname)
    assert (every["total"], every["page"], every["pageSize"]) == (4, 1, 20)
    created = [instant(alert["createdAt"]) for alert in every["items"]]
    assert created == sorted(created, reverse=True)
    assert [alert["status"] for alert in every["items"]] == ["active", "resolved", "resolved", "resolved"]
    pages = [listed(ego, hostname=hostname, page=page, pageSize=3) for page in (1, 2, 3)]
    assert [len(page["items"]) for page in pages] == [3, 1, 0]
    assert [ungrouped(alert) for page in pages for alert in page["items"]] == [*map(ungrouped, every["items"])]
    assert {(page["total"], page["pageSize"]) for page in pages} == {(4, 3)}


def test_alerts_are_found_by_host_metric_and_status(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, cpu_percent=90, memory_used_percent=95))
    post(ego, make_sample(hostname, cpu_percent=10, memory_used_percent=95))
    assert {row["metric"] for row in listed(ego, hostname=hostname)["items"]} == {"cpu_load_high", "memory_high"}
    assert [row["metric"] for row in listed(ego, hostname=hostname, status="active")["items"]] == ["memory_high"]
    assert [row["metric"] for row in listed(ego, hostname=hostname, status="resolved")["items"]] == ["cpu_load_high"]
    assert listed(ego, hostname=hostname, metric="memory_high")["total"] == 1
    assert listed(ego, hostname=hostname, metric="no_such_rule")["total"] == 0
    assert listed(ego, hostname="nobody")["total"] == 0
    assert listed(ego, hostname=f" {hostname} ")["total"] == 2


def test_the_active_alerts_are_a_plain_array_newest_first(ego: EgoServer) -> None:
    for _ in range(3):
        post(ego, make_sample(unique_hostname(), cpu_percent=90))
    body = ego.get("/api/alerts/active").json()
    assert isinstance(body, list)
    assert all(alert.keys() == ALERT_KEYS and alert["status"] == "active" for alert in body)
    created: list[datetime] = [instant(alert["createdAt"]) for alert in body]
    assert created == sorted(created, reverse=True)


@pytest.mark.parametrize("query", ["status=on", "page=0", "pageSize=0", "pageSize=101", "hostname=a%2Fb"])
def test_a_bad_query_is_refused_with_the_field_named(sqlite_ego: EgoServer, query: str) -> None:
    assert_problem(sqlite_ego.get(f"/api/alerts?{query}"), 400, naming=query.partition("=")[0])


def test_an_alert_is_acknowledged_and_no_longer(ego: EgoServer) -> None:
    hostname = unique_hostname()
    fired = alert_at(ego, hostname, "cpu_load_high", cpu_load=90)
    assert fired is not None
    path = f"/api/alerts/{fired['id']}/ack"
    answer = ego.post(path, json={"note": "on it"})
    assert answer.status_code == 200, answer.text
    ack = answer.json()["ack"]
    assert (answer.json().keys(), ack["note"], ack["by"]) == (
        ALERT_KEYS,
        "on it",
        None,
    )  # this caller shows no credential
    assert (instant(ack["until"]) - instant(ack["at"])).total_seconds() == 4 * 3600
    assert active_alerts(ego, hostname)["cpu_load_high"]["ack"] == ack
    assert [one["ack"] for one in listed(ego, hostname=hostname)["items"]] == [ack]
    for _ in range(2):
        assert requests.delete(ego.url + path, timeout=10).status_code == 204
    assert active_alerts(ego, hostname)["cpu_load_high"]["ack"] is None
    assert ego.post(path).status_code == 200  # a body is not needed
    assert_problem(ego.post(path, json={"until": ago(-8 * 86_400)}), 400, naming="until")
    assert_problem(ego.post(path, json={"note": "x" * 501}), 400, naming="note")
    assert_problem(ego.post("/api/alerts/none/ack"), 404)
    answer = ego.post("/api/alerts/acknowledge", json={"ids": ["none", fired["id"], fired["id"]], "note": "all of R1"})
    assert (answer.status_code, answer.json()) == (200, {"acknowledged": [fired["id"]], "over": ["none"]})
    assert active_alerts(ego, hostname)["cpu_load_high"]["ack"]["note"] == "all of R1"
    assert_problem(ego.post("/api/alerts/acknowledge", json={"ids": ["none"]}), 409)
    assert_problem(ego.post("/api/alerts/acknowledge", json={"ids": []}), 400, naming="ids")
    alert_at(ego, hostname, "cpu_load_high", cpu_load=5)
    assert_problem(ego.post(path), 409)
