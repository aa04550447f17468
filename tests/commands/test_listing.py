"""Looking back: newest first, by host, by status, and by a literal part of the command."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from mirror_stage.access.domain import EGO, Actor
from mirror_stage.commands import store
from mirror_stage.commands.domain import Chunk, NewCommand
from tests.commands.world import AGENT, INSTANCE, OPERATOR, World


def found(world: World, **filters: str) -> list[str]:
    commands, total = world.commands.page(filters, 1, 100, OPERATOR)
    assert total == len(commands)
    return [command.command for command in commands]


def test_the_newest_comes_first_and_pages_do_not_overlap(world: World) -> None:
    for n in range(25):
        world.create(command=f"echo {n}")
    first, total = world.commands.page({}, 1, 20, OPERATOR)
    second, _ = world.commands.page({}, 2, 20, OPERATOR)
    assert total == 25
    assert [command.command for command in first + second] == [f"echo {n}" for n in reversed(range(25))]


def test_by_host_and_by_status(world: World) -> None:
    world.create(host="titan-01", command="one")
    world.create(host="titan-02", command="two")
    world.claim("titan-01")
    assert found(world, hostname="titan-02") == ["two"]
    assert found(world, status="running") == ["one"]
    assert found(world, hostname="titan-02", status="running") == []


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("100%", ["echo 100%"]),
        ("%", ["echo 100%"]),
        ("_", ["ls /tmp/a_b"]),
        ("a_b", ["ls /tmp/a_b"]),
        ("\\", ["type C:\\x"]),
        ("/", ["ls /tmp/a_b"]),
        ("ECHO", ["echo 100%"]),
        ("ÉTÉ", ["grep Été"]),
        ("été", ["grep Été"]),
        ("'; DROP TABLE commands; --", []),
        ("", ["grep Été", "type C:\\x", "ls /tmp/a_b", "echo 100%"]),
    ],
)
def test_a_search_is_literal_and_ignores_case(world: World, search: str, expected: list[str]) -> None:
    for command in ("echo 100%", "ls /tmp/a_b", "type C:\\x", "grep Été"):
        world.create(command=command)
    assert found(world, search=search) == expected


def test_every_transition_is_listed_with_who_and_why(world: World) -> None:
    command = world.running()
    world.clock.advance(3)
    world.report(command, "failed", reason="rejected")
    events = world.commands.events_of(command.id, OPERATOR)
    assert [(e.version, e.name, e.status, e.reason, e.actor, e.peer) for e in events] == [
        (1, "created", "pending", None, "operator", "10.0.0.2"),
        (2, "claimed", "running", None, "local", "10.0.0.10"),
        (3, "reported", "failed", "rejected", "local", "10.0.0.10"),
    ]
    assert events[2].at == events[1].at + 3_000


def test_an_actor_that_is_bound_to_a_host_sees_the_commands_of_that_one_only(world: World) -> None:
    for hostname in ("titan-01", "titan-02"):
        world.create(hostname)
    bound = Actor("agent", "titan-02", hostname="titan-02")
    commands, total = world.commands.page({}, 1, 20, bound)
    assert ([command.hostname for command in commands], total) == (["titan-02"], 1)


def test_no_question_reads_the_whole_table(world: World) -> None:
    asked: list[tuple[str, Any]] = []
    listened = event.listens_for(world.engine, "before_cursor_execute")
    listened(lambda _connection, _cursor, statement, parameters, _context, _many: asked.append((statement, parameters)))
    command = world.running()
    world.claim(instance=INSTANCE)
    world.commands.heartbeat(command.id, AGENT)
    world.commands.append_output(command.id, Chunk(0, "stdout", "x"), AGENT)
    world.commands.watch("browser", command.id, -1, OPERATOR)
    world.report(command)
    world.commands.cancel(world.running().id, OPERATOR)
    world.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key")
    world.storage.write(lambda tx: store.cancel_pending_of(tx, "titan-01", "", EGO, 0))
    world.lost()
    world.storage.read(lambda tx: store.hosts_with_pending(tx, 0))
    for filters in ({"hostname": "titan-01"}, {"status": "failed"}, {"hostname": "titan-01", "status": "failed"}):
        world.commands.page(filters, 1, 20, OPERATOR)
    assert len(asked) > 50
    for statement, parameters in dict(asked).items():
        if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            assert not [step for step in plan_of(world, statement, parameters) if step.startswith("SCAN commands")]


def plan_of(world: World, statement: str, parameters: Any) -> list[str]:
    explained = f"EXPLAIN QUERY PLAN {statement}"
    return [step for *_, step in world.storage.read(lambda tx: tx.exec_driver_sql(explained, parameters).all())]
