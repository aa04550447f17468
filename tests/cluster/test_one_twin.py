"""Whichever worker a client asks, it sees one twin, one queue of commands, and each event once."""

from __future__ import annotations

import pickle
import statistics
import threading
import time
from typing import Any

import msgspec
import pytest
import redis
import requests

from tests.builders import make_sample
from tests.cluster.conftest import Pair, hosts_of, pause
from tests.contract.clients import Listener
from tests.servers import EgoServer, slowness, wait_until

SHOWN_SECONDS = 0.3  # after the acknowledgement, at every worker


def entries_key(pair: Pair) -> str:
    """The key of the cluster's stream."""
    return f"mirror-stage:{pair.one.get('/api/info').json()['twinId']}:stream"


def test_what_one_worker_acknowledged_every_worker_shows(shared_pair: Pair) -> None:
    took: list[float] = []
    for ego in shared_pair.both:
        ego.post_samples(make_sample("shown"))
        wait_until(lambda ego=ego: "shown" in hosts_of(ego))
    for number in range(10):
        for taker, shower in (shared_pair.both, shared_pair.both[::-1]):
            pause()
            load = 10.0 + number
            assert taker.post_samples(make_sample("shown", cpu_percent=load)).status_code == 202
            began, fold = time.monotonic(), slowness()
            wait_until(lambda shower=shower, load=load: hosts_of(shower)["shown"]["metrics"]["cpuLoad"] == load)
            took.append((time.monotonic() - began) / fold)
    assert statistics.median(took) < SHOWN_SECONDS


def test_after_waits_for_what_was_acknowledged(shared_pair: Pair) -> None:
    for taker, shower in (shared_pair.both, shared_pair.both[::-1]):
        pause()
        receipt = taker.post_samples(make_sample("awaited", tags={"by": str(taker.port)})).json()
        found = hosts_of(shower, f"/api/twin/state?after={receipt['receivedAt']}")["awaited"]
        assert found["agentVersion"]
        assert shower.get("/api/hosts/awaited").json()["diagnostics"]["tags"]["by"] == str(taker.port)


def test_both_workers_show_the_same_frame(shared_pair: Pair) -> None:
    shared_pair.one.post_samples(*(make_sample(f"same-{number}") for number in range(20)))
    wait_until(lambda: shared_pair.one.get("/api/twin/state").json() == shared_pair.other.get("/api/twin/state").json())


def test_a_rate_needs_no_owner(shared_pair: Pair) -> None:
    edge, owner = shared_pair.edge(), shared_pair.owner()
    now = int(time.time() * 1000)
    for ego, ago, sent in ((edge, 10_000, 0), (owner, 5_000, 6_250_000), (edge, 0, 12_500_000)):
        sample = make_sample(
            "rated", at=now - ago, net_bytes_tx=sent, net_bytes_rx=0, uptime_seconds=90_000 - ago / 1000
        )
        assert ego.post_samples(sample).status_code == 202
    for ego in shared_pair.both:
        links = {link["target"]: link for link in ego.get("/api/twin/state").json()["links"]}
        assert links["rated"]["txGbps"] == pytest.approx(0.01)


def test_a_removed_host_is_gone_at_every_worker(shared_pair: Pair) -> None:
    for remover in shared_pair.both:
        pause()
        assert shared_pair.one.post_samples(make_sample("leaving", cpu_percent=99)).status_code == 202
        assert requests.delete(f"{remover.url}/api/hosts/leaving", timeout=10).status_code == 204
        for ego in shared_pair.both:
            wait_until(lambda ego=ego: "leaving" not in hosts_of(ego))
        wait_until(lambda: not active(shared_pair.other, "leaving"), what="its alerts have ended")


def active(ego: EgoServer, hostname: str) -> list[dict[str, Any]]:
    """The active alerts of a host, as a worker shows them."""
    return [alert for alert in ego.get("/api/alerts/active").json() if alert["hostname"] == hostname]


def test_every_worker_shows_the_alert_of_an_acknowledged_sample(shared_pair: Pair) -> None:
    """The owner first: it has to hear of the new host from the edge before it can answer."""
    for number in range(8):
        hostname = f"new-and-hot-{number}"
        assert shared_pair.edge().post_samples(make_sample(hostname, cpu_percent=99)).status_code == 202
        for ego in (shared_pair.owner(), shared_pair.edge()):
            assert [alert["metric"] for alert in active(ego, hostname)] == ["cpu_load_high"]


