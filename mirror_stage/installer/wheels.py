"""The wheels that EGO serves: the agent's own, psutil for each kind of machine, and tomli.

An installed EGO carries them. A checkout builds them when they are first asked for (packaging/agent_wheels.py).
"""

from __future__ import annotations

import hashlib
import logging
import math
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mirror_stage.core.problems import Unavailable
from mirror_stage.core.version import VERSION

_PACKAGE = Path(__file__).resolve().parents[1]
KINDS = {  # what Python says it was built for, and the end of the name of psutil's wheel for it
    "x86_64-*gnu": "manylinux_2_28_x86_64.whl",
    "aarch64-*gnu": "manylinux_2_28_aarch64.whl",
    "x86_64-*musl": "musllinux_1_2_x86_64.whl",
    "aarch64-*musl": "musllinux_1_2_aarch64.whl",
}

RETRY_SECONDS = 60.0
ROOMS = frozenset(
    {"access", "core", "metrics", "reflector", "runtime", "simulator"}
)  # that have parts in the agent's wheel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WheelSet:
    """The wheels of one folder, and the SHA-256 of each by its name."""

    agent: str
    tomli: str
    psutil: dict[str, str]  # by the kind of machine, as in KINDS
    sha256: dict[str, str]


class Wheels:
    """The folder of the wheels. `builder` makes it; an installed EGO has none."""

    def __init__(self, folder: Path, builder: Path | None = None):
        self._folder, self._builder = folder, builder
        self._lock = threading.Lock()
        self._was_built = False
        self._failed_at = -math.inf

    def ready(self) -> WheelSet:
        """The wheels, built where that is necessary and possible. Raises Unavailable with what to do."""
        with self._lock:
            if self._builder is not None and not self._is_current():
                self._build(self._builder)
            return self._found()

    def file(self, name: str) -> Path | None:
        """The path of a wheel; None if there is none of this name."""
        return next((path for path in self._folder.glob("*.whl") if path.name == name), None)

    def _is_current(self) -> bool:
        """Whether there is a wheel of the agent that is of this version, or built by this process, and not older than its sources."""
        built = next(
            self._folder.glob(f"mirror_stage_reflector-{'*' if self._was_built else VERSION}-py3-none-any.whl"), None
        )
        rooms = (path for path in _PACKAGE.iterdir() if path.name in ROOMS)
        sources = (path.stat().st_mtime for room in rooms for path in room.glob("*.py"))
        return built is not None and built.stat().st_mtime >= max(sources)

    def _build(self, builder: Path) -> None:
        """Build the wheels. Everybody may ask for the script, so a failed build is not repeated within a minute."""
        if time.monotonic() > self._failed_at + RETRY_SECONDS:
            log.info("building the wheels of the agent, which hosts download")
            command = [sys.executable, str(builder)]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            self._was_built = done.returncode == 0
            if not self._was_built:
                self._failed_at = time.monotonic()
                log.warning("%s", " ".join(done.stderr.split()))
        if not self._was_built:
            raise Unavailable(
                "EGO could not build the wheels of its agent: run make agent-wheels on its machine, in the checkout"
            )

    def _found(self) -> WheelSet:
        sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self._folder.glob("*.whl")}
        try:
            agent, tomli = (_one(sha256, begin, "") for begin in ("mirror_stage_reflector-", "tomli-"))
            psutil = {kind: _one(sha256, "psutil-", end) for kind, end in KINDS.items()}
        except ValueError as error:
            raise Unavailable(
                "this EGO has no wheels of its agent: install EGO's wheel again, or run make agent-wheels in its checkout"
            ) from error
        return WheelSet(agent, tomli, psutil, sha256)


def _one(names: dict[str, str], begin: str, end: str) -> str:
    """The one name that begins and ends like this. Raises ValueError."""
    (name,) = (name for name in names if name.startswith(begin) and name.endswith(end))
    return name


def _here() -> Wheels:
    shipped, checkout = _PACKAGE / "_shipped/agent", _PACKAGE.parent
    if shipped.is_dir():
        return Wheels(shipped)
    return Wheels(checkout / "build/agent", checkout / "packaging/agent_wheels.py")


WHEELS = _here()
