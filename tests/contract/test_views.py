"""docs/contract.md, section 1: saved views, names for addresses of the HUD."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.contract.wire import assert_problem
from tests.servers import EgoServer


def put(ego: EgoServer, path: str, json: dict[str, Any]) -> requests.Response:
    return requests.put(ego.url + path, json=json, timeout=30)


def delete(ego: EgoServer, path: str) -> requests.Response:
    return requests.delete(ego.url + path, timeout=30)


def names(ego: EgoServer) -> list[str]:
    return [one["name"] for one in ego.get("/api/views").json()["items"]]


@pytest.fixture(autouse=True)
def no_views(request: pytest.FixtureRequest) -> None:
    """Other files of this suite save views, too."""
    ego = request.getfixturevalue("ego" if "ego" in request.fixturenames else "sqlite_ego")
    ego.rows("DELETE FROM saved_views")


def test_a_view_is_saved_changed_renamed_and_deleted(ego: EgoServer) -> None:
    made = put(ego, "/api/views/밤 근무", json={"address": "#/table?q=cpu>80"})
    assert (made.status_code, made.json()["address"]) == (201, "#/table?q=cpu>80")
    assert put(ego, "/api/views/밤 근무", json={"address": "#/alerts"}).status_code == 200
    assert put(ego, "/api/views/web", json={"address": "#/plan"}).status_code == 201
    assert_problem(put(ego, "/api/views/web", json={"address": "#/plan", "name": "밤 근무"}), 409)
    assert put(ego, "/api/views/web", json={"address": "#/plan", "name": "plan"}).json()["name"] == "plan"
    assert_problem(put(ego, "/api/views/web", json={"address": "#/plan", "name": "other"}), 404)
    assert [(one["name"], one["address"]) for one in ego.get("/api/views").json()["items"]] == [
        ("plan", "#/plan"),
        ("밤 근무", "#/alerts"),
    ]
    rows = [row["what"] for row in ego.get("/api/audit").json()["items"] if row["what"].startswith("view-")]
    assert rows[:2] == ["view-changed", "view-saved"]
    for name in names(ego):
        assert delete(ego, f"/api/views/{name}").status_code == 204
    assert names(ego) == []
    assert_problem(delete(ego, "/api/views/plan"), 404)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a", {"address": "https://elsewhere.example/"}),
        ("a", {"address": "javascript:alert(1)"}),
        ("a", {"address": "#/" + "x" * 2_000}),
        ("a", {}),
        ("a" * 61, {"address": "#/"}),
        ("a", {"address": "#/", "name": "a/b"}),
        ("%E2%80%AEa", {"address": "#/"}),
    ],
)
def test_an_address_leads_nowhere_else_and_names_and_addresses_are_bounded(
    sqlite_ego: EgoServer, name: str, body: dict[str, Any]
) -> None:
    assert_problem(put(sqlite_ego, f"/api/views/{name}", json=body), 400)
    assert names(sqlite_ego) == []


def test_there_are_at_most_200_views(sqlite_ego: EgoServer) -> None:
    sqlite_ego.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
        " INSERT INTO saved_views SELECT 'v' || i, '#/', NULL, 0 FROM n"
    )
    assert_problem(put(sqlite_ego, "/api/views/one-more", json={"address": "#/"}), 409)
    assert put(sqlite_ego, "/api/views/v7", json={"address": "#/alerts"}).status_code == 200
    sqlite_ego.rows("DELETE FROM saved_views")