def test_each_client_hears_each_event_once(shared_pair: Pair) -> None:
    alerts = [Listener(ego, "/alerts") for ego in shared_pair.both]
    commands = [Listener(ego, "/commands") for ego in shared_pair.both]
    try:
        shared_pair.edge().post_samples(make_sample("loud", cpu_percent=99))
        for ego in shared_pair.both:
            assert [alert["metric"] for alert in active(ego, "loud")] == ["cpu_load_high"]
        for ego in shared_pair.both:
            created = ego.post("/api/commands", json={"hostname": "loud", "command": "true"}).json()
            cancel(ego, created["id"])
        for listener in alerts:
            wait_until(lambda listener=listener: heard(listener, "alert", "loud"))
            assert heard(listener, "alert", "loud") == [("fired", 1)]
        for listener in commands:
            wait_until(lambda listener=listener: len(heard(listener, "command", "loud")) >= 4)
            assert sorted(heard(listener, "command", "loud")) == [("failed", 2)] * 2 + [("pending", 1)] * 2
    finally:
        for listener in (*alerts, *commands):
            listener.close()


def heard(listener: Listener, what: str, hostname: str) -> list[tuple[str, int]]:
    """(transition or status, version) of the events about a host."""
    if what == "alert":
        updates = [event.payload for event in list(listener.heard) if event.event == "alert-update"]
        return [(one["transition"], one["version"]) for one in updates if one["alert"]["hostname"] == hostname]
    payloads = [event.payload for event in list(listener.heard)]
    return [(one["status"], one["version"]) for one in payloads if one.get("hostname") == hostname]


def test_a_long_poll_at_another_worker_learns_of_a_command_at_once(shared_pair: Pair) -> None:
    for queue, poll in (shared_pair.both, shared_pair.both[::-1]):
        hostname, came = f"polled-{poll.port}", []

        def wait(poll: EgoServer = poll, hostname: str = hostname, came: list[float] = came) -> None:
            while len(came) < 7:
                came += [time.monotonic()] * len(poll.get(f"/api/commands/pending/{hostname}?wait=20").json())

        waiting = threading.Thread(target=wait)
        waiting.start()
        took = []
        for number in range(7):
            began = time.monotonic()
            assert queue.post("/api/commands", json={"hostname": hostname, "command": "true"}).status_code == 201
            wait_until(lambda number=number, came=came: len(came) > number)
            took.append(came[number] - began)
        waiting.join(30)
        assert statistics.median(took) < (0.05 + 0.1) * slowness()  # 50 ms, and the two requests themselves


def test_output_and_cancel_cross_from_worker_to_worker(shared_pair: Pair) -> None:
    here, there = shared_pair.both
    id = here.post("/api/commands", json={"hostname": "printer", "command": "true"}).json()["id"]
    listener = Listener(here, "/commands")
    try:
        assert listener.ask("watch-command", {"id": id})["ok"]
        assert there.get("/api/commands/pending/printer").json()[0]["id"] == id
        chunk = {"seq": 0, "stream": "stdout", "data": "hello\n"}
        assert there.post(f"/api/commands/{id}/output", json=chunk).status_code in {200, 202}
        wait_until(lambda: any(event.event == "command-output" for event in list(listener.heard)))
        cancel(here, id)
        assert there.post(f"/api/commands/{id}/heartbeat", json={"phase": "started"}).json()["cancelRequested"] is True
    finally:
        listener.close()


def test_a_browser_at_an_edge_gets_details_and_deltas(shared_pair: Pair) -> None:
    edge, owner = shared_pair.edge(), shared_pair.owner()
    owner.post_samples(make_sample("watched", cpu_percent=20))
    listener = Listener(edge, "/digital-twin", auth={"stream": "delta"})
    try:
        wait_until(lambda: listener.ask("watch-host", {"hostname": "watched"})["ok"])
        pause()
        owner.post_samples(make_sample("watched", cpu_percent=33))
        wait_until(
            lambda: any(
                event.event == "host-detail" and event.payload["metrics"]["cpuLoad"] == 33
                for event in list(listener.heard)
            )
        )
        assert any(event.event == "twin-delta" for event in list(listener.heard))
    finally:
        listener.close()


def test_readiness_says_who_owns_the_twin(shared_pair: Pair) -> None:
    owner, edge = shared_pair.owner(), shared_pair.edge()
    assert "this worker owns the twin since" in shared_pair.checks(owner)["cluster"]["detail"]
    detail = shared_pair.checks(edge)["cluster"]["detail"]
    assert f"pid {owner.worker_pid()}" in detail
    assert "2 workers" in detail


