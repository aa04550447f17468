"""docs/contract.md, section 3, `/commands`: `command-update` and the live output."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.builders import unique_hostname
from tests.contract.clients import Listener, listening
from tests.contract.wire import (
    COMMAND_KEYS,
    UNKNOWN_ID,
    act,
    claim,
    command,
    create,
    end_lease,
    events,
    finished_command,
    pending_command,
    running_command,
)
from tests.servers import EgoServer, wait_until

NAMESPACE = "/commands"


def updates_of(listener: Listener, command_id: str) -> list[dict[str, Any]]:
    """The updates about one command."""
    return [update for update in listener.of("command-update") if update["id"] == command_id]


def moves(listener: Listener, command_id: str) -> list[tuple[int, str, str | None]]:
    """Version, status and reason of each update about one command."""
    return [(row["version"], row["status"], row["reason"]) for row in updates_of(listener, command_id)]


def test_every_transition_is_sent_once_and_in_order(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(ego, NAMESPACE) as listener:
        command_id = create(ego, hostname)["id"]
        claim(ego, hostname)
        act(ego, command_id, "heartbeat", {"phase": "started"})
        result = {"status": "failed", "exitCode": 3, "stdout": "out", "stderr": "err"}
        assert act(ego, command_id, "result", result).status_code == 201
        assert act(ego, command_id, "result", result).status_code == 200
        wait_until(lambda: len(updates_of(listener, command_id)) >= 3, 3)
        other = create(ego, hostname)["id"]
        wait_until(lambda: updates_of(listener, other), 3)  # a second copy would have arrived by now
        assert moves(listener, command_id) == [(1, "pending", None), (2, "running", None), (3, "failed", None)]
        last = updates_of(listener, command_id)[-1]
        assert last.keys() >= COMMAND_KEYS
        assert (last["exitCode"], last["stdout"], last["stderr"]) == (3, "out", "err")
        assert {name: last[name] for name in COMMAND_KEYS} == command(ego, command_id)
        assert set(listener.events()) == {"command-update"}


def test_a_cancel_a_loss_a_late_report_and_an_expiry_are_sent(ego: EgoServer) -> None:
    with listening(ego, NAMESPACE) as listener:
        cancelled, asked, lost = pending_command(ego), running_command(ego), running_command(ego)
        expired = pending_command(ego, expiresInSeconds=0.2)
        assert act(ego, cancelled, "cancel").status_code == 200
        assert act(ego, asked, "cancel").status_code == 202
        end_lease(ego, lost)
        wait_until(lambda: len(updates_of(listener, lost)) == 3 and len(updates_of(listener, expired)) == 2, 6)
        assert act(ego, lost, "result", {"status": "succeeded"}).status_code == 201
        wait_until(lambda: len(updates_of(listener, lost)) == 4, 3)
        assert moves(listener, cancelled) == [(1, "pending", None), (2, "failed", "cancelled")]
        assert moves(listener, asked) == [(1, "pending", None), (2, "running", None), (3, "running", None)]
        assert [row["cancelRequested"] for row in updates_of(listener, asked)] == [False, False, True]
        assert moves(listener, expired) == [(1, "pending", None), (2, "timeout", "expired")]
        assert moves(listener, lost) == [
            (1, "pending", None),
            (2, "running", None),
            (3, "timeout", "lost"),
            (4, "succeeded", None),
        ]
        assert [row["late"] for row in updates_of(listener, lost)] == [False, False, False, True]


def test_the_socket_and_the_recorded_events_agree_however_many_act_at_once(ego: EgoServer) -> None:
    hostnames = [unique_hostname() for _ in range(6)]

    def live(hostname: str) -> None:
        for _ in range(4):
            create(ego, hostname)
            for item in claim(ego, hostname):
                act(ego, item["id"], "result", {"status": "succeeded"})

    with listening(ego, NAMESPACE) as listener:
        threads = [threading.Thread(target=live, args=[hostname]) for hostname in hostnames]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = [
            item["id"]
            for hostname in hostnames
            for item in ego.get("/api/commands", params={"hostname": hostname}).json()["items"]
        ]
        assert len(ids) == 24
        wait_until(lambda: all(len(updates_of(listener, command_id)) >= 3 for command_id in ids), 5)
        for command_id in ids:
            record = [(row["version"], row["status"], row["reason"]) for row in events(ego, command_id)]
            assert moves(listener, command_id) == record


# ------------------------------------------------------------------ live output


def output(ego: EgoServer, command_id: str, seq: int, data: str, stream: str = "stdout") -> None:
    """One chunk of what a command prints."""
    answer = act(ego, command_id, "output", {"seq": seq, "stream": stream, "data": data})
    assert answer.status_code == 200, answer.text


def chunks(listener: Listener, command_id: str) -> list[tuple[int, str, str]]:
    """What a client was sent of a command's output."""
    found = [chunk for chunk in listener.of("command-output") if chunk["id"] == command_id]
    assert all(chunk.keys() == {"id", "seq", "stream", "data"} for chunk in found)
    return [(chunk["seq"], chunk["stream"], chunk["data"]) for chunk in found]


