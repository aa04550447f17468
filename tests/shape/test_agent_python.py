"""The agent runs on Python 3.9 and newer: nothing in its wheel needs more. Real Pythons that are at hand are tried, too."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "packaging/reflector"
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())
LISTED = DECLARED["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
OLDEST = (3, 9)


def sources() -> list[Path]:
    """Every Python source of the wheel."""
    paths = [(PROJECT / name).resolve() for name in LISTED]
    found = [one for path in paths for one in (path.rglob("*.py") if path.is_dir() else [path])]
    return sorted(path for path in found if path.suffix == ".py")


def violations(*files: Path) -> str:
    """What needs a newer Python, by vermin. It does not look at annotations, which are never evaluated."""
    command = [
        str(Path(sys.executable).with_name("vermin")),
        f"--target={OLDEST[0]}.{OLDEST[1]}-",
        "--no-tips",
        "--violations",
    ]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def unions_at_run_time(source: str) -> list[int]:
    """The lines where `A | B` joins types outside of an annotation: in isinstance, and in an alias such as `X = A | None`."""
    nodes = [*ast.walk(ast.parse(source))]
    places = [node.args[1] for node in nodes if isinstance(node, ast.Call) and len(node.args) == 2
              and isinstance(node.func, ast.Name) and node.func.id in {"isinstance", "issubclass", "cast"}]  # fmt: skip
    places += [node.value for node in nodes if isinstance(node, ast.Assign)]
    joined = [one for place in places for one in ast.walk(place)
              if isinstance(one, ast.BinOp) and isinstance(one.op, ast.BitOr)]  # fmt: skip
    return sorted(one.lineno for one in joined if is_type(one.left) and is_type(one.right))


def is_type(node: ast.expr) -> bool:
    """Whether this looks like a type: `int`, `Path`, `dict[str, int]`, `None`, or a union of such."""
    if isinstance(node, ast.BinOp):
        return is_type(node.left) and is_type(node.right)
    if isinstance(node, ast.Subscript):
        return is_type(node.value)
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    is_none = isinstance(node, ast.Constant) and node.value is None
    return (
        is_none
        or name in {"int", "float", "str", "bytes", "bool", "list", "dict", "tuple", "set"}
        or bool(re.fullmatch("[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name))
    )


def test_nothing_in_the_wheel_needs_a_newer_python() -> None:
    assert not violations(*sources())


def test_no_types_are_joined_at_run_time() -> None:
    assert not {path.name: lines for path in sources() if (lines := unions_at_run_time(path.read_text()))}


@pytest.mark.parametrize(
    "source",
    ["from datetime import UTC", "from enum import StrEnum", "import tomllib", "zip([], [], strict=True)",
     "from dataclasses import dataclass\n@dataclass(slots=True)\nclass A: ...", "match 1:\n  case 1: ...",
     "from itertools import pairwise"],
)  # fmt: skip
def test_what_is_newer_is_found(source: str, tmp_path: Path) -> None:
    file = tmp_path / "newer.py"
    file.write_text(source)
    assert violations(file)


@pytest.mark.parametrize("source", ["isinstance(1, int | float)", "Reader = Callable[[Entry], float | None]"])
def test_a_union_at_run_time_is_found(source: str) -> None:
    assert unions_at_run_time(source) == [1]


def test_every_source_of_the_wheel_leaves_its_annotations_alone() -> None:
    bare = [path for path in sources() if "from __future__ import annotations" not in path.read_text()]
    assert not [path for path in bare if re.search(r"^(import|def|class|from) ", path.read_text(), re.MULTILINE)]


def test_the_wheel_and_the_formatter_know_the_oldest_python() -> None:
    assert DECLARED["project"]["requires-python"] == ">=3.9"
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["per-file-target-version"]
    assert set(ruff.values()) == {"py39"}


def test_the_command_line_begins_with_what_is_in_the_wheel_alone(tmp_path: Path) -> None:
    for source, place in DECLARED["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        path = ROOT / "packaging/reflector" / source
        if place.endswith(".py") or path.is_dir():
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).symlink_to(path.resolve())
    begin = "from mirror_stage.runtime import cli, db_commands, entry"
    done = subprocess.run(
        [sys.executable, "-S", "-c", begin], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
