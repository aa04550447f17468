"""The size of the files that a browser loads before it shows hosts, and of all files of the HUD, has a limit."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from mirror_stage.hud.build import FOLDER
from tests.hud.browser import needs_hud

pytestmark = needs_hud
FIRST_PAINT_MAX = 90 * 1024
EVERYDAY_MAX = 255 * 1024
ALL_MAX = 300 * 1024  # as a browser gets them over https, packed with Brotli
SELDOM = "seldom-"  # the forms of admins, which load when somebody opens one


def packed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9, mtime=0))


def test_the_table_loads_with_at_most_90_kilobytes() -> None:
    page = (FOLDER / "index.html").read_text()
    parts = {"index.html", *re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page)}
    assert len(parts) > 2
    words = max(packed(path) for language in ("en", "ko") for path in (FOLDER / "assets").glob(f"{language}-*.js"))
    assert sum(packed(FOLDER / part) for part in parts) + words <= FIRST_PAINT_MAX


def test_what_is_loaded_every_day_stays_below_255_kilobytes() -> None:
    sizes = {path.name: packed(path) for path in assets() if not path.name.startswith(SELDOM)}
    assert len(sizes) < len(assets())
    assert sum(sizes.values()) <= EVERYDAY_MAX, sizes


def test_everything_together_stays_below_300_kilobytes() -> None:
    sent = {path.name: path.with_name(f"{path.name}.br") for path in assets()}  # a small one is sent as it is
    sizes = {name: (br if br.exists() else br.with_suffix("")).stat().st_size for name, br in sent.items()}
    assert sum(sizes.values()) <= ALL_MAX, sizes


def assets() -> list[Path]:
    return [path for path in (FOLDER / "assets").iterdir() if path.suffix in {".js", ".css"}]
