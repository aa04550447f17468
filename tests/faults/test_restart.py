"""T12 in short, and docs/contract.md, promises P1 and P10: what was acknowledged survives, and the first look shows everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.clients import listening
from tests.contract.wire import (
    act,
    active_alerts,
    ago,
    claim,
    command,
    create,
    events,
    host_of,
    host_when,
    instant,
    now,
    post,
    settled,
    snapshot,
)
from tests.servers import EgoServer, wait_until

HOSTS = 60
GIGABIT = 125_000_000  # bytes


def first_looks(ego: EgoServer) -> list[requests.Response]:
    """All answers to GET /api/twin/state from the start on, until five of them have shown the twin."""
    answers: list[requests.Response] = []
    deadline = time.monotonic() + 30
    while sum(answer.status_code == 200 for answer in answers) < 5:
        assert time.monotonic() < deadline, "never up"
        try:
            answers.append(ego.get("/api/twin/state"))
        except requests.ConnectionError:
            time.sleep(0.005)
    return answers


def everybody(frame: dict[str, Any]) -> dict[str, Any]:
    """Every host of a snapshot and where it stands."""
    return {host["hostname"]: host["position"] for host in frame["hosts"]}


def identity(frame: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """What a restart must not change of these hosts; others may fall silent meanwhile."""
    kept = ("displayName", "label", "role", "ip", "lastSeen", "agentVersion", "platform", "rack", "room", "tier",
            "uplink", "position", "positionSource", "severity", "isSynthetic", "metrics")  # fmt: skip
    hosts = [host for host in frame["hosts"] if host["hostname"] in names]
    found = {host["hostname"]: {name: host[name] for name in kept} for host in hosts}
    found["core-switch"].pop("metrics")  # the sum of its links, rounded once more
    return found


def links_of(frame: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The links to these hosts by their ids."""
    return {link["id"]: link for link in frame["links"] if link["target"] in names}


def test_after_a_restart_everything_is_there_at_once(ego: EgoServer) -> None:
    start, names = now(), [unique_hostname("restart") for _ in range(HOSTS)]
    child, own, gone, queue = (unique_hostname("restart") for _ in range(4))
    mine = {*names, child, own, queue, "core-switch"}
    for age, counter in ((20, 0), (10, 10 * GIGABIT)):
        samples = [
            make_sample(
                name, at=ago(age, start), cpu_percent=95 if n < 3 else n / 2, rack=f"R{n % 4}", ip=f"10.0.1.{n}",
                net_bytes_tx=counter, net_bytes_rx=counter * 2, tags={"link_speed_mbps": "10000", "room": "cellar"},
            )
            for n, name in enumerate(names)
        ]  # fmt: skip
        post(ego, *samples)
    post(ego, make_sample(child, tags={"uplink": names[5]}), make_sample(own, position={"x": 1, "y": 2, "z": 3}))
    post(ego, make_sample(gone), make_sample(queue))
    settled(ego)
    assert requests.delete(f"{ego.url}/api/hosts/{gone}", timeout=10).status_code == 204
    wait_until(
        lambda: all(active_alerts(ego, name)["cpu_load_high"]["groupId"] for name in names[:3]), 10, what="groups"
    )
    alerts = {name: active_alerts(ego, name) for name in names[:3]}
    assert all(found.keys() == {"cpu_load_high"} for found in alerts.values())
    waiting, running, ended = (create(ego, queue, f"echo {n}", metadata={"n": n}) for n in range(3))
    assert [item["id"] for item in claim(ego, queue, limit=1)] == [waiting["id"]]
    waiting, running = running, waiting
    assert act(ego, ended["id"], "cancel").status_code == 200
    commands = {row["id"]: row for row in ego.get("/api/commands", params={"hostname": queue}).json()["items"]}
    before = snapshot(ego)

    ego.stop()
    ego.start(wait=False)
    looks = first_looks(ego)
    shown = [answer.json() for answer in looks if answer.status_code == 200]
    for answer in looks:
        if answer.status_code != 200:
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
    with listening(ego, "/digital-twin") as listener:
        frame = listener.wait_for("twin-state")
        assert listener.events()[0] == "twin-state"
    for after in (*shown, frame):
        assert identity(after, mine) == identity(before, mine)
        assert everybody(after) == everybody(before)
        assert after["twinId"] == before["twinId"]
        assert after["epoch"] != before["epoch"]
        assert links_of(after, mine) == links_of(before, mine)
    assert host_of(shown[0], gone) is None

    assert {name: active_alerts(ego, name) for name in names[:3]} == alerts
    again = {row["id"]: row for row in ego.get("/api/commands", params={"hostname": queue}).json()["items"]}
    assert {i: without_lease(row) for i, row in again.items()} == {i: without_lease(row) for i, row in commands.items()}
    assert act(ego, running["id"], "result", {"status": "succeeded"}).status_code == 201
    assert [item["id"] for item in claim(ego, queue)] == [waiting["id"]]

    counters = {"net_bytes_tx": 20 * GIGABIT, "net_bytes_rx": 20 * GIGABIT, "tags": {"link_speed_mbps": "10000"}}
    post(ego, make_sample(names[0], at=ago(0, start), **counters))
    after = host_of(settled(ego), names[0])
    assert after is not None
    assert after["metrics"]["netThroughputGbps"] == pytest.approx(1, rel=1e-6)  # from the baseline before the restart
    post(ego, make_sample(names[1], at=ago(10, start)), make_sample(unique_hostname(), rack="R1"))
    frame = settled(ego)
    places = everybody(before)
    assert {name: place for name, place in everybody(frame).items() if name in places} == places


