"""An agent with `ego_signing_key` runs what its EGO has signed for it, and nothing else."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core import signed
from mirror_stage.core.instants import HOUR, MINUTE
from mirror_stage.reflector import backoff
from mirror_stage.reflector.commands import Commands
from mirror_stage.reflector.journal import Journal, JournalFull
from mirror_stage.reflector.policy import judge
from mirror_stage.reflector.proof import EgoClock, Proof
from mirror_stage.reflector.uplink import Uplink
from mirror_stage.signing.keys import Keys, made
from mirror_stage.signing.private_keys import PrivateKey
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo
from tests.reflector.test_commands import Queue, Start, result, results
from tests.servers import wait_until

ROOT = PrivateKey.new()


def now() -> int:
    return int(time.time() * 1000)


class SigningQueue(Queue):
    """Commands of an EGO that signs."""

    def __init__(self, scripted: ScriptedEgo) -> None:
        super().__init__(scripted)
        self.keys: Keys = made(ROOT, now())
        self.seq = 100
        self.cancel: dict[str, Any] | None = None
        self.scripted = scripted

    def row(
        self, text: str, *, keys: Keys | None = None, purpose: str = signed.COMMAND, **members: Any
    ) -> dict[str, Any]:
        """A command as EGO hands it out; `members` change what is signed."""
        self.seq += 1
        id = str(uuid.uuid4())
        statement = {
            "host": "titan-01", "agentId": None, "generation": 0, "seq": self.seq, "id": id, "command": text, "timeout": 30,
            "issuedAt": now(), "expiresAt": now() + MINUTE,
        } | members  # fmt: skip
        envelope = (keys or self.keys).envelope(purpose, statement)
        return {"id": id, "command": text, "timeoutSeconds": 30, "signed": json.loads(json.dumps(envelope))}

    def hand(self, *rows: dict[str, Any]) -> None:
        with self._lock:
            self._waiting += rows

    def decide(self, asked: Asked) -> Reply | None:
        reply = super().decide(asked)
        if "/heartbeat" in asked.path and self.cancel is not None:
            return Reply(200, {"leaseUntil": "2030-01-01T00:00:00.000Z", **self.cancel})
        return reply


@pytest.fixture
def queue(scripted: ScriptedEgo) -> SigningQueue:
    return SigningQueue(scripted)


@pytest.fixture
def start(scripted: ScriptedEgo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.1)
    with ExitStack() as stack:

        def begin(policy: str = "all", root: PrivateKey = ROOT, **identity: Any) -> Commands:
            commands = Commands(
                "titan-01",
                Uplink(scripted.url),
                Journal(tmp_path / "journal"),
                partial(judge, policy=policy, patterns=()),
                concurrency=4,
                proof=Proof(root.public, EgoClock(False), **identity),
            )
            stack.callback(commands.stop, 2.0)
            commands.start()
            return commands

        yield begin


def test_a_signed_command_runs(scripted: ScriptedEgo, queue: SigningQueue, start: Start) -> None:
    start()
    row = queue.row("echo hello")
    queue.hand(row)
    assert result(scripted, row["id"])["stdout"] == "hello\n"


def test_what_runs_is_what_was_signed_and_not_what_stands_around_it(
    scripted: ScriptedEgo, queue: SigningQueue, start: Start, tmp_path: Path
) -> None:
    start()
    row = queue.row("sh -c 'sleep 30'", timeout=0.3) | {"command": f"touch {tmp_path}/marker", "timeoutSeconds": 600}
    queue.hand(row)
    assert result(scripted, row["id"])["status"] == "timeout"
    assert not (tmp_path / "marker").exists()


Make = Callable[[SigningQueue, str], dict[str, Any]]


def without_signature(queue: SigningQueue, command: str) -> dict[str, Any]:
    return {name: value for name, value in queue.row(command).items() if name != "signed"}


def with_signature_of_another_command(queue: SigningQueue, command: str) -> dict[str, Any]:
    return queue.row(command) | {"signed": queue.row(command)["signed"]}


def with_changed_payload(queue: SigningQueue, command: str) -> dict[str, Any]:
    row = queue.row("uptime")
    text = signed.from_text64(row["signed"]["payload"]).decode().replace("uptime", command)
    row["signed"]["payload"] = signed.to_text64(text.encode())
    return row


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (without_signature, "EGO has not signed it"),
        (lambda queue, command: queue.row(command) | {"signed": None}, "EGO has not signed it"),
        (with_signature_of_another_command, "belongs to another command"),
        (with_changed_payload, "its signature does not fit"),
        (lambda queue, command: queue.row(command, keys=made(PrivateKey.new(), now())), "another EGO signed it"),
        (lambda queue, command: queue.row(command, keys=made(ROOT, now() - 90 * 24 * HOUR)), "online key is valid from"),
        (lambda queue, command: queue.row(command, purpose="cancel"), "not as 'command'"),
        (lambda queue, command: queue.row(command, host="titan-02"), "it is for titan-02, and this host is titan-01"),
        (lambda queue, command: queue.row(command, expiresAt=now() - MINUTE), "it expired at"),
        (lambda queue, command: queue.row(command, v=2), "install a newer agent"),
        (lambda queue, command: queue.row(command, command=7), "the command is no text"),
        (lambda queue, command: queue.row(command, timeout=601), "timeoutSeconds must be a number"),
    ],
)  # fmt: skip
def test_anything_else_is_reported_and_does_not_run(
    make: Make, said: str, scripted: ScriptedEgo, queue: SigningQueue, start: Start, tmp_path: Path
) -> None:
    start()
    row = make(queue, f"touch {tmp_path}/marker")
    honest = queue.row("echo honest")
    queue.hand(row, honest)
    refused = result(scripted, row["id"])
    assert (refused["status"], refused["reason"]) == ("failed", "rejected")
    assert said in refused["stderr"]
    assert result(scripted, honest["id"])["stdout"] == "honest\n"
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(("agent_id", "runs"), [("a1", True), ("a2", False), (None, True)])
def test_a_command_is_for_one_agent_and_one_credential_of_it(
    agent_id: str | None, runs: bool, scripted: ScriptedEgo, queue: SigningQueue, start: Start
) -> None:
    start(agent_id=lambda: agent_id)
    row = queue.row("echo", agentId="a1", generation=2)
    queue.hand(row)
    assert (result(scripted, row["id"])["status"] == "succeeded") == runs


def test_a_command_with_an_older_number_does_not_run_also_after_a_restart(
    scripted: ScriptedEgo, queue: SigningQueue, start: Start, tmp_path: Path
) -> None:
    commands = start()
    old, new = queue.row(f"touch {tmp_path}/marker"), queue.row("echo new")
    queue.hand(new)
    result(scripted, new["id"])
    queue.hand(old)
    assert "somebody repeats old ones" in result(scripted, old["id"])["stderr"]
    commands.stop(2.0)
    queue.wait_for_polls_to_end()
    start()
    again = queue.row(f"touch {tmp_path}/marker", seq=new_number(new))
    queue.hand(again)
    assert "somebody repeats old ones" in result(scripted, again["id"])["stderr"]
    assert not (tmp_path / "marker").exists()


def new_number(row: dict[str, Any]) -> int:
    return int(json.loads(signed.from_text64(row["signed"]["payload"]))["seq"])


def test_the_number_of_a_command_that_the_policy_refuses_counts_too(
    scripted: ScriptedEgo, queue: SigningQueue, start: Start, tmp_path: Path
) -> None:
    commands = start("off")
    row = queue.row(f"touch {tmp_path}/marker")
    queue.hand(row)
    result(scripted, row["id"])
    commands.stop(2.0)
    queue.wait_for_polls_to_end()
    ego = signed.ego_of(ROOT.public)
    assert Journal(tmp_path / "journal").highest(ego) == new_number(row)


def test_the_number_is_on_the_disk_before_anything_runs(
    scripted: ScriptedEgo, queue: SigningQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()

    def full(*_: Any, **__: Any) -> None:
        raise JournalFull("no space")

    monkeypatch.setattr(Journal, "begin", full)
    row = queue.row(f"touch {tmp_path}/marker")
    queue.hand(row)
    assert "cannot be noted" in result(scripted, row["id"])["stderr"]
    assert not (tmp_path / "marker").exists()


def test_a_new_root_key_begins_anew_and_the_former_one_is_remembered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(["a"], {"first": 7})
    journal.begin(["b"], {"second": 3})
    journal.close()
    journal = Journal(tmp_path / "journal")
    assert (journal.highest("first"), journal.highest("second"), journal.highest("third")) == (7, 3, 0)
    assert journal.unfinished() == ["a", "b"]


def test_a_reason_is_logged_once(
    scripted: ScriptedEgo, queue: SigningQueue, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    rows = [without_signature(queue, "uptime") for _ in range(7)]
    queue.hand(*rows)
    wait_until(lambda: len(results(scripted)) == 7)
    lines = [line for line in caplog.messages if "EGO has not signed it" in line]
    assert len(lines) == 1
    honest = queue.row("echo")
    queue.hand(honest, without_signature(queue, "uptime"))
    wait_until(lambda: len(results(scripted)) == 9)
    assert len([line for line in caplog.messages if "EGO has not signed it" in line]) == 2


# ------------------------------------------------------------------ cancels


def cancel_of(queue: SigningQueue, id: str, **members: Any) -> dict[str, Any]:
    statement = {
        "host": "titan-01",
        "agentId": None,
        "generation": 0,
        "id": id,
        "issuedAt": now(),
        "expiresAt": now() + HOUR,
    }
    envelope = queue.keys.envelope(members.pop("purpose", signed.CANCEL), statement | members)
    return {"cancelRequested": True, "signedCancel": json.loads(json.dumps(envelope))}


def test_a_signed_cancel_ends_its_command(scripted: ScriptedEgo, queue: SigningQueue, start: Start) -> None:
    start()
    row = queue.row("sleep 30")
    queue.cancel = cancel_of(queue, row["id"])
    queue.hand(row)
    assert result(scripted, row["id"])["reason"] == "cancelled"


@pytest.mark.parametrize(
    "forged",
    [
        lambda _queue, _id: {"cancelRequested": True},
        lambda _queue, _id: {"cancelRequested": True, "signedCancel": None},
        lambda queue, _id: cancel_of(queue, "another-id"),
        lambda queue, id: cancel_of(queue, id, host="titan-02"),
        lambda queue, id: cancel_of(queue, id, expiresAt=now() - MINUTE),
        lambda queue, id: cancel_of(queue, id, purpose=signed.COMMAND),
        lambda queue, id: cancel_of(queue, id) | {"cancelRequested": False},
    ],
)
def test_any_other_cancel_is_ignored(forged: Any, scripted: ScriptedEgo, queue: SigningQueue, start: Start) -> None:
    start()
    row = queue.row("sh -c 'sleep 1; echo whole'")
    queue.cancel = forged(queue, row["id"])
    queue.hand(row)
    assert result(scripted, row["id"])["stdout"] == "whole\n"
    assert scripted.of("/heartbeat"), "the cancel was heard"


# ------------------------------------------------------------------ the clock


def test_over_https_the_clock_is_egos_and_over_http_the_machines() -> None:
    hour_ahead = formatdate(time.time() + 3600, usegmt=True)
    for is_authentic, ahead in ((True, HOUR), (False, 0)):
        clock = EgoClock(is_authentic)
        clock.hear(hour_ahead)
        clock.hear(None)
        clock.hear("no date")
        assert abs(clock.now() - now() - ahead) < 2_000


def test_a_wrong_clock_here_expires_nothing_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = EgoClock(True)
    clock.hear(formatdate(time.time() - 7200, usegmt=True))
    keys = made(ROOT, now() - 2 * HOUR)
    statement = {"host": "a", "agentId": None, "generation": 0, "seq": 1, "id": "x", "command": "uptime", "timeout": 3}
    envelope = keys.envelope(signed.COMMAND, statement | {"expiresAt": now() - HOUR})
    assert Proof(ROOT.public, clock).command("x", envelope, "a", 0).number == 1


# ------------------------------------------------------------------ the policy


@pytest.mark.parametrize(
    "words",
    [
        {"command_policy": "all"},
        {"commandPolicy": "all", "allow": ["*"]},
        {"settings": {"command_policy": "all", "command_shell": True}},
        {"policy": "all", "ego_signing_key": None},
    ],
)
def test_an_ego_that_signs_cannot_widen_the_policy_of_the_host(
    words: dict[str, Any], scripted: ScriptedEgo, queue: SigningQueue, start: Start, tmp_path: Path
) -> None:
    start("off")
    rows = [queue.row(f"touch {tmp_path}/marker", **words) | words for _ in range(5)]
    queue.cancel = {"cancelRequested": False, **words}
    queue.hand(*rows)
    for row in rows:
        assert "commands are off on this host" in result(scripted, row["id"])["stderr"]
    assert not (tmp_path / "marker").exists()
