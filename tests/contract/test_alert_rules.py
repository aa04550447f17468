"""docs/contract.md, section 1, Alerts: rules over REST, with ETag; they are in force within a second, and survive a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.clients import listening
from tests.contract.wire import active_alerts, assert_problem, post, settled
from tests.servers import EgoServer, running_ego, wait_until

STEPS = [{"severity": "warning", "fire": 40, "resolve": 30}, {"severity": "critical", "fire": 95, "resolve": 90}]
RULES = "/api/alert-rules"


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO whose file has one rule."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.toml").write_text(
        '[rules.of_file]\nmeasure = "loadAverage"\nsteps = [{severity = "info", fire = 50, resolve = 40}]\n'
    )
    with running_ego(folder, {"MIRROR_STAGE_ALERT_RULES": str(folder / "rules.toml")}) as server:
        yield server


def put(ego: EgoServer, name: str, document: Any, **headers: str) -> requests.Response:
    return requests.put(f"{ego.url}{RULES}/{name}", json=document, headers=headers, timeout=10)


def delete(ego: EgoServer, name: str, **headers: str) -> requests.Response:
    return requests.delete(f"{ego.url}{RULES}/{name}", headers=headers, timeout=10)


def made(ego: EgoServer, **document: Any) -> tuple[dict[str, Any], str]:
    """A new rule, and its ETag."""
    body = {"name": unique_hostname("rule"), "measure": "cpuLoad", "steps": STEPS} | document
    answer = ego.post(RULES, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json(), answer.headers["ETag"]


def test_a_rule_is_made_changed_and_removed_and_alerts_follow_it(ego: EgoServer) -> None:
    host = unique_hostname()
    with listening(ego, "/alerts") as listener:
        rule, tag = made(ego, where=f"host:{host}")
        name = rule["name"]
        assert (rule["source"], rule["unit"], rule["for"], rule["noData"]) == ("hud", "%", "0s", "resolve")
        got = ego.get(f"{RULES}/{name}")
        assert (got.json(), got.headers["ETag"]) == (rule, tag)
        post(ego, make_sample(host, cpu_percent=50))
        assert active_alerts(ego, host)[name]["severity"] == "warning"
        changed = put(ego, name, rule | {"steps": STEPS[:1], "noDataAfter": "1m"}, **{"If-Match": tag})
        assert (changed.status_code, changed.json()["noDataAfter"]) == (200, "1m")
        assert_problem(put(ego, name, rule, **{"If-Match": tag}), 412)
        assert_problem(delete(ego, name, **{"If-Match": tag}), 412)
        assert delete(ego, name, **{"If-Match": changed.headers["ETag"]}).status_code == 204
        settled(ego)
        assert active_alerts(ego, host) == {}
        (over,) = ego.get("/api/alerts", params={"hostname": host}).json()["items"]
        assert (over["resolvedReason"], over["measure"]) == ("rule-removed", "cpuLoad")
        wait_until(lambda: len(listener.of("rules-changed")) == 3, 3)
    assert_problem(ego.get(f"{RULES}/{name}"), 404)


def test_a_built_in_rule_is_changed_and_is_again_as_it_was(ego: EgoServer) -> None:
    before = ego.get(f"{RULES}/memory_high").json()
    assert before["source"] == "built-in"
    assert put(ego, "memory_high", {"for": "3m"}).json() | {"etag": "", "updatedAt": None} == before | {
        "source": "hud", "for": "3m", "etag": "",
    }  # fmt: skip
    assert "memory_high" in [rule["name"] for rule in ego.get("/api/info").json()["rules"]]
    assert put(ego, "memory_high", {"enabled": False}).status_code == 200
    assert "memory_high" not in [rule["name"] for rule in ego.get("/api/info").json()["rules"]]
    assert delete(ego, "memory_high").status_code == 204
    assert ego.get(f"{RULES}/memory_high").json() == before
    assert_problem(delete(ego, "memory_high"), 409)


def test_a_rule_of_the_file_is_only_read(ego: EgoServer) -> None:
    rule = ego.get(f"{RULES}/of_file").json()
    assert (rule["source"], rule["measure"]) == ("file", "loadAverage")
    for answer in (put(ego, "of_file", rule), delete(ego, "of_file")):
        assert "stands in the file" in assert_problem(answer, 409)["detail"]
    copy, _ = made(ego, **{**rule, "name": unique_hostname("copy")})
    assert {key: copy[key] for key in ("steps", "measure", "where")} == {
        key: rule[key] for key in ("steps", "measure", "where")
    }


def test_what_a_host_is_judged_by_says_why(ego: EgoServer) -> None:
    host, other = unique_hostname(), unique_hostname()
    post(ego, make_sample(host), make_sample(other))
    settled(ego)
    rule, _ = made(ego, where=f"host:{host},{other}", overrides=[{"where": f"host:{other}", "for": "30m"}])
    found = {}
    for name in (host, other):
        answer = ego.get(f"/api/hosts/{name}/alert-rules").json()
        found[name] = next(one for one in answer["items"] if one["name"] == rule["name"])
    assert (found[host]["why"], found[host]["for"]) == (None, "0s")
    assert (found[other]["why"], found[other]["for"]) == (f"host:{other}", "30m")
    assert rule["name"] not in [one["name"] for one in ego.get("/api/hosts/core-switch/alert-rules").json()["items"]]
    assert_problem(ego.get("/api/hosts/nobody/alert-rules"), 404)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"measure": "coffee"}, "measure"),
        ({"where": "rack=R1"}, "where"),
        ({"steps": [STEPS[0] | {"fire": 10}]}, "steps.0.resolve"),
        ({"resolve_for": "1m"}, "resolve_for"),
        ({"overrides": [{"where": "*", "noDataAfter": "soon"}]}, "overrides.0.noDataAfter"),
        ({"subjects": ["a\u0000"], "measure": "diskUsedPercent"}, "subjects"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_and_its_key_is_named(
    ego: EgoServer, document: dict[str, Any], field: str
) -> None:
    body = {"name": unique_hostname("bad"), "measure": "cpuLoad", "steps": STEPS} | document
    assert_problem(ego.post(RULES, json=body), 400, naming=field)
    assert_problem(ego.get(f"{RULES}/{body['name']}"), 404)


def test_a_preview_says_what_a_rule_would_find_now(ego: EgoServer) -> None:
    hosts = [unique_hostname("seen") for _ in range(3)]
    post(ego, *(make_sample(host, cpu_percent=load) for host, load in zip(hosts, (10, 50, 99), strict=True)))
    settled(ego)
    rule: dict[str, Any] = {"measure": "cpuLoad", "where": f"host:{','.join(hosts)}", "steps": STEPS, "for": "1h"}
    rule["overrides"] = [{"where": f"host:{hosts[1]}", "for": "2h"}]
    answer = ego.post(f"{RULES}/preview", json=rule)
    assert answer.json() == {
        "hosts": 3, "withoutValue": 0, "total": 2,
        "matched": [{"hostname": host, "why": f"host:{host}" if host == hosts[1] else None} for host in sorted(hosts)],
        "items": [
            {"hostname": hosts[2], "subject": None, "value": 99, "severity": "critical"},
            {"hostname": hosts[1], "subject": None, "value": 50, "severity": "warning"},
        ],
    }  # fmt: skip
    gpu = ego.post(f"{RULES}/preview", json=rule | {"measure": "gpuTemperature"}).json()
    assert (gpu["hosts"], gpu["withoutValue"], gpu["items"]) == (3, 3, [])
    assert_problem(ego.post(f"{RULES}/preview", json=rule | {"where": "rack"}), 400, naming="where")
    assert_problem(ego.post(f"{RULES}/preview", json=rule | {"name": "of two words"}), 400, naming="name")
    assert_problem(ego.post(RULES, json=rule | {"name": "preview"}), 409)


def test_other_requests_that_cannot_be(ego: EgoServer) -> None:
    rule, _ = made(ego)
    assert_problem(ego.post(RULES, json=rule), 409)
    assert_problem(ego.post(RULES, json={"measure": "cpuLoad", "steps": STEPS}), 400, naming="name")
    assert_problem(ego.post(RULES, json=[]), 400)
    assert_problem(ego.post(RULES, json=rule | {"name": "a b"}), 400)
    assert_problem(put(ego, "nobody", rule), 404)


def test_rules_survive_a_restart(ego: EgoServer) -> None:
    rule, _ = made(ego, noData="keep")
    ego.kill()
    ego.start()
    assert ego.get(f"{RULES}/{rule['name']}").json() == rule