def without_lease(row: dict[str, Any]) -> dict[str, Any]:
    """A command without its lease, which moves by the time that EGO was down."""
    return {name: value for name, value in row.items() if name != "leaseUntil"}


def test_the_time_while_ego_was_down_ages_hosts_but_fires_no_alert_and_ends_no_lease(
    start_ego: Callable[..., EgoServer],
) -> None:
    hasty = {"MIRROR_STAGE_STALE_AFTER_SECONDS": "1.5", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "3"}
    ego, hostname = start_ego(hasty), unique_hostname()
    post(ego, make_sample(hostname, cpu_percent=95))
    command_id = create(ego, hostname, timeoutSeconds=10)["id"]
    (item,) = claim(ego, hostname)
    time.sleep(1.2)  # the database is stamped each second
    ego.kill()
    time.sleep(5.2)
    ego.start()
    started = time.monotonic()
    host = host_of(snapshot(ego), hostname)
    assert host is not None
    assert (host["status"], host["severity"]) == ("offline", "warning")  # not online again because EGO is
    assert "host_offline" not in active_alerts(ego, hostname)
    moved = instant(command(ego, command_id)["leaseUntil"]) - instant(item["leaseUntil"])
    assert 5 < moved.total_seconds() < 30
    assert act(ego, command_id, "result", {"status": "succeeded"}).json()["late"] is False
    host_when(ego, hostname, lambda host: host["severity"] == "critical", 10)
    assert time.monotonic() - started > 1.5  # three seconds, less what it took to be ready


def test_nothing_acknowledged_is_lost_when_ego_is_killed(ego: EgoServer) -> None:
    key, stem = {"Idempotency-Key": unique_hostname("once")}, unique_hostname("killed")
    once = ego.post("/api/commands", json={"hostname": "titan-01", "command": "reboot"}, headers=key)
    acknowledged: list[dict[str, Any]] = []
    created: list[str] = []
    stop = threading.Event()

    def send(sender: int) -> None:
        with requests.Session() as session:
            for n in range(100_000):
                samples = [make_sample(f"{stem}-{sender}-{n % 7}", at=ago(0), load_average=n) for _ in range(3)]
                samples = [sample | {"timestamp": ago(step / 1000)} for step, sample in enumerate(samples)]
                body = {"hostname": f"{stem}-{sender}", "command": f"echo {n}"}
                try:
                    answer = session.post(f"{ego.url}/api/metrics/batch", json={"samples": samples}, timeout=5)
                    if answer.status_code == 202:
                        acknowledged.extend(samples)
                    if n < 90:
                        made = session.post(f"{ego.url}/api/commands", json=body, timeout=5)
                        if made.status_code == 201:
                            created.append(made.json()["id"])
                except requests.RequestException:
                    return
                if stop.is_set():
                    return

    threads = [threading.Thread(target=send, args=[sender]) for sender in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.8)
    ego.kill()
    stop.set()
    for thread in threads:
        thread.join()
    ego.start()  # before anything can fail: other tests use this EGO too
    assert len(acknowledged) > 20
    assert created
    hosts = {sample["hostname"] for sample in acknowledged}
    newest = {name: max(instant_of(sample) for sample in acknowledged if sample["hostname"] == name) for name in hosts}
    frame = snapshot(ego)
    for name in hosts:
        assert host_of(frame, name) is not None
        reported = instant(ego.get(f"/api/hosts/{name}").json()["reportedAt"])
        assert reported.timestamp() >= newest[name]  # one that was stored but not answered may be newer
    for first in range(0, len(acknowledged), 500):
        part = acknowledged[first : first + 500]
        assert post(ego, *part)["duplicates"] == len(part)  # each of them was there
    again = ego.post("/api/commands", json={"hostname": "titan-01", "command": "reboot"}, headers=key)
    assert (once.status_code, again.status_code, again.json()["id"]) == (201, 200, once.json()["id"])
    for command_id in created:
        assert command(ego, command_id)["status"] == "pending"
        assert [row["version"] for row in events(ego, command_id)] == [1]


def instant_of(sample: dict[str, Any]) -> float:
    """When a sample was taken, in seconds since 1970."""
    return instant(sample["timestamp"].replace("+00:00", "Z")).timestamp()
