"""Queueing a command: what is stored, keys that repeat, how many may wait."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import Actor
from mirror_stage.commands.domain import NewCommand
from mirror_stage.core.instants import DAY, HOUR
from mirror_stage.core.problems import Invalid, KeyReused, Refused
from tests.commands.world import OPERATOR, UNKNOWN, World


def test_a_new_command_waits_and_everybody_is_told(world: World) -> None:
    command = world.create(metadata='{"why": "test"}')
    assert (command.status, command.reason, command.version) == ("pending", None, 1)
    assert command.expires_at == command.requested_at + HOUR
    assert command.requested_by == "operator"
    assert world.updates() == [world.commands.on_wire(command)]
    assert world.updates()[0]["metadata"] == {"why": "test"}
    assert world.record(command) == [(1, "created")]


def test_it_is_deliverable_once_its_agent_has_polled_and_takes_commands(world: World) -> None:
    command = world.create()
    assert not world.commands.on_wire(command)["deliverable"]
    world.claim(limit=1)
    assert world.commands.on_wire(command)["deliverable"]
    world.policies["titan-01"] = "off"
    assert not world.commands.on_wire(command)["deliverable"]
    world.policies["titan-01"] = "allow_list"
    assert world.commands.on_wire(command)["deliverable"]


def test_the_same_key_and_body_find_the_same_command(world: World) -> None:
    new = NewCommand("titan-01", "uptime")
    first, is_new = world.commands.create(new, OPERATOR, "key-1")
    again, is_new_again = world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    assert (is_new, is_new_again) == (True, False)
    assert first == again
    assert len(world.updates()) == 1


def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    with pytest.raises(KeyReused, match="belongs to command"):
        world.commands.create(NewCommand("titan-01", "reboot"), OPERATOR, "key-1")


def test_somebody_elses_key_is_another_one(world: World) -> None:
    world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    _, is_new = world.commands.create(NewCommand("titan-01", "reboot"), Actor("user", "another"), "key-1")
    assert is_new


def test_a_key_is_kept_for_24_hours(world: World) -> None:
    first, _ = world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    world.clock.instant = first.requested_at + DAY - 1
    assert not world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")[1]
    world.clock.instant = first.requested_at + DAY
    assert world.commands.create(NewCommand("titan-01", "reboot"), OPERATOR, "key-1")[1]


def test_a_repeated_key_is_answered_even_when_the_queue_is_full(world: World) -> None:
    world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")
    for _ in range(99):
        world.create()
    assert not world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key-1")[1]


def test_the_101st_that_waits_for_a_host_is_refused(world: World) -> None:
    for _ in range(100):
        world.create()
    with pytest.raises(Refused, match="100 commands wait for titan-01"):
        world.create()
    world.create(host="titan-02")
    world.claim(limit=1)
    world.create()


def test_the_10001st_that_is_open_is_refused(world: World) -> None:
    first = world.create(host="full-000")
    copied = "hostname, timeout_seconds, requested_at, expires_at, request_digest, command, command_folded"
    values = "status, is_closed, truncated, late, cancel_requested, version, updated_at, output_seq, output_bytes"
    world.sql(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "
        f"INSERT INTO commands (id, {copied}, {values}) "
        f"SELECT i, 'full-' || (i / 90), {copied.partition(',')[2]}, {values} FROM n, commands RETURNING 1"
    )
    with pytest.raises(Refused, match="10000 commands wait or run"):
        world.create()
    world.commands.cancel(first.id, OPERATOR)
    world.create()


def test_a_retry_names_a_command_that_there_is(world: World) -> None:
    first = world.create()
    assert world.create(retry_of=first.id).retry_of == first.id
    with pytest.raises(Invalid, match="retryOf: there is no command"):
        world.create(retry_of=UNKNOWN)
