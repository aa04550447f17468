"""No host can look like another host, have an invisible name, or keep a place that is not its own."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import requests

from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.history.encode import _harmless
from mirror_stage.metrics.domain import POSITION_MAX, believed_place
from mirror_stage.twin.domain import impostors
from tests.builders import make_sample
from tests.contract.wire import host_of, snapshot, unique_hostname
from tests.servers import EgoServer


def shown(ego: EgoServer, hostname: str) -> dict[str, Any]:
    found = host_of(snapshot(ego), hostname)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    [
        "db-01",
        "DB-01",
        " db-01 ",
        "db\u200b-01",
        "\u2066db-01\u2069",
        "db-01\ufe0f",
        "db-01\u3164",
        "ｄｂ-01",
        "db-01\x1b",
    ],
)
def test_a_display_name_that_reads_as_another_hosts_name_is_ignored(name: str) -> None:
    assert impostors({"db-01": None, "evil": name, "web": "Web"}) == {"evil"}


@pytest.mark.parametrize(
    "wanted",
    [
        {"db-01": "DB-01"},
        {"db-01": "Database", "web": "Database 2"},
        {"db-01": "", "web": None},
    ],
)
def test_every_other_display_name_is_shown(wanted: dict[str, str | None]) -> None:
    assert impostors(wanted) == set()


def test_a_display_name_that_copies_a_hostname_is_ignored_in_either_order(guarded_ego: EgoServer) -> None:
    victim, early, late = unique_hostname(), unique_hostname(), unique_hostname()
    assert guarded_ego.post_samples(make_sample(early, tags={"display_name": victim.upper()})).status_code == 202
    assert shown(guarded_ego, early)["displayName"] == victim.upper()
    assert guarded_ego.post_samples(make_sample(victim)).status_code == 202
    assert guarded_ego.post_samples(make_sample(late, tags={"display_name": f"{victim}\u200b"})).status_code == 202
    assert shown(guarded_ego, early)["displayName"] == early
    assert shown(guarded_ego, late)["displayName"] == late
    assert shown(guarded_ego, late)["label"].startswith(late)
    assert requests.delete(f"{guarded_ego.url}/api/hosts/{victim}", timeout=20).status_code == 204
    assert shown(guarded_ego, early)["displayName"] == victim.upper()


@pytest.mark.parametrize(
    "name",
    [
        "a\u202eb", "a\x1b[1Kb", "a\u3164", "\u115fa", "a\u1160b", "a\uffa0", "a\u200bb", "a\ufe0f", "a\U000e0061", "a\U000e0101b", "a\u2800b",
        "a\u00a0b", "a\u2003b", "a\u034fb", "a\u00adb", "a\ue000",
    ],
)  # fmt: skip
def test_a_name_with_invisible_characters_is_refused(name: str) -> None:
    with pytest.raises(BadField, match=r"invisible|control"):
        normalise_hostname(name)


@pytest.mark.parametrize("name", ["서버-01", "titan 01", "café", "ホスト", "titan_01.example.org"])
def test_a_name_that_can_be_read_is_taken(name: str) -> None:
    assert normalise_hostname(name) == name


@pytest.mark.parametrize("place", [(1e308, 0, 0), (0, -1e4, 0), (0, 0, POSITION_MAX + 1)])
def test_a_place_outside_of_every_room_is_ignored(place: tuple[float, float, float]) -> None:
    assert believed_place(*place) is None
    assert believed_place(POSITION_MAX, 0, -POSITION_MAX) == (POSITION_MAX, 0, -POSITION_MAX)


def test_a_host_at_an_absurd_place_stands_where_ego_puts_it(guarded_ego: EgoServer) -> None:
    hostname = unique_hostname()
    assert guarded_ego.post_samples(make_sample(hostname, position={"x": 1e308, "y": 1e4})).status_code == 202
    entry = shown(guarded_ego, hostname)
    assert entry["positionSource"] == "computed"
    assert max(map(abs, entry["position"].values())) < 200


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "\t", "＝1", "\u3000=1"])
def test_no_name_is_a_formula_in_the_csv(name: str) -> None:
    assert _harmless(name) == f"'{name}"


def test_a_name_that_is_no_formula_stays_in_the_csv() -> None:
    assert [_harmless(name) for name in ("titan-01", " a", None, "")] == ["titan-01", " a", "", ""]


def test_a_report_under_the_hubs_name_can_be_removed(guarded_ego: EgoServer) -> None:
    hub = "core-switch"
    assert requests.delete(f"{guarded_ego.url}/api/hosts/{hub}", timeout=20).status_code == 409
    assert guarded_ego.post_samples(make_sample(hub, tags={"display_name": "Gotcha"})).status_code == 202
    assert shown(guarded_ego, hub)["isSynthetic"] is False
    assert requests.delete(f"{guarded_ego.url}/api/hosts/{hub}", timeout=20).status_code == 204
    entry = shown(guarded_ego, hub)
    assert (entry["isSynthetic"], entry["displayName"], entry["role"]) == (True, hub, "hub")
    (row,) = guarded_ego.rows("SELECT at, removed_at FROM host_metrics WHERE hostname = ?", hub)
    assert row == (None, None)


def test_gzip_comes_in_several_members_and_under_its_old_name(guarded_ego: EgoServer) -> None:
    def post(body: bytes, coding: str = "gzip") -> int:
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        return guarded_ego.post("/api/metrics/batch", data=body, headers=headers).status_code

    text = json.dumps({"samples": [make_sample(unique_hostname())]}).encode()
    whole, halves = gzip.compress(text), gzip.compress(text[:40]) + gzip.compress(text[40:])
    assert [post(body) for body in (whole, halves, halves + gzip.compress(b""), whole + bytes(512))] == [202] * 4
    assert post(whole, "x-gzip") == 202
    assert post(whole + b"junk") == 400
    assert post(whole[:-4]) == 400
    assert post(gzip.compress(b"") * 100_000) == 400
    assert post(gzip.compress(bytes(2**20)) * 60) == 413