def test_a_watched_commands_output_is_replayed_then_streamed_each_chunk_once(ego: EgoServer) -> None:
    command_id, other = running_command(ego), running_command(ego)
    with listening(ego, NAMESPACE) as listener, listening(ego, NAMESPACE) as bystander:
        output(ego, command_id, 0, "zero")
        output(ego, command_id, 1, "one\n", "stderr")
        answer = listener.ask("watch-command", {"id": command_id, "afterSeq": -1})
        assert answer["ok"] is True
        wait_until(lambda: len(chunks(listener, command_id)) == 2, 3)
        output(ego, other, 0, "not for you")
        output(ego, command_id, 2, "zwei ☃")
        output(ego, command_id, 2, "zwei ☃")
        output(ego, command_id, 1, "late")
        output(ego, command_id, 4, "four")
        wait_until(lambda: len(chunks(listener, command_id)) >= 4, 3)
        assert chunks(listener, command_id) == [
            (0, "stdout", "zero"),
            (1, "stderr", "one\n"),
            (2, "stdout", "zwei ☃"),
            (4, "stdout", "four"),
        ]
        assert chunks(listener, other) == []
        assert [event for event in bystander.events() if event == "command-output"] == []


def test_a_client_that_has_some_of_the_output_is_sent_the_rest(ego: EgoServer) -> None:
    command_id = running_command(ego)
    for seq in range(5):
        output(ego, command_id, seq, f"line {seq}\n")
    with listening(ego, NAMESPACE) as listener:
        listener.ask("watch-command", {"id": command_id, "afterSeq": 2})
        wait_until(lambda: len(chunks(listener, command_id)) == 2, 3)
        assert [seq for seq, _, _ in chunks(listener, command_id)] == [3, 4]
    with listening(ego, NAMESPACE) as listener:
        listener.ask("watch-command", {"id": command_id})  # afterSeq left out: all of it
        wait_until(lambda: len(chunks(listener, command_id)) == 5, 3)


def test_watching_a_command_that_has_ended_is_accepted_and_sends_nothing(ego: EgoServer) -> None:
    command_id = finished_command(ego, stdout="all of it")
    with listening(ego, NAMESPACE) as listener:
        listener.ask("watch-command", {"id": command_id, "afterSeq": -1})
        create(ego, unique_hostname())
        listener.wait_for("command-update")
        assert chunks(listener, command_id) == []  # the result has replaced it


@pytest.mark.parametrize(
    "wanted",
    [{"id": UNKNOWN_ID}, {"id": "x"}, {"id": 7}, {}, None, [], "x", {"id": UNKNOWN_ID, "afterSeq": "1"},
     {"id": UNKNOWN_ID, "afterSeq": 1.5}, {"id": UNKNOWN_ID, "afterSeq": 2**80}],
)  # fmt: skip
def test_watching_what_does_not_exist_is_refused_and_harms_nobody(ego: EgoServer, wanted: Any) -> None:
    with listening(ego, NAMESPACE) as listener:
        answer = listener.ask("watch-command", wanted)
        assert answer["ok"] is False
        assert answer["error"]
        command_id = create(ego, unique_hostname())["id"]
        wait_until(lambda: updates_of(listener, command_id), 3)
