"""Bad input, every time: a clear problem+json that names the field, nothing stored, never a 5xx."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import (
    UNKNOWN_ID,
    assert_problem,
    claim,
    command,
    elapsed,
    events,
    pending_command,
    running_command,
    settled,
)
from tests.servers import PATIENCE, EgoServer

JSON = {"Content-Type": "application/json"}
GZIP = JSON | {"Content-Encoding": "gzip"}
NESTED = 100_000


@pytest.fixture(scope="module")
def asked() -> Iterator[dict[int, EgoServer]]:
    """The EGOs that this module has asked, by port. Whatever it sends, their logs have no traceback afterwards."""
    found: dict[int, EgoServer] = {}
    yield found
    for ego in found.values():
        assert "Traceback" not in ego.log
        assert "unexpected error" not in ego.log


@pytest.fixture(autouse=True)
def no_traceback(request: pytest.FixtureRequest, asked: dict[int, EgoServer]) -> None:
    """Note the EGO of this test. No other one is started for it."""
    for name in {"ego", "sqlite_ego"} & set(request.fixturenames):
        ego = request.getfixturevalue(name)
        asked[ego.port] = ego


# ------------------------------------------------------------------ bodies that are none

BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "nothing": (b"", JSON, 400),
    "half an object": (b'{"hostname": "a", ', JSON, 400),
    "something behind the end": (b"{} {}", JSON, 400),
    "single quotes": (b"{'hostname': 'a'}", JSON, 400),
    "a comma too many": (b'{"hostname": "a",}', JSON, 400),
    "a list": (b"[]", JSON, 400),
    "null": (b"null", JSON, 400),
    "a text": (b'"hostname"', JSON, 400),
    "a number": (b"7", JSON, 400),
    "NaN": (b'{"a": NaN}', JSON, 400),
    "Infinity": (b'{"a": -Infinity}', JSON, 400),
    "1e400": (b'{"a": 1e400, "b": -1e400}', JSON, 400),
    "a whole number of 5,000 digits": (b'{"a": %s}' % (b"9" * 5_000), JSON, 400),
    "invalid UTF-8": (b'{"a": "\xff\xfe"}', JSON, 400),
    "half of a surrogate pair as bytes": (b'{"a": "\xed\xa0\x80"}', JSON, 400),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), JSON, 400),
    "a raw NUL": (b'{"a": "\0"}', JSON, 400),
    "a raw line break in a text": (b'{"a": "x\ny"}', JSON, 400),
    "nested arrays": (b"[" * NESTED + b"]" * NESTED, JSON, 400),
    "open arrays": (b"[" * 60_000, JSON, 400),
    "nested objects": (b'{"a":' * 12_000 + b"1" + b"}" * 12_000, JSON, 400),
    "an array too deep inside": (b'{"a": %s%s}' % (b"[" * 33, b"]" * 33), JSON, 400),
    "text/plain": (b'{"a": 1}', {"Content-Type": "text/plain"}, 415),
    "a form": (b"hostname=a&command=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "a form of parts": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    "no type": (b'{"a": 1}', {"Content-Type": ""}, 415),
    "nearly JSON": (b'{"a": 1}', {"Content-Type": "application/jsonp"}, 415),
    "a type that is none": (b'{"a": 1}', {"Content-Type": "/"}, 415),
    "gzip that is none": (b'{"a": 1}', GZIP, 400),
    "gzip that ends early": (gzip.compress(b'{"a": 1}' * 50)[:-9], GZIP, 400),
    "gzip with something behind it": (gzip.compress(b"{}") + b"more", GZIP, 400),
    "brotli": (b'{"a": 1}', JSON | {"Content-Encoding": "br"}, 415),
    "gzip twice": (gzip.compress(gzip.compress(b"{}")), JSON | {"Content-Encoding": "gzip, gzip"}, 415),
    "a bomb": (gzip.compress(b"\0" * 17 * 2**20), GZIP, 413),
}


def routes_with_a_body(ego: EgoServer) -> dict[str, str]:
    """Every route that reads JSON, with its path filled in."""
    running = running_command(ego)
    return {
        "batch": "/api/metrics/batch",
        "command": "/api/commands",
        "result": f"/api/commands/{running}/result",
        "heartbeat": f"/api/commands/{running}/heartbeat",
        "output": f"/api/commands/{running}/output",
        "field result": f"/api/field/commands/result/{running}",
    }


@pytest.mark.parametrize(("body", "headers", "status"), BODIES.values(), ids=BODIES.keys())
def test_a_malformed_body_is_refused_by_every_route_and_changes_nothing(
    sqlite_ego: EgoServer, body: bytes, headers: dict[str, str], status: int
) -> None:
    routes = routes_with_a_body(sqlite_ego)
    total = sqlite_ego.get("/api/commands").json()["total"]
    for name, path in routes.items():
        answer, seconds = elapsed(lambda path=path: sqlite_ego.post(path, data=body, headers=headers))
        too_long = answer.status_code == 413 and len(body) > 64 * 1024  # most routes read no more
        assert_problem(answer, 413 if too_long else status)
        assert seconds < 2 * PATIENCE, name
    assert sqlite_ego.get("/api/commands").json()["total"] == total
    running = routes["result"].split("/")[3]
    assert (command(sqlite_ego, running)["status"], len(events(sqlite_ego, running))) == ("running", 2)


def test_an_endless_body_is_cut_at_the_limit(sqlite_ego: EgoServer) -> None:
    for path, most in (("/api/commands", 64 * 1024), ("/api/metrics/batch", 4 * 2**20)):
        sent, answer = send_for_ever(sqlite_ego, path)
        assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
        assert b"application/problem+json" in answer
        assert sent < most + 20 * 2**20  # the bytes in the kernels' buffers


def send_for_ever(ego: EgoServer, path: str) -> tuple[int, bytes]:
    """How many bytes of an endless chunked body EGO took, and its answer."""
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", ego.port)) as wire:
        wire.settimeout(5)
        wire.sendall(head.encode())
        deadline = time.monotonic() + 8
        try:
            while time.monotonic() < deadline:
                wire.settimeout(0.5)
                wire.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass  # EGO has closed the connection
        wire.settimeout(5)
        answer = b""
        try:
            while part := wire.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except OSError:
            pass
    return sent, answer


BODY = json.dumps({"hostname": "a", "command": "w"}).encode()


def answer_to(ego: EgoServer, framing: str, body: bytes) -> bytes:
    """The answer to a body that is sent unchanged, with nothing after it."""
    head = f"POST /api/commands HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ego.port)) as wire:
        wire.sendall(head.encode() + body)
        wire.shutdown(socket.SHUT_WR)
        wire.settimeout(15)
        return b"".join(iter(lambda: wire.recv(65536), b""))


@pytest.mark.parametrize(
    ("length", "status"), [("x", 400), ("-1", 400), (str(10**20), 413), (f"{len(BODY)}, {len(BODY)}", 400)]
)
def test_an_impossible_content_length_harms_no_other_request(sqlite_ego: EgoServer, length: str, status: int) -> None:
    answer = answer_to(sqlite_ego, f"Content-Length: {length}", BODY)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert sqlite_ego.get("/api/health").text == "ok"


def test_a_body_that_ends_early_may_be_sent_again(ego: EgoServer) -> None:
    """After a 400 an agent would drop the batch."""
    chunk = b"%x\r\n%s" % (len(BODY) + 1, BODY)
    for framing, body in ((f"Content-Length: {len(BODY) + 100}", BODY), ("Transfer-Encoding: chunked", chunk)):
        answer = answer_to(ego, framing, body)
        assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]
        assert b"send it again" in answer
    assert ego.get("/api/health").text == "ok"


# ------------------------------------------------------------------ the wrong type at every field

WRONG_TYPES: dict[str, tuple[str, ...]] = {
    "number": ('"1"', "true", "[]", "{}", "1e400"),
    "whole": ('"1"', "true", "[]", "{}", "0.5", str(2**63), "-1", "1e400"),
    "text": ("1", "true", "[]", "{}", "1.5", r'"\ud800"', r'"a\u0000"'),
    "object": ("1", '"x"', "true", "[]"),
    "list": ("1", '"x"', "true", "{}"),
}
SAMPLE_FIELDS: dict[str, str] = (
    dict.fromkeys(
        ("hostname", "timestamp", "agent_version", "platform", "ip", "ipv4", "rack", "system_manufacturer",
         "system_model", "bios_version", "cpu_model", "os_distro", "os_release", "os_kernel", "command_policy"),
        "text",
    )
    | dict.fromkeys(
        ("cpu_load", "memory_used_percent", "load_average", "uptime_seconds", "cpu_temperature", "gpu_temperature",
         "primary_interface_speed_mbps", "swap_used_percent"),
        "number",
    )
    | dict.fromkeys(
        ("net_bytes_tx", "net_bytes_rx", "memory_total_bytes", "memory_available_bytes", "cpu_physical_cores",
         "cpu_logical_cores"),
        "whole",
    )
    | dict.fromkeys(("position", "tags", "temperatures"), "object")
    | dict.fromkeys(("cpu_per_core", "disks", "interfaces", "top_processes"), "list")
)  # fmt: skip
NESTED_FIELDS: dict[str, dict[str, str]] = {
    "disks": {"device": "text", "mountpoint": "text", "fstype": "text", "total_bytes": "whole", "used_bytes": "whole",
              "used_percent": "number"},
    "interfaces": {"name": "text", "bytes_sent": "whole", "bytes_recv": "whole", "packets_sent": "whole",
                   "packets_recv": "whole", "errin": "whole", "errout": "whole", "dropin": "whole", "dropout": "whole",
                   "speed_mbps": "number"},
    "top_processes": {"pid": "whole", "name": "text", "username": "text", "cpu_percent": "number",
                      "memory_percent": "number"},
}  # fmt: skip
NAMING = {"disks": "mountpoint", "interfaces": "name", "top_processes": "name"}


def post_as_text(ego: EgoServer, members: dict[str, str]) -> requests.Response:
    """The answer to a batch of one sample, whose further members are JSON text."""
    sample = {name: json.dumps(value) for name, value in make_sample(unique_hostname()).items()} | members
    text = ", ".join(f'"{name}": {value}' for name, value in sample.items())
    return ego.post("/api/metrics/batch", data=('{"samples": [{%s}]}' % text).encode(), headers=JSON)


DIAGNOSTICS = {"cpu_per_core", "disks", "interfaces", "temperatures", "top_processes"}


@pytest.mark.parametrize("field", sorted(SAMPLE_FIELDS.keys() - DIAGNOSTICS))
def test_a_field_of_a_sample_takes_only_its_own_type(sqlite_ego: EgoServer, field: str) -> None:
    for text in WRONG_TYPES[SAMPLE_FIELDS[field]]:
        problem = assert_problem(post_as_text(sqlite_ego, {field: text}), 400)
        assert [(row["index"], row["field"]) for row in problem["errors"]] == [(0, field)], text


@pytest.mark.parametrize("field", sorted(SAMPLE_FIELDS.keys() & DIAGNOSTICS))
def test_a_diagnostic_of_another_type_costs_that_diagnostic(sqlite_ego: EgoServer, field: str) -> None:
    for text in WRONG_TYPES[SAMPLE_FIELDS[field]]:
        receipt = post_as_text(sqlite_ego, {field: text}).json()
        assert [(row["index"], row["field"]) for row in receipt["dropped"]] == [(0, field)], text


@pytest.mark.parametrize("table", NESTED_FIELDS)
def test_a_row_with_a_member_of_another_type_costs_that_row(sqlite_ego: EgoServer, table: str) -> None:
    for member, kind in NESTED_FIELDS[table].items():
        for text in WRONG_TYPES[kind]:
            row = {NAMING[table]: '"x"'} | {member: text}
            rows = "[{%s}]" % ", ".join(f'"{name}": {value}' for name, value in row.items())
            receipt = post_as_text(sqlite_ego, {table: rows}).json()
            assert receipt["dropped"] == [{"index": 0, "field": table, "count": 1}], (member, text)


def test_the_values_of_tags_take_only_their_own_type(sqlite_ego: EgoServer) -> None:
    for text in WRONG_TYPES["text"]:
        problem = assert_problem(post_as_text(sqlite_ego, {"tags": '{"k": %s}' % text}), 400)
        assert all(row["field"].startswith("tags") for row in problem["errors"]), text


def test_a_sensor_with_a_value_of_another_type_costs_that_sensor(sqlite_ego: EgoServer) -> None:
    for text in WRONG_TYPES["number"]:
        receipt = post_as_text(sqlite_ego, {"temperatures": '{"k": %s}' % text}).json()
        assert receipt["dropped"] == [{"index": 0, "field": "temperatures", "count": 1}], text


COMMAND_FIELDS = {"hostname": "text", "command": "text", "timeoutSeconds": "number", "expiresInSeconds": "number",
                  "metadata": "object", "retryOf": "text"}  # fmt: skip
RESULT_FIELDS = {"status": "text", "exitCode": "whole", "stdout": "text", "stderr": "text", "durationSeconds": "number",
                 "reason": "text", "stdoutBytes": "whole", "stderrBytes": "whole"}  # fmt: skip


@pytest.mark.parametrize("field", COMMAND_FIELDS)
def test_a_field_of_a_command_takes_only_its_own_type(sqlite_ego: EgoServer, field: str) -> None:
    hostname = unique_hostname()
    for text in WRONG_TYPES[COMMAND_FIELDS[field]]:
        members = {"hostname": json.dumps(hostname), "command": '"w"'} | {field: text}
        body = "{%s}" % ", ".join(f'"{name}": {value}' for name, value in members.items())
        answer = sqlite_ego.post("/api/commands", data=body.encode(), headers=JSON)
        assert_problem(answer, 400, naming=None if "e400" in text else field)
    assert claim(sqlite_ego, hostname) == []


@pytest.mark.parametrize("field", RESULT_FIELDS)
def test_a_field_of_a_result_takes_only_its_own_type(sqlite_ego: EgoServer, field: str) -> None:
    command_id = running_command(sqlite_ego)
    for text in WRONG_TYPES[RESULT_FIELDS[field]]:
        if (field in {"stdout", "stderr"} and "\\u" in text) or (field == "exitCode" and text == "-1"):
            continue  # output is kept whatever it is, and an exit code may be negative
        body = '{"status": "failed", "%s": %s}' % (field, text)
        answer = sqlite_ego.post(f"/api/commands/{command_id}/result", data=body.encode(), headers=JSON)
        assert_problem(answer, 400, naming=None if "e400" in text else field)
    assert command(sqlite_ego, command_id)["status"] == "running"


@pytest.mark.parametrize(
    "body", ["{}", '{"samples": {}}', '{"samples": "x"}', '{"samples": null}', '{"samples": []}', '{"sample": []}']
)
def test_a_batch_without_samples_is_refused_by_name(sqlite_ego: EgoServer, body: str) -> None:
    assert_problem(sqlite_ego.post("/api/metrics/batch", data=body, headers=JSON), 400, naming="samples")


@pytest.mark.parametrize("sample", ["null", "1", '"x"', "[]", "true", "[{}]"])
def test_a_sample_that_is_no_object_is_refused_by_its_index(sqlite_ego: EgoServer, sample: str) -> None:
    body = '{"samples": [%s, %s]}' % (json.dumps(make_sample(unique_hostname())), sample)
    problem = assert_problem(sqlite_ego.post("/api/metrics/batch", data=body, headers=JSON), 400)
    assert {row["index"] for row in problem["errors"]} == {1}


def test_none_of_the_refused_hosts_is_in_the_twin(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post_bad = [make_sample(hostname, cpu_load=-1), make_sample(hostname, net_bytes_tx=2**63)]
    for sample in post_bad:
        assert_problem(ego.post_samples(make_sample(hostname), sample), 400)
    assert hostname not in {host["hostname"] for host in settled(ego)["hosts"]}


# ------------------------------------------------------------------ gzip

BOMBS = {
    "21 to 1": b'{"samples": []}' + b" " * 2**21,
    "a thousand to 1": b" " * 2**24,
    "beyond 16 MiB": b" " * (2**24 + 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_body_that_unpacks_to_too_much_is_refused(sqlite_ego: EgoServer, bomb: str) -> None:
    packed = gzip.compress(BOMBS[bomb])
    answer, seconds = elapsed(lambda: sqlite_ego.post("/api/metrics/batch", data=packed, headers=GZIP))
    assert_problem(answer, 413)
    assert seconds < PATIENCE


def test_a_bomb_costs_no_memory(sqlite_ego: EgoServer) -> None:
    machine = zlib.compressobj(1, wbits=31)
    bomb = b"".join(machine.compress(bytes(2**20)) for _ in range(256)) + machine.flush()
    assert len(bomb) < 4 * 2**20
    assert sqlite_ego.post("/api/metrics/batch", data=bomb, headers=GZIP).status_code == 413
    before = sqlite_ego.rss_bytes()
    for _ in range(5):
        assert_problem(sqlite_ego.post("/api/metrics/batch", data=bomb, headers=GZIP), 413)
    assert sqlite_ego.rss_bytes() - before < 20 * 2**20


# ------------------------------------------------------------------ methods and paths


def every_path(ego: EgoServer) -> dict[str, set[str]]:
    """Each documented path with its parameters filled in, and its methods."""
    paths = ego.get("/api/openapi.json").json()["paths"]
    waiting = pending_command(ego)
    found = {}
    for path, operations in paths.items():
        filled = path.replace("{hostname}", "core-switch").replace("{id}", waiting).replace("{name}", "memory_high")
        assert "{" not in filled, path
        found[filled] = {method.upper() for method in operations if method in {"get", "post", "put", "delete", "patch"}}
    assert len(found) >= 19
    return found


def test_head_and_options_are_answered_everywhere_and_change_nothing(ego: EgoServer) -> None:
    waiting_before = command(ego, pending_command(ego))
    for path, methods in every_path(ego).items():
        head = requests.head(ego.url + path, timeout=10)
        assert head.content == b"", path
        if "GET" in methods:
            get = 200 if "pending" in path else ego.get(path).status_code
            assert head.status_code == get, path
        else:
            assert head.status_code == 405, path
        options = requests.options(ego.url + path, timeout=10)
        assert options.status_code == 200, path
        assert "Content-Type" not in options.headers, path
        assert methods <= {method.strip() for method in options.headers["Allow"].split(",")}, path
    assert command(ego, waiting_before["id"]) == waiting_before


def test_a_method_that_a_path_does_not_have_is_refused_and_the_others_are_named(sqlite_ego: EgoServer) -> None:
    for path, methods in every_path(sqlite_ego).items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"} - methods:
            answer = requests.request(method, sqlite_ego.url + path, json={}, timeout=10)
            assert_problem(answer, 405)
            assert methods <= {name.strip() for name in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize(
    ("path", "status"),
    [(path, 404) for path in (
        "/api", "/api/", "/api/nothing", "/api/commands/", "/api/commands/pending/", "/api/commands/pending/a/b", "/api/twin",
        "/api/hosts/", "/api/commands/" + UNKNOWN_ID + "/nothing")]
    + [(path, 400) for path in (
        "/api/hosts/a%2Fb/c", "/api/commands/pending/a%2Fb", "/api/../etc/passwd", "/api//health", "/api/%00", "/api/%FF")],
)  # fmt: skip
def test_a_path_that_does_not_exist_is_a_problem_and_never_html(sqlite_ego: EgoServer, path: str, status: int) -> None:
    prepared = requests.Request("GET", sqlite_ego.url).prepare()
    prepared.url = sqlite_ego.url + path  # as it is
    with requests.Session() as session:
        assert_problem(session.send(prepared, timeout=10, allow_redirects=False), status)


@pytest.mark.parametrize("route", ["/api/commands", "/api/alerts"])
@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=1.5", "page=x", "page=", "page=1000000000", "page=10001", f"page={10**40}",
     "pageSize=0", "pageSize=-1", "pageSize=101", "pageSize=1e2", "pageSize=x", "page=101&pageSize=100", "page=501"],
)  # fmt: skip
def test_a_page_or_page_size_out_of_range_or_malformed_is_refused(
    sqlite_ego: EgoServer, route: str, query: str
) -> None:
    assert_problem(sqlite_ego.get(f"{route}?{query}"), 400, naming=query.partition("=")[0])


@pytest.mark.parametrize("route", ["/api/commands", "/api/alerts", "/api/hosts"])
@pytest.mark.parametrize("text", ["%", "_", "\\", "'", '" OR 1=1', "\u202e", "한글", "x" * 2_000, "\x1b", "%00"])
def test_a_search_may_be_any_text_and_finds_it_literally(ego: EgoServer, route: str, text: str) -> None:
    params = {"search": text, "hostname": "nobody-at-all"} if route != "/api/hosts" else {"search": text}
    answer = ego.get(route, params=params)
    assert answer.status_code == 200
    assert answer.json()["items"] == []


ODD_TEXTS = ["%00", "%ED%A0%80", "%FF", "a%2Fb", "", "%E2%80%AE", "&" * 50, "=" * 50]
NO_HOSTNAMES = set(ODD_TEXTS) - {"=" * 50}
REFUSED_TEXTS = {  # the filters of each route, and which of these texts each refuses
    "/api/commands": {"hostname": NO_HOSTNAMES, "status": set(ODD_TEXTS), "search": {"%00"}},
    "/api/alerts": {"hostname": NO_HOSTNAMES, "status": set(ODD_TEXTS), "metric": {"%00"}},
    "/api/hosts": {"status": set(ODD_TEXTS), "search": {"%00"}, "rack": {"%00"}, "tag": {"%00"}},
}


@pytest.mark.parametrize("parameter", ["hostname", "status", "search", "metric", "rack", "tag"])
@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_filter_of_any_bytes_is_taken_or_named_in_the_refusal(ego: EgoServer, parameter: str, text: str) -> None:
    for route, refused in REFUSED_TEXTS.items():
        answer = ego.get(f"{route}?{parameter}={text}")
        if text in refused.get(parameter, set()):
            assert_problem(answer, 400, naming=parameter)
        else:
            assert answer.status_code == 200, f"{route} {answer.text[:200]}"


HEADERS: dict[str, dict[str, Any]] = {
    "an accept of nothing we have": {"Accept": "image/png"},
    "a preference of its own": {"Prefer": "x" * 500},
    "a range": {"Range": "bytes=0-1"},
    "a tag that is none": {"If-None-Match": 'W/"' + "x" * 500},
    "an instance that is none": {"X-Reflector-Instance": "x", "X-Reflector-Journal": "1"},
    "a language": {"Accept-Language": "\xff\xfe"},
    "a cookie": {"Cookie": "session=" + "x" * 3_000},
    "credentials": {"Authorization": "Bearer \xff"},
    "an upgrade": {"Connection": "Upgrade", "Upgrade": "websocket"},
}


POLL = "/api/commands/pending/nobody"
UNUSUAL_STATUSES = {  # what is not answered 200
    ("an accept of nothing we have", POLL): 403,  # as a browser would ask for a picture
    ("a language", POLL): 403,
    ("a cookie", POLL): 403,
    ("an instance that is none", POLL): 400,
    ("a range", "/"): 206,
}


@pytest.mark.parametrize("kind", HEADERS)
def test_odd_headers_never_break_an_answer(sqlite_ego: EgoServer, kind: str) -> None:
    raw = {name: value.encode("latin-1") for name, value in HEADERS[kind].items()}
    for path in ("/api/twin/state", "/api/hosts", POLL, "/api/health", "/"):
        usual = 400 if kind == "an upgrade" else 200
        assert sqlite_ego.get(path, headers=raw).status_code == UNUSUAL_STATUSES.get((kind, path), usual), path
