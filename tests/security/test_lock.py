"""From an open EGO to one with locks: nothing stops before the owner says so, and `mirror-stage lock` says what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.builders import make_sample
from tests.command_line import forked
from tests.servers import EgoServer, running_ego, wait_until

OPEN = {"MIRROR_STAGE_SECURITY": "open", "MIRROR_STAGE_BIND": "0.0.0.0", "MIRROR_STAGE_TLS": "on"}


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An open EGO on the network that speaks https, too."""
    with running_ego(tmp_path_factory.mktemp("ego"), OPEN) as server:
        yield server


def lock(ego: EgoServer, **settings: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit status of `mirror-stage lock`, and its findings by check."""
    ended = forked(["lock", "--json"], cwd=ego.folder, env=ego.environment | settings)
    by_check: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(ended.stdout)["checks"]:
        by_check.setdefault(finding["check"], []).append(finding)
    return ended.returncode, by_check


def test_an_open_ego_serves_plain_http_and_https_on_one_port(ego: EgoServer) -> None:
    plain = requests.post(
        f"http://127.0.0.1:{ego.port}/api/metrics/batch", json={"samples": [make_sample("old-01")]}, timeout=30
    )
    assert plain.status_code == 202
    assert ego.url.startswith("https://")
    assert ego.post_samples(make_sample("new-01")).status_code == 202
    names = {host["hostname"] for host in ego.get("/api/twin/state").json()["hosts"]}
    assert {"old-01", "new-01"} <= names


def test_lock_says_who_would_be_cut_off_until_nobody_would(ego: EgoServer) -> None:
    def saved(*names: str) -> Any:
        found = {name for (name,) in ego.rows("SELECT hostname FROM host_metrics WHERE received_at IS NOT NULL")}
        return set(names) <= found

    ego.post_samples(make_sample("old-01"), make_sample("new-01"))
    wait_until(lambda: saved("old-01", "new-01"), 10, what="both hosts are saved")
    status, found = lock(ego)
    assert (status, found["people"][0]["level"]) == (1, "problem")
    assert found["hosts"][-1]["seen"] == "would be cut off: new-01, old-01"
    assert found["locks"][0]["level"] == "warning"
    assert forked(["admin", "link"], cwd=ego.folder, env=ego.environment).returncode == 0
    tokens = {name: token_of(ego, name) for name in ("old-01", "new-01")}
    _, found = lock(ego)
    assert found["hosts"][-1]["seen"] == "have a credential and did not send it for an hour: new-01, old-01"
    for name, token in tokens.items():
        sent = ego.post_samples(make_sample(name), headers={"Authorization": f"Bearer {token}"})
        assert sent.status_code == 202

    def ready() -> Any:
        status, found = lock(ego)
        return status == 0 and found["locks"][0]

    # EGO stores once a minute which credentials were used.
    assert "nobody here would be cut off" in wait_until(ready, 90, 2, "both tokens count as used")["seen"]


def token_of(ego: EgoServer, name: str) -> str:
    """A new token of a host."""
    made = forked(["tokens", "create", "--agent", name, "--json"], cwd=ego.folder, env=ego.environment)
    token: str = json.loads(made.stdout)["token"]
    return token


def test_without_https_lock_says_how_both_work_side_by_side(ego: EgoServer) -> None:
    status, found = lock(ego, MIRROR_STAGE_TLS="off")
    (https,) = found["https"]
    assert (status, https["level"], "MIRROR_STAGE_TLS=on" in https["advice"]) == (1, "problem", True)
