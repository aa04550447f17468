"""Commands and cancels are signed when they are made, and never later; the numbers rise as commands are handed out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mirror_stage.commands.domain import Command, NewCommand
from mirror_stage.commands.models import CommandRow
from mirror_stage.core import signed
from mirror_stage.core.signed import Unproved, key_of, statement_of
from mirror_stage.signing.service import CANCEL_LASTS
from tests.commands.bench import AGENT, INSTANCE, OPERATOR, CommandBench

NEW = {"seq", "id", "command", "idempotency_key", "signed"}  # what differs in a row that somebody else writes


def statement(bench: CommandBench, text: str | None, purpose: str = signed.COMMAND) -> dict[str, Any]:
    """What was signed, as an agent reads it. Raises Unproved."""
    root = key_of(str(bench.signer.root))
    return statement_of(None if text is None else json.loads(text), root, purpose, bench.clock.now())


def numbers(bench: CommandBench, commands: list[Command]) -> list[int]:
    return [statement(bench, command.signed)["seq"] for command in commands]


def test_a_new_command_is_signed_with_all_that_an_agent_runs(bench: CommandBench) -> None:
    command = bench.create(command="sh -c 'echo \u00e9'", timeout_seconds=12.5, expires_in_seconds=60)
    found = statement(bench, command.signed)
    assert found.pop("seq") > 0
    assert found == {
        "v": 1, "purpose": "command", "ego": signed.ego_of(key_of(str(bench.signer.root))),
        "host": "titan-01", "agentId": None, "generation": 0, "id": command.id, "command": "sh -c 'echo \u00e9'",
        "timeout": 12.5, "issuedAt": command.requested_at, "expiresAt": command.expires_at,
    }  # fmt: skip


def test_the_signature_is_stored_and_handed_out_as_it_was_made(bench: CommandBench) -> None:
    command = bench.create()
    bench.restart()
    (claimed,) = bench.claim(instance=INSTANCE)
    (again,) = bench.claim(instance=INSTANCE)
    assert command.signed == claimed.signed == again.signed


def test_a_row_that_somebody_writes_into_the_database_is_handed_out_without_a_signature(bench: CommandBench) -> None:
    bench.create(command="uptime")
    copied = ", ".join(sorted({column.name for column in CommandRow.__table__.c} - NEW))
    values = "'11111111-1111-4111-8111-111111111111', 'reboot'"
    bench.sql(f"INSERT INTO commands (id, command, {copied}) SELECT {values}, {copied} FROM commands RETURNING 1")
    true, written = bench.claim()
    assert statement(bench, true.signed)["command"] == "uptime"
    with pytest.raises(Unproved, match="EGO has not signed it"):
        statement(bench, written.signed)


def test_the_numbers_rise_in_the_order_in_which_a_host_is_handed_its_commands(bench: CommandBench) -> None:
    made = [bench.create() for _ in range(8)]
    handed = bench.claim(instance=INSTANCE, limit=3)
    lost_answer = bench.claim(instance=INSTANCE, limit=5)  # the same three again, then two more
    assert lost_answer[:3] == handed
    rest = bench.claim(instance=INSTANCE, limit=5)  # none was started
    assert rest == lost_answer
    for command in rest:
        bench.commands.heartbeat(command.id, AGENT)
    handed = lost_answer + bench.claim(instance=INSTANCE, limit=5)
    assert [command.id for command in handed] == [command.id for command in made]
    assert numbers(bench, handed) == sorted(set(numbers(bench, handed)))


def test_a_retry_is_a_new_command_with_a_new_number(bench: CommandBench) -> None:
    lost = bench.lost()
    retry = bench.create(retry_of=lost.id)
    assert numbers(bench, [retry]) > numbers(bench, [lost])


def test_a_command_that_the_same_key_finds_again_is_not_signed_again(bench: CommandBench) -> None:
    first, _ = bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key")
    second, is_new = bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key")
    assert not is_new
    assert second.signed == first.signed


def test_the_cancel_of_a_running_command_is_signed(bench: CommandBench) -> None:
    command = bench.running()
    assert bench.commands.heartbeat(command.id, AGENT).signed_cancel is None
    bench.commands.cancel(command.id, AGENT)
    lease = bench.commands.heartbeat(command.id, AGENT)
    found = statement(bench, lease.signed_cancel, signed.CANCEL)
    assert (found["id"], found["host"]) == (command.id, "titan-01")
    assert found["expiresAt"] == bench.clock.now() + CANCEL_LASTS


def test_a_cancel_that_somebody_writes_into_the_database_is_not_signed(bench: CommandBench) -> None:
    command = bench.running()
    bench.sql("UPDATE commands SET cancel_requested = 1 WHERE id = :id RETURNING 1", id=command.id)
    lease = bench.commands.heartbeat(command.id, AGENT)
    assert (lease.cancel_requested, lease.signed_cancel) == (True, None)
