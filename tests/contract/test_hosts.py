"""docs/contract.md, section 1, Twin: the list of hosts, one host, and a host that leaves."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import (
    DETAIL_KEYS,
    HOST_KEYS,
    ago,
    assert_problem,
    command,
    create,
    detail,
    host_of,
    host_when,
    link_of,
    post,
    settled,
    shown,
    snapshot,
)
from tests.servers import EgoServer, wait_until


def names(ego: EgoServer, **query: str) -> set[str]:
    """The hostnames that a query finds. Checks the form of the answer, too."""
    answer = ego.get("/api/hosts", params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"items", "total"}
    assert body["total"] == len(body["items"])
    assert all(item.keys() == HOST_KEYS for item in body["items"])
    return {item["hostname"] for item in body["items"]}


def test_the_list_has_the_entries_of_the_snapshot(ego: EgoServer) -> None:
    post(ego, make_sample(unique_hostname()))
    frame = settled(ego)
    body = ego.get("/api/hosts").json()
    assert {host["hostname"] for host in frame["hosts"]} <= {item["hostname"] for item in body["items"]}
    assert body["items"][0]["role"] == "hub"


def test_hosts_are_found_by_status_rack_tag_and_part_of_a_name(ego: EgoServer) -> None:
    rack, stem = unique_hostname("rack"), unique_hostname("STEM%_")
    one, two = f"{unique_hostname()}-{stem.replace('%', '')}", unique_hostname()
    post(ego, make_sample(one, rack=rack, tags={"room": "cellar", "tier": "gold"}, ip="10.77.0.1"))
    post(ego, make_sample(two, rack=rack, tags={"room": "attic", "display_name": f"Shown {rack.upper()}"}))
    settled(ego)
    assert names(ego, rack=rack) == {one, two}
    assert names(ego, rack=rack, status="online") == {one, two}
    assert names(ego, rack=rack, status="offline") == set()
    assert names(ego, rack=rack, tag="room") == {one, two}
    assert names(ego, rack=rack, tag="room:cellar") == {one}
    assert names(ego, rack=rack, tag="tier") == {one}
    assert names(ego, rack=rack, tag="colour") == set()
    assert names(ego, search=one[5:].lower()) == {one}
    assert names(ego, search=rack) == {two}  # the display name counts, in any case
    assert names(ego, search="10.77.0.1") == {one}
    assert names(ego, rack=rack, search="%") == names(ego, rack=rack, search="\\") == set()
    assert names(ego, rack=rack, search="_") == {one}
    assert names(ego, rack=rack, search="no such thing") == set()


def test_hosts_are_found_by_whether_their_agents_take_commands(ego: EgoServer) -> None:
    rack = unique_hostname("rack")
    polls, off, silent = (unique_hostname(stem) for stem in ("polls", "off", "silent"))
    post(ego, *(make_sample(host, rack=rack, command_policy=policy) for host, policy in ((polls, None), (off, "off"))))
    post(ego, make_sample(silent, rack=rack))
    settled(ego)
    for host in (polls, off):
        assert ego.get(f"/api/commands/pending/{host}").status_code == 200
    wait_until(lambda: names(ego, rack=rack, takesCommands="true") == {polls}, what="the poll is in a frame")
    assert names(ego, rack=rack, takesCommands="false") == {off, silent}


@pytest.mark.parametrize("status", ["asleep", "ONLINE", "", "online,stale"])
def test_a_status_that_does_not_exist_is_refused_by_name(sqlite_ego: EgoServer, status: str) -> None:
    assert_problem(sqlite_ego.get("/api/hosts", params={"status": status}), 400, naming="status")


def test_one_host_has_its_entry_and_more(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, at=ago(2)))
    entry = shown(ego, hostname)
    found = detail(ego, hostname)
    assert found.keys() == DETAIL_KEYS
    assert {key: found[key] for key in HOST_KEYS} == entry
    assert found["firstSeen"] == entry["lastSeen"]
    assert found["reportedAt"] < found["firstSeen"]


def test_the_hub_is_a_host_too(ego: EgoServer) -> None:
    found = detail(ego, "core-switch")
    assert found.keys() == DETAIL_KEYS
    assert (found["role"], found["isSynthetic"], found["firstSeen"], found["reportedAt"]) == ("hub", True, None, None)


def test_a_host_without_a_sample_is_not_found(ego: EgoServer) -> None:
    for answer in (ego.get("/api/hosts/nobody"), remove(ego, "nobody")):
        assert_problem(answer, 404)


def test_a_path_takes_a_hostname_in_every_spelling(ego: EgoServer) -> None:
    composed = unicodedata.normalize("NFC", unique_hostname("é ü-서버"))
    post(ego, make_sample(composed))
    settled(ego)
    for spelling in (composed, f" {composed} ", unicodedata.normalize("NFD", composed)):
        assert detail(ego, quote(spelling))["hostname"] == composed


ODD = {
    "a per cent": "a%b",
    "a bidi mark": "a\u202eb",
    "121 characters": "h" * 121,
    "ESC": "a\x1bb",
    "a blank": " ",
    "a backslash": "a\\b",
    "NUL": "a\0b",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_a_path_with_a_name_that_no_host_can_have_is_refused(sqlite_ego: EgoServer, name: str) -> None:
    path = quote(name, safe="")
    for answer in (
        sqlite_ego.get(f"/api/hosts/{path}"),
        remove(sqlite_ego, path),
        sqlite_ego.get(f"/api/commands/pending/{path}"),
    ):
        assert_problem(answer, 400, naming="hostname" if name.isprintable() and "\\" not in name else None)


def test_a_path_that_is_not_utf_8_finds_no_host(ego: EgoServer) -> None:
    for answer in (ego.get("/api/hosts/%ED%A0%80"), remove(ego, "%FF"), ego.get("/api/commands/pending/%C3")):
        assert_problem(answer, 400)


def remove(ego: EgoServer, hostname: str) -> requests.Response:
    """The answer to DELETE."""
    return requests.delete(f"{ego.url}/api/hosts/{hostname}", timeout=10)


def test_a_host_that_is_deleted_leaves_the_twin_with_its_alerts_and_its_waiting_commands(ego: EgoServer) -> None:
    hostname, child = unique_hostname(), unique_hostname()
    post(ego, make_sample(hostname, cpu_percent=95), make_sample(child, tags={"uplink": hostname}))
    assert link_of(settled(ego), child)["source"] == hostname
    waiting = create(ego, hostname)["id"]
    answer = remove(ego, hostname)
    assert (answer.status_code, answer.content) == (204, b"")
    frame = snapshot(ego)
    assert host_of(frame, hostname) is None
    assert [link for link in frame["links"] if hostname in {link["source"], link["target"]}] == []
    assert link_of(frame, child)["source"] == "core-switch"
    assert_problem(ego.get(f"/api/hosts/{hostname}"), 404)
    assert_problem(remove(ego, hostname), 404)
    assert hostname not in names(ego)
    (alert,) = ego.get("/api/alerts", params={"hostname": hostname}).json()["items"]
    assert (alert["status"], alert["resolvedReason"]) == ("resolved", "host-removed")
    cancelled = command(ego, waiting)
    assert (cancelled["status"], cancelled["reason"]) == ("failed", "cancelled")


def test_a_deleted_host_comes_back_to_its_place_with_its_next_sample(ego: EgoServer) -> None:
    hostname, at = unique_hostname(), ago(3)
    post(ego, make_sample(hostname, at=at))
    before = shown(ego, hostname)
    assert remove(ego, hostname).status_code == 204
    assert post(ego, make_sample(hostname, at=at))["duplicates"] == 1  # its history stayed
    post(ego, make_sample(hostname, cpu_percent=77))
    after = host_when(ego, hostname, lambda host: host["metrics"]["cpuLoad"] == 77)
    assert after["position"] == before["position"]


def test_the_hub_cannot_be_deleted(ego: EgoServer) -> None:
    assert_problem(remove(ego, "core-switch"), 409)
    assert snapshot(ego)["hosts"][0]["hostname"] == "core-switch"
