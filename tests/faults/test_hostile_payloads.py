"""T7: bad requests of a broken or malicious client are refused in time, in little memory, without a traceback."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import selectors
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import pytest

from mirror_stage.runtime.serving import DRAIN_BYTES
from tests.builders import make_sample
from tests.contract.wire import ago
from tests.faults import percentile, print_figures, short_and_full
from tests.faults.load import Probe
from tests.servers import EgoServer

MIB = 2**20
BATCH, COMMANDS = "/api/metrics/batch", "/api/commands"
UNKNOWN = "/api/commands/00000000-0000-4000-8000-000000000000"
REFUSED_SECONDS, SLOW_SECONDS, HEALTH_SECONDS = 1.0, 10.0, 0.5
GROWTH_MAX = 20 * MIB


@dataclass(frozen=True)
class Request:
    """What a client sends; `raw` replaces all other fields."""

    method: str = "POST"
    path: str = BATCH
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        named = {
            "Host": "127.0.0.1",
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body)),
        } | self.headers
        lines = [f"{name}: {value}" for name, value in named.items() if value]
        return (
            f"{self.method} {self.path} HTTP/1.1\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body
        )


def sample(**tokens: str) -> bytes:
    """A batch of one sample. These JSON texts replace some of its members."""
    members = {name: json.dumps(value) for name, value in make_sample("hostile").items()} | tokens
    return ('{"samples":[{' + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}]}").encode()


def command(**tokens: str) -> bytes:
    """A new command. These JSON texts replace some of its members."""
    members = {"hostname": '"hostile"', "command": '"true"'} | tokens
    return ("{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}").encode()


@cache
def bomb() -> bytes:
    """1 GiB of zeros in 1 MiB of gzip: 64 times the same 16 MiB. The checksum at its end is missing."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * 64


def packed(body: bytes, **headers: str) -> Request:
    return Request(body=body, headers={"Content-Encoding": "gzip"} | headers)


