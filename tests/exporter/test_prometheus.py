"""A real Prometheus scrapes a real EGO with a simulated fleet, by the shipped configuration, and answers what the dashboards ask.

No registry that we use has Grafana, so its dashboards are read here as it would read them: their JSON, and every query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builders import make_sample
from tests.contract.clients import listening
from tests.contract.wire import claim, create
from tests.exporter.prometheus import CONFIG, Prometheus, promtool, running_prometheus
from tests.fleet import simulated_fleet
from tests.security.credentials import token_of
from tests.servers import ROOT, EgoServer, running_ego, wait_until

GRAFANA = ROOT / "config/grafana"
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
# As Grafana puts them in when everything is chosen.
VARIABLES = {"$__rate_interval": "30s", "$job": "mirror-stage", "$room": ".*", "$rack": ".*", "$instance": ".*"}
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
SELECTOR = re.compile(r"\b(?:up|mirror_stage_\w+|process_\w+|node_\w+)(?:\{[^}]*\})?")
# By a healthy EGO there is nothing of these: nobody was refused, and its answers are good.
ONLY_IN_TROUBLE = {'status=~"429|5.."'}
CAMEL_CASE = re.compile(
    rb"node_memory_Mem(Total|Available)_bytes metric names should be written in 'snake_case' not 'camelCase'"
)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    """(where it stands, query) of every query of a dashboard, with values for its variables."""
    title = dashboard["title"]
    found = [
        (f"{title}, {panel['title']}, {one['refId']}", one["expr"])
        for panel in panels(dashboard)
        for one in panel["targets"]
    ]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            match = LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert match, variable
            found.append((f"{title}, variable {variable['name']}", f"count by ({match[2]}) ({match[1]})"))
    return [(where, filled(expression)) for where, expression in found]


def filled(expression: str) -> str:
    for name, text in VARIABLES.items():
        expression = expression.replace(name, text)
    assert "$" not in expression, expression
    return expression


RULES = re.findall(r"^ +- alert: (\w+)\n +expr: (.+)$", (CONFIG / "ego.rules.yml").read_text(), re.MULTILINE)
QUERIES = [query for dashboard in DASHBOARDS.values() for query in expressions(dashboard)]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO of these tests' own."""
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


