"""docs/messages.md has every warning and every refusal of the source, and no other."""

from __future__ import annotations

import ast
import re

from tests.ops.messages import LEFT_OUT, messages
from tests.servers import ROOT

ROWS = re.findall(r"^\| (`+)(.+?)\1 \| .+ \|$", (ROOT / "docs/messages.md").read_text(), re.MULTILINE)
PATTERNS = {row: re.compile(".*".join(map(re.escape, row.split(LEFT_OUT)))) for _, row in ROWS}


def test_every_message_has_a_row() -> None:
    found = messages()
    assert len(found) > 150
    missing = [each for each in found if not any(pattern.fullmatch(each.text) for pattern in PATTERNS.values())]
    assert not missing, "\n".join(
        ["add these to docs/messages.md:", *(f"{each.place}: {each.text}" for each in missing)]
    )


def test_every_row_is_said_somewhere() -> None:
    texts = [each.text for each in messages()]
    stale = [row for row, pattern in PATTERNS.items() if not any(map(pattern.fullmatch, texts))]
    assert not stale, f"nobody says: {stale}"


def test_every_row_has_words_of_its_own() -> None:
    for row in PATTERNS:
        assert len(re.findall("[a-z]", row)) >= 2, row


def test_every_problem_and_warning_of_doctor_and_check_says_what_to_do() -> None:
    findings = [
        node
        for path in (ROOT / "mirror_stage").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
    ]
    serious = [node for node in findings if getattr(node.args[1], "value", "") in {"problem", "warning"}]
    assert len(serious) > 20
    assert all(len(node.args) == 4 for node in serious), [node.lineno for node in serious if len(node.args) != 4]
