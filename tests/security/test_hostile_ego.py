"""The agent does not trust answers: a hostile EGO or proxy can only withhold an answer."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.reflector import journal as journal_module
from mirror_stage.reflector import uplink as module
from mirror_stage.reflector.backoff import RETRY_AFTER_MAX_SECONDS, backoff_seconds
from mirror_stage.reflector.commands import orders
from mirror_stage.reflector.exchange import ANSWER_BYTES_MAX, Broken, Exchange
from mirror_stage.reflector.journal import Journal
from mirror_stage.reflector.results import KEPT_FOR, Results
from mirror_stage.reflector.spool import wall_clock
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink, understood
from tests.faults import print_figures
from tests.reflector.hostile_ego import (
    JSON_HEAD,
    Attack,
    HostileEgo,
    drips,
    floods,
    hostile_ego,
    sends,
    silent_after,
    whole,
)
from tests.reflector.processes import running_agent
from tests.reflector.scripted_ego import Reply, ScriptedEgo, problem
from tests.servers import wait_until

MIB = 2**20
DEADLINE_SECONDS = 0.3
SLACK_SECONDS = 2.0  # what a busy machine may add; each attack goes on for longer
PACKED_HEAD = JSON_HEAD + b"Content-Encoding: gzip\r\n"
CHUNKED_HEAD = JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def bomb(mebibytes: int) -> bytes:
    """`mebibytes` MiB of JSON, compressed about 1,000:1."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([packer.compress(b"["), *(packer.compress(b" " * MIB) for _ in range(mebibytes)), packer.flush()])


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileEgo]:
    monkeypatch.setattr(module, "ANSWER_SECONDS", DEADLINE_SECONDS)
    with hostile_ego() as ego:
        yield ego


