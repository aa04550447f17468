"""The wall and the router see the same path, and no browser can claim a command."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest

from tests.contract.wire import unique_hostname
from tests.security.raw import ask
from tests.servers import ROOT, EgoServer

FOREIGN_NAVIGATION = {
    "Sec_Fetch_Site": "cross-site",
    "Sec_Fetch_Mode": "navigate",
    "Sec_Fetch_Dest": "document",
}
OTHER_FORMS = [
    "//api/commands/pending/{}",
    "///api/commands/pending/{}",
    "/api//commands/pending/{}",
    "/api/commands/pending//{}",
    "/./api/commands/pending/{}",
    "/x/../api/commands/pending/{}",
    "/%2e/api/commands/pending/{}",
    "/%2E%2e/api/commands/pending/{}",
    "/%2fapi/commands/pending/{}",
    "/%2Fapi/commands/pending/{}",
    "/api%2Fcommands/pending/{}",
    "/%5capi/commands/pending/{}",
    "/\\api/commands/pending/{}",
    "/api/commands/pending/{}%00",
    "/api/commands/pending/{}%0a",
    "/api/commands/pending/{}%2",
    "/api/commands/pending/{}%zz",
    "/api/commands/pending/{}#x",
    "/api/commands/pending/{}//",
    "/api/commands/pending/{}/.",
    "/api/commands/pending/{}%ff",
    "http://127.0.0.1/api/commands/pending/{}",
    "http://127.0.0.1//api/commands/pending/{}",
    "//field/../api/commands/pending/{}",
    "//api/field/commands/pending/{}",
    "//socket.io/?EIO=4&transport=polling",
]


def queued(ego: EgoServer) -> str:
    """The name of a host that has a command waiting."""
    hostname = unique_hostname()
    assert ego.post("/api/commands", json={"hostname": hostname, "command": "true"}).status_code == 201
    return hostname


def is_waiting(ego: EgoServer, hostname: str) -> bool:
    (command,) = ego.get("/api/commands", params={"hostname": hostname}).json()["items"]
    return bool(command["status"] == "pending")


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("headers", [{}, FOREIGN_NAVIGATION], ids=["agent", "navigation"])
def test_a_path_that_is_not_in_normal_form_is_refused(
    guarded_ego: EgoServer, form: str, headers: dict[str, str]
) -> None:
    hostname = queued(guarded_ego)
    answer = ask(guarded_ego, form.format(hostname), **headers)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 400
    assert is_waiting(guarded_ego, hostname)


@pytest.mark.parametrize("name", ["a%20b", "%EC%84%9C%EB%B2%84", "a:b;c=d,e~(f)"])
def test_a_path_in_normal_form_reaches_the_router(guarded_ego: EgoServer, name: str) -> None:
    assert ask(guarded_ego, "/api/health").body == b"ok"
    answer = ask(guarded_ego, f"/api/hosts/{name}")
    assert answer.status == 404
    assert unquote(name) in answer.json()["detail"]


MARKS = [
    {"Sec_Fetch_Site": "none"},
    {"Sec_Fetch_Site": "same-origin"},
    {"Sec_Fetch_Dest": "image"},
    {"Sec_Purpose": "prefetch;prerender"},
    {"Sec_GPC": "1"},
    {"Purpose": "prefetch"},
    {"X_Moz": "prefetch"},
    {"Origin": "http://127.0.0.1"},
    {"Referer": "http://10.0.0.9/"},
    {"Cookie": "a=b"},
    {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    {"Accept": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"},
    {"Accept": "text/css,*/*;q=0.1"},
    {"Upgrade_Insecure_Requests": "1"},
    {"Accept": "*/*", "Accept_Language": "ko-KR,ko;q=0.9"},  # a <script> without a referrer, over plain http
]


@pytest.mark.parametrize("mark", MARKS, ids=str)
@pytest.mark.parametrize("door", ["/api/commands", "/api/field/commands"])
def test_a_browser_claims_nothing(guarded_ego: EgoServer, door: str, mark: dict[str, str]) -> None:
    hostname = queued(guarded_ego)
    answer = ask(guarded_ego, f"{door}/pending/{hostname}", **mark)
    assert answer.status == 403
    assert is_waiting(guarded_ego, hostname)


def test_an_agent_in_the_field_claims_as_it_always_did(guarded_ego: EgoServer) -> None:
    recorded = json.loads((ROOT / "tests" / "fixtures" / "field-reflector.json").read_text())["requests"]
    headers = next(request["headers"] for request in recorded if request["method"] == "GET")
    hostname = queued(guarded_ego)
    answer = guarded_ego.get(f"/api/field/commands/pending/{hostname}", headers=headers)
    assert [item["command"] for item in answer.json()["items"]] == ["true"]


def test_a_load_balancer_of_http_1_0_gets_its_health_without_a_host(guarded_ego: EgoServer) -> None:
    assert ask(guarded_ego, "/api/health", version="1.0").body == b"ok"
    assert ask(guarded_ego, "/api/health/", version="1.0").body == b"ok"
    assert ask(guarded_ego, "/api/health/").body == b"ok"
    assert ask(guarded_ego, "/api/health/ready", version="1.0").status == 200
    assert ask(guarded_ego, "/api/twin/state", version="1.0").status == 400
    assert ask(guarded_ego, "/api/health", version="1.0", Origin="http://other.example").status == 400
    assert ask(guarded_ego, "/api/health", Host="").status == 400
