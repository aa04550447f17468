"""Whatever one client sends, declares or leaves unread, the other clients do not notice it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gevent.socket
import pytest
import requests

from mirror_stage.runtime import serving
from tests.builders import make_sample
from tests.contract.wire import unique_hostname
from tests.security.raw import Answer, answer_of, ask, connect, frame, is_cut, open_websocket
from tests.servers import EgoServer, wait_until

MIB = 2**20
PATIENT_SECONDS = 3.0  # other tests use the same cores; without the limits each of these took 8 s or more


class Slowest:
    """Asks for health all the time and keeps the time of the slowest answer."""

    def __init__(self, ego: EgoServer):
        self._url, self._done, self.seconds = ego.url + "/api/health", threading.Event(), 0.0

    def run(self) -> None:
        with requests.Session() as session:
            while not self._done.is_set():
                started = time.monotonic()
                session.get(self._url, timeout=30)
                self.seconds = max(self.seconds, time.monotonic() - started)

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()


def post(
    ego: EgoServer,
    body: bytes,
    peer: str = "127.0.0.1",
    *,
    declared: int | None = None,
    path: str = "/api/metrics/batch",
) -> Answer:
    with begun(ego, path, len(body) if declared is None else declared, peer) as client:
        client.sendall(body)
        return answer_of(client)


def begun(ego: EgoServer, path: str, declared: int, peer: str = "127.0.0.1") -> socket.socket:
    """A connection that has sent the head of its request."""
    client = connect(ego, peer)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    client.sendall(f"{head}Content-Length: {declared}\r\n\r\n".encode())
    return client


BAD_LISTS = {
    "disks": "[" + ",".join(["{}"] * 20_000) + "]",
    "interfaces": "[" + ",".join(["{}"] * 20_000) + "]",
    "top_processes": "[" + ",".join(["0"] * 20_000) + "]",
    "cpu_per_core": "[" + ",".join(['""'] * 15_000) + "]",
    "temperatures": "{" + ",".join(f'"{n}":""' for n in range(5_000)) + "}",
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_while_a_long_list_of_bad_samples_is_refused_nobody_waits(guarded_ego: EgoServer, name: str) -> None:
    sample = json.dumps(make_sample("hog"))[:-1] + f',"{name}":{BAD_LISTS[name]}}}'
    slowest = Slowest(guarded_ego)
    with slowest.watching():
        answer = post(guarded_ego, f'{{"samples":[{",".join([sample] * 16)}]}}'.encode())
    assert answer.status == 202
    assert len(answer.body) < 64 * 1024
    assert {row["field"] for row in answer.json()["dropped"]} == {name}
    assert slowest.seconds < PATIENT_SECONDS


def test_an_answer_names_a_hundred_errors_and_counts_the_others(guarded_ego: EgoServer) -> None:
    bad = (
        make_sample("hog")
        | {f"{kind}_temperature": "warm" for kind in ("cpu", "gpu")}
        | {"tags": {str(n): n for n in range(64)}}
    )
    slowest = Slowest(guarded_ego)
    with slowest.watching():
        answer = post(guarded_ego, json.dumps({"samples": [bad] * 1_000}).encode())
    problem = answer.json()
    assert answer.status == 400
    assert len(problem["errors"]) == 100
    assert problem["moreErrors"] == 990
    assert len(answer.body) < 64 * 1024
    assert slowest.seconds < PATIENT_SECONDS


def test_idle_connections_that_declare_large_bodies_take_no_memory_from_others(guarded_ego: EgoServer) -> None:
    result = f"/api/commands/{'0' * 8}-0000-4000-8000-{'0' * 12}/result"
    idle = [begun(guarded_ego, result, 8 * MIB) for _ in range(6)]
    try:
        large = json.dumps({"samples": [make_sample(unique_hostname(), tags={"t": "x" * 60_000}) for _ in range(10)]})
        assert post(guarded_ego, large.encode()).status == 202
    finally:
        for client in idle:
            client.close()


def test_one_peer_cannot_take_all_memory_for_bodies(guarded_ego: EgoServer) -> None:
    result = f"/api/commands/{'0' * 8}-0000-4000-8000-{'0' * 12}/result"
    held = [begun(guarded_ego, result, 8 * MIB, "127.0.0.9") for _ in range(6)]
    try:
        for client in held:
            client.settimeout(2)
            with suppress(OSError):  # refused while it sends: the peer has used its share
                client.sendall(b" " * (7 * MIB))
        large = json.dumps({"samples": [make_sample(unique_hostname(), tags={"t": "x" * 60_000}) for _ in range(60)]})
        assert post(guarded_ego, large.encode(), "127.0.0.10").status == 202
    finally:
        for client in held:
            client.close()


FLOODS: dict[str, Callable[[], bytes]] = {
    "events": lambda: frame('42/digital-twin,["seen",{"revision":1}]') * 20_000,
    "pings": lambda: frame(b"", 9) * 200_000,
    "empty fragments": lambda: bytes([0x01, 0x80, 0, 0, 0, 0]) + bytes([0x00, 0x80, 0, 0, 0, 0]) * 200_000,
    "packets of nothing": lambda: frame("3") * 100_000,
    "connects": lambda: frame("40/nowhere,") * 50_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_client_that_floods_its_websocket_is_slowed_down_then_cut(guarded_ego: EgoServer, kind: str) -> None:
    flood, slowest = FLOODS[kind](), Slowest(guarded_ego)
    with open_websocket(guarded_ego) as client, slowest.watching():
        client.settimeout(0.5)
        with suppress(OSError):  # EGO reads only as fast as its limit allows
            client.sendall(flood)
        assert is_cut(client, 15)
    assert slowest.seconds < PATIENT_SECONDS


def test_a_client_that_sends_requests_and_does_not_read_holds_little_memory(guarded_ego: EgoServer) -> None:
    hostname = unique_hostname()
    details = {"tags": {f"t{n}": "x" * 900 for n in range(60)}}
    assert guarded_ego.post_samples(make_sample(hostname, **details)).status_code == 202
    before = guarded_ego.rss_bytes()
    clients = [open_websocket(guarded_ego, receive_buffer=4096) for _ in range(4)]
    watch = frame('42/digital-twin,1["watch-host",{"hostname":"%s"}]' % hostname)
    forget = frame('42/digital-twin,2["unwatch-host",{"hostname":"%s"}]' % hostname)
    try:
        for client in clients:
            client.settimeout(1)
            with suppress(OSError):
                client.sendall((watch * 3 + forget) * 2_000)
        most = 0
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            most = max(most, guarded_ego.rss_bytes() - before)
            time.sleep(0.1)
        assert most < 64 * MIB
    finally:
        for client in clients:
            client.close()


def test_a_client_that_sends_the_next_request_at_once_does_not_block_the_others(guarded_ego: EgoServer) -> None:
    one, slowest = b"GET /api/hosts/nobody HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", Slowest(guarded_ego)
    with connect(guarded_ego) as client, slowest.watching():
        reader = threading.Thread(target=lambda: is_cut(client, 5))
        reader.start()
        client.sendall(one * 3_000)
        time.sleep(1)
        assert slowest.seconds < PATIENT_SECONDS / 3
        client.close()
        reader.join()


NO_HANDSHAKES = {
    "no key": {},
    "a short key": {"Sec_WebSocket_Key": "abc"},
    "two keys": {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA=="},
    "another version": {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec_WebSocket_Version": "8"},
    "no Connection": {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Connection": "keep-alive"},
}


@pytest.mark.parametrize("kind", NO_HANDSHAKES)
def test_a_malformed_upgrade_is_a_bad_request(guarded_ego: EgoServer, kind: str) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"} | NO_HANDSHAKES[kind]
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with connect(guarded_ego) as client:
        head = ["GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]
        client.sendall("\r\n".join(head).encode())
        client.shutdown(1)
        assert answer_of(client).status == 400
    assert "Traceback" not in guarded_ego.log


def test_jsonp_is_not_served(guarded_ego: EgoServer) -> None:
    assert ask(guarded_ego, "/socket.io/?EIO=4&transport=polling&j=0").status == 400


NONSENSE = {
    "an event of a namespace that it has not joined": '42/digital-twin/nowhere,["x"]',
    "a long namespace": "42/" + "n" * 10_000 + ',["x"]',
    "an unknown kind": "49",
    "a binary event": '451-/digital-twin,["x",{"_placeholder":true,"num":0}]',
    "many attachments": '459999999999-/digital-twin,["x"]',
    "no JSON": "42/digital-twin,{",
    "deep JSON": "42/digital-twin," + "[" * 15_000,
    "an acknowledgement that nobody asked for": "43/digital-twin,7[]",
    "an event without a name": "42/digital-twin,[]",
    "an event that is a number": "42/digital-twin,7",
    "a refused connect as an event": '42/digital-twin,["connect",null,{"token":"ms_user_x"}]',
    "an unknown packet": "9",
    "base64": "bAAAA",
    "a letter": "x",
    "another digit": "４2",
    "deep pong": "3" + "[" * 15_000,
}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_bad_packets_write_little_into_the_log(guarded_ego: EgoServer, transport: str) -> None:
    before = len(guarded_ego.log)
    for text in NONSENSE.values():
        for _ in range(5):
            if transport == "websocket":
                with open_websocket(guarded_ego) as client:
                    client.sendall(frame(text) * 3)
                    client.shutdown(1)
                    is_cut(client, 5)
            else:
                sid = guarded_ego.get("/socket.io/?EIO=4&transport=polling").text[1:]
                url = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(sid)['sid']}"
                guarded_ego.post(url, data=b"40/digital-twin,")
                guarded_ego.post(url, data=text.encode())
    grown = guarded_ego.log[before:]
    assert "Traceback" not in grown
    assert len(grown) < 4_000, grown[:2000]


@pytest.mark.parametrize("event", ["connect", "disconnect"])
def test_a_client_that_sends_what_the_server_says_to_itself_is_cut(guarded_ego: EgoServer, event: str) -> None:
    """Each such `connect` was answered with the whole twin, as often as a client may send."""
    with open_websocket(guarded_ego) as client:
        client.sendall(frame(f'42/digital-twin,["{event}",null,null]'))
        assert is_cut(client, 5)


def test_a_binary_frame_ends_its_connection(guarded_ego: EgoServer) -> None:
    with open_websocket(guarded_ego) as client:
        client.sendall(frame(b"\x04\x00", 2))
        assert is_cut(client, 5)


def test_sessions_that_nobody_uses_are_bounded(guarded_ego: EgoServer) -> None:
    statuses = set()
    with requests.Session() as session:
        for _ in range(1_100):
            answer = session.get(f"{guarded_ego.url}/socket.io/?EIO=4&transport=polling", timeout=20)
            statuses.add(answer.status_code)
            if answer.status_code == 429:
                break
    assert statuses == {200, 429}
    wait_until(lambda: _begins(guarded_ego), 60, every=1, what="the unused sessions have timed out")


def _begins(ego: EgoServer) -> bool:
    return ego.get("/socket.io/?EIO=4&transport=polling").status_code == 200


def test_an_answer_that_nobody_reads_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SEND_SECONDS", 0.5)
    answer = os.urandom(5_000_000)
    here, there = gevent.socket.socketpair()
    with here, there, pytest.raises(BrokenPipeError, match="does not read"):
        serving.send(here, answer)
    here, there = gevent.socket.socketpair()

    def read_slowly() -> bytes:
        parts = []
        while part := there.recv(100_000):
            parts.append(part)
            gevent.sleep(0.02)
        return b"".join(parts)

    with there:
        reader = gevent.spawn(read_slowly)
        with here:
            serving.send(here, answer)
        assert reader.get() == answer
