"""Generated requests, valid and invalid by the OpenAPI document, to every operation: no 5xx, no undocumented answer."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import requests
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from tests.builders import make_sample, unique_hostname
from tests.contract.test_openapi import ROUTES
from tests.contract.wire import active_alerts, ago, create, post, running_command
from tests.faults import short_and_full
from tests.servers import EgoServer, wait_until

INSTANTS_AGO = {"from": 3600, "to": 1, "at": 60}  # seconds
EXAMPLES = {"sqlite": 6, "postgresql": 2}
# No generator can find what these need, and this EGO has no TLS.
NOT_FOUND_BY_CHANCE = {
    "/api/history", "/api/history/processes", "/api/sessions/{id}", "/api/tls/root.pem", "/api/tokens/{id}", "/api/channels/{name}", "/api/alert-groups/{id}",
    "/api/routes", "/api/enrol-codes/{id}", "/api/selection",
    "/api/agents/{id}/approve", "/api/agents/{id}/labels", "/api/agents/{id}/revoke", "/api/agents/{id}/unlock", "/api/agents/self/rotate",
    "/api/alert-rules/{name}",
    "/api/silences/{id}", "/api/maintenance/{id}", "/api/mute-times/{name}",
}  # fmt: skip
MANY = {"sqlite": 100, "postgresql": 20}


@pytest.fixture(scope="package", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def ego(request: pytest.FixtureRequest) -> EgoServer:
    """An EGO on SQLite, in `make test-long` also one on PostgreSQL: what differs between them has its own tests."""
    server: EgoServer = request.getfixturevalue(f"{request.param}_ego")
    return server


@pytest.fixture(scope="module")
def api(ego: EgoServer) -> Any:
    """The document, as schemathesis reads it."""
    import schemathesis  # here, because every process of pytest loads this module, and one or two run its tests

    return schemathesis.openapi.from_url(f"{ego.url}/api/openapi.json")


def cases(operation: Any, known: dict[str, str]) -> st.SearchStrategy[Any]:
    """Requests that the document allows, mostly for a host and a command that exist, and requests that it does not."""
    from schemathesis.generation import GenerationMode

    def aimed(drawn: tuple[Any, int]) -> Any:
        case, chance = drawn
        if chance:
            case.path_parameters = {
                name: known.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
            for name in INSTANTS_AGO.keys() & (case.query if isinstance(case.query, dict) else {}).keys():
                case.query[name] = ago(
                    INSTANTS_AGO[name]
                )  # the document cannot say which comes first, nor what time it is
            samples = case.body.get("samples") if isinstance(case.body, dict) else None
            for sample in samples if isinstance(samples, list) else []:
                if isinstance(sample, dict) and isinstance(sample.get("timestamp"), str):
                    sample |= {
                        "timestamp": ago(0),
                        "hostname": known["hostname"],
                    }  # the document cannot say what is one
        return case

    allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return st.one_of(
        st.tuples(allowed, st.integers(0, 2)).map(aimed), st.tuples(forbidden, st.integers(0, 1)).map(aimed)
    )


@pytest.mark.parametrize("examples", short_and_full(EXAMPLES, MANY))
@pytest.mark.parametrize(("method", "path"), sorted(ROUTES), ids=lambda part: part)
def test_generated_requests_get_documented_answers(
    ego: EgoServer, api: Any, method: str, path: str, examples: dict[str, int]
) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
    ]
    post(ego, make_sample("titan-01", cpu_percent=95))
    known = {"hostname": "titan-01", "id": create(ego, "titan-01")["id"]}
    if path.endswith(("/result", "/heartbeat", "/output", "/result/{id}")):
        known["id"] = running_command(ego)
    if path == "/api/alerts/{id}/ack":
        known["id"] = active_alerts(ego, "titan-01")["cpu_load_high"]["id"]
    if path == "/api/alert-groups/{id}/ack":
        known["id"] = wait_until(lambda: ego.get("/api/alert-groups?open=true").json()["items"], 10)[0]["id"]
    if path == "/api/views/{name}":
        known["name"] = unique_hostname("view")
        requests.put(f"{ego.url}/api/views/{known['name']}", json={"address": "#/table"}, timeout=10)
    elif path.endswith("/{name}"):
        known["name"] = unique_hostname("rule")
        step = {"severity": "info", "fire": 99, "resolve": 98}
        ego.post(
            "/api/alert-rules", json={"name": known["name"], "measure": "swap", "where": "host:none", "steps": [step]}
        )
    codes: list[int] = []
    kind = "postgresql" if "MIRROR_STAGE_DB_URL" in ego.settings else "sqlite"

    @hypothesis.given(case=cases(api[path][method], known))
    @hypothesis.settings(
        max_examples=examples[kind],
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query["wait"] = 0.01  # any wait is allowed, but a test must not wait so long
        answer = case.call(timeout=10)
        codes.append(answer.status_code)
        case.validate_response(answer, checks=checks)

    check()
    if kind == "sqlite" and method != "POST" and path not in NOT_FOUND_BY_CHANCE:
        assert any(code < 400 for code in codes), codes  # some requests were accepted


def test_it_still_works_afterwards(ego: EgoServer) -> None:
    assert requests.get(f"{ego.url}/api/health/ready", timeout=10).json()["ready"] is True
    assert "Traceback" not in ego.log
    post(ego, make_sample("titan-01"))
