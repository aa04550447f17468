"""Who may import whom: the table of docs/architecture.md section 2, module by module, read from the source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "mirror_stage"
DOMAINS = {"metrics", "twin", "alerts", "commands", "history", "ego_monitor", "health", "hud", "past"}
# a pure module: the domains whose pure modules it may see
PURE = {
    "metrics": {"metrics"},
    "twin": {"twin", "metrics"},
    "alerts": {"alerts", "twin"},
    "history": {"history", "metrics"},
    "commands": {"commands"},
    "past": {"past", "alerts", "history", "twin", "metrics"},
}
PURE_FILES = {"domain", "throughput", "geometry", "state"}
FLASK = {"flask", "flask_socketio", "flask_smorest", "flask_sqlalchemy", "flask_migrate", "werkzeug", "webargs"}
MAY_FLASK = {
    "app",
    "cli",
    "doctor",
    "errors",
    "ego",
    "http",
    "realtime",
    "permissions",
    "openapi",
    "serving",
    "scheduler",
}
MAY_FLASK_FILES = {"routes", "sockets", "db", "migrate"}
MAY_SQL_FILES = {
    "notes",
    "models",
    "store",
    "tiers",
    "series",
    "db",
    "rows",
    "timescale",
    "migrate",
    "stats",
    "owner",
    "doctor",
}
ONLY_STANDARD = {"sqlalchemy", "gevent", "flask", "marshmallow", "msgspec", "orjson", "psutil", "redis", "requests"}


def modules() -> list[str]:
    return sorted(".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in ROOT.rglob("*.py"))


def imports_of(module: str) -> set[str]:
    """Everything a module imports when it runs; what stands under TYPE_CHECKING is for readers."""
    tree = ast.parse((ROOT.parent / Path(*module.split("."))).with_suffix(".py").read_text())
    found: set[str] = set()
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def third_party(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports_of(module)}


def own(module: str) -> set[str]:
    return {name for name in imports_of(module) if name.startswith("mirror_stage.")}


def place(module: str) -> tuple[str, str]:
    """(domain or '', file) of a module."""
    parts = module.split(".")[1:]
    return (parts[0], parts[-1]) if len(parts) > 1 else ("", parts[-1] if parts else "")


@pytest.mark.parametrize("module", [m for m in modules() if place(m)[1] in PURE_FILES and place(m)[0] in PURE])
def test_a_domain_is_pure(module: str) -> None:
    assert not third_party(module) & ONLY_STANDARD
    for name in own(module):
        domain, file = place(name)
        if domain in DOMAINS:
            assert domain in PURE[place(module)[0]], f"{module} imports {name}"
        else:
            assert {domain, file} & {"instants", "outputs"}, f"{module} imports {name}"


@pytest.mark.parametrize("module", modules())
def test_flask_lives_at_the_doors(module: str) -> None:
    domain, file = place(module)
    if third_party(module) & FLASK:
        assert file in MAY_FLASK_FILES or (not domain and file in MAY_FLASK), module


@pytest.mark.parametrize("module", modules())
def test_sql_lives_in_models_stores_and_storage(module: str) -> None:
    if "sqlalchemy" in third_party(module):
        assert place(module)[1] in MAY_SQL_FILES, module


@pytest.mark.parametrize("module", [m for m in modules() if place(m)[1] == "service"])
def test_a_service_knows_no_other_service(module: str) -> None:
    domain = place(module)[0]
    for name in own(module):
        other, file = place(name)
        assert not (file == "service" and other != domain), f"{module} imports {name}"


# what the agent shares with EGO: standard library only, so that it can
SHARED = tuple(
    f"mirror_stage.{name}"
    for name in ("bad_setting", "findings", "instants", "logs", "metrics.domain", "outputs", "shipped")
)


@pytest.mark.parametrize("module", [m for m in modules() if place(m)[0] == "reflector"])
def test_the_agent_needs_psutil_only(module: str) -> None:
    assert third_party(module) <= {*sys.stdlib_module_names, "psutil", "mirror_stage"}
    for name in own(module) - {"mirror_stage.__version__"}:
        assert name.startswith(("mirror_stage.reflector", *SHARED)), f"{module} imports {name}"


@pytest.mark.parametrize("module", SHARED)
def test_what_the_agent_shares_needs_the_standard_library_only(module: str) -> None:
    assert third_party(module) <= {*sys.stdlib_module_names, "mirror_stage"}
    assert all(name.startswith(SHARED) for name in own(module)), own(module)


@pytest.mark.parametrize("module", modules())
def test_only_the_doors_of_the_process_import_app(module: str) -> None:
    if "mirror_stage.app" in own(module):
        assert place(module) in {("", "__init__"), ("", "cli"), ("", "doctor"), ("", "serving")}, module


@pytest.mark.parametrize("module", [m for m in modules() if place(m)[1] != "clock"])
def test_only_the_clock_asks_for_the_time(module: str) -> None:
    source = (ROOT.parent / Path(*module.split("."))).with_suffix(".py").read_text()
    asks = [call for call in ("time.time()", "datetime.now(", "utcnow(") if call in source]
    allowed = {"mirror_stage.scheduler", "mirror_stage.logs", "mirror_stage.doctor"}
    assert not asks or module in allowed or place(module)[0] == "reflector", f"{module}: {asks}"


SIMULATOR_SHELLS = {"client", "engine", "responder", "console", "command_line"}


@pytest.mark.parametrize("module", [m for m in modules() if place(m)[0] == "simulator"])
def test_the_simulator_knows_of_ego_only_the_wire(module: str) -> None:
    may = {"simulator", "instants", "clock", "__version__"}
    assert {place(name)[0] or place(name)[1] for name in own(module)} <= may
    if place(module)[1] not in SIMULATOR_SHELLS:
        assert not third_party(module) & ONLY_STANDARD
        assert "clock" not in {place(name)[1] for name in own(module)}
