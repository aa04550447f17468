"""Whoever can write into Redis can show false numbers. They cut nobody off, and no sample goes to another host."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
import redis

from mirror_stage.cluster import wire
from tests.builders import make_sample
from tests.cluster.conftest import Pair, hosts_of, pause
from tests.contract.clients import Listener
from tests.servers import EgoServer, wait_until


class Forger:
    """Writes entries into the stream of a cluster, as any worker could."""

    def __init__(self, pair: Pair):
        self._pair, self._client = pair, redis.Redis.from_url(pair.redis.url)
        self.key = f"mirror-stage:{pair.one.get('/api/info').json()['twinId']}:stream"

    def add(self, kind: str, body: object, generation: int = 0) -> None:
        packed = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
        self._client.xadd(self.key, {"v": b"1", "w": b"forger", "g": generation, "k": kind, "b": packed})

    def newest(self, kind: bytes) -> Any:
        """The body of the newest entry of a kind."""
        rows: Any = self._client.xrevrange(self.key, count=500)
        return next(msgspec.msgpack.decode(row[b"b"]) for _, row in rows if row[b"k"] == kind)


@pytest.fixture
def forger(shared_pair: Pair) -> Forger:
    return Forger(shared_pair)


def shows(pair: Pair, hostname: str, load: float) -> None:
    """Both workers take and show samples of a host."""
    for ego in pair.both:
        pause()
        posted = ego.post_samples(make_sample(hostname, cpu_percent=load))
        assert posted.status_code == 202, posted.text
        assert posted.json().get("dropped") is None
        for each in pair.both:
            wait_until(lambda each=each, load=load: load_of(each, hostname) == load, what="the frames go on")
        load += 1


def load_of(ego: EgoServer, hostname: str) -> float | None:
    host = hosts_of(ego).get(hostname)
    return host["metrics"]["cpuLoad"] if host else None


def ids(pair: Pair) -> dict[str, int]:
    return dict(pair.one.rows("SELECT hostname, id FROM host_metrics"))


def stored(pair: Pair, hostname: str) -> set[float]:
    """The CPU loads that the history has of a host."""
    return {
        round(row[0], 1)
        for row in pair.one.rows(
            f"SELECT s.cpu_load FROM host_metric_samples s JOIN host_metrics h ON h.id = s.host_id WHERE h.hostname = '{hostname}'"
        )
    }


@pytest.mark.parametrize("way", ["newcomers", "whole"])
def test_a_forged_id_moves_no_sample_to_another_host(shared_pair: Pair, forger: Forger, way: str) -> None:
    one, other = f"one-{way}", f"other-{way}"
    shared_pair.one.post_samples(make_sample(one, cpu_percent=1), make_sample(other, cpu_percent=2))
    for ego in shared_pair.both:
        wait_until(lambda ego=ego: {one, other} <= hosts_of(ego).keys())
    theirs = ids(shared_pair)
    if way == "newcomers":
        forger.add("happened", [{one: [theirs[other], [0.0, 0.0, 0.0]]}, [], [], {}, []])
    else:
        forger.add("wanted", b"")
        time.sleep(0.7)
        epoch, revision, at, hosts, *_ = forger.newest(b"whole")
        for host in hosts:
            host[0] = theirs[other] if host[1] == one else host[0]
        forger.add("step", [epoch, revision + 10**6, at, [], [], []], shared_pair.generation())
        forger.add("whole", [epoch, revision + 10**6, at, hosts, [], []], shared_pair.generation())
    time.sleep(0.5)
    shows(shared_pair, one, 51)
    assert {51, 52} <= stored(shared_pair, one)
    assert stored(shared_pair, other) == {2}


def test_a_forged_newcomer_keeps_no_real_host_out(shared_pair: Pair, forger: Forger) -> None:
    forger.add("happened", [{"kept-out": [987654, [0.0, 0.0, 0.0]]}, [], [], {}, []])
    time.sleep(0.5)
    shows(shared_pair, "kept-out", 41)


def test_an_entry_of_an_owner_that_never_was_stops_no_frames(shared_pair: Pair, forger: Forger) -> None:
    shows(shared_pair, "frames", 11)
    forger.add("step", ["x", 1, 1, [], [], []], shared_pair.generation() + 1)
    time.sleep(0.5)
    shows(shared_pair, "frames", 21)


@pytest.mark.parametrize("payload", [b"{", b"\xff\xfe", b'{}],"x",["', b"[" * 10_000])
def test_a_forged_event_cuts_no_client(shared_pair: Pair, forger: Forger, payload: bytes) -> None:
    listeners = [Listener(ego, "/alerts") for ego in shared_pair.both]
    try:
        forger.add("told", ["/alerts", "alert-update", f"alert forged {payload!r}", 1, payload])
        forger.add("told", ["/alerts", "connect_error", f"other {payload!r}", 1, b"{}"])
        time.sleep(0.3)
        name = f"loud-{abs(hash(payload))}"
        shared_pair.one.post_samples(make_sample(name, cpu_percent=99))
        for listener in listeners:
            wait_until(
                lambda listener=listener: any(
                    one.payload.get("alert", {}).get("hostname") == name for one in list(listener.heard)
                )
            )
            assert not listener.disconnected.is_set()
    finally:
        for listener in listeners:
            listener.close()


ODD: dict[str, list[Any]] = {
    "at": [2**62, -1],
    "received_at": [2**62, -1],
    "reported_at": [2**62, -1],
    "cpu_load": [float("nan"), float("inf"), 1e308],
    "interval_seconds": [1e308, float("nan"), -1.0],
    "position": [[float("nan")] * 3, [1e308] * 3],
    "hostname": ["", "another"],
    "tags": [{"uplink": "odd"}, {"display_name": "x" * 100_000}],
    "net_bytes_tx": [2**63, -1],
}


def test_a_forged_sample_stops_neither_frames_nor_answers(shared_pair: Pair, forger: Forger) -> None:
    shows(shared_pair, "odd", 31)
    names, (sample, *_) = forger.newest(b"happened")[1:3]
    assert names == ["odd"]
    for field, values in ODD.items():
        for value in values:
            pause()
            now = dict.fromkeys(("at", "received_at", "reported_at"), int(time.time() * 1000))
            forged = dict(zip(wire._SAMPLE, sample, strict=True)) | now | {field: value}
            forger.add("happened", [{}, ["odd"], [list(forged.values())], {}, []])
    for path in ("/api/twin/state", "/api/hosts/odd", "/api/alerts/active", "/metrics/fleet"):
        for ego in shared_pair.both:
            answer = ego.get(path)
            assert answer.status_code == 200, (path, answer.text[:300])
    shows(shared_pair, "not-odd", 61)
    for ego in shared_pair.both:
        assert "Traceback" not in ego.log
