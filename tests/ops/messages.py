"""Every warning and every refusal of the source, read with `ast`: where a person meets it, and its words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.servers import ROOT

LOGGED = frozenset({"warning", "error", "exception", "critical"})
LOGGERS = frozenset({"log", "logger"})
REFUSING = frozenset({"BadSetting", "NotPossible", "Refusal", "_foreign", "_Bad", "EnvError"})
# Problems that end a command line; as the answer to a request they stand in the contract.
IN_COMMANDS = frozenset({"Conflict", "Invalid", "Unavailable", "say"})
COMMANDS = ("mirror_stage/runtime/", "mirror_stage/storage/")
# Functions that give the words of a refusal or a warning, for others to say.
SPEAKING = frozenset(
    {
        "exposure_refusal",
        "exposure_notes",
        "field_note",
        "not_admitted",
        "trouble_of",
        "workers_note",
        "worker_class_refusal",
        "server_refusal",
        "notes",
        "decide",
        "url_trouble",
        "database_url_trouble",
        "redis_url_trouble",
        "_redis_parameter_trouble",
        "set_twice",
        "quotes_trouble",
        "_parameter_trouble",
        "_address_trouble",
        "_must_encode",
        "_trouble",
        "trouble_of_file",
        "trouble_of_server",
        "_not_from_here",
        "_not_trusted",
        "unknown_variable",
        "doubtful_variables",
        "_sentence",
        "_why_not_as_written",
        "_why_no_path",
    }
)
LEFT_OUT = "…"  # stands for what the program puts in


@dataclass(frozen=True)
class Message:
    """The words of one message; LEFT_OUT stands for each value in it."""

    text: str
    place: str  # file and line


def messages() -> list[Message]:
    """All of them, without those that are a value and nothing else."""
    found = []
    for path in sorted((ROOT / "mirror_stage").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in _choices(_spoken(ast.parse(path.read_text()), name)):
            text = re.sub(r"%(?:\.\d)?[sdgrf]", LEFT_OUT, _words(node))
            if re.search(r"[a-z]{2}", text):
                found.append(Message(text, f"{name}:{node.lineno}"))
    return found


def _spoken(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    """The expressions of a module that hold the words of a message."""
    refusing = REFUSING | (IN_COMMANDS if name.startswith(COMMANDS) else frozenset())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr in LOGGED and _is_logger(function.value):
                yield node.args[0]
            elif isinstance(function, ast.Attribute) and function.attr == "note" and len(node.args) == 3:
                yield node.args[2]
            elif isinstance(function, ast.Name) and function.id in refusing:
                yield node.args[-1] if function.id == "Refusal" else node.args[0]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "detail" and name.endswith("walls.py"):
            yield node.value
        elif isinstance(node, ast.FunctionDef) and node.name in SPEAKING:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return | ast.Yield) and inner.value is not None:
                    yield inner.value


def _choices(nodes: Iterable[ast.expr]) -> Iterator[ast.expr]:
    """The expressions, and instead of `a if x else b` both a and b."""
    for node in nodes:
        yield from _choices((node.body, node.orelse)) if isinstance(node, ast.IfExp) else (node,)


def _is_logger(value: ast.expr) -> bool:
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    return name in LOGGERS


def _words(node: ast.expr) -> str:
    """The constant parts of an expression, and LEFT_OUT between them."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    return LEFT_OUT
