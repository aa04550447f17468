"""The size of the files that a browser loads before it shows hosts, and of all files of the HUD, has a limit."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from mirror_stage.hud.build import FOLDER
from tests.hud.browser import needs_hud

pytestmark = needs_hud
FIRST_PAINT_MAX = 90 * 1024
ALL_MAX = 300 * 1024


def packed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9, mtime=0))


def test_the_table_loads_with_at_most_90_kilobytes() -> None:
    page = (FOLDER / "index.html").read_text()
    parts = {"index.html", *re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page)}
    assert len(parts) > 2
    words = max(packed(path) for language in ("en", "ko") for path in (FOLDER / "assets").glob(f"{language}-*.js"))
    assert sum(packed(FOLDER / part) for part in parts) + words <= FIRST_PAINT_MAX


def test_everything_together_stays_below_300_kilobytes() -> None:
    sizes = {path.name: packed(path) for path in (FOLDER / "assets").iterdir() if path.suffix in {".js", ".css"}}
    assert sum(sizes.values()) <= ALL_MAX, sizes
