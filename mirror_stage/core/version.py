"""The version of EGO, its agent and its simulator: `0.1.0.post645+g1a2b3c4d`.

It has three parts: the release, the number of commits, and the commit. A wheel and an sdist carry it in a file, which
`hatch_build.py` writes. A checkout asks git. Without git, or in a copy without its history, it is the release alone.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

RELEASE = "0.1.0"
FILE = "version.txt"  # beside this module


def version_of(folder: Path) -> str:
    """The version of the sources in a checkout, or of what was built from them."""
    carried = folder / "mirror_stage/core" / FILE
    if carried.exists():
        return carried.read_text(encoding="utf-8").strip()
    if not (folder / ".git").exists():
        return RELEASE
    try:
        asked = ["git", "-C", str(folder), "rev-list", "--abbrev-commit", "--abbrev=8", "HEAD"]
        commits = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return RELEASE
    return f"{RELEASE}.post{len(commits)}+g{commits[0]}"


VERSION = version_of(Path(__file__).resolve().parents[2])
