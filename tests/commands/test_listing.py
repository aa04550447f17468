"""Listing commands: newest first, by host, by status, and by a literal part of the command."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from mirror_stage.access.domain import EGO, Actor
from mirror_stage.commands import store
from mirror_stage.commands.domain import Chunk, NewCommand
from tests.commands.bench import AGENT, INSTANCE, OPERATOR, CommandBench


def found(bench: CommandBench, **filters: str) -> list[str]:
    commands, total = bench.commands.page(filters, 1, 100, OPERATOR)
    assert total == len(commands)
    return [command.command for command in commands]


def test_the_newest_comes_first_and_pages_do_not_overlap(bench: CommandBench) -> None:
    for n in range(25):
        bench.create(command=f"echo {n}")
    first, total = bench.commands.page({}, 1, 20, OPERATOR)
    second, _ = bench.commands.page({}, 2, 20, OPERATOR)
    assert total == 25
    assert [command.command for command in first + second] == [f"echo {n}" for n in reversed(range(25))]


def test_commands_are_found_by_host_and_by_status(bench: CommandBench) -> None:
    bench.create(host="titan-01", command="one")
    bench.create(host="titan-02", command="two")
    bench.claim("titan-01")
    assert found(bench, hostname="titan-02") == ["two"]
    assert found(bench, status="running") == ["one"]
    assert found(bench, hostname="titan-02", status="running") == []


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
def test_a_search_is_literal_and_ignores_case(bench: CommandBench, search: str, expected: list[str]) -> None:
    for command in ("echo 100%", "ls /tmp/a_b", "type C:\\x", "grep Été"):
        bench.create(command=command)
    assert found(bench, search=search) == expected


def test_every_transition_is_listed_with_its_actor_and_reason(bench: CommandBench) -> None:
    command = bench.running()
    bench.clock.advance(3)
    bench.report(command, "failed", reason="rejected")
    events = bench.commands.events_of(command.id, OPERATOR)
    assert [(e.version, e.name, e.status, e.reason, e.actor, e.peer) for e in events] == [
        (1, "created", "pending", None, "operator", "10.0.0.2"),
        (2, "claimed", "running", None, "local", "10.0.0.10"),
        (3, "reported", "failed", "rejected", "local", "10.0.0.10"),
    ]
    assert events[2].at == events[1].at + 3_000


def test_an_actor_that_is_bound_to_a_host_sees_only_its_commands(bench: CommandBench) -> None:
    for hostname in ("titan-01", "titan-02"):
        bench.create(hostname)
    bound = Actor("agent", "titan-02", hostname="titan-02")
    commands, total = bench.commands.page({}, 1, 20, bound)
    assert ([command.hostname for command in commands], total) == (["titan-02"], 1)


def test_no_query_scans_the_whole_table(bench: CommandBench) -> None:
    asked: list[tuple[str, Any]] = []
    listened = event.listens_for(bench.engine, "before_cursor_execute")
    listened(lambda _connection, _cursor, statement, parameters, _context, _many: asked.append((statement, parameters)))
    command = bench.running()
    bench.claim(instance=INSTANCE)
    bench.commands.heartbeat(command.id, AGENT)
    bench.commands.append_output(command.id, Chunk(0, "stdout", "x"), AGENT)
    bench.commands.watch("browser", command.id, -1, OPERATOR)
    bench.report(command)
    bench.commands.cancel(bench.running().id, OPERATOR)
    bench.commands.create(NewCommand("titan-01", "uptime"), OPERATOR, "key")
    bench.storage.write(lambda tx: store.cancel_pending_of(tx, "titan-01", "", EGO, 0))
    bench.lost()
    bench.storage.read(lambda tx: store.hosts_with_pending(tx, 0))
    for filters in ({"hostname": "titan-01"}, {"status": "failed"}, {"hostname": "titan-01", "status": "failed"}):
        bench.commands.page(filters, 1, 20, OPERATOR)
    assert len(asked) > 50
    for statement, parameters in dict(asked).items():
        if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            assert not [step for step in plan_of(bench, statement, parameters) if step.startswith("SCAN commands")]


def plan_of(bench: CommandBench, statement: str, parameters: Any) -> list[str]:
    explained = f"EXPLAIN QUERY PLAN {statement}"
    return [step for *_, step in bench.storage.read(lambda tx: tx.exec_driver_sql(explained, parameters).all())]
