"""The findings of `mirror-stage doctor` (EGO) and `reflector check` (agent), and how they are printed."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

_COLOURS = {"ok": "32", "warning": "33", "problem": "31"}


@dataclass(frozen=True)
class Finding:
    """The result of one check. `level` is ok, warning (works, but needs attention) or problem (does not work); `advice` is what to do."""

    check: str
    level: str
    seen: str
    advice: str = ""


def to_text(findings: list[Finding], *, colour: bool) -> str:
    """The findings as aligned lines; advice stands on a line of its own below its finding."""
    lines = []
    for finding in findings:
        level = finding.level.ljust(8)
        if colour:
            level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
        lines.append(f"{level} {finding.check.ljust(10)}  {finding.seen}")
        if finding.advice:
            lines.append(f"{' ' * 21}→ {finding.advice}")
    return "\n".join(lines)


def to_json(findings: list[Finding]) -> str:
    """`{"ok", "checks": [{"check", "level", "seen", "advice"}]}`."""
    return json.dumps({"ok": is_fine(findings), "checks": [asdict(finding) for finding in findings]}, indent=2)


def is_fine(findings: list[Finding]) -> bool:
    """Whether no finding is a problem."""
    return all(finding.level != "problem" for finding in findings)


def show(findings: list[Finding], *, as_json: bool) -> int:
    """Print the findings, on a terminal in colours unless NO_COLOR is set. Returns the exit status: 1 if there is a problem, else 0."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(to_json(findings) if as_json else to_text(findings, colour=colour))
    return 0 if is_fine(findings) else 1
