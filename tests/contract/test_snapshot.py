"""docs/contract.md, section 2: what the snapshot looks like, its hub, its places, its one tick."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import (
    HOST_KEYS,
    LINK_KEYS,
    METRIC_KEYS,
    SNAPSHOT_KEYS,
    ago,
    assert_problem,
    instant,
    now,
    post,
    settled,
    shown,
    snapshot,
)
from tests.servers import EgoServer, wait_until


def test_the_snapshot_has_exactly_the_keys_of_the_contract(ego: EgoServer) -> None:
    post(ego, make_sample(unique_hostname()))
    frame = settled(ego)
    assert frame.keys() == SNAPSHOT_KEYS
    assert frame["type"] == "twin-state"
    assert re.match(r"project5-[0-9a-z]+\Z", frame["twinId"])
    assert abs((instant(frame["generatedAt"]) - now()).total_seconds()) < 5
    assert type(frame["revision"]) is int
    for host in frame["hosts"]:
        assert host.keys() == HOST_KEYS
        assert host["metrics"].keys() == METRIC_KEYS
        assert host["position"].keys() == {"x", "y", "z"}
        assert host["status"] in {"online", "stale", "offline"}
        assert host["role"] in {"hub", "ego", "host"}
    for link in frame["links"]:
        assert link.keys() == LINK_KEYS
        assert link["id"] == f"{link['source']}::{link['target']}"
        assert type(link["measured"]) is bool
        for number in ("throughputGbps", "rxGbps", "txGbps", "utilization"):
            assert isinstance(link[number], int | float)


def test_a_new_host_looks_as_the_contract_shows_it(ego: EgoServer) -> None:
    hostname = unique_hostname()
    receipt = post(ego, make_sample(hostname, ip="10.0.0.10", rack="R1"))
    host = shown(ego, hostname)
    del host["position"], host["metrics"]
    assert host == {
        "hostname": hostname,
        "displayName": hostname,
        "label": f"{hostname}\n10.0.0.10\nR1",
        "role": "host",
        "ip": "10.0.0.10",
        "status": "online",
        "severity": None,
        "isSynthetic": False,
        "lastSeen": receipt["receivedAt"],
        "agentVersion": "0.1.0",
        "platform": "Linux-x86_64",
        "rack": "R1",
        "room": None,
        "tier": None,
        "uplink": "core-switch",
        "positionSource": "computed",
    }


def test_the_hub_stands_first_at_the_origin_and_shows_the_sum_of_its_links(ego: EgoServer) -> None:
    hostname, start = unique_hostname(), now()
    post(ego, make_sample(hostname, at=ago(10, start), net_bytes_tx=0, net_bytes_rx=0))
    post(ego, make_sample(hostname, at=ago(0, start), net_bytes_tx=1_250_000_000, net_bytes_rx=2_500_000_000))
    frame = settled(ego)
    hub, *others = frame["hosts"]
    assert all(host["role"] != "hub" for host in others)
    throughput = hub["metrics"].pop("netThroughputGbps")
    assert set(hub.pop("metrics").values()) == {None}
    assert hub == {
        "hostname": "core-switch",
        "displayName": "core-switch",
        "label": "core-switch\n10.0.0.1",
        "role": "hub",
        "ip": "10.0.0.1",
        "status": "online",
        "severity": None,
        "isSynthetic": True,
        "lastSeen": None,
        "agentVersion": "virtual",
        "platform": "virtual-switch",
        "rack": None,
        "room": None,
        "tier": None,
        "uplink": None,
        "position": {"x": 0, "y": 0, "z": 0},
        "positionSource": "computed",
    }
    links = [link["throughputGbps"] for link in frame["links"] if link["source"] == "core-switch"]
    assert throughput == pytest.approx(sum(links), abs=0.01)
    assert throughput >= 2.999
    assert [link for link in frame["links"] if link["target"] == "core-switch"] == []


# ------------------------------------------------------------------ places


def test_a_host_keeps_its_computed_place_whatever_else_comes(ego: EgoServer) -> None:
    rack = unique_hostname("rack")
    first = [unique_hostname() for _ in range(5)]
    post(ego, *[make_sample(name, rack=rack) for name in first])
    before = {host["hostname"]: host["position"] for host in settled(ego)["hosts"]}
    post(ego, *[make_sample(unique_hostname(), rack=rack) for _ in range(10)], make_sample(first[0], rack="elsewhere"))
    after = {host["hostname"]: host["position"] for host in settled(ego)["hosts"]}
    assert {name: after[name] for name in before} == before


def test_no_two_computed_places_are_the_same(ego: EgoServer) -> None:
    post(ego, *[make_sample(unique_hostname(), rack=f"R{n % 3}" if n % 4 else None) for n in range(40)])
    hosts = settled(ego)["hosts"]
    places = [tuple(host["position"].values()) for host in hosts if host["positionSource"] == "computed"]
    assert len(places) > 40
    assert len(set(places)) == len(places)


def test_a_samples_own_place_overrides_the_computed_one_while_it_says_one(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname))
    computed = shown(ego, hostname)
    assert computed["positionSource"] == "computed"
    post(ego, make_sample(hostname, position={"x": 1, "y": 2, "z": 3}))
    own = shown(ego, hostname)
    assert (own["position"], own["positionSource"]) == ({"x": 1, "y": 2, "z": 3}, "sample")
    post(ego, make_sample(hostname))
    again = shown(ego, hostname)
    assert (again["position"], again["positionSource"]) == (computed["position"], "computed")


# ------------------------------------------------------------------ one tick


def test_the_etag_names_the_tick_and_saves_sending_it_again(ego: EgoServer) -> None:
    settled(ego)

    def same_tick() -> bool:
        first = ego.get("/api/twin/state")
        body, tag = first.json(), first.headers["ETag"]
        assert tag == f'"{body["epoch"]}-{body["revision"]}"'
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = ego.get("/api/twin/state", headers={"If-None-Match": tag})
        if again.headers["ETag"] != tag:
            return False  # a host fell silent in between
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["Cache-Control"] == "private, no-cache"
        return True

    wait_until(same_tick)
    old = ego.get("/api/twin/state").headers["ETag"]
    post(ego, make_sample(unique_hostname()))
    settled(ego)
    new = ego.get("/api/twin/state", headers={"If-None-Match": old})
    assert (new.status_code, new.headers["ETag"] != old) == (200, True)


def test_an_etag_of_another_tick_gets_the_whole_answer(ego: EgoServer) -> None:
    for tag in ('"000000-1"', '"nonsense"', "garbage", 'W/"000000-1"'):
        assert ego.get("/api/twin/state", headers={"If-None-Match": tag}).status_code == 200


def test_the_revision_counts_ticks_that_changed_something(hasty_ego: EgoServer) -> None:
    post(hasty_ego, make_sample(unique_hostname()))
    before = settled(hasty_ego)
    post(hasty_ego, make_sample(unique_hostname()))
    after = settled(hasty_ego)
    assert after["epoch"] == before["epoch"]
    assert after["revision"] > before["revision"]

    def is_quiet() -> bool:
        frame = snapshot(hasty_ego)
        return all(host["status"] == "offline" for host in frame["hosts"] if not host["isSynthetic"])

    wait_until(is_quiet, 8, what="every host is offline")
    still = settled_without_a_sample(hasty_ego)
    etags = set()
    wait_until(lambda: etags.add(hasty_ego.get("/api/twin/state").headers["ETag"]) or is_over(still, 1), 5)
    assert len(etags) == 1  # four ticks passed and nothing changed


def settled_without_a_sample(ego: EgoServer) -> datetime:
    """Wait until the twin's newest frame is at least a second old, and return the time."""

    def is_old() -> datetime | None:
        moment = now()
        return moment if (moment - instant(snapshot(ego)["generatedAt"])).total_seconds() > 1 else None

    found: datetime = wait_until(is_old, 8, what="nothing changes any more")
    return found


def is_over(since: datetime, seconds: float) -> bool:
    return (now() - since).total_seconds() > seconds


def test_the_snapshot_cannot_be_changed(ego: EgoServer) -> None:
    assert_problem(ego.post("/api/twin/state", json={}), 405)