ATTACKS: dict[str, Attack] = {
    "a gzip bomb": sends(whole(bomb(16), PACKED_HEAD)),
    "a packing that is none": sends(whole(b"[]", PACKED_HEAD)),
    "a status line that drips": drips(b"", b"H"),
    "a head that drips": drips(JSON_HEAD, b"X-A: b\r\n"),
    "a body that drips": drips(JSON_HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "a body without length that drips": drips(JSON_HEAD + b"\r\n", b" "),
    "chunks that drip": drips(CHUNKED_HEAD, b"1\r\n \r\n"),
    "a trailer that drips": drips(CHUNKED_HEAD + b"0\r\n", b"X-A: b\r\n"),
    "continue that drips": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a flood of continue": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "a flood of hints": floods(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 500),
    "a head without end": floods(JSON_HEAD, b"X-A: b\r\n" * 500),
    "a line without end": floods(JSON_HEAD + b"X-A: ", b"b" * 65536),
    "a flood of cookies": floods(JSON_HEAD, b"Set-Cookie: a=b\r\n" * 500),
    "a body without end": floods(JSON_HEAD + b"\r\n", b" " * 65536),
    "chunks without end": floods(CHUNKED_HEAD, b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "small chunks without end": floods(CHUNKED_HEAD, b"1\r\n \r\n" * 1000),
    "a chunk of 16 EiB": silent_after(CHUNKED_HEAD + b"ffffffffffffffff\r\n[]"),
    "a chunk of less than nothing": silent_after(CHUNKED_HEAD + b"-5\r\n[]\r\n"),
    "a length that is too long": sends(JSON_HEAD + b"Content-Length: 50\r\n\r\n[]"),
    "a length that is too long, and silence": silent_after(JSON_HEAD + b"Content-Length: 50\r\n\r\n[]"),
    "a length that is too short": sends(JSON_HEAD + b"Content-Length: 1\r\n\r\n[]"),
    "a length of an exabyte": silent_after(JSON_HEAD + b"Content-Length: 1000000000000000000\r\n\r\n[]"),
    "silence": silent_after(),
    "the end at once": sends(),
    "no HTTP": sends(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "HTML": sends(whole(b"<html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")),
    "no type": sends(whole(b"[]", b"HTTP/1.1 200 OK\r\n")),
    "another type": sends(whole(b"[]", b"HTTP/1.1 200 OK\r\nContent-Type: application/x-pickle\r\n")),
    "a nesting bomb": sends(whole(b"[" * 200_000)),
    "a closed nesting bomb": sends(whole(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)),
    "a number of a million digits": sends(whole(b"[" + b"9" * 1_000_000 + b"]")),
    "a number that is none": sends(whole(b'[{"timeoutSeconds": NaN}]')),
    "an infinite number": sends(whole(b"[-Infinity]")),
    "a number that becomes infinite": sends(whole(b"[1e400]")),
    "a key that stands twice": sends(whole(b'[{"id": "a", "id": "b"}]')),
    "what is not UTF-8": sends(whole(b'["\xff"]')),
    "UTF-16": sends(whole('["a"]'.encode("utf-16"))),
    "text behind the JSON": sends(whole(b"[] []")),
    "a redirect": sends(whole(b"{}", b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/x\r\n")),
    "a change of protocol": sends(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "more than an answer can be": sends(whole(b'["' + b"x" * ANSWER_BYTES_MAX + b'"]')),
}

REQUESTS: dict[str, Callable[[Uplink], Answer]] = {
    "samples": lambda uplink: uplink.post_samples([b"{}"]),
    "poll, check": lambda uplink: uplink.get("/api/commands/pending/titan-01"),
    "result, heartbeat, output": lambda uplink: uplink.post("/api/commands/a/result", {"status": "succeeded"}),
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_answer_is_a_failure_within_the_deadline(
    attack: Attack, request_of: Callable[[Uplink], Answer], hostile: HostileEgo
) -> None:
    hostile.attack = attack
    began = time.monotonic()
    answer = request_of(Uplink(hostile.url))
    assert time.monotonic() - began < DEADLINE_SECONDS + SLACK_SECONDS
    assert hostile.heads, "the attack did not take place"
    assert answer.meaning in {Meaning.UNKNOWN, Meaning.MISDIRECTED}
    assert answer.body is None
    assert 0 < len(answer.detail) < 500
    assert answer.detail.isprintable()


def test_a_server_that_reads_slowly_does_not_block_a_sender(hostile: HostileEgo) -> None:
    def slowly(wire: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while wire.recv(4096):
                time.sleep(0.02)

    hostile.serve = slowly  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(Broken, match="in time"):
        Exchange(hostile.url).ask("POST", "/", bytes(32 * MIB), {}, DEADLINE_SECONDS)
    assert time.monotonic() - began < DEADLINE_SECONDS + SLACK_SECONDS


def test_a_redirect_does_not_take_a_body_to_another_server(hostile: HostileEgo) -> None:
    with hostile_ego() as other:
        for status in (301, 302, 303, 307, 308):
            head = f"HTTP/1.1 {status} Go\r\nLocation: {other.url}/api/metrics/batch\r\n".encode()
            hostile.attack = sends(whole(b"", head))
            assert Uplink(hostile.url).post_samples([b"{}"]).meaning is Meaning.MISDIRECTED
        assert len(hostile.heads) == 5
        assert other.heads == []


def test_no_cookie_is_kept(hostile: HostileEgo) -> None:
    uplink = Uplink(hostile.url)
    hostile.attack = sends(whole(b"[]", JSON_HEAD + b"Set-Cookie: a=b; Max-Age=1000000\r\n" * 1))
    assert uplink.get("/a").is_taken
    assert uplink.get("/b").is_taken
    assert not any(b"cookie" in head.lower() for head in hostile.heads)


def test_an_unrequested_answer_is_not_taken_for_the_next_one(scripted: ScriptedEgo) -> None:
    """The server sends a second answer behind the first one, on a connection that stays open."""
    false = whole(b'{"accepted": 1}', b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n")
    scripted.decide = lambda asked: (
        Reply(200, b"[]" + false, {"Content-Length": "2"}) if asked.method == "GET" else problem(503)
    )
    uplink = Uplink(scripted.url)
    assert uplink.get("/api/commands/pending/titan-01").is_taken
    time.sleep(0.1)  # until the second answer has arrived
    assert uplink.post_samples([b"{}"]).meaning is Meaning.LATER


@pytest.mark.parametrize("text", ["31536000", "1e9", "inf", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_of_a_year_is_minutes(text: str) -> None:
    asked = understood(503, {"Retry-After": text}, b"").retry_after_seconds
    assert backoff_seconds(1, 0.5, asked) <= RETRY_AFTER_MAX_SECONDS * 1.25


@pytest.mark.parametrize("text", ["nan", "-inf", "", "soon", "Mon, 00 Foo 0000", "\ufffd"])
def test_an_invalid_retry_after_is_ignored(text: str) -> None:
    assert understood(503, {"Retry-After": text}, b"").retry_after_seconds is None


def test_the_detail_of_an_answer_of_ego_becomes_printable_and_short() -> None:
    detail = "\x1b[2J\u202e" + "x" * 100_000
    answer = understood(503, {"Content-Type": "application/json"}, json.dumps({"detail": detail}).encode())
    assert answer.detail.isprintable()
    assert len(answer.detail) < 400


# ---------------------------------------------------------------- commands from a hostile EGO

GOOD = {"id": "a", "command": "true", "timeoutSeconds": 30}


@pytest.mark.parametrize(
    "timeout", [0, -1, 600.1, math.nan, math.inf, "30", True, None, [30], {}, 10**400], ids=lambda value: str(value)[:9]
)
def test_an_invalid_timeout_is_refused(timeout: Any) -> None:
    (order,) = orders([{**GOOD, "timeoutSeconds": timeout}], 2)
    assert "timeoutSeconds must be a number" in (order.fault or "")


@pytest.mark.parametrize("timeout", [0.001, 1, 600])
def test_a_timeout_of_the_contract_is_taken(timeout: float) -> None:
    (order,) = orders([{**GOOD, "timeoutSeconds": timeout}], 2)
    assert (order.fault, order.timeout_seconds) == (None, timeout)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("x" * 8193, "8193 bytes; at most 8192"),
        ("한" * 2731, "8193 bytes; at most 8192"),
        (None, "is no text"),
        (7, "is no text"),
        (["true"], "is no text"),
        ("\ud800", "surrogate"),
    ],
    ids=lambda value: str(value)[:5].encode("ascii", "replace").decode(),
)
def test_an_invalid_command_is_refused(command: Any, said: str) -> None:
    (order,) = orders([{**GOOD, "command": command}], 2)
    assert said in (order.fault or "")


@pytest.mark.parametrize(
    "id",
    ["", "p0?", "../result", "a/b", "a b", "a\n", "a" * 65, "\0", "é", 7, None, True, ["a"], {"a": 1}, "a%2f", "."],
)
def test_a_command_without_a_valid_id_is_ignored(id: Any) -> None:
    assert [order.id for order in orders([{**GOOD, "id": id}, GOOD], 2)] == ["a"]


def test_no_more_commands_are_taken_than_requested() -> None:
    assert [order.id for order in orders([{**GOOD, "id": f"p{n}"} for n in range(3000)], 2)] == ["p0", "p1"]


@pytest.mark.parametrize("body", [{"items": []}, "no", 7, None, True])
def test_an_answer_that_is_not_a_list_is_an_error(body: Any) -> None:
    with pytest.raises(ValueError, match="no list"):
        orders(body, 2)


# ---------------------------------------------------------------- a real agent


def peak_mib(pid: int) -> float:
    """The peak resident memory of a process in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_a_gzip_bomb_costs_an_agent_no_memory(tmp_path: Path) -> None:
    content = whole(bomb(256), PACKED_HEAD)
    with (
        hostile_ego() as ego,
        running_agent(tmp_path, ego.url, "--interval-seconds", "1", "--allow-commands") as agent,
    ):
        assert agent.process is not None
        pid = agent.process.pid
        wait_until(lambda: len(ego.heads) >= 4, what="the agent sends samples and polls")
        before = peak_mib(pid)
        ego.attack = sends(content)
        seen = len(ego.heads)
        wait_until(lambda: len(ego.heads) >= seen + 4, what="four hostile answers were sent")
        wait_until(lambda: "samples wait on disk: the answer is packed" in agent.log)
        wait_until(lambda: "commands cannot be fetched: the answer is packed" in agent.log)
        after = peak_mib(pid)
        print_figures("gzip bomb", packed_kb=len(content) / 1000, before_mib=before, after_mib=after)
        assert after - before < 16
        agent.stop()


def test_an_agent_that_gets_thousands_of_commands_runs_as_many_as_it_requested(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    handed = [
        {"id": str(uuid.uuid4()), "command": f"sh -c 'echo x >>{marker}; sleep 20'", "timeoutSeconds": 30}
        for _ in range(3000)
    ]
    scripted.decide = lambda asked: Reply(200, handed) if "/pending/" in asked.path else None
    flags = ("--allow-commands", "--command-concurrency", "2")
    with running_agent(tmp_path, scripted.url, *flags) as agent:
        wait_until(lambda: marker.exists() and len(marker.read_text()) == 4, what="two commands run")
        wait_until(lambda: "2998 more than was asked for" in agent.log)
        scripted.wait_for("/heartbeat", 3)  # some seconds later
        assert len(marker.read_text()) == 4
        agent.stop()


def test_ids_that_cannot_be_answered_leave_no_trace_and_the_agent_hears_the_next_ego(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    junk = [{"id": f"p{n}?", "command": "true", "timeoutSeconds": 30} for n in range(200)]
    waiting = [{"id": "good", "command": "echo heard", "timeoutSeconds": 30}]
    is_honest = False

    def decide(asked: Any) -> Reply | None:
        if "/pending/" not in asked.path:
            return Reply(200, {}) if asked.method == "POST" and "good" in asked.path else None
        if not is_honest:
            return Reply(200, junk)
        handed, waiting[:] = list(waiting), []
        return Reply(200, handed)

    scripted.decide = decide
    with running_agent(tmp_path, scripted.url, "--allow-commands") as agent:
        scripted.wait_for("/pending/", 3)
        is_honest = True
        (reported,) = scripted.wait_for("/good/result")
        assert reported.content["stdout"] == "heard\n"
        assert b"p0?" not in (agent.state / "journal").read_bytes()
        assert "200 more than was asked for, or without an id" in agent.log
        assert "Traceback" not in agent.log
        agent.stop()


def test_a_result_that_ego_refuses_for_days_is_given_up_and_logged(
    scripted: ScriptedEgo, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal")
    with monkeypatch.context() as earlier:
        earlier.setattr(journal_module, "wall_clock", lambda: wall_clock() - KEPT_FOR - 1)
        journal.end("old", {"status": "succeeded"})
    journal.end("young", {"status": "succeeded"})
    scripted.decide = lambda _asked: Reply(403, b"<html>", kind="text/html")
    results = Results(Uplink(scripted.url), Journal(tmp_path / "journal"))
    results.start()
    wait_until(lambda: "the result of old is given up after 3 days: 403" in caplog.text)
    scripted.wait_for("/young/result", 2)
    results.stop(0)
    assert list(Journal(tmp_path / "journal").undelivered()) == ["young"]


def test_a_result_under_an_id_of_an_earlier_version_reaches_ego_which_does_not_know_it(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.end("p0?/../x", {"status": "failed", "reason": "rejected"})
    scripted.decide = lambda _asked: problem(404)
    results = Results(Uplink(scripted.url), journal)
    results.start()
    wait_until(lambda: not journal.undelivered())
    results.stop(1)
    assert [asked.path for asked in scripted.asked] == ["/api/commands/p0%3F%2F..%2Fx/result"]
