"""Who may import whom. The tables below are the rooms of docs/architecture.md; every import of every module is checked."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "mirror_stage"

# A room may import itself, what stands in its row, and nothing else. No room is above itself: the order is checked too.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "web": {"core"},
    "access": {"core", "web", "storage"},
    "storage": {"core"},
    "metrics": {"core", "web", "access"},
    "history": {"core", "web", "storage", "metrics"},
    "twin": {"core", "web", "access", "storage", "metrics", "history"},
    "alerts": {"core", "web", "storage", "twin"},
    "commands": {"core", "web", "access", "storage"},
    "past": {"core", "web", "storage", "metrics", "history", "twin", "alerts", "commands"},
    "reflector": {"core", "metrics"},
    "ego_monitor": {"core", "metrics", "twin", "reflector"},
    "hud": {"core", "web", "twin"},
    "health": {"core", "web", "access", "storage", "hud"},
    "simulator": {"core"},
    "pipeline": {"core", "access", "storage", "metrics", "history", "twin", "alerts", "commands"},
    "app": {
        "core", "web", "access", "storage", "metrics", "history", "twin", "alerts", "commands", "past", "ego_monitor",
        "hud", "health", "pipeline",
    },
    "runtime": {
        "alerts", "core", "web", "access", "storage", "history", "commands", "past", "reflector", "ego_monitor", "health", "simulator",
        "pipeline", "app",
    },
    "mirror_stage": {"app"},  # `from mirror_stage import create_app`, when somebody asks for it
}  # fmt: skip

# Modules without Flask, SQL, a clock or randomness: values and rules.
PURE_FILES = {"domain", "people", "tokens", "chain", "measures", "importance", "throughput", "geometry", "state"}
# What the agent shares with EGO: standard library only, so that it can run where nothing else is installed.
SHARED = {
    f"mirror_stage.{name}"
    for name in (
        "core.bad_setting", "core.budget", "core.findings", "core.instants", "core.logs", "core.names", "core.outputs",
        "core.shipped", "core.urls", "core.variables", "core.version", "metrics.domain", "metrics.importance",
        "metrics.measures",
    )
}  # fmt: skip
FLASK = {"flask", "flask_socketio", "flask_smorest", "flask_sqlalchemy", "flask_migrate", "werkzeug", "webargs"}
MAY_FLASK = {
    "app", "access.gate", "web.answers", "web.http", "web.openapi", "web.services", "web.realtime", "runtime.lifecycle",
    "runtime.serving", "runtime.db_commands", "storage.db", "storage.migrate",
}  # fmt: skip
MAY_FLASK_FILES = {"routes", "sockets"}
MAY_SQL = {
    "storage.copying", "storage.db", "storage.foreign",
    "storage.trusted_time", "storage.migrate", "storage.notes", "storage.ownership", "storage.rows", "storage.stats",
    "storage.timescale", "history.tiers", "history.series", "runtime.doctor",
}  # fmt: skip
MAY_SQL_FILES = {"models", "store"}
MAY_ASK_THE_TIME = {"core.clock", "runtime.scheduler", "runtime.doctor"}
SIMULATOR_SHELLS = {"client", "engine", "responder", "console", "command_line"}
FOREIGN = {"sqlalchemy", "gevent", "flask", "marshmallow", "msgspec", "orjson", "psutil", "redis", "requests"}


@cache
def modules() -> list[str]:
    """Every module, as `room.file`; a module beside the rooms is its own name."""
    found = (path.relative_to(ROOT).with_suffix("").parts for path in ROOT.rglob("*.py"))
    return sorted(".".join(parts) for parts in found if "node_modules" not in parts)


@cache
def source_of(module: str) -> str:
    return (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()


@cache
def imports_of(module: str) -> frozenset[str]:
    """Everything that a module imports anywhere in it: when it is loaded, inside a function, for its annotations."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source_of(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def foreign(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports_of(module)} - {"mirror_stage"}


def own(module: str) -> set[str]:
    """The modules of ours that a module imports, by their dotted names."""
    return {name for name in imports_of(module) if name.startswith("mirror_stage.")}


def room_of(module: str) -> str:
    first = module.removeprefix("mirror_stage.").split(".")[0]
    return {"__init__": "mirror_stage", "create_app": "mirror_stage"}.get(first, first)


def file_of(module: str) -> str:
    return module.rsplit(".", maxsplit=1)[-1]


def test_every_room_stands_in_the_table() -> None:
    assert {room_of(module) for module in modules()} == ROOMS.keys()


def test_a_module_imports_only_from_the_rooms_of_its_row() -> None:
    for module in modules():
        room = room_of(module)
        entered = {room_of(name) for name in own(module)} - {room}
        assert entered <= ROOMS[room], f"{module} imports from {entered - ROOMS[room]}"


def test_the_rooms_do_not_import_each_other_in_a_circle() -> None:
    settled: set[str] = set()
    while settled != ROOMS.keys():
        next_ones = {room for room, below in ROOMS.items() if room not in settled and below <= settled}
        assert next_ones, f"these rooms import each other: {ROOMS.keys() - settled}"
        settled |= next_ones


def test_no_row_of_the_table_is_wider_than_what_is_used() -> None:
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in modules():
        used[room_of(module)] |= {room_of(name) for name in own(module)} - {room_of(module)}
    assert used == ROOMS


@pytest.mark.parametrize("module", [m for m in modules() if file_of(m) in PURE_FILES and m != "reflector.state"])
def test_a_domain_is_pure(module: str) -> None:
    assert not foreign(module) & FOREIGN
    allowed = {"core.instants", "core.names", "core.outputs"}
    for name in own(module):
        target = ".".join(name.split(".")[1:3])
        assert target in allowed or file_of(target) in PURE_FILES, f"{module} imports {name}"


def test_only_the_listed_modules_import_flask() -> None:
    users = {module for module in modules() if foreign(module) & FLASK and file_of(module) not in MAY_FLASK_FILES}
    assert users == MAY_FLASK


def test_sql_lives_in_models_stores_and_storage() -> None:
    users = {module for module in modules() if "sqlalchemy" in foreign(module) and file_of(module) not in MAY_SQL_FILES}
    assert users == MAY_SQL


def test_the_agent_needs_psutil_only() -> None:
    for module in modules():
        if room_of(module) == "reflector":
            assert foreign(module) <= {*sys.stdlib_module_names, "psutil"}, module
            for name in own(module):
                shared = name.startswith("mirror_stage.reflector") or any(name.startswith(one) for one in SHARED)
                assert shared, f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(SHARED))
def test_what_the_agent_shares_needs_the_standard_library_only(module: str) -> None:
    inner = module.removeprefix("mirror_stage.")
    assert foreign(inner) <= {*sys.stdlib_module_names}
    assert all(any(name.startswith(one) for one in SHARED) for name in own(inner)), own(inner)


def test_only_the_clock_asks_for_the_time() -> None:
    calls = ("time.time()", "datetime.now(", "utcnow(")
    ask = {module for module in modules() if any(call in source_of(module) for call in calls)}
    assert {module for module in ask if room_of(module) != "reflector"} == MAY_ASK_THE_TIME


def test_the_simulator_imports_nothing_of_ego_but_the_wire() -> None:
    for module in modules():
        if room_of(module) == "simulator" and file_of(module) not in SIMULATOR_SHELLS:
            assert not foreign(module) & FOREIGN, module
            assert not any(name.startswith("mirror_stage.core.clock") for name in own(module)), module
