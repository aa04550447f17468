"""What a check has found and how it is shown: `mirror-stage doctor` for EGO, `reflector check` for the agent."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

_COLOURS = {"ok": "32", "warning": "33", "problem": "31"}


@dataclass(frozen=True)
class Finding:
    """What one check saw. `level` is ok, warning (it works, but) or problem (it does not); `advice` is what to do."""

    check: str
    level: str
    seen: str
    advice: str = ""


def to_text(findings: list[Finding], *, colour: bool) -> str:
    """The findings as aligned lines, each problem with what to do below it."""
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
    """Whether nothing stands in the way."""
    return all(finding.level != "problem" for finding in findings)


def show(findings: list[Finding], *, as_json: bool) -> int:
    """Print the findings, in colours on a terminal that wants them; the exit status: 0 fine, 1 not."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(to_json(findings) if as_json else to_text(findings, colour=colour))
    return 0 if is_fine(findings) else 1