@pytest.fixture(scope="module")
def prometheus(ego: EgoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped this EGO for some seconds, with a fleet, a browser, a command and a refused request."""
    _, token = token_of(ego, "--role viewer")
    with (
        simulated_fleet(ego, hosts=20, interval=1, commands=False),
        listening(ego, "/digital-twin"),
        running_prometheus(tmp_path_factory.mktemp("prometheus"), ego, token) as server,
    ):
        wait_until(
            lambda: server.query("count(mirror_stage_host_info) >= 20"), 30, what=f"the fleet is scraped:\n{server.log}"
        )
        ego.post_samples(make_sample("acts-01"))
        create(ego, "acts-01")
        claim(ego, "acts-01")
        ego.post("/api/metrics/batch", json={"samples": []})  # is refused
        wait_until(
            lambda: server.query("count_over_time(mirror_stage_ready[1m]) > 6"),
            30,
            what=f"EGO is scraped:\n{server.log}",
        )
        wait_until(
            lambda: server.query("rate(mirror_stage_refusals_total[30s])"), 30, what="the refusal is scraped twice"
        )
        wait_until(
            lambda: server.query("rate(mirror_stage_command_transitions_total[30s])"),
            30,
            what="the command is scraped twice",
        )
        yield server


def test_both_jobs_are_scraped_whole_with_a_viewer_s_token(prometheus: Prometheus) -> None:
    targets = {one["scrapePool"]: one for one in prometheus.ask("targets")["activeTargets"]}
    assert targets.keys() == {"mirror-stage", "mirror-stage-fleet"}
    for one in targets.values():
        assert (one["health"], one["lastError"]) == ("up", "")
    assert targets["mirror-stage"]["scrapeUrl"].endswith("/metrics")
    assert "level=error" not in prometheus.log
    assert "duplicate" not in prometheus.log


@pytest.mark.parametrize("expression", [query for _, query in QUERIES], ids=[where for where, _ in QUERIES])
def test_every_query_of_the_dashboards_finds_something(prometheus: Prometheus, expression: str) -> None:
    assert prometheus.query(expression), expression


@pytest.mark.parametrize(("alert", "expression"), RULES, ids=[alert for alert, _ in RULES])
def test_every_rule_is_evaluated_and_all_that_it_looks_at_is_there(
    prometheus: Prometheus, alert: str, expression: str
) -> None:
    def rule() -> dict[str, Any]:
        (found,) = [
            one for group in prometheus.ask("rules")["groups"] for one in group["rules"] if one["name"] == alert
        ]
        return dict(found)

    wait_until(lambda: rule()["health"] != "unknown", 20, what=f"{alert} is evaluated")
    assert rule()["health"] == "ok", rule()
    assert rule()["state"] != "firing", rule()  # on a busy machine commits may be slow, but not for five minutes
    for selector in SELECTOR.findall(expression):
        if not any(part in selector for part in ONLY_IN_TROUBLE):
            assert prometheus.query(selector), selector
        else:
            assert prometheus.query(re.sub(r"\{.*\}", "", selector)), selector


def test_series_of_a_host_are_named_after_the_host_and_keep_their_job(prometheus: Prometheus) -> None:
    found = prometheus.query("mirror_stage_host_info")
    assert {one["metric"]["job"] for one in found} == {"mirror-stage-fleet"}
    assert not any("exported_instance" in one["metric"] or ":" in one["metric"]["instance"] for one in found)


def test_the_series_of_a_host_that_is_removed_end_with_the_next_scrape(ego: EgoServer, prometheus: Prometheus) -> None:
    ego.post_samples(make_sample("leaves-01"))
    wait_until(lambda: prometheus.query('node_load1{instance="leaves-01"}'), 20, what="it is scraped")
    assert requests.delete(f"{ego.url}/api/hosts/leaves-01", timeout=10).status_code == 204
    wait_until(
        lambda: not prometheus.query('node_load1{instance="leaves-01"}'),
        20,
        what="its series end, not after five minutes",
    )
    assert prometheus.query('last_over_time(node_load1{instance="leaves-01"}[5m])')


def test_the_hosts_are_found_for_a_node_exporter_of_their_own(ego: EgoServer, prometheus: Prometheus) -> None:
    """Prometheus takes the shipped job `node`, once its # is removed, and labels its targets as EGO says."""
    file = prometheus.folder / "prometheus.yml"
    begins, ends = file.read_text().split("  # - job_name: node\n")
    file.write_text(begins + "  - job_name: node\n" + re.sub(r"^  # ", "  ", ends, flags=re.MULTILINE))
    assert promtool("check", "config", str(file)).returncode == 0
    told = ego.get("/api/prometheus/targets?port=9100").json()
    assert len(told) > 20
    assert {"rack", "room", "role", "instance"} <= {name for group in told for name in group["labels"]}


def test_promtool_finds_nothing_to_complain_about(ego: EgoServer, tmp_path: Path, prometheus: Prometheus) -> None:
    checked = promtool("check", "config", str(prometheus.folder / "prometheus.yml"))
    assert checked.returncode == 0, checked.stderr
    rules = promtool("check", "rules", str(CONFIG / "ego.rules.yml"))
    assert rules.returncode == 0, rules.stderr
    assert f"{len(RULES)} rules found".encode() in rules.stdout
    own = promtool("check", "metrics", given=ego.get("/metrics").content)
    assert (own.returncode, own.stdout + own.stderr) == (0, b"")
    fleet = promtool("check", "metrics", given=ego.get("/metrics/fleet").content)
    said = (fleet.stdout + fleet.stderr).splitlines()
    assert all(CAMEL_CASE.fullmatch(line) for line in said), said  # node_exporter's own names


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    tested = promtool("test", "rules", str(ROOT / "tests/exporter/ego.rules.test.yml"))
    assert tested.returncode == 0, (tested.stdout + tested.stderr).decode()
    names = re.findall(r'alertname="(\w+)"', (ROOT / "tests/exporter/ego.rules.test.yml").read_text())
    assert set(names) == {name for name, _ in RULES}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_one_that_grafana_can_load(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert {"uid", "title", "panels", "templating", "schemaVersion", "time"} <= dashboard.keys()
    assert len(dashboard["uid"]) <= 40
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(panels(dashboard)) > 15
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables | {"__rate_interval"}
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "two panels overlap"


def test_the_provisioning_files_load_the_dashboards_from_where_the_page_puts_them() -> None:
    page = (ROOT / "docs/figures.md").read_text()
    (folder,) = re.findall(
        r"^ +path: (.+)$", (GRAFANA / "provisioning/dashboards/mirror-stage.yml").read_text(), re.MULTILINE
    )
    assert f"sudo install -d {folder}" in page
    assert f"dashboards/*.json {folder}/" in page
    for file in GRAFANA.glob("provisioning/*/*.yml"):
        assert "\napiVersion: 1\n" in file.read_text()
        assert f"provisioning/{file.parent.name}/*.yml /etc/grafana/provisioning/{file.parent.name}/" in page
