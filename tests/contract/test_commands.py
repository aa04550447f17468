"""docs/contract.md, section 1, Commands: every route with its codes and bodies, as clients and agents meet them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import (
    CLAIM_KEYS,
    COMMAND_KEYS,
    PAGE_KEYS,
    UNKNOWN_ID,
    UUID,
    act,
    assert_problem,
    claim,
    command,
    create,
    end_lease,
    events,
    finished_command,
    instant,
    lost_command,
    now,
    pending_command,
    post,
    running_command,
    settled,
)
from tests.servers import EgoServer, wait_until

KIB = 1024


def seconds_between(earlier: str, later: str) -> float:
    """The seconds between two instants of the wire."""
    return (instant(later) - instant(earlier)).total_seconds()


# ------------------------------------------------------------------ create


def test_a_new_command_is_pending_and_has_every_key_with_the_contracts_defaults(ego: EgoServer) -> None:
    hostname = unique_hostname("never-seen")
    answer = ego.post("/api/commands", json={"hostname": hostname, "command": "uptime"})
    assert answer.status_code == 201
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    created = answer.json()
    assert created.keys() == COMMAND_KEYS
    assert UUID.match(created["id"])
    assert abs((instant(created["requestedAt"]) - now()).total_seconds()) < 5
    assert seconds_between(created["requestedAt"], created["expiresAt"]) == 3_600
    assert created["updatedAt"] == created["requestedAt"]
    varying = {"id", "requestedAt", "expiresAt", "updatedAt", "requestedBy"}
    assert {name: created[name] for name in COMMAND_KEYS - varying} == {
        "hostname": hostname,
        "command": "uptime",
        "timeoutSeconds": 30,
        "status": "pending",
        "reason": None,
        "startedAt": None,
        "completedAt": None,
        "leaseUntil": None,
        "exitCode": None,
        "signal": None,
        "stdout": None,
        "stderr": None,
        "stdoutBytes": None,
        "stderrBytes": None,
        "truncated": False,
        "late": False,
        "durationSeconds": None,
        "cancelRequested": False,
        "deliverable": False,
        "metadata": None,
        "retryOf": None,
        "version": 1,
    }
    assert command(ego, created["id"]) == created


def test_a_command_takes_its_own_timeout_expiry_and_metadata(ego: EgoServer) -> None:
    metadata = {"ticket": "A-1", "nested": {"list": [1, 2.5, None, True, "서버"]}}
    created = create(ego, unique_hostname(), timeoutSeconds=0.5, expiresInSeconds=90, metadata=metadata)
    assert (created["timeoutSeconds"], created["metadata"]) == (0.5, metadata)
    assert seconds_between(created["requestedAt"], created["expiresAt"]) == 90
    retried = create(ego, unique_hostname(), retryOf=created["id"])
    assert retried["retryOf"] == created["id"]


def test_null_in_an_optional_field_is_the_default(ego: EgoServer) -> None:
    fields = dict.fromkeys(("timeoutSeconds", "metadata", "expiresInSeconds", "retryOf"))
    assert create(ego, unique_hostname(), **fields)["timeoutSeconds"] == 30


AT_THE_LIMIT: dict[str, dict[str, Any]] = {
    "one character": {"command": "w"},
    "8 KiB": {"command": "x" * 8 * KIB},
    "8 KiB of Korean": {"command": "가" * (8 * KIB // 3)},
    "the longest timeout": {"timeoutSeconds": 600},
    "hardly any timeout": {"timeoutSeconds": 0.001},
    "metadata of 16 KiB": {"metadata": {"k": "v" * (16 * KIB - 8)}},
    "empty metadata": {"metadata": {}},
    "several lines": {"command": "set -e\n\techo 'a' \"b\" \\\necho $HOME"},
    "an unknown key": {"from_the_future": 1},
}


@pytest.mark.parametrize("fields", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT.keys())
def test_a_command_at_its_limits_is_taken_and_kept_as_it_is(ego: EgoServer, fields: dict[str, Any]) -> None:
    body = {"hostname": unique_hostname(), "command": "uptime"} | fields
    answer = ego.post("/api/commands", json=body)
    assert answer.status_code == 201, answer.text[:300]
    kept = command(ego, answer.json()["id"])
    assert {name: kept[name] for name in fields.keys() & COMMAND_KEYS} == {
        name: fields[name] for name in fields.keys() & COMMAND_KEYS
    }
    assert [item["command"] for item in claim(ego, body["hostname"])] == [body["command"]]


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "no hostname": ("hostname", {"hostname": None}),
    "a number as hostname": ("hostname", {"hostname": 7}),
    "a hostname with a slash": ("hostname", {"hostname": "a/b"}),
    "a blank hostname": ("hostname", {"hostname": "  "}),
    "a hostname with a bidi mark": ("hostname", {"hostname": "a\u202eb"}),
    "a hostname of 121 characters": ("hostname", {"hostname": "h" * 121}),
    "no command": ("command", {"command": None}),
    "an empty command": ("command", {"command": ""}),
    "a list as command": ("command", {"command": ["ls", "-l"]}),
    "a command of 8 KiB and a byte": ("command", {"command": "x" * (8 * KIB + 1)}),
    "a command of 8 KiB and a byte in Korean": ("command", {"command": "가" * (8 * KIB // 3 + 1)}),
    "a command with NUL": ("command", {"command": "a\0b"}),
    "a command with half a surrogate pair": ("command", {"command": "a\ud800b"}),
    "a timeout of zero": ("timeoutSeconds", {"timeoutSeconds": 0}),
    "a negative timeout": ("timeoutSeconds", {"timeoutSeconds": -1}),
    "a timeout beyond 600": ("timeoutSeconds", {"timeoutSeconds": 600.001}),
    "a timeout in quotes": ("timeoutSeconds", {"timeoutSeconds": "30"}),
    "a timeout of true": ("timeoutSeconds", {"timeoutSeconds": True}),
    "metadata that is a list": ("metadata", {"metadata": []}),
    "metadata that is a text": ("metadata", {"metadata": "x"}),
    "metadata beyond 16 KiB": ("metadata", {"metadata": {"k": "v" * 16 * KIB}}),
    "an expiry of zero": ("expiresInSeconds", {"expiresInSeconds": 0}),
    "a negative expiry": ("expiresInSeconds", {"expiresInSeconds": -3}),
    "an expiry in words": ("expiresInSeconds", {"expiresInSeconds": "soon"}),
    "a retry of nothing": ("retryOf", {"retryOf": "x"}),
    "a retry of a number": ("retryOf", {"retryOf": 5}),
}


@pytest.mark.parametrize(("field", "fields"), WRONG.values(), ids=WRONG.keys())
def test_a_bad_command_is_refused_with_the_field_named(
    sqlite_ego: EgoServer, field: str, fields: dict[str, Any]
) -> None:
    hostname = unique_hostname()
    body = {"hostname": hostname, "command": "uptime"} | fields
    answer = sqlite_ego.post("/api/commands", json={name: value for name, value in body.items() if value is not None})
    assert_problem(answer, 400, naming=field)
    assert claim(sqlite_ego, hostname) == []


def test_the_101st_pending_command_of_a_host_is_refused_until_one_is_fetched(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with requests.Session() as session:
        body = {"hostname": hostname, "command": "true"}
        for _ in range(100):
            assert session.post(f"{ego.url}/api/commands", json=body, timeout=10).status_code == 201
    assert_problem(ego.post("/api/commands", json=body), 429)
    assert ego.post("/api/commands", json=body | {"hostname": unique_hostname()}).status_code == 201
    assert len(claim(ego, hostname)) == 5
    assert ego.post("/api/commands", json=body).status_code == 201


# ------------------------------------------------------------------ deliverable


def test_a_command_is_deliverable_once_an_agent_has_polled_and_while_it_takes_commands(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname))
    settled(ego)
    waiting = create(ego, hostname)
    assert waiting["deliverable"] is False  # no agent has polled
    claim(ego, hostname)
    assert create(ego, hostname)["deliverable"] is True
    assert command(ego, waiting["id"])["deliverable"] is True
    for policy, expected in (("off", False), ("allow_list", True), ("off", False), ("all", True)):
        post(ego, make_sample(hostname, command_policy=policy))
        settled(ego)
        assert create(ego, hostname)["deliverable"] is expected, policy
    assert instant(ego.get(f"/api/hosts/{hostname}").json()["lastPollAt"])


def test_an_agent_that_polls_makes_commands_deliverable_even_before_its_first_sample(ego: EgoServer) -> None:
    hostname = unique_hostname()
    claim(ego, hostname)
    assert create(ego, hostname)["deliverable"] is True


# ------------------------------------------------------------------ claim


def test_an_agent_gets_at_most_five_oldest_first_and_each_runs_from_then_on(ego: EgoServer) -> None:
    hostname = unique_hostname()
    ids = [create(ego, hostname, f"echo {n}", timeoutSeconds=10 * n + 1)["id"] for n in range(7)]
    answer = ego.get(f"/api/commands/pending/{hostname}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    items = answer.json()
    assert isinstance(items, list)
    assert [item["id"] for item in items] == ids[:5]
    for place, item in enumerate(items):
        assert item.keys() == CLAIM_KEYS
        assert (item["command"], item["timeoutSeconds"]) == (f"echo {place}", 10 * place + 1)
        running = command(ego, item["id"])
        assert (running["status"], running["version"]) == ("running", 2)
        assert (running["leaseUntil"], running["expiresAt"]) == (item["leaseUntil"], item["expiresAt"])
        earlier = sum(10 * n + 1 for n in range(place + 1))
        assert seconds_between(running["startedAt"], item["leaseUntil"]) == pytest.approx(earlier + 60, abs=0.01)
    assert [item["id"] for item in claim(ego, hostname)] == ids[5:]
    assert claim(ego, hostname) == []


def test_the_lease_of_a_later_claim_covers_what_the_host_has_not_finished(ego: EgoServer) -> None:
    hostname = unique_hostname()
    first = create(ego, hostname, timeoutSeconds=100)["id"]
    claim(ego, hostname)
    create(ego, hostname, timeoutSeconds=10)
    (second,) = claim(ego, hostname)
    assert seconds_between(command(ego, second["id"])["startedAt"], second["leaseUntil"]) == pytest.approx(170, abs=0.1)
    act(ego, first, "result", {"status": "succeeded"})
    create(ego, hostname, timeoutSeconds=10)
    (third,) = claim(ego, hostname)
    assert seconds_between(command(ego, third["id"])["startedAt"], third["leaseUntil"]) == pytest.approx(80, abs=0.1)


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_an_agent_may_ask_for_fewer(ego: EgoServer, limit: int) -> None:
    hostname = unique_hostname()
    ids = [create(ego, hostname)["id"] for _ in range(6)]
    assert [item["id"] for item in claim(ego, hostname, limit=limit)] == ids[:limit]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=6", "limit=-1", "limit=x", "limit=", "wait=-1", "wait=31", "wait=x", "wait=nan"]
)
def test_a_bad_poll_claims_nothing(sqlite_ego: EgoServer, query: str) -> None:
    hostname = unique_hostname()
    command_id = create(sqlite_ego, hostname)["id"]
    assert_problem(sqlite_ego.get(f"/api/commands/pending/{hostname}?{query}"), 400, naming=query.partition("=")[0])
    assert command(sqlite_ego, command_id)["status"] == "pending"


def test_head_and_options_never_claim(ego: EgoServer) -> None:
    hostname = unique_hostname()
    command_id = create(ego, hostname)["id"]
    for path in (f"/api/commands/pending/{hostname}", f"/api/field/commands/pending/{hostname}"):
        for query in ("", "?wait=1", "?limit=1"):
            head = requests.head(ego.url + path + query, timeout=10)
            assert (head.status_code, head.content) == (200, b"")
            assert requests.options(ego.url + path + query, timeout=10).status_code == 200
    assert command(ego, command_id)["status"] == "pending"
    assert len(claim(ego, hostname)) == 1


def test_no_host_gets_the_commands_of_another(ego: EgoServer) -> None:
    hostname = unique_hostname()
    create(ego, hostname)
    assert claim(ego, unique_hostname()) == claim(ego, hostname + "x") == claim(ego, hostname.upper()) == []
    assert len(claim(ego, f"%20{hostname}%20")) == 1


def test_a_command_that_was_not_fetched_in_time_is_never_delivered(ego: EgoServer) -> None:
    hostname = unique_hostname()
    brief, lasting = create(ego, hostname, expiresInSeconds=0.3)["id"], create(ego, hostname)["id"]
    wait_until(lambda: command(ego, brief)["status"] != "pending", 6)
    expired = command(ego, brief)
    assert (expired["status"], expired["reason"], expired["startedAt"]) == ("timeout", "expired", None)
    assert instant(expired["completedAt"]) >= instant(expired["expiresAt"])
    assert [item["id"] for item in claim(ego, hostname)] == [lasting]


# ------------------------------------------------------------------ a re-served claim

ONE = {"X-Reflector-Instance": "7f0c1b1e-0000-4000-8000-000000000001", "X-Reflector-Journal": "1"}
TWO = {"X-Reflector-Instance": "7f0c1b1e-0000-4000-8000-000000000002", "X-Reflector-Journal": "1"}


def ids_of(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def test_an_instance_with_a_journal_is_handed_the_same_again_until_it_has_started(ego: EgoServer) -> None:
    hostname = unique_hostname()
    first, second = create(ego, hostname)["id"], create(ego, hostname)["id"]
    handed = claim(ego, hostname, ONE)
    assert ids_of(handed) == [first, second]
    assert claim(ego, hostname, ONE) == handed  # its first answer may have been lost
    assert claim(ego, hostname, TWO) == []
    assert claim(ego, hostname) == []
    third = create(ego, hostname)["id"]
    assert act(ego, first, "heartbeat", {"phase": "started"}).status_code == 200
    assert ids_of(claim(ego, hostname, ONE)) == [second, third]
    assert act(ego, second, "result", {"status": "succeeded"}).status_code == 201
    assert ids_of(claim(ego, hostname, ONE)) == [third]
    assert [event["status"] for event in events(ego, third)] == [
        "pending",
        "running",
    ]  # handing it out again is no transition


def test_commands_that_are_handed_out_again_count_towards_the_limit(ego: EgoServer) -> None:
    hostname = unique_hostname()
    ids = [create(ego, hostname)["id"] for _ in range(8)]
    assert ids_of(claim(ego, hostname, ONE, limit=3)) == ids[:3]
    assert ids_of(claim(ego, hostname, ONE)) == ids[:5]
    assert ids_of(claim(ego, hostname, ONE)) == ids[:5]


@pytest.mark.parametrize("left_out", ["X-Reflector-Instance", "X-Reflector-Journal"])
def test_without_both_headers_nothing_is_handed_out_twice(ego: EgoServer, left_out: str) -> None:
    hostname, headers = unique_hostname(), {name: value for name, value in ONE.items() if name != left_out}
    create(ego, hostname)
    assert len(claim(ego, hostname, headers)) == 1
    assert claim(ego, hostname, headers) == []


def test_a_claimed_command_that_was_cancelled_is_not_handed_out_again(ego: EgoServer) -> None:
    hostname = unique_hostname()
    command_id = create(ego, hostname)["id"]
    claim(ego, hostname, ONE)
    assert act(ego, command_id, "cancel").status_code == 202
    assert claim(ego, hostname, ONE) == []
    assert act(ego, command_id, "heartbeat", {"phase": "started"}).json()["cancelRequested"] is True


# ------------------------------------------------------------------ result

# what an agent reports: the command's status and reason afterwards
RESULTS: dict[str, tuple[dict[str, Any], tuple[str, str | None]]] = {
    "succeeded": ({"status": "succeeded", "exitCode": 0}, ("succeeded", None)),
    "failed": ({"status": "failed", "exitCode": 2}, ("failed", None)),
    "rejected": ({"status": "failed", "reason": "rejected"}, ("failed", "rejected")),
    "restarted": ({"status": "failed", "reason": "agent_restarted"}, ("failed", "agent_restarted")),
    "cancelled": ({"status": "failed", "reason": "cancelled"}, ("failed", "cancelled")),
    "took too long": ({"status": "timeout"}, ("timeout", "exec_timeout")),
    "took too long, and says so": ({"status": "timeout", "reason": "exec_timeout"}, ("timeout", "exec_timeout")),
}


@pytest.mark.parametrize(("body", "expected"), RESULTS.values(), ids=RESULTS.keys())
def test_a_result_ends_a_command(ego: EgoServer, body: dict[str, Any], expected: tuple[str, str | None]) -> None:
    command_id = running_command(ego)
    full = body | {"stdout": "out\n", "stderr": "err ☃\n", "durationSeconds": 1.25}
    answer = act(ego, command_id, "result", full)
    assert answer.status_code == 201
    ended = answer.json()
    assert ended.keys() == COMMAND_KEYS
    assert (ended["status"], ended["reason"]) == expected
    assert (ended["stdout"], ended["stderr"], ended["durationSeconds"]) == ("out\n", "err ☃\n", 1.25)
    assert (ended["stdoutBytes"], ended["stderrBytes"], ended["truncated"]) == (4, 8, False)
    assert (ended["exitCode"], ended["leaseUntil"], ended["late"]) == (body.get("exitCode"), None, False)
    assert instant(ended["requestedAt"]) <= instant(ended["startedAt"]) <= instant(ended["completedAt"])
    assert ended["version"] == 3
    assert command(ego, command_id) == ended

    same = act(ego, command_id, "result", full)
    assert (same.status_code, same.json()) == (200, ended)
    other = act(ego, command_id, "result", full | {"stdout": "something else"})
    assert_problem(other, 409)
    assert command(ego, command_id) == ended
    assert [event["version"] for event in events(ego, command_id)] == [1, 2, 3]


def test_a_result_may_have_a_status_and_nothing_else(ego: EgoServer) -> None:
    command_id = running_command(ego)
    ended = act(ego, command_id, "result", {"status": "succeeded"}).json()
    assert {name: ended[name] for name in ("exitCode", "stdout", "stderr", "durationSeconds")} == {
        "exitCode": None,
        "stdout": None,
        "stderr": None,
        "durationSeconds": None,
    }


def test_of_each_stream_the_first_16_and_the_last_48_kib_are_kept(ego: EgoServer) -> None:
    command_id = running_command(ego)
    head, middle, tail = "h" * 16 * KIB, "m" * 100_000, "t" * 48 * KIB
    body = {"status": "failed", "exitCode": -9, "stdout": head + middle + tail, "stderr": head + tail}
    ended = act(ego, command_id, "result", body).json()
    assert ended["stdout"].startswith(head)
    assert ended["stdout"].endswith(tail)
    assert ended["stdout"][len(head) : -len(tail)] == "\n[100000 bytes are left out here]\n"
    assert ended["stderr"] == head + tail
    assert (ended["stdoutBytes"], ended["stderrBytes"]) == (len(head + middle + tail), len(head + tail))
    assert (ended["truncated"], ended["exitCode"]) == (True, -9)
    assert act(ego, command_id, "result", body).status_code == 200
    changed = body | {"stdout": head + middle.replace("mm", "mM", 1) + tail}
    assert_problem(act(ego, command_id, "result", changed), 409)  # compared before it was cut


def test_a_cut_never_breaks_a_character(ego: EgoServer) -> None:
    command_id = running_command(ego)
    text = "가" * 60_000
    kept = act(ego, command_id, "result", {"status": "succeeded", "stdout": text}).json()
    head, _note, tail = kept["stdout"].split("\n")
    assert set(head + tail) == {"가"}
    assert kept["stdoutBytes"] == 180_000
    assert 64 * KIB - 6 <= len((head + tail).encode()) <= 64 * KIB


def test_output_that_the_agent_itself_has_cut_is_counted(ego: EgoServer) -> None:
    command_id = running_command(ego)
    ended = act(ego, command_id, "result", {"status": "succeeded", "stdout": "some", "stdoutBytes": 10**9}).json()
    assert (ended["stdout"], ended["stdoutBytes"], ended["truncated"]) == ("some", 10**9, True)


def test_a_result_of_eight_mebibytes_is_read_and_a_longer_one_is_not(ego: EgoServer) -> None:
    command_id = running_command(ego)
    body = b'{"status": "succeeded", "stdout": "%s"}' % (b"x" * 7 * 2**20)
    headers = {"Content-Type": "application/json"}
    path = f"/api/commands/{command_id}/result"
    too_long = requests.post(ego.url + path, data=body.ljust(8 * 2**20 + 1), headers=headers, timeout=20)
    assert_problem(too_long, 413)  # on a connection of its own: EGO does not read the rest of such a body
    assert command(ego, command_id)["status"] == "running"
    answer = ego.post(path, data=body.ljust(8 * 2**20), headers=headers)
    assert (answer.status_code, answer.json()["stdoutBytes"]) == (201, 7 * 2**20)


def test_output_that_is_no_text_does_not_cost_the_result(ego: EgoServer) -> None:
    command_id = running_command(ego)
    answer = act(ego, command_id, "result", {"status": "succeeded", "stdout": "a\0b\ud800c", "stderr": "\x1b[31m"})
    assert answer.status_code == 201
    assert answer.json()["stdout"] == "a\ufffdb\ufffdc"
    assert answer.json()["stderr"] == "\x1b[31m"


WRONG_RESULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no status": ("status", {}),
    "a status of its own": ("status", {"status": "done"}),
    "a status of the field": ("status", {"status": "success"}),
    "still running": ("status", {"status": "running"}),
    "a number as status": ("status", {"status": 0}),
    "an exit code in quotes": ("exitCode", {"status": "failed", "exitCode": "1"}),
    "an exit code with a fraction": ("exitCode", {"status": "failed", "exitCode": 1.5}),
    "an exit code beyond all": ("exitCode", {"status": "failed", "exitCode": 2**63}),
    "a list as output": ("stdout", {"status": "failed", "stdout": ["a"]}),
    "a number as errors": ("stderr", {"status": "failed", "stderr": 1}),
    "a negative duration": ("durationSeconds", {"status": "failed", "durationSeconds": -1}),
    "a duration in quotes": ("durationSeconds", {"status": "failed", "durationSeconds": "1"}),
    "a reason of its own": ("reason", {"status": "failed", "reason": "bored"}),
    "a reason of EGO's": ("reason", {"status": "timeout", "reason": "lost"}),
    "an expiry, by an agent": ("reason", {"status": "timeout", "reason": "expired"}),
    "a success with a reason": ("reason", {"status": "succeeded", "reason": "rejected"}),
    "negative bytes": ("stdoutBytes", {"status": "failed", "stdoutBytes": -1}),
    "a signal by its number": ("signal", {"status": "failed", "signal": 9}),
    "a signal in lower case": ("signal", {"status": "failed", "signal": "kill"}),
    "bytes in words": ("stderrBytes", {"status": "failed", "stderrBytes": "many"}),
}


@pytest.mark.parametrize(("field", "body"), WRONG_RESULTS.values(), ids=WRONG_RESULTS.keys())
def test_a_bad_result_is_refused_with_the_field_named(sqlite_ego: EgoServer, field: str, body: dict[str, Any]) -> None:
    command_id = running_command(sqlite_ego)
    before = command(sqlite_ego, command_id)
    assert_problem(act(sqlite_ego, command_id, "result", body), 400, naming=field)
    assert command(sqlite_ego, command_id) == before


SIGNALS: dict[str, tuple[dict[str, Any], str | None]] = {
    "named": ({"exitCode": -9, "signal": "SIGKILL"}, "SIGKILL"),
    "named, without a number": ({"exitCode": None, "signal": "SIGRTMIN+3"}, "SIGRTMIN+3"),
    "by its number": ({"exitCode": -9}, "SIGKILL"),
    "by its number, and null": ({"exitCode": -15, "signal": None}, "SIGTERM"),
    "by a number that is another signal elsewhere": ({"exitCode": -7}, None),
    "as a shell says it": ({"exitCode": 137}, None),
    "none": ({"exitCode": 0}, None),
    "none, and no exit code": ({}, None),
}


@pytest.mark.parametrize(("body", "signal"), SIGNALS.values(), ids=SIGNALS.keys())
def test_the_signal_that_has_killed_is_kept_and_shown(ego: EgoServer, body: dict[str, Any], signal: str | None) -> None:
    command_id = running_command(ego)
    report = {"status": "failed"} | body
    ended = act(ego, command_id, "result", report).json()
    assert (ended["signal"], ended["exitCode"]) == (signal, body.get("exitCode"))
    assert command(ego, command_id) == ended
    assert act(ego, command_id, "result", report).status_code == 200
    assert_problem(act(ego, command_id, "result", report | {"signal": "SIGSEGV"}), 409)


def test_an_agent_in_the_field_may_say_the_signal_too(ego: EgoServer) -> None:
    command_id = running_command(ego)
    body = {"status": "error", "exitCode": -9}
    assert ego.post(f"/api/field/commands/result/{command_id}", json=body).json()["signal"] == "SIGKILL"


# ------------------------------------------------------------------ heartbeat, output


def test_a_heartbeat_extends_the_lease_and_says_whether_to_stop(ego: EgoServer) -> None:
    command_id = running_command(ego, timeoutSeconds=100)
    before = command(ego, command_id)
    for phase in ("started", "running"):
        answer = act(ego, command_id, "heartbeat", {"phase": phase})
        assert answer.status_code == 200
        assert answer.json().keys() == {"leaseUntil", "cancelRequested", "signedCancel"}
        assert answer.json()["cancelRequested"] is False
    after = command(ego, command_id)
    assert after["leaseUntil"] == answer.json()["leaseUntil"] > before["leaseUntil"]
    assert abs(instant(after["leaseUntil"]) - now() - timedelta(seconds=160)) < timedelta(seconds=5)
    assert (after["status"], after["version"]) == ("running", before["version"])
    assert act(ego, command_id, "cancel").status_code == 202
    assert act(ego, command_id, "heartbeat", {"phase": "running"}).json()["cancelRequested"] is True


def test_output_is_answered_like_a_heartbeat_whether_it_is_new_or_not(ego: EgoServer) -> None:
    command_id = running_command(ego)
    for seq in (0, 1, 1, 0, 5):
        answer = act(ego, command_id, "output", {"seq": seq, "stream": "stdout", "data": f"line {seq}\n"})
        assert answer.status_code == 200
        assert answer.json().keys() == {"leaseUntil", "cancelRequested", "signedCancel"}
    assert command(ego, command_id)["stdout"] is None  # the result says what it was
    most = act(ego, command_id, "output", {"seq": 6, "stream": "stderr", "data": "x" * 16 * KIB})
    assert most.status_code == 200


STEP = "step-1-done\n"
DIED = "the agent died while this ran\n"
# what was streamed, what the result reports, and what is kept: (stdout, stderr)
Text2 = tuple[str | None, str | None]
ENDINGS: dict[str, tuple[Text2, dict[str, Any], Text2]] = {
    "nothing of a stream": ((STEP, None), {"stdout": None, "stderr": "x"}, (STEP, "x")),
    "neither stream": ((STEP, "warn\n"), {}, (STEP, "warn\n")),
    "an empty stream": ((STEP, "warn\n"), {"stdout": "", "stderr": ""}, (STEP, "warn\n")),
    "only a beginning": ((STEP + "step-2\n", None), {"stdout": STEP}, (STEP + "step-2\n", None)),
    "a complete output": ((STEP, "warn\n"), {"stdout": "all\n", "stderr": "more\n"}, ("all\n", "more\n")),
    "words of a restarted agent": (
        (STEP, "warn"),
        {"reason": "agent_restarted", "stdout": "", "stderr": DIED},
        (STEP, f"warn\n{DIED}"),
    ),
    "less, by a restarted agent": (
        (STEP + "step-2\n", None),
        {"reason": "agent_restarted", "stdout": STEP},
        (STEP + "step-2\n", None),
    ),
    "more, by a restarted agent": (
        (STEP, None),
        {"reason": "agent_restarted", "stdout": STEP + "step-2\n"},
        (STEP + "step-2\n", None),
    ),
}


def stream(ego: EgoServer, command_id: str, printed: Text2) -> None:
    """Send what a command prints as live output, a character a chunk."""
    chunks = [(name, char) for name, text in zip(("stdout", "stderr"), printed, strict=True) for char in text or ""]
    for seq, (name, char) in enumerate(chunks):
        assert act(ego, command_id, "output", {"seq": seq, "stream": name, "data": char}).status_code == 200


def size(text: str | None) -> int | None:
    return None if text is None else len(text.encode())


@pytest.mark.parametrize(("streamed", "body", "kept"), ENDINGS.values(), ids=ENDINGS.keys())
def test_a_result_that_knows_less_leaves_what_was_streamed(
    ego: EgoServer, streamed: Text2, body: dict[str, Any], kept: Text2
) -> None:
    command_id = running_command(ego)
    stream(ego, command_id, streamed)
    report = {"status": "failed", "exitCode": 1} | body
    ended = act(ego, command_id, "result", report).json()
    assert (ended["stdout"], ended["stderr"]) == kept
    assert (ended["stdoutBytes"], ended["stderrBytes"], ended["truncated"]) == (size(kept[0]), size(kept[1]), False)
    assert command(ego, command_id) == ended
    again = act(ego, command_id, "result", report)
    assert (again.status_code, again.json()) == (200, ended)
    assert_problem(act(ego, command_id, "result", report | {"stdout": "other"}), 409)


def test_a_lost_command_has_what_was_streamed_and_its_late_report_replaces_it_only_with_more(ego: EgoServer) -> None:
    ids = [running_command(ego) for _ in range(2)]
    for command_id in ids:
        stream(ego, command_id, (STEP, None))
        end_lease(ego, command_id)
    for command_id, body, stdout in zip(ids, ({}, {"stdout": "all\n"}), (STEP, "all\n"), strict=True):
        wait_until(lambda id=command_id: command(ego, id)["status"] == "timeout", 6)  # type: ignore[misc]
        lost = command(ego, command_id)
        assert (lost["reason"], lost["stdout"], lost["stderr"], lost["stdoutBytes"]) == ("lost", STEP, None, len(STEP))
        late = act(ego, command_id, "result", {"status": "failed"} | body).json()
        assert (late["late"], late["stdout"]) == (True, stdout)


def test_what_is_left_out_of_long_live_output_is_marked_with_all_its_bytes(ego: EgoServer) -> None:
    command_id = running_command(ego)
    text = "".join(f"{number:07}\n" for number in range(60_000))
    at, seq = 0, 0
    while at < len(text):  # 15 KB are no whole number of lines
        assert act(ego, command_id, "output", {"seq": seq, "stream": "stdout", "data": text[at : at + 15_001]}).ok
        at, seq = at + 15_001, seq + 1
    end_lease(ego, command_id)
    wait_until(lambda: command(ego, command_id)["status"] == "timeout", 6)
    lost = command(ego, command_id)
    lines = lost["stdout"].splitlines()
    marks = [line for line in lines if line.startswith("[")]
    assert (len(marks), lost["truncated"], lost["stdoutBytes"]) == (2, True, len(text))
    left_out = sum(int(mark.split()[0][1:]) for mark in marks)
    rest = [line for line in lines if not line.startswith("[")]
    assert left_out + 8 * len(rest) == len(text)
    assert all(len(line) == 7 for line in rest), "only whole lines"
    assert rest[-1] == "0059999"


# ------------------------------------------------------------------ a claimant without a name

OLDER = "/api/field/commands"


def test_who_claims_without_a_name_and_never_reports_is_named_with_the_way_out(ego: EgoServer) -> None:
    command_id = lost_command(ego)
    claimed, lost = events(ego, command_id)[1:]
    assert "no X-Reflector-Instance" in claimed["note"]
    assert lost["name"] == "lost"
    for part in ("127.0.0.1", "X-Reflector-Instance", "<ego>/api/field/commands"):
        assert part in lost["note"]
    hostname = command(ego, command_id)["hostname"]
    again = create(ego, hostname)["id"]
    claim(ego, hostname)
    end_lease(ego, again)
    wait_until(lambda: command(ego, again)["status"] == "timeout", 6)
    warnings = [line for line in ego.log.splitlines() if hostname in line and OLDER in line]
    assert len(warnings) == 1, "one warning a host"


@pytest.mark.parametrize("way", ["an agent with a name", "an agent in the field", "an agent that had started"])
def test_nobody_else_is_taken_for_such_a_claimant(ego: EgoServer, way: str) -> None:
    hostname = unique_hostname()
    command_id = create(ego, hostname)["id"]
    if way == "an agent in the field":
        assert ego.get(f"{OLDER}/pending/{hostname}").json()["items"]
    else:
        claim(ego, hostname, ONE if way == "an agent with a name" else {})
    if way == "an agent that had started":
        assert act(ego, command_id, "heartbeat", {"phase": "started"}).ok
    end_lease(ego, command_id)
    wait_until(lambda: command(ego, command_id)["status"] == "timeout", 6)
    assert events(ego, command_id)[-1]["note"] is None
    assert not [line for line in ego.log.splitlines() if hostname in line and OLDER in line]


# ------------------------------------------------------------------ what cannot be right

WRONG_SIGNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no phase": ("heartbeat", "phase", {}),
    "a phase of its own": ("heartbeat", "phase", {"phase": "dancing"}),
    "a phase that is a number": ("heartbeat", "phase", {"phase": 1}),
    "no seq": ("output", "seq", {"stream": "stdout", "data": ""}),
    "a negative seq": ("output", "seq", {"seq": -1, "stream": "stdout", "data": ""}),
    "half a seq": ("output", "seq", {"seq": 1.5, "stream": "stdout", "data": ""}),
    "a seq beyond all": ("output", "seq", {"seq": 2**63, "stream": "stdout", "data": ""}),
    "another stream": ("output", "stream", {"seq": 1, "stream": "stdlog", "data": ""}),
    "no data": ("output", "data", {"seq": 1, "stream": "stdout"}),
    "data that is no text": ("output", "data", {"seq": 1, "stream": "stdout", "data": 7}),
    "more than 16 KiB": ("output", "data", {"seq": 1, "stream": "stdout", "data": "x" * (16 * KIB + 1)}),
    "more than 16 KiB in Korean": ("output", "data", {"seq": 1, "stream": "stdout", "data": "가" * (6 * KIB)}),
}


@pytest.mark.parametrize(("route", "field", "body"), WRONG_SIGNS.values(), ids=WRONG_SIGNS.keys())
def test_a_bad_heartbeat_or_output_is_refused(
    sqlite_ego: EgoServer, route: str, field: str, body: dict[str, Any]
) -> None:
    command_id = running_command(sqlite_ego)
    assert_problem(act(sqlite_ego, command_id, route, body), 400, naming=field)


# ------------------------------------------------------------------ unknown

ROUTES_OF_ONE = [
    ("GET", "", None),
    ("GET", "/events", None),
    ("POST", "/result", {"status": "succeeded"}),
    ("POST", "/heartbeat", {"phase": "running"}),
    ("POST", "/output", {"seq": 0, "stream": "stdout", "data": "x"}),
    ("POST", "/cancel", {}),
]


@pytest.mark.parametrize("command_id", [UNKNOWN_ID, "1", "no-uuid", "a" * 300, UNKNOWN_ID + "0", "%F0%9F%92%A5"])
def test_a_command_that_nobody_created_is_not_found(ego: EgoServer, command_id: str) -> None:
    for method, route, body in ROUTES_OF_ONE:
        url = f"{ego.url}/api/commands/{command_id}{route}"
        assert_problem(requests.request(method, url, json=body, timeout=10), 404)
    field = f"/api/field/commands/result/{command_id}"
    assert_problem(ego.post(field, json={"status": "success"}), 404)


# ------------------------------------------------------------------ the list


def listed(ego: EgoServer, **query: Any) -> dict[str, Any]:
    """A page of commands; the form is checked on the way."""
    answer = ego.get("/api/commands", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body.keys() == PAGE_KEYS
    assert all(item.keys() == COMMAND_KEYS for item in body["items"])
    return body


def test_commands_are_listed_newest_first_in_pages(ego: EgoServer) -> None:
    hostname = unique_hostname()
    ids = [create(ego, hostname)["id"] for _ in range(7)][::-1]
    every = listed(ego, hostname=hostname)
    assert (every["total"], every["page"], every["pageSize"]) == (7, 1, 20)
    assert ids_of(every["items"]) == ids
    pages = [listed(ego, hostname=hostname, page=page, pageSize=3) for page in (1, 2, 3, 4)]
    assert [ids_of(page["items"]) for page in pages] == [ids[:3], ids[3:6], ids[6:], []]
    assert {(page["total"], page["pageSize"]) for page in pages} == {(7, 3)}
    assert [page["page"] for page in pages] == [1, 2, 3, 4]
    assert listed(ego, page=100, pageSize=100)["page"] == 100
    assert listed(ego)["items"][0]["id"] == ids[0]


def test_commands_are_found_by_host_and_status(ego: EgoServer) -> None:
    hostname = unique_hostname()
    for n in range(3):
        create(ego, hostname, f"echo {n}")
    first, second = claim(ego, hostname, limit=2)
    act(ego, first["id"], "result", {"status": "failed"})
    counts = {status: listed(ego, hostname=hostname, status=status)["total"] for status in ("pending", "running")}
    assert counts == {"pending": 1, "running": 1}
    assert ids_of(listed(ego, hostname=hostname, status="failed")["items"]) == [first["id"]]
    assert ids_of(listed(ego, hostname=f" {hostname} ", status="running")["items"]) == [second["id"]]
    assert listed(ego, hostname=hostname, status="succeeded")["total"] == 0
    assert listed(ego, hostname=unique_hostname())["total"] == 0


SEARCHES = {
    "systemctl restart NGINX": ["nginx", "NGINX", "restart", "ctl res", "systemctl restart NGINX"],
    "df -h | grep 100%": ["100%", "%", "| grep", " -h "],
    "echo a_b": ["a_b", "_B"],
    r"sed 's/\\/x/'": ["\\", r"\\", "'s/"],
    "Größe ΑΒΓ 한글": ["größe", "GRÖSSE"[:3], "αβγ", "한글"],
    "echo [a-z]* ?": ["[a-z]", "*", "?"],
}


def test_the_search_is_a_literal_part_in_any_case(ego: EgoServer) -> None:
    hostname = unique_hostname()
    for text in SEARCHES:
        create(ego, hostname, text)
    for text, parts in SEARCHES.items():
        for part in parts:
            found = [item["command"] for item in listed(ego, hostname=hostname, search=part)["items"]]
            expected = [other for other in SEARCHES if part.casefold() in other.casefold()]
            assert text in expected
            assert sorted(found) == sorted(expected), part
    for part in ("100_", "a%b", "%%", "__", "nginx%", "restart_NGINX", "' OR 1=1 --"):
        assert listed(ego, hostname=hostname, search=part)["total"] == 0, part


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=1e3", "page=x", "page=1000000000", f"page={10**30}", "pageSize=0", "pageSize=101",
     "pageSize=-1", "pageSize=1000000", "page=101&pageSize=100", "page=501", "status=done", "status=", "hostname=a%2Fb",
     "search=%00"],
)  # fmt: skip
def test_a_bad_query_is_refused_with_the_field_named(sqlite_ego: EgoServer, query: str) -> None:
    assert_problem(sqlite_ego.get(f"/api/commands?{query}"), 400, naming=query.partition("=")[0])


def test_a_very_long_search_finds_nothing_and_one_beyond_a_request_line_is_refused(ego: EgoServer) -> None:
    for text in ("z" * 3_900, "%" * 1_200, "\\" * 1_200, "_" * 3_900):
        assert listed(ego, search=text)["total"] == 0
    assert_problem(ego.get("/api/commands", params={"search": "x" * 10_000}), 414)


# ------------------------------------------------------------------ events


def test_every_transition_is_listed_with_its_time_actor_and_reason(ego: EgoServer) -> None:
    command_id = finished_command(ego, status="failed", reason="rejected")
    rows = events(ego, command_id)
    assert [(row["version"], row["status"], row["reason"]) for row in rows] == [
        (1, "pending", None),
        (2, "running", None),
        (3, "failed", "rejected"),
    ]
    times = [instant(row["at"]) for row in rows]
    assert times == sorted(times)
    ended = command(ego, command_id)
    assert [row["at"] for row in rows] == [ended["requestedAt"], ended["startedAt"], ended["completedAt"]]
    assert all("actor" in row for row in rows)


def test_a_command_that_still_waits_has_one_event(ego: EgoServer) -> None:
    assert len(events(ego, pending_command(ego))) == 1