DEEP = 100_000
DIGITS = "9" * 5_000
CHUNKED = b"POST /api/metrics/batch HTTP/1.1\r\nHost: a.localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
SAMPLE_FIELDS = {
    "1e400": sample(cpu_load="1e400"),
    "-1e400": sample(load_average="-1e400"),
    "NaN": sample(cpu_load="NaN"),
    "Infinity": sample(load_average="-Infinity"),
    "5,000-digit integer": sample(net_bytes_tx=DIGITS),
    "5,000-digit number": sample(cpu_load=DIGITS),
    "2^53": sample(net_bytes_tx="9007199254740992"),
    "2^63": sample(net_bytes_rx="9223372036854775808"),
    "2^64": sample(memory_total_bytes="18446744073709551616"),
    "negative counter": sample(net_bytes_tx="-1"),
    "half a byte": sample(net_bytes_tx="12.5"),
    "number in quotes": sample(cpu_load='"12.5"'),
    "true for 1": sample(cpu_load="true"),
    "list for number": sample(uptime_seconds="[]"),
    "null where required": sample(platform="null"),
    "percent over 100": sample(memory_used_percent="100.1"),
    "lone surrogate": sample(platform='"\\ud800"'),
    "lone surrogate in a name": sample(hostname='"a\\udfffb"'),
    "lone surrogate in a tag": sample(tags='{"a":"\\ud800"}'),
    "escaped NUL": sample(agent_version='"a\\u0000b"'),
    "raw NUL": sample(agent_version='"a\0b"'),
    "NUL in a name": sample(hostname='"a\\u0000b"'),
    "slash in a name": sample(hostname='"a/b"'),
    "per cent in a name": sample(hostname='"a%2Fb"'),
    "bidi in a name": sample(hostname='"\u202eabc"'),
    "dots for a name": sample(hostname='".."'),
    "blanks for a name": sample(hostname='"   "'),
    "long name": sample(hostname=json.dumps("h" * 121)),
    "year 1": sample(timestamp='"0001-01-01T00:00:00+23:59"'),
    "year 9999": sample(timestamp='"9999-12-31T23:59:59-23:59"'),
    "seconds for a date": sample(timestamp="1762000000"),
    "a mile of date": sample(timestamp=json.dumps("2025-11-01T00:00:00" + "x" * 50_000)),
    "no address": sample(ip='"10.0.0.256"'),
    "65 tags": sample(tags=json.dumps({f"t{n}": "x" for n in range(65)})),
    "1e400 as a coordinate": sample(position='{"x": 1e400}'),
    "a sample of 65 KiB": sample(ignored=json.dumps("x" * 65 * 1024)),
    "a key of 100 kB": sample(**{"k" * 100_000: "1"}),
    "deep under an ignored key": sample(ignored="[" * 1_000 + "]" * 1_000),
    "deep objects in tags": sample(tags='{"a":' * 1_000 + "1" + "}" * 1_000),
}
BODIES = {
    "nothing": b"",
    "null": b"null",
    "a text": b'"samples"',
    "a list": b"[]",
    "no samples": b'{"samples":[]}',
    "samples of another kind": b'{"samples":{"0":1}}',
    "1,001 samples": b'{"samples":[' + b",".join([b"{}"] * 1_001) + b"]}",
    "unclosed": b'{"samples":[{"hostname":"a',
    "two documents": sample() + sample(),
    "depth 100,000": b"[" * DEEP,
    "closed depth 100,000": b'{"samples":[' + b"[" * DEEP + b"]" * DEEP + b"]}",
    "objects 100,000 deep": b'{"samples":' * DEEP,
    "brackets, then an open text of escaped quotes": b"[" * 40 + b'"' + b'\\"' * MIB,
    "brackets in a text": b'{"samples":["' + b"[" * 3 * MIB,
    "invalid UTF-8": sample(platform='"?"').replace(b"?", b"\xff\xfe"),
    "UTF-16": sample().decode().encode("utf-16"),
    "overlong UTF-8": sample(platform='"?"').replace(b"?", b"\xc0\xaf"),
    "4 MiB and a byte": b'{"samples":[' + b" " * (4 * MIB),
    "4 MiB of commas": b"," * (4 * MIB),
    "a million empty samples": b'{"samples":[' + b"{}," * 1_000_000 + b"{}]}",
}
COMMAND_FIELDS = {
    "NUL in a command": command(command='"a\\u0000b"'),
    "lone surrogate in a command": command(command='"\\ud800"'),
    "8 KiB and a byte": command(command=json.dumps("x" * 8_193)),
    "no command": command(command='""'),
    "timeout 0": command(timeoutSeconds="0"),
    "timeout 1e400": command(timeoutSeconds="1e400"),
    "timeout NaN": command(timeoutSeconds="NaN"),
    "timeout true": command(timeoutSeconds="true"),
    "expiry in 1e300 s": command(expiresInSeconds="1e300"),
    "metadata of 17 KiB": command(metadata=json.dumps({"a": "x" * 17 * 1024})),
    "metadata 100 deep": command(metadata='{"a":' * 100 + "1" + "}" * 100),
    "5,000 digits in metadata": command(metadata='{"a":%s}' % DIGITS),
    "surrogate in metadata": command(metadata='{"a":"\\ud800"}'),
    "retry of nothing": command(retryOf='"00000000-0000-4000-8000-000000000000"'),
    "64 KiB of JSON": command(ignored=json.dumps("x" * 70_000)),
}


