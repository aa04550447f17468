"""Queueing a command: what is stored, repeated keys, how many commands may wait."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import Actor
from mirror_stage.commands.domain import NewCommand
from mirror_stage.core.instants import DAY, HOUR
from mirror_stage.core.problems import Invalid, KeyReused, Refused
from tests.commands.bench import OPERATOR, UNKNOWN, CommandBench


def test_a_new_command_is_pending_and_published(bench: CommandBench) -> None:
    command = bench.create(metadata='{"why": "test"}')
    assert (command.status, command.reason, command.version) == ("pending", None, 1)
    assert command.expires_at == command.requested_at + HOUR
    assert command.requested_by == "operator"
    assert bench.updates() == [bench.commands.on_wire(command)]
    assert bench.updates()[0]["metadata"] == {"why": "test"}
    assert bench.record(command) == [(1, "created")]


def test_it_is_deliverable_once_its_agent_has_polled_and_takes_commands(bench: CommandBench) -> None:
    command = bench.create()
    assert not bench.commands.on_wire(command)["deliverable"]
    bench.claim(limit=1)
    assert bench.commands.on_wire(command)["deliverable"]
    bench.policies["titan-01"] = "off"
    assert not bench.commands.on_wire(command)["deliverable"]
    bench.policies["titan-01"] = "allow_list"
    assert bench.commands.on_wire(command)["deliverable"]


def test_the_same_key_and_body_find_the_same_command(bench: CommandBench) -> None:
    new = NewCommand("titan-01", "uptime")
    first, is_new = bench.commands.create(new, OPERATOR, "key-1")
    again, is_new_again = bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    assert (is_new, is_new_again) == (True, False)
    assert first == again
    assert len(bench.updates()) == 1


def test_the_same_key_with_another_body_is_refused(bench: CommandBench) -> None:
    bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    with pytest.raises(KeyReused, match="belongs to command"):
        bench.commands.create(NewCommand("titan-01", "reboot"), OPERATOR, "key-1")


def test_two_actors_may_use_the_same_key(bench: CommandBench) -> None:
    bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    _, is_new = bench.commands.create(NewCommand("titan-01", "reboot"), Actor("user", "another"), "key-1")
    assert is_new


def test_a_key_is_kept_for_24_hours(bench: CommandBench) -> None:
    first, _ = bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    bench.clock.instant = first.requested_at + DAY - 1
    assert not bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")[1]
    bench.clock.instant = first.requested_at + DAY
    assert bench.commands.create(NewCommand("titan-01", "reboot"), OPERATOR, "key-1")[1]


def test_a_repeated_key_is_answered_even_when_the_queue_is_full(bench: CommandBench) -> None:
    bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    for _ in range(99):
        bench.create()
    assert not bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")[1]


def test_the_101st_pending_command_of_a_host_is_refused(bench: CommandBench) -> None:
    for _ in range(100):
        bench.create()
    with pytest.raises(Refused, match="100 commands wait for titan-01"):
        bench.create()
    bench.create(host="titan-02")
    bench.claim(limit=1)
    bench.create()


def test_the_10001st_open_command_is_refused(bench: CommandBench) -> None:
    first = bench.create(host="full-000")
    copied = "hostname, timeout_seconds, requested_at, expires_at, request_digest, command, command_folded"
    values = "status, is_closed, truncated, late, cancel_requested, version, updated_at, output_seq, output_bytes"
    bench.sql(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "
        f"INSERT INTO commands (id, {copied}, {values}) "
        f"SELECT i, 'full-' || (i / 90), {copied.partition(',')[2]}, {values} FROM n, commands RETURNING 1"
    )
    with pytest.raises(Refused, match="10000 commands wait or run"):
        bench.create()
    bench.commands.cancel(first.id, OPERATOR)
    bench.create()


def test_a_retry_must_name_an_existing_command(bench: CommandBench) -> None:
    first = bench.create()
    assert bench.create(retry_of=first.id).retry_of == first.id
    with pytest.raises(Invalid, match="retryOf: there is no command"):
        bench.create(retry_of=UNKNOWN)