def test_entries_of_strangers_are_ignored_and_counted(shared_pair: Pair) -> None:
    client, key = redis.Redis.from_url(shared_pair.redis.url), entries_key(shared_pair)
    shared_pair.one.post_samples(make_sample("stays"))
    whole = {"v": b"1", "w": b"stranger", "g": 0}
    for kind, body in (
        (b"happened", pickle.dumps({"samples": []})),
        (b"happened", b"\xc1"),
        (b"step", b"{}"),
        (b"told", b"\x91\x01"),
        (b"unheard", b""),
    ):
        client.xadd(key, {**whole, "k": kind, "b": body})
    client.xadd(key, {"v": b"99", "k": b"happened"})
    client.xadd(key, {**whole, "g": 10**9, "k": b"answered", "b": b""})  # else no later owner would count
    client.xadd(key, {**whole, "k": b"happened", "b": forged_removal("stays")})
    for ego in shared_pair.both:
        wait_until(lambda ego=ego: "were ignored" in shared_pair.checks(ego)["cluster"]["detail"])
        assert "stays" in hosts_of(ego)
        pause()
        shared_pair.owner().post_samples(make_sample("stays", cpu_percent=57))
        wait_until(lambda ego=ego: hosts_of(ego)["stays"]["metrics"]["cpuLoad"] == 57, what="the frames go on")
        assert "Traceback" not in ego.log


def test_an_alert_is_acknowledged_at_whichever_worker(shared_pair: Pair) -> None:
    def alert_at(ego: EgoServer) -> dict[str, Any]:
        return next((one for one in ego.get("/api/alerts/active").json() if one["hostname"] == "acknowledged"), {})

    shared_pair.owner().post_samples(make_sample("acknowledged", cpu_percent=95))
    edge, owner = shared_pair.edge(), shared_pair.owner()
    alert = wait_until(lambda: alert_at(edge), what="the alert is recorded")
    path = f"/api/alerts/{alert['id']}/ack"
    assert edge.post(path, json={"note": "on it"}).json()["ack"]["note"] == "on it"
    for ego in shared_pair.both:
        wait_until(
            lambda ego=ego: (alert_at(ego).get("ack") or {}).get("note") == "on it", 3, what="each worker shows it"
        )
    assert requests.delete(edge.url + path, timeout=10).status_code == 204
    wait_until(lambda: alert_at(owner).get("ack") is None, 3, what="it is acknowledged no longer")


def test_a_rule_that_one_worker_was_given_is_judged_by_within_a_second(shared_pair: Pair) -> None:
    edge, owner = shared_pair.edge(), shared_pair.owner()
    step = {"severity": "info", "fire": 20, "resolve": 10}
    rule = {"name": "of_the_edge", "measure": "cpuLoad", "where": "host:ruled", "steps": [step]}
    assert edge.post("/api/alert-rules", json=rule).status_code == 201

    def is_in_force(ego: EgoServer) -> bool:
        return "of_the_edge" in [one["name"] for one in ego.get("/api/info").json()["rules"]]

    wait_until(lambda: is_in_force(owner), 2, what="the owner has the rule")
    edge.post_samples(make_sample("ruled", cpu_percent=25))
    wait_until(lambda: "ruled" in [one["hostname"] for one in owner.get("/api/alerts/active").json()], what="it fires")
    assert requests.delete(f"{edge.url}/api/alert-rules/of_the_edge", timeout=10).status_code == 204
    wait_until(
        lambda: "ruled" not in [one["hostname"] for one in owner.get("/api/alerts/active").json()], 3, what="it ends"
    )


def forged_removal(hostname: str) -> bytes:
    """An entry that says that a host was removed, although the database does not know of it."""
    return msgspec.msgpack.encode([{}, [], [], {}, [hostname]])


def test_a_cluster_of_one_machine_tells_a_polling_client_what_to_do(start_ego: Any, shared_pair: Pair) -> None:
    shared_pair.one.post_samples(make_sample("shown"))
    settings = {
        "MIRROR_STAGE_DB_URL": shared_pair.one.settings["MIRROR_STAGE_DB_URL"],
        "MIRROR_STAGE_REDIS_URL": shared_pair.redis.url,
        "WEB_CONCURRENCY": "2",
        "MIRROR_STAGE_TLS_DIR": shared_pair.one.settings["MIRROR_STAGE_TLS_DIR"],
    }
    ego = start_ego(settings)
    refused = ego.get("/socket.io/?EIO=4&transport=polling")
    assert refused.status_code == 400
    assert 'transports: ["websocket"]' in refused.json()["detail"]
    assert len(ego.pids()) == 3
    for _ in range(20):  # whichever worker answers
        assert "shown" in wait_until(lambda: ego.get("/api/twin/state").json().get("hosts") and hosts_of(ego))


def cancel(ego: EgoServer, id: str) -> None:
    assert ego.post(f"/api/commands/{id}/cancel", json={}).ok