def payloads() -> Iterator[tuple[str, Request]]:
    """Every hostile request by its name."""
    yield from ((name, Request(body=body)) for name, body in (SAMPLE_FIELDS | BODIES).items())
    yield from ((name, Request(path=COMMANDS, body=body)) for name, body in COMMAND_FIELDS.items())
    yield "gzip, 1 GiB in 1 MiB", packed(bomb())
    yield "gzip, 30:1", packed(gzip.compress(sample(ignored=json.dumps("x" * 60_000))[:-3] + b" " * 3_000_000 + b"}]}"))
    yield "gzip, cut off", packed(gzip.compress(os.urandom(5_000))[:-100])
    yield "gzip that is none", packed(sample())
    yield "gzip in gzip", packed(gzip.compress(gzip.compress(sample())))
    yield "another packing", packed(sample(), **{"Content-Encoding": "br"})
    yield "text/plain", Request(body=sample(), headers={"Content-Type": "text/plain"})
    yield "no type", Request(body=sample(), headers={"Content-Type": ""})
    yield "a form", Request(body=b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    yield "length of 10^15", Request(body=b"{", headers={"Content-Length": "1" + "0" * 15})
    yield "negative length", Request(body=b"{}", headers={"Content-Length": "-2"})
    yield "length that is no number", Request(body=b"{}", headers={"Content-Length": "0x10"})
    yield "two framings", Request(raw=CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n")
    yield "chunk of no size", Request(raw=CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n")
    yield "chunk of -1", Request(raw=CHUNKED + b"\r\n-1\r\n{}\r\n0\r\n\r\n")
    yield "not HTTP", Request(raw=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200) + b"\r\n\r\n")
    yield "a header of 100 kB", Request(body=b"{}", headers={"X-Long": "x" * 100_000})
    yield "1,000 headers", Request(body=b"{}", headers={f"X-{n}": "x" for n in range(1_000)})
    yield "a path of 100 kB", Request(path="/api/" + "x" * 100_000)
    yield "foreign Host", Request(body=sample(), headers={"Host": "attacker.example"})
    yield "no Host", Request(body=sample(), headers={"Host": ""})
    yield (
        "result of 2^63",
        Request(path=f"{UNKNOWN}/result", body=b'{"status":"failed","exitCode":9223372036854775808}'),
    )
    yield "result for nothing", Request(path=f"{UNKNOWN}/result", body=b'{"status":"failed"}')
    yield "result of 8 MiB and a byte", Request(path=f"{UNKNOWN}/result", body=b'{"stdout":"' + b"x" * (8 * MIB))
    yield (
        "output 2^63",
        Request(path=f"{UNKNOWN}/output", body=b'{"seq":9223372036854775808,"stream":"stdout","data":""}'),
    )
    yield "phase of a text", Request(path=f"{UNKNOWN}/heartbeat", body=b'{"phase":"\\ud800"}')
    for query in (
        "page=1000000000&pageSize=100",
        "pageSize=1000000",
        "page=1e3",
        f"page={DIGITS}",
        "page=-1",
        "status=%00",
    ):
        yield f"?{query[:40]}", Request("GET", f"{COMMANDS}?{query[:3_000]}")
    for query in ("wait=nan", "wait=1e400", "limit=0", "limit=9999999999999999999999"):
        yield f"pending?{query}", Request("GET", f"{COMMANDS}/pending/hostile?{query}")
    yield "a name with NUL", Request("GET", f"{COMMANDS}/pending/a%00b")
    yield "a path in invalid UTF-8", Request("GET", "/api/hosts/%ff%fe")


HANG_UPS = {
    "in the middle of a body": Request(body=b"{", headers={"Content-Length": "1000"}).encoded(),
    "in the middle of a chunk": CHUNKED + b"\r\n100\r\n{",
    "between two chunks": CHUNKED + b"\r\n1\r\n{\r\n",
    "in the middle of the head": CHUNKED,
}


def hang_up(port: int, content: bytes, *, with_reset: bool) -> None:
    """Send this and close the connection, normally or with a reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(content)
        if with_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def exchange(port: int, content: bytes, seconds: float = 5.0) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer; then the connection is closed. Status 0: no answer came."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            client.sendall(content)
        return read_answer(client)


def read_answer(client: socket.socket) -> tuple[int, bytes, bytes]:
    received = b""
    try:
        while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < _length(received):
            part = client.recv(65536)
            if not part:
                break
            received += part
    except (ConnectionResetError, TimeoutError):
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) == 3 else 0), head, body


def _length(received: bytes) -> int:
    for line in received.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class SlowBodies:
    """Connections that send one byte of their body a second, until they are cut."""

    def __init__(self, port: int, count: int):
        self._selector = selectors.DefaultSelector()
        self.answers: list[tuple[int, float]] = []
        self._started = time.monotonic()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=5)
            client.sendall(Request(headers={"Content-Length": "1000"}).encoded() + b"{")
            self._selector.register(client, selectors.EVENT_READ)

    def run(self, seconds: float) -> None:
        """Send a byte a second on each connection until all are cut, for `seconds` at most."""
        drip = time.monotonic() + 1
        while self._selector.get_map() and time.monotonic() - self._started < seconds:
            for key, _ in self._selector.select(timeout=0.2):
                self._take_answer(key.fileobj)
            if time.monotonic() >= drip:
                drip += 1
                for key in list(self._selector.get_map().values()):
                    self._drip(key.fileobj)

    def _take_answer(self, client: socket.socket) -> None:
        status, _, _ = read_answer(client)
        self.answers.append((status, time.monotonic() - self._started))
        self._selector.unregister(client)
        client.settimeout(2)
        try:
            rest = client.recv(1)
        except ConnectionResetError:
            rest = b""
        assert rest == b"", "the connection was not closed"
        client.close()

    def _drip(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # cut; the selector says so
            client.send(b" ")

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()


def warm_up(ego: EgoServer) -> int:
    """EGO's memory after large, good requests."""
    for number in range(5):
        filler = {"tags": {f"tag-{n}": "x" * 30 for n in range(60)}}
        large = [make_sample(f"warm-{n:03d}", at=ago(100 - number), **filler) for n in range(1_000)]
        assert ego.post_samples(*large).status_code == 202
    return ego.rss_bytes()


@pytest.mark.parametrize("slow", short_and_full(40, 200))
def test_hostile_payloads_are_refused(start_ego: Callable[..., EgoServer], slow: int, slack: float) -> None:
    """One kind of database is enough: no payload reaches the database."""
    ego = start_ego()
    before = warm_up(ego)
    peak, slowest, wrong = before, 0.0, []
    everything = list(payloads())
    slow_bodies = SlowBodies(ego.port, slow)
    dripping = threading.Thread(target=slow_bodies.run, args=(SLOW_SECONDS + 3 * slack,))
    dripping.start()  # beside the others, which may take longer than the slow bodies live
    with Probe(lambda: ego.get("/api/health", timeout=5)) as health:
        for name, request in everything:
            started = time.monotonic()
            status, head, body = exchange(ego.port, request.encoded())
            seconds = time.monotonic() - started
            slowest = max(slowest, seconds)
            if not 400 <= status < 500 or seconds > REFUSED_SECONDS * slack:
                wrong.append(f"{name}: {status} after {seconds:.2f} s: {body[:200]!r}")
            elif b"json" in head.lower():
                json.loads(body, parse_constant=no_constant)
            peak = max(peak, ego.rss_bytes())
        for content in HANG_UPS.values():
            hang_up(ego.port, content, with_reset=False)
            hang_up(ego.port, content, with_reset=True)
        dripping.join()
    after = ego.rss_bytes()
    cut = [seconds for status, seconds in slow_bodies.answers if status == 408]
    slow_bodies.close()
    p99 = percentile(health.seconds, 99)
    print_figures(
        "T7",
        payloads=len(everything),
        refused=len(everything) - len(wrong),
        slowest_refusal_s=slowest,
        slow_bodies_cut=f"{len(cut)}/{slow}",
        cut_between_s=f"{min(cut, default=0):.1f} and {max(cut, default=0):.1f}",
        health_p99_s=p99,
        memory_mib=(after - before) / MIB,
        at_most_mib=(peak - before) / MIB,
        tracebacks=ego.log.count("Traceback"),
    )
    assert not wrong, "\n".join(wrong)
    assert len(cut) == slow
    assert all(SLOW_SECONDS - 1 <= seconds <= SLOW_SECONDS + 2 * slack for seconds in cut)
    assert "Traceback" not in ego.log
    assert health.failures == []
    assert p99 <= HEALTH_SECONDS * slack
    assert after - before <= GROWTH_MAX
    assert {key[0] for key in ego.rows("SELECT hostname FROM host_metrics")} == {"core-switch"} | {
        f"warm-{n:03d}" for n in range(1_000)
    }
    assert ego.rows("SELECT id FROM commands") == []


@pytest.mark.parametrize(("path", "cap"), [(BATCH, 4 * MIB), (COMMANDS, 64 * 1024)])
def test_an_endless_body_is_cut_at_the_cap(start_ego: Callable[..., EgoServer], path: str, cap: int) -> None:
    ego = start_ego()
    before = warm_up(ego)
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent, is_cut = 0, False
    with socket.create_connection(("127.0.0.1", ego.port), timeout=5) as client:
        client.sendall(CHUNKED.replace(BATCH.encode(), path.encode()) + b"\r\n")
        started = time.monotonic()
        while sent < 100 * MIB and not is_cut:
            try:
                client.sendall(chunk)
                sent += 65536
            except (BrokenPipeError, ConnectionResetError):
                is_cut = True
        seconds = time.monotonic() - started
    grown = ego.rss_bytes() - before
    print_figures("T7", endless_body=path, sent_mib=sent / MIB, cut_after_s=seconds, memory_mib=grown / MIB)
    assert is_cut, "EGO went on reading"
    assert sent <= cap + DRAIN_BYTES + 16 * MIB  # the bytes in the kernel's buffers count too
    assert seconds <= SLOW_SECONDS
    assert grown <= GROWTH_MAX
    assert "Traceback" not in ego.log
